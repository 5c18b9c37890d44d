// What a client is told, and what it tells.

import type { SocketClass } from "./connection.js";
import type { ClientError } from "./errors.js";
import type { OwnEvents } from "./own.js";
import type { Positions } from "./positions.js";
import type { Wire } from "./wire.js";

/**
 * `disconnected`: nothing is under way. `connecting`: the first attempt is. `connected`: greeted.
 * `reconnecting`: the connection was lost, and the client waits or tries again.
 */
export type State = "disconnected" | "connecting" | "connected" | "reconnecting";

export interface StateChange {
  state: State;
  /** Seconds until the next attempt. */
  delay?: number | undefined;
  /** What happened, with the code and the server's reason where a connection has ended. */
  error?: ClientError | undefined;
}

export interface ClientEvents extends OwnEvents {
  state: StateChange;
  /** Every message of the server as it came. */
  message: Wire;
  /** A handler failed, or what came is no message. Where nobody listens, a handler's failure goes to `reportError`. */
  error: { error: unknown; detail: unknown };
}

export interface ClientOptions {
  /** The name to connect under; the server makes one where there is none. */
  clientId?: string;
  /** Who the client is: text, or a function that is called for it before each attempt and for each refresh. */
  token?: string | (() => string | Promise<string>);
  /** Where to go on from: what `client.positions` was, in another page or process. */
  positions?: Positions;
  /** How many messages may wait for each listener; 1000 by default. */
  buffer?: number;
  /** Past that: close, and come back for the rest (`reconnect`, the default), or let the oldest go (`drop_oldest`). */
  policy?: "reconnect" | "drop_oldest";
  /** The class to connect with, where there is none in `globalThis`: Node before 22, say. */
  WebSocket?: SocketClass;
  /** Seconds to stay away after so many failures; drawn at random by default. */
  backoff?: (failures: number) => number;
  /** For tests: what all times but delays are multiplied with. */
  pace?: number;
}
