// Where a client connects to.

import { InvalidURLError } from "./errors.js";

/** The WebSocket's URL under a client id, from any of the forms that people write: with `/ws`, with `/ws/id`, without. */
export function addressOf(url: string | URL, clientId: string | null): string {
  let parts: URL | undefined;
  try {
    parts = new URL(url, globalThis.location?.href);
  } catch {
    // Told below.
  }
  if (!parts || !/^(ws|http)s?:$/.test(parts.protocol)) {
    throw new InvalidURLError(`"${url}" is no server URL: give one like wss://example.com.`);
  }
  parts.protocol = parts.protocol.replace("http", "ws");
  parts.pathname = parts.pathname.replace(
    /\/*(?:\/ws(\/[^/]+)?\/*)?$/,
    (_, own = "") => `/ws${clientId === null ? own : `/${encodeURIComponent(clientId)}`}`,
  );
  parts.searchParams.set("connect", "first");
  parts.hash = "";
  return parts.href;
}
