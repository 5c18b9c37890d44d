// A client's life: connect, serve the connection, come back, until it is over.

import { addressOf } from "./address.js";
import { fullJitter } from "./backoff.js";
import { Calls, replyError } from "./calls.js";
import { ABNORMAL, EXPIRED_TOKEN, NORMAL, reconnects, TOKEN_EXPIRED, UNAUTHORIZED } from "./codes.js";
import { Connection, type SocketClass } from "./connection.js";
import { Emitter } from "./emitter.js";
import {
  ClientError,
  NotConnectedError,
  NotHubbubError,
  RefusedError,
  RemovedError,
  TimeoutError,
  UnreachableError,
} from "./errors.js";
import { Group, type Owner } from "./group.js";
import type { ClientEvents, ClientOptions, State } from "./options.js";
import { Own } from "./own.js";
import type { Position, Positions } from "./positions.js";
import { Timers } from "./timers.js";
import { askFor, untilRefresh } from "./tokens.js";
import type { Wire } from "./wire.js";

const ANSWERED_WITHIN = 10_000;
/** The id of every `connect`; those of calls and joins count up from 1. */
const CONNECT = 0;
const SHORT_LIVED = 20_000;

export class Client extends Emitter<ClientEvents> implements Owner {
  readonly state: State = "disconnected";
  /** The name of this client, once it is known. */
  readonly clientId: string | null;
  /** @internal */
  readonly _pace: number;
  /** @internal */
  readonly _buffer: number;
  private _connection: Connection | null = null;
  private _groups = new Map<string, Group<any>>();
  private _joins = new Map<unknown, Group<any>>();
  private _own: Own;
  /** The address for people. */
  private _where: string;
  private _kept: Positions;
  private _calls: Calls;
  private _connects: { resolve: () => void; reject: (error: ClientError) => void }[] = [];
  private _greetedAt = 0;
  private _failures = 0;
  private _farewell: Wire | null = null;
  private _sent: string | undefined;
  /** That of the token that was sent last: the same one would be refused again. */
  private _refusal: ClientError | null = null;
  /** All that this connection, attempt or delay has to wait for. */
  private _timers = new Timers();
  /** Another one for each attempt: what belongs to an earlier one is passed over. */
  private _attemptNow: object | null = null;
  private _waitsForRoom = false;
  private _last = "await connect() first.";

  /** `url` may be that of a WebSocket or of a page, with or without its `/ws`, or relative to the page. */
  constructor(
    private _url: string | URL,
    private _options: ClientOptions = {},
  ) {
    super();
    this._where = addressOf(_url, null).replace(/\?.*/, "");
    const { clientId = null, positions, pace = 1, buffer = 1000 } = _options;
    this.clientId = clientId;
    this._kept = { ...positions };
    this._pace = pace;
    this._buffer = buffer;
    this._calls = new Calls(this._pace);
    this._own = new Own(this);
  }

  /**
   * The positions up to which the program was given everything, to be kept anywhere: a client that is made with them
   * goes on from there.
   */
  get positions(): Positions {
    return held([
      ...Object.entries(this._kept),
      ...this._own.positions,
      ...[...this._groups].map(([name, group]) => [name, group._given] as Held),
    ]);
  }

  /** Connect, and return when the server has greeted. The first attempt that fails is the last, and rejects. */
  async connect(): Promise<void> {
    if (this.state === "connected") return;
    const greeted = new Promise<void>((resolve, reject) => this._connects.push({ resolve, reject }));
    if (this.state === "disconnected") {
      this._heedNetwork("addEventListener");
      this._failures = 0;
      this._refusal = null;
      this._turnTo("connecting");
      void this._attempt();
    }
    return greeted;
  }

  /** Close, and stay away. Groups stay wanted: another `connect()` comes back to them, and to what was missed. */
  async disconnect(): Promise<void> {
    if (this.state === "disconnected") return;
    const connection = this._connection;
    const error = new NotConnectedError("disconnect() was called.", { code: NORMAL });
    this._stop(error, (group) => group._pause(error));
    await connection?.close(NORMAL);
  }

