declare class Client extends Emitter<ClientEvents> {
    readonly state: State;
    /** The name of this client, once it is known. */
    readonly clientId: string | null;
    /** `url` may be that of a WebSocket or of a page, with or without its `/ws`, or relative to the page. */
    constructor(_url: string | URL, options?: ClientOptions);
    /**
     * The positions up to which the program was given everything, to be kept anywhere: a client that is made with them
     * goes on from there.
     */
    get positions(): Positions;
    /** Connect, and return when the server has greeted. The first attempt that fails is the last, and rejects. */
    connect(): Promise<void>;
    /** Close, and stay away. Groups stay wanted: another `connect()` comes back to them, and to what was missed. */
    disconnect(): Promise<void>;
    /** The group of this name; always the same object. With `gaps` its iteration yields gaps, too. */
    group<T = unknown>(name: string, { gaps }?: {
        gaps?: boolean;
    }): Group<T>;
    /** Broadcasts and notifications, one after another, from the beginning of a loop on. With `gaps` it yields gaps, too. */
    own<T = unknown>({ gaps }?: {
        gaps?: boolean;
    }): AsyncIterable<Notice<T>>;
    /** Call a method of the application; what it returns. */
    rpc<R = unknown>(method: string, data?: unknown): Promise<R>;
}

/** The part of a WebSocket that is needed. */
interface Socket {
    readonly readyState: number;
    readonly protocol: string;
    onopen: ((event: any) => void) | null;
    onmessage: ((event: any) => void) | null;
    onerror: ((event: any) => void) | null;
    onclose: ((event: any) => void) | null;
    send(text: string): void;
    close(code?: number, reason?: string): void;
}

/** What makes one: the browser's `WebSocket`, that of Node 22, or that of the package `ws`. */
type SocketClass = new (url: string, protocols: string[]) => Socket;

/** What is called with an event: what that is about is `event.detail`. */
type Handler<T> = ((event: CustomEvent<T>) => unknown) | EventListenerObject | null;

/** An EventTarget with known events. A handler that fails changes nothing for the others: `_failed` is told. */
declare abstract class Emitter<Events> extends EventTarget {
    addEventListener<K extends keyof Events & string>(type: K, handler: Handler<Events[K]>, options?: boolean | AddEventListenerOptions): void;
    removeEventListener<K extends keyof Events & string>(type: K, handler: Handler<Events[K]>, options?: boolean | EventListenerOptions): void;
}

/** What is known about a failure, as far as it is. */
interface Details {
    /** The code of a close frame, of an answer, or of the end of a group. */
    code?: number | undefined;
    /** The server's words. */
    reason?: string | undefined;
    /** Whether the same may succeed later. */
    temporary?: boolean | undefined;
}

/** Anything that went wrong in the client; the sentence says what to do. */
declare class ClientError extends Error {
    readonly code?: number;
    readonly reason?: string;
    readonly temporary?: boolean;
    constructor(sentence: string, details?: Details);
}

/** Yours: the server URL is not one. */
declare class InvalidURLError extends ClientError {
}

/** Yours: there is no token, or it cannot be sent. The sentence does not repeat it. */
declare class BadTokenError extends ClientError {
}

/** Nobody's: there is no connection, or there is none any more. */
declare class NotConnectedError extends ClientError {
}

/** Nothing came in time. */
declare class TimeoutError extends ClientError {
}

/** The server could not be reached, or refused the handshake: the platform does not tell which. */
declare class UnreachableError extends ClientError {
}

/** Something answered that is no Hubbub server. */
declare class NotHubbubError extends ClientError {
}

/** The server closed the connection, with a `code`. */
declare class RefusedError extends ClientError {
}

/** The server answered a call with an error; nothing else is touched by it. */
declare class ReplyError extends ClientError {
}

/** The server took the client out of a group. */
declare class RemovedError extends ClientError {
}

interface GroupEvents<T> {
    message: Message<T>;
    /** Messages are missing; told between the last before them and the first after them. */
    gap: Gap;
    /** The client is in the group, for the first time or again; `recovered` says whether it was given all, where it came back with a position. */
    joined: {
        position: Position | null;
        recovered: boolean | undefined;
    };
    /** The group has ended and is not joined again by itself: the server refused it, or took the client out. */
    removed: ClientError;
    memberjoined: Member;
    memberleft: Member;
}

