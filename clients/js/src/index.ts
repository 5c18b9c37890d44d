// The client of Hubbub: one name to connect, send, listen and come back.

export { Client } from "./client.js";
export type { ClientEvents, ClientOptions, State, StateChange } from "./options.js";
export type { Socket, SocketClass } from "./connection.js";
export type { Handler } from "./emitter.js";
export {
  BadTokenError,
  ClientError,
  InvalidURLError,
  NotConnectedError,
  NotHubbubError,
  RefusedError,
  RemovedError,
  ReplyError,
  TimeoutError,
  UnreachableError,
} from "./errors.js";
export type { Group, GroupEvents, HistoryOptions } from "./group.js";
export type { Position, Positions } from "./positions.js";
export type { Gap, Member, Message, Notice, Wire } from "./wire.js";