  /** The group of this name; always the same object. With `gaps` its iteration yields gaps, too. */
  group<T = unknown>(name: string, { gaps }: { gaps?: boolean } = {}): Group<T> {
    let group = this._groups.get(name);
    if (!group) this._groups.set(name, (group = new Group<any>(name, this, this._keep(name))));
    if (gaps !== undefined) group._gaps = gaps;
    return group as Group<T>;
  }

  /** Call a method of the application; what it returns. */
  async rpc<R = unknown>(method: string, data: unknown = null): Promise<R> {
    return (await this._call("rpc", { method, data })).data as R;
  }

  // What groups ask of their client.

  /** @internal */
  _notConnected(): ClientError {
    return new NotConnectedError(`Not connected: ${this._last}`);
  }

  /** @internal */
  async _call(type: string, fields: object): Promise<Wire> {
    if (this.state === "disconnected") throw this._notConnected();
    const answer = this._calls.add(type, fields);
    this._sendCalls();
    return answer;
  }

  /** @internal */
  _send(message: object): void {
    this._connection?.send(message);
  }

  /** @internal */
  _askFor(group: Group<any>): void {
    if (this.state !== "connected" || group._asked || !group._wanted) return;
    const id = this._calls.nextId();
    group._asked = true;
    this._joins.set(id, group);
    this._timers.later(ANSWERED_WITHIN * this._pace, () => {
      if (this._joins.delete(id)) group._end(new TimeoutError("No answer to join_group in 10 seconds."));
    });
    this._send({ type: "join_group", id, group_name: group.name, recover: group._track.position });
  }

  /** @internal */
  _overflow(name: string): boolean {
    if (this._options.policy === "drop_oldest") return false;
    this._waitsForRoom = true;
    const reason = `${name} waits to be taken`;
    this._over(new ClientError(reason, { code: ABNORMAL, reason }));
    return true;
  }

  /** @internal */
  _roomier(): void {
    if (!this._waitsForRoom || [...this._groups.values()].some((group) => group._holds(this._buffer / 2))) return;
    this._waitsForRoom = false;
    this._retry();
  }

  /** @internal */
  _failed(error: unknown, { type, detail }: CustomEvent): void {
    // A handler of errors that fails itself is not asked again.
    if (this._heard.has("error") && type !== "error") this._emit("error", { error, detail });
    else (globalThis.reportError ?? console.error)(error);
  }

  // An attempt.

  private async _attempt(): Promise<void> {
    const attempt = (this._attemptNow = {});
    this._farewell = null;
    this._timers.later(ANSWERED_WITHIN * this._pace, () =>
      this._over(new TimeoutError(`No answer from ${this._where} in 10 seconds.`)),
    );
    try {
      const token = await askFor(this._options.token);
      if (this._attemptNow !== attempt) return;
      if (this._refusal && token === this._sent) return this._over(this._refusal, true);
      this._sent = token;
      const SocketClass = this._options.WebSocket ?? (globalThis.WebSocket as unknown as SocketClass | undefined);
      if (!SocketClass) {
        throw new ClientError("No WebSocket here: give one as an option, or use Node 22.");
      }
      // With a token the server says who this is, each time.
      const id = this._options.clientId ?? (this._options.token === undefined ? this.clientId : null);
      this._connection = new Connection(SocketClass, addressOf(this._url, id), token, this, this._pace);
    } catch (cause) {
      if (this._attemptNow !== attempt) return;
      const known = cause instanceof ClientError;
      this._over(known ? cause : new UnreachableError(`${this._where}: ${cause}`));
    }
  }

  // What the connection tells.

