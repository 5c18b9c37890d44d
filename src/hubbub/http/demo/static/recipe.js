// How to publish from anywhere: the request, and the `curl` command that is exactly that request.

const AUDIENCES = {
  group: ({ group }) => ({
    path: "api/publish",
    body: { channel: group, data: { text: "Hello" } },
  }),
  everybody: () => ({ path: "broadcast", body: { text: "Hello" } }),
  client: ({ clientId }) => ({
    path: `notify/${encodeURIComponent(clientId)}`,
    body: { text: "Hello" },
  }),
};

/** The request that reaches an audience: "group", "everybody" or "client". */
export function requestFor(audience, names) {
  const { path, body } = AUDIENCES[audience](names);
  return { url: new URL(path, document.baseURI).href, body: JSON.stringify(body) };
}

/** A request as a command for any POSIX shell. */
export function asCurl({ url, body }) {
  return `curl -X POST ${quoteForShell(url)} \\\n  -d ${quoteForShell(body)}`;
}

/** Perform a request; returns a sentence where the server refused it, nothing where it went well. */
export async function perform({ url, body }) {
  let response;
  try {
    response = await fetch(url, { method: "POST", body });
  } catch {
    return "the server cannot be reached";
  }
  const answer = await response.json().catch(() => ({}));
  // The server API answers a request it understood with 200 and says inside what was wrong with it.
  return answer.error?.message ?? (response.ok ? "" : answer.detail ?? response.statusText);
}

function quoteForShell(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
