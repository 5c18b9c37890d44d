// What the tests need around the client: Python programs beside them, and conditions to wait for.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const CLIENT = join(ROOT, "src", "hubbub", "http", "static", "hubbub.js");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv", "bin", "python");
const PATIENCE = 20_000;

/** Start a Python module; its lines can be read one by one. It ends with the test. */
export function python(t, ...args) {
  const child = spawn(PYTHON, ["-m", ...args], { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, "exit");
  t.after(async () => {
    child.stdin.end();
    if (child.exitCode === null) child.kill();
    await ended;
  });
  return {
    async line() {
      const { value, done } = await within(lines.next(), `a line of ${args.join(" ")}`);
      if (done) throw new Error(`${args.join(" ")} ended`);
      return value;
    },
    write(line) {
      child.stdin.write(`${line}\n`);
    },
  };
}

/** A promise that has to be settled in time. */
export async function within(promise, what, ms = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms / 1000} s in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first event of a type whose detail fits. */
export function happens(target, type, fits = () => true) {
  const seen = new Promise((resolve) => {
    target.addEventListener(type, function heard({ detail }) {
      if (!fits(detail)) return;
      target.removeEventListener(type, heard);
      resolve(detail);
    });
  });
  return within(seen, `an event ${type}`);
}