interface HistoryOptions {
    /** How many messages at most, up to 1000; -1 for as many as one answer holds. */
    limit?: number;
    /** The messages after this position; with `reverse` those before it. */
    since?: Position;
    reverse?: boolean;
}

declare class Group<T = unknown> extends Emitter<GroupEvents<T>> implements AsyncIterable<Message<T>> {
    readonly name: string;
    /** Whether the client is in the group on the connection of now. */
    joined: boolean;
    /** The position up to which the program was given everything. */
    get position(): Position | null;
    /** Be a member, from now on and on every connection to come. Rejects with `ReplyError` where the server refuses. */
    join(): Promise<void>;
    /** Be a member no longer; ends every loop over the group. */
    leave(): Promise<void>;
    /** Send everybody in the group some data. Where it stands in the history, if the group has one. */
    publish(data: unknown): Promise<Position | null>;
    /** As `publish`, but it arrives as a chat message. */
    sendChatMessage(message: unknown): Promise<Position | null>;
    /** What was published, and the position of the newest. Without a `limit` the position alone. */
    history(options?: HistoryOptions): Promise<{
        messages: Message<T>[];
        position: Position | null;
    }>;
    /** Who is in the group: the connections by their ids. */
    presence(): Promise<Record<string, Member>>;
    /** How many are in the group: connections, and different clients among them. */
    presenceStats(): Promise<{
        connections: number;
        clients: number;
    }>;
    /**
     * What is published, one after another; joins the group where it is not joined. The loop ends when the group is
     * left or the client disconnects, and throws what ended it where that was the server.
     */
    [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>, void>;
}

/**
 * `disconnected`: nothing is under way. `connecting`: the first attempt is. `connected`: greeted.
 * `reconnecting`: the connection was lost, and the client waits or tries again.
 */
type State = "disconnected" | "connecting" | "connected" | "reconnecting";

interface StateChange {
    state: State;
    /** Seconds until the next attempt. */
    delay?: number | undefined;
    /** What happened, with the code and the server's reason where a connection has ended. */
    error?: ClientError | undefined;
}

interface ClientEvents extends OwnEvents {
    state: StateChange;
    /** Every message of the server as it came. */
    message: Wire;
    /** A handler failed, or what came is no message. Where nobody listens, a handler's failure goes to `reportError`. */
    error: {
        error: unknown;
        detail: unknown;
    };
}

interface ClientOptions {
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

interface OwnEvents {
    /** To every connection of every client. */
    broadcast: Notice;
    /** To this client, or to its user. */
    notification: Notice;
    /** News of the server itself. */
    system: Notice;
    /** Messages of `$all`, `$client` or `$user` are missing. */
    gap: Gap;
}

/** A place in a channel's history. */
interface Position {
    epoch: string;
    offset: number;
}

/** Positions by the names of groups, and of what is the client's own: `$all`, `$client`, `$user`. */
type Positions = Record<string, Position>;

/** A message as it came: a JSON object with a `type`, and the fields that its type has. */
interface Wire {
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
interface Message<T = unknown> {
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
interface Gap {
    kind: "gap";
    /** The group, or `$all`, `$client`, `$user`. */
    name: string;
    /** Where it goes on from; `null` where there is no history any more. */
    position: Position | null;
}

/** What everybody, this client or this user was sent. */
interface Notice<T = unknown> {
    kind: "broadcast_message" | "personal_notification" | "system_notification";
    /** `$all`, `$client` or `$user`. */
    channel: string;
    data: T;
    timestamp: string;
    position: Position | null;
    tags: Record<string, string>;
}

/** A connection in a group. */
interface Member {
    clientId: string;
    user?: string;
    info?: unknown;
}

export { BadTokenError, Client, ClientError, ClientEvents, ClientOptions, Gap, Group, GroupEvents, Handler, HistoryOptions, InvalidURLError, Member, Message, NotConnectedError, NotHubbubError, Notice, Position, Positions, RefusedError, RemovedError, ReplyError, Socket, SocketClass, State, StateChange, TimeoutError, UnreachableError, Wire };
