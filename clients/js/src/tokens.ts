// Who the client is: text, or a function that is asked for it.

import { BadTokenError } from "./errors.js";
import type { ClientOptions } from "./options.js";
import type { Timers } from "./timers.js";
import type { Wire } from "./wire.js";

/** What can travel in a header, and so as a subprotocol. */
const LEGAL = /^[\w!#$%&'*+.^`|~-]+$/;

/** The token to come with now, where there is any at all. */
export async function askFor(token: ClientOptions["token"]): Promise<string | undefined> {
  await null; // so that nothing of the program's runs in the middle of a change of state
  const text: unknown = typeof token === "function" ? await token() : token;
  if (token === undefined || (typeof text === "string" && LEGAL.test(text))) return text as string | undefined;
  throw new BadTokenError("No token that can travel: give a JWT, say.");
}

/** What refreshing needs of its client. */
export interface Refreshing {
  readonly _options: ClientOptions;
  readonly _attemptNow: object | undefined;
  readonly _timers: Timers;
  _call(type: string, fields: object): Promise<Wire>;
  _delay(failures: number): number;
}

/** Bring another token in time, and again, as long as this connection lives. */
export function keepFresh(client: Refreshing, expiresIn: unknown): void {
  const { _attemptNow: attempt, _options: { token }, _timers: timers } = client;
  const after = (ms: number, failures: number) => {
    if (client._attemptNow === attempt) timers.later(ms, () => refresh(failures));
  };
  const inTime = (seconds: unknown) => {
    if (seconds !== undefined) after((seconds as number) * (0.75 + 0.15 * Math.random()) * 1000, 1);
  };
  const refresh = async (failures: number) => {
    try {
      const fresh = await askFor(token);
      if (client._attemptNow === attempt) inTime((await client._call("refresh", { token: fresh }))["expires_in"]);
    } catch {
      // Until the server closes; then the client comes back with a fresh one.
      after(client._delay(failures), failures + 1);
    }
  };
  if (typeof token === "function") inTime(expiresIn);
}
