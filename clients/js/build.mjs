// Builds dist/hubbub.js and dist/hubbub.d.ts, and puts both where the server finds them.
// `node build.mjs FOLDER` builds into that folder instead.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "dist");
mkdirSync(target, { recursive: true });

/** Names of methods and fields that only this package knows; no field of a message may be among them. */
const INTERNAL = [
  ..."onOpen onMessage onGarbage onEnd onGreeting".split(" "),
  ..."probe watch nextId settle drop take given holds gapAt later loop loops".split(" "),
  ..."open queue ended before turn what sent".split(" "),
];

await build({
  absWorkingDir: here,
  entryPoints: ["src/index.ts"],
  outfile: join(target, "hubbub.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  mangleProps: new RegExp(`^_|^(?:${INTERNAL.join("|")})$`),
  tsconfigRaw: { compilerOptions: { target: "es2022", useDefineForClassFields: false } },
  legalComments: "none",
});
writeFileSync(join(target, "hubbub.d.ts"), declarations());

if (!process.argv[2]) {
  const served = join(here, "..", "..", "src", "hubbub", "http", "static");
  mkdirSync(served, { recursive: true });
  for (const name of ["hubbub.js", "hubbub.d.ts"]) copyFileSync(join(target, name), join(served, name));
}

/** Every public type as one module: what the compiler says of each file, without the lines between them. */
function declarations() {
  const folder = mkdtempSync(join(tmpdir(), "hubbub-client-"));
  try {
    const compiler = join(here, "node_modules", "typescript", "bin", "tsc");
    execFileSync(process.execPath, [compiler, "-p", here, "--emitDeclarationOnly", "--outDir", folder], {
      stdio: "inherit",
    });
    const files = readdirSync(folder).filter((name) => name.endsWith(".d.ts"));
    const read = (name) => readFileSync(join(folder, name), "utf8");
    const names = [...read("index.d.ts").matchAll(/export (?:type )?\{([^}]*)\}/g)].flatMap(([, list]) =>
      list.split(",").map((name) => name.trim()).filter(Boolean),
    );
    const needed = new Set([...names, "Emitter", "Details", "OwnEvents"]);
    const bodies = files.sort().map((name) =>
      statements(read(name).replace(/^(?: +\/\*\*(?:(?!\*\/)[^])*\*\/\n)? +private [^\n]*\n/gm, ""))
        .filter(([, name]) => needed.has(name))
        .map(([text]) => text.replace(/^export /m, "").replace(" implements Owner", "")),
    );
    return `${bodies.flat().join("\n")}\nexport { ${names.sort().join(", ")} };\n`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The declarations of a file, each with its comment and its name. */
function statements(text) {
  const each = /^(?:\/\*\*(?:(?!\*\/)[^])*\*\/\n)?export (?:declare )?(?:abstract )?(?:class|function|const|interface|type) (\w+)(?:[^{;]*;|[^]*?\n\}|[^\n]*;)\n/gm;
  return [...text.matchAll(each)].map(([statement, name]) => [statement, name]);
}