  /** @internal */
  onOpen(): void {
    const recover = held(this._own.positions);
    const groups: Record<string, Position | null> = {};
    for (const group of this._groups.values()) {
      if (!group._wanted) continue;
      groups[group.name] = group._track.position;
      group._asked = true;
    }
    this._send({ type: "connect", id: CONNECT, recover: some(recover), groups: some(groups) });
  }

  /** @internal */
  onGarbage(text: unknown): void {
    const error = new NotHubbubError(`${this._where} is no Hubbub server.`);
    if (this._greetedAt) this._emit("error", { error, detail: text });
    else this._over(error);
  }

  /** @internal */
  onEnd(closed: number, words: string, trouble: string): void {
    const {
      code = closed,
      reason = words || "connection lost",
      reconnect = reconnects(code),
      retry_after,
    } = (this._farewell ?? {}) as Partial<Wire> & { reconnect?: boolean; retry_after?: number };
    // Of a handshake that was refused a browser tells nothing; others have more or less to say in words.
    const error =
      this._greetedAt || code !== ABNORMAL
        ? new RefusedError(`${this._where} closed: ${reason} (${code}).`, { code, reason })
        : new UnreachableError(
            `${this._where} cannot be reached or refuses: check address and token. ${trouble}`,
          );
    const stop = !reconnect || (code === EXPIRED_TOKEN && !this._hasOtherTokens);
    this._over(error, stop, retry_after);
  }

  /** @internal */
  onMessage(message: Wire): void {
    const { type, id, group_name: name } = message;
    if (!this._greetedAt && !/^(connection_established|error|disconnect|pong)$/.test(type)) {
      return this.onGarbage(message);
    }
    this._emit("message", message);
    const group = this._groups.get(name!);
    switch (type) {
      case "connection_established":
        this._greeted(message);
        break;
      case "group_joined":
        this._joins.delete(id);
        if (!this._own.onGap(name!, message)) this.group(name!)._onJoined(message);
        break;
      case "group_message":
      case "chat_message":
        group?._onMessage(message);
        break;
      case "member_joined":
      case "member_left":
        group?._onMember(message);
        break;
      case "group_left":
        group?._onLeft();
        break;
      case "group_removed": {
        const { code = 0, reason = "" } = message;
        group?._end(new RemovedError(`${name} was ended: ${reason} (${code}).`, { code, reason }));
        break;
      }
      case "messages_dropped": {
        const channel = (message["channel"] as string).replace(/^(\$[^:]*):.*/s, "$1");
        if (!this._own.onDropped(channel)) this._groups.get(channel)?._onDropped();
        break;
      }
      case "broadcast_message":
      case "personal_notification":
      case "system_notification":
        this._own.onMessage(message);
        break;
      case "disconnect":
        this._farewell = message;
        break;
      case "error":
        this._onError(message);
        break;
      default:
        this._calls.settle(message);
    }
  }

  private _onError(message: Wire): void {
    const { id, code } = message;
    const group = this._joins.get(id) ?? (id === CONNECT ? this._groups.get(message.group_name!) : undefined);
    if (group) {
      this._joins.delete(id);
      if (!group._onRefused(message)) return;
      this._timers.later(this._delay(++group._refusals), () => this._askFor(group));
    } else if (id === CONNECT) {
      const error = new RefusedError(`${this._where} refused: ${message["message"]} (${code}).`, { code });
      if (code === UNAUTHORIZED || code === TOKEN_EXPIRED) this._refusal = error;
      this._over(error);
    } else if (!this._calls.settle(message)) {
      this._emit("error", { error: replyError(message), detail: message });
    }
  }

  private _greeted(message: Wire): void {
    const { client_id, positions = {}, recovered = {}, expires_in } = message as any;
    this._greetedAt = Date.now();
    this._refusal = null;
    this._timers.clear();
    (this as { clientId: string }).clientId = client_id;
    this._connection!.watch();
    this._turnTo("connected");
    if (this.state !== "connected") return; // whoever was told has left
    this._own.onGreeting(positions, recovered);
    for (const group of this._groups.values()) this._askFor(group);
    this._sendCalls();
    this._refreshIn(expires_in);
    for (const waiter of this._connects.splice(0)) waiter.resolve();
  }

