// What travels: spec/protocol.md has every type and field.

import type { Position } from "./positions.js";

/** A message as it came: a JSON object with a `type`, and the fields that its type has. */
export interface Wire {
  type: string;
  id?: number;
  group_name?: string;
  epoch?: string;
  offset?: number;
  recovered?: boolean;
  timestamp?: string;
  data?: unknown;
  code?: number;
  reason?: string;
  [field: string]: unknown;
}

/** What was published into a group. */
export interface Message<T = unknown> {
  /** The group's name. */
  group: string;
  /** `chat` for a chat message, `data` for anything else. */
  kind: "chat" | "data";
  data: T;
  /** The sender's client id; empty where it came from the server's side. */
  sender: string;
  timestamp: string;
  /** Where it stands in the group's history, where it is kept there. */
  position: Position | null;
  tags: Record<string, string>;
}

/** Messages are missing here. What is shown has to be taken from elsewhere: `history`, `rpc`, HTTP. */
export interface Gap {
  kind: "gap";
  /** The group, or `$all`, `$client`, `$user`. */
  name: string;
  /** Where it goes on from; `null` where there is no history any more. */
  position: Position | null;
}

/** What everybody, this client or this user was sent. */
export interface Notice<T = unknown> {
  kind: "broadcast_message" | "personal_notification" | "system_notification";
  /** `$all`, `$client` or `$user`. */
  channel: string;
  data: T;
  timestamp: string;
  position: Position | null;
  tags: Record<string, string>;
}

/** A connection in a group. */
export interface Member {
  clientId: string;
  user?: string;
  info?: unknown;
}

/** A wire message that was published in a group. */
export function toMessage<T>(wire: Wire, position: Position | null): Message<T> {
  const chat = wire.type === "chat_message";
  return {
    ...given(wire, position),
    group: wire.group_name!,
    kind: chat ? "chat" : "data",
    data: (chat ? wire["message"] : wire.data) as T,
    sender: (wire["from"] as string) ?? "",
  };
}

/** A wire message that was sent to all, or to this client. */
export function toNotice<T>(wire: Wire, position: Position | null): Notice<T> {
  return {
    ...given(wire, position),
    kind: wire.type as Notice["kind"],
    channel: (wire["channel"] as string) ?? "$all",
    data: wire.data as T,
  };
}

/** A member as the wire has it. */
export function toMember({ client_id: clientId, ...rest }: Record<string, unknown>): Member {
  return { clientId, ...rest } as Member;
}

function given({ timestamp, tags = {} }: Wire, position: Position | null) {
  return { timestamp: timestamp!, position, tags: tags as Record<string, string> };
}
