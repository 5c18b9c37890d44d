// Who the client is: text, or a function that is asked for it.

import { BadTokenError } from "./errors.js";
import type { ClientOptions } from "./options.js";

/** What can travel in a header, and so as a subprotocol. */
const LEGAL = /^[\w!#$%&'*+.^`|~-]+$/;

/** The token to come with now, where there is any at all. */
export async function askFor(token: ClientOptions["token"]): Promise<string | undefined> {
  const text: unknown = typeof token === "function" ? await token() : token;
  if (token === undefined || (typeof text === "string" && LEGAL.test(text))) return text as string | undefined;
  throw new BadTokenError("No token that can travel: give a JWT, say.");
}

/** Milliseconds after which a token is to be replaced that ends in so many seconds. */
export function untilRefresh(expiresIn: number): number {
  return expiresIn * (0.75 + 0.15 * Math.random()) * 1000;
}