  // Tokens.

  private get _hasOtherTokens(): boolean {
    return typeof this._options.token === "function";
  }

  /** Bring another token in time. */
  private _refreshIn(expiresIn: number | undefined): void {
    if (expiresIn === undefined || !this._hasOtherTokens) return;
    this._refreshLater(untilRefresh(expiresIn), 0);
  }

  private _refreshLater(ms: number, failures: number): void {
    const attempt = this._attemptNow;
    this._timers.later(ms, async () => {
      try {
        const { expires_in } = await this._call("refresh", { token: await askFor(this._options.token) });
        if (this._attemptNow === attempt) this._refreshIn(expires_in as number | undefined);
      } catch {
        // Until the server closes; then the client comes back with a fresh one.
        if (this._attemptNow === attempt) this._refreshLater(this._delay(failures + 1), failures + 1);
      }
    });
  }

  // The end of a connection, and coming back.

  /** Let go of a connection or an attempt that has ended, and come back unless that is to `stop`. */
  private _over(error: ClientError, stop = false, retryAfter = 0): void {
    if (stop || this.state === "connecting") return this._stop(error, (group) => group._end(error));
    const lived = this._greetedAt && Date.now() - this._greetedAt >= SHORT_LIVED * this._pace;
    this._letGo();
    this._calls.fail();
    for (const group of this._groups.values()) group._onLost();
    this._failures = lived ? 0 : this._failures + 1;
    const delay = this._delay(this._failures) + retryAfter * 1000;
    if (!this._waitsForRoom) this._timers.later(delay, () => void this._attempt());
    this._turnTo("reconnecting", error, delay / 1000);
  }

  private _stop(error: ClientError, each: (group: Group<any>) => void): void {
    this._letGo();
    this._heedNetwork("removeEventListener");
    this._last = error.message;
    this._waitsForRoom = false;
    this._set("disconnected"); // before anybody is told
    this._calls.fail(this._notConnected());
    for (const group of this._groups.values()) each(group);
    this._turnTo("disconnected", error);
    for (const waiter of this._connects.splice(0)) waiter.reject(error);
  }

  private _letGo(): void {
    this._timers.clear();
    void this._connection?.close(NORMAL);
    this._connection = this._attemptNow = null;
    this._greetedAt = 0;
    this._joins.clear();
  }

  private _retry(): void {
    if (this.state !== "reconnecting" || this._attemptNow) return;
    this._timers.clear();
    void this._attempt();
  }

  private _heedNetwork(method: "addEventListener" | "removeEventListener"): void {
    for (const type of ["online", "offline"]) globalThis[method]?.(type, this._onNetwork);
  }

  private _onNetwork = ({ type }: { type: string }): void => {
    if (this.state === "connected") this._connection!.probe();
    else if (type === "online" && !this._waitsForRoom) this._retry();
  };

  /** Milliseconds. */
  private _delay(failures: number): number {
    return (this._options.backoff ?? fullJitter)(failures) * 1000;
  }

  private _sendCalls(): void {
    if (this.state === "connected") this._calls.send(this);
  }

  private _turnTo(state: State, error?: ClientError, delay?: number): void {
    this._set(state);
    this._emit("state", { state, error, delay });
  }

  private _set(state: State): void {
    (this as { state: State }).state = state;
  }

  /** A position that the program brought along, once. @internal */
  _keep(name: string): Position | null {
    const position = this._kept[name] ?? null;
    delete this._kept[name];
    return position;
  }
}

type Held = [string, Position | null];

function held(all: Held[]): Positions {
  return Object.fromEntries(all.filter(([, position]) => position)) as Positions;
}

/** An object that has something in it. */
function some<T extends object>(object: T): T | undefined {
  return Object.keys(object).length ? object : undefined;
}
