// A client's life: connect, serve the connection, come back, until it is over.

import { addressOf } from "./address.js";
import { fullJitter } from "./backoff.js";
import { Calls, replyError, type Waiter, waitIn } from "./calls.js";
import { ABNORMAL, EXPIRED_TOKEN, NORMAL, reconnects, TOKEN_EXPIRED, UNAUTHORIZED } from "./codes.js";
import type { Channel } from "./channel.js";
import { Connection, type SocketClass } from "./connection.js";
import { Emitter } from "./emitter.js";
import {
  ClientError,
  late,
  NotConnectedError,
  NotHubbubError,
  RefusedError,
  RemovedError,
  UnreachableError,
} from "./errors.js";
import { Group, type Owner } from "./group.js";
import type { ClientEvents, ClientOptions, State } from "./options.js";
import { Own } from "./own.js";
import { CONNECT, SHORT_LIVED, WITHIN } from "./limits.js";
import type { Loop } from "./loop.js";
import type { Position, Positions } from "./positions.js";
import { Timers } from "./timers.js";
import { askFor, keepFresh } from "./tokens.js";
import type { Notice, Wire } from "./wire.js";

export class Client extends Emitter<ClientEvents> implements Owner {
  readonly state: State = "disconnected";
  /** The name of this client, once it is known. */
  readonly clientId: string | null;
  /** @internal */
  readonly _options: ClientOptions;
  /** @internal */
  readonly _pace: number;
  /** @internal */
  readonly _buffer: number;
  private _connection: Connection | undefined;
  private _groups = new Map<string, Group<any>>();
  private _own: Own;
  /** The address for people. */
  private _where: string;
  /** The positions that the program brought along. @internal */
  readonly _kept: Positions;
  /** @internal */
  readonly _calls: Calls;
  private _connects: Waiter<void>[] = [];
  private _greetedAt: number | undefined;
  private _failures!: number;
  private _farewell: Wire | undefined;
  private _sent: string | undefined;
  /** That of the token that was sent last: the same one would be refused again. */
  private _refusal: ClientError | undefined;
  /** All that this connection, attempt or delay has to wait for. @internal */
  readonly _timers = new Timers();
  /** Another one for each attempt: what belongs to an earlier one is passed over. @internal */
  _attemptNow: object | undefined;
  private _waitsForRoom: boolean | undefined;
  private _last = "await connect() first.";

  /** `url` may be that of a WebSocket or of a page, with or without its `/ws`, or relative to the page. */
  constructor(
    private _url: string | URL,
    options: ClientOptions = {},
  ) {
    super();
    this._where = addressOf(_url, null).replace(/\?.*/, "");
    const { clientId = null, positions, pace = 1, buffer = 1000 } = (this._options = options);
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
    const positions = { ...this._kept };
    for (const { name, given } of this._channels()) {
      if (given) positions[name] = given;
      else delete positions[name];
    }
    return positions;
  }

  /** Connect, and return when the server has greeted. The first attempt that fails is the last, and rejects. */
  async connect(): Promise<void> {
    if (this.state === "connected") return;
    const greeted = waitIn(this._connects);
    if (this.state === "disconnected") {
      this._heedNetwork("addEventListener");
      this._failures = 0;
      this._refusal = undefined;
      void this._attempt();
      this._turnTo("connecting");
    }
    return greeted;
  }

  /** Close, and stay away. Groups stay wanted: another `connect()` comes back to them, and to what was missed. */
  async disconnect(): Promise<void> {
    if (this.state === "disconnected") return;
    const connection = this._connection;
    const error = new NotConnectedError("disconnect() was called.", { code: NORMAL });
    this._stop(error);
    await connection?.close();
  }

  /** The group of this name; always the same object. With `gaps` its iteration yields gaps, too. */
  group<T = unknown>(name: string, { gaps }: { gaps?: boolean } = {}): Group<T> {
    let group = this._groups.get(name);
    if (!group) this._groups.set(name, (group = new Group<any>(name, this, this._kept[name])));
    if (gaps !== undefined) group._gaps = gaps;
    return group as Group<T>;
  }

  /** Broadcasts and notifications, one after another, from the beginning of a loop on. With `gaps` it yields gaps, too. */
  own<T = unknown>({ gaps }: { gaps?: boolean } = {}): AsyncIterable<Notice<T>> {
    return { [Symbol.asyncIterator]: (): Loop<Notice<T>> => this._own.loop(gaps) };
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
  _overflow(name: string): boolean {
    if (this._options.policy === "drop_oldest") return false;
    this._waitsForRoom = true;
    this._over(new ClientError(`${name} waits to be taken.`, { code: ABNORMAL }));
    return true;
  }

  /** @internal */
  _roomier(): void {
    if (!this._waitsForRoom || this._channels().some((channel) => channel.holds(this._buffer / 2))) return;
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
    this._farewell = undefined;
    this._timers.later(WITHIN * this._pace, () => this._over(late(`from ${this._where}`)));
    try {
      const token = await askFor(this._options.token);
      if (this._attemptNow !== attempt) return;
      if (this._refusal && token === this._sent) return this._over(this._refusal, true);
      this._sent = token;
      const SocketClass = this._options.WebSocket ?? (globalThis.WebSocket as unknown as SocketClass | undefined);
      if (!SocketClass) {
        throw new ClientError("No WebSocket here: give one as an option.");
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
    let recover: Positions | undefined;
    let groups: Record<string, Position | null> | undefined;
    for (const { name, position } of this._own.values()) if (position) (recover ??= {})[name] = position;
    for (const group of this._groups.values()) {
      if (!group._wanted) continue;
      (groups ??= {})[group.name] = group._channel.position;
      group._asked = CONNECT;
    }
    this._send({ type: "connect", id: CONNECT, recover, groups });
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
    const stop = !reconnect || (code === EXPIRED_TOKEN && typeof this._options.token !== "function");
    this._over(error, stop, retry_after);
  }

  /** @internal */
  onMessage(message: Wire): void {
    const { type, group_name: name } = message;
    if (!this._greetedAt && !/^(connection_established|error|disconnect|pong)$/.test(type)) {
      return this.onGarbage(message);
    }
    this._emit("message", message);
    if (!this._connection) return; // whoever was told has left
    const group = this._groups.get(name!);
    const own = this._own.get(name!);
    switch (type) {
      case "connection_established":
        this._greeted(message);
        break;
      case "group_joined":
        if (own) own.settle(message);
        else this.group(name!)._onJoined(message);
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
        const { code, reason } = message;
        group?._end(new RemovedError(`${name} was ended: ${reason} (${code}).`, { code, reason }));
        break;
      }
      case "messages_dropped": {
        const channel = message["channel"] as string;
        (this._own.get(channel.split(":")[0]!) ?? this._groups.get(channel)?._channel)?.drop();
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
    const group =
      id === CONNECT
        ? this._groups.get(message.group_name!)
        : [...this._groups.values()].find(({ _asked }) => _asked === id);
    if (group) group._onRefused(message);
    else if (id === CONNECT) {
      const error = new RefusedError(`${this._where} refused: ${message["message"]} (${code}).`, { code });
      if (code === UNAUTHORIZED || code === TOKEN_EXPIRED) this._refusal = error;
      this._over(error);
    } else if (!this._calls.settle(message) && id === undefined) {
      this._emit("error", { error: replyError(message), detail: message });
    }
  }

  private _greeted(message: Wire): void {
    const { client_id, positions = {}, recovered = {}, expires_in } = message as any;
    this._greetedAt = Date.now();
    this._refusal = undefined;
    this._timers.clear();
    (this as { clientId: string }).clientId = client_id;
    this._connection!.watch();
    keepFresh(this, expires_in);
    this._turnTo("connected");
    if (this.state !== "connected") return; // whoever was told has left
    this._own.onGreeting(positions, recovered);
    for (const group of this._groups.values()) group._ask();
    this._sendCalls();
    for (const waiter of this._connects.splice(0)) waiter.resolve();
  }

  // The end of a connection, and coming back.

  /** Let go of a connection or an attempt that has ended, and come back unless that is to `stop`. */
  private _over(error: ClientError, stop = false, retryAfter = 0): void {
    if (stop || this.state === "connecting") return this._stop(error, error);
    const lived = this._greetedAt && Date.now() - this._greetedAt >= SHORT_LIVED * this._pace;
    this._letGo();
    this._calls.fail();
    for (const group of this._groups.values()) group._onLost();
    this._failures = lived ? 0 : this._failures + 1;
    const delay = this._delay(this._failures) + retryAfter * 1000;
    if (!this._waitsForRoom) this._timers.later(delay, () => void this._attempt());
    this._turnTo("reconnecting", error, delay / 1000);
  }

  /** It is over: loops end, with `end` where there is one. Groups stay wanted, for another `connect()`. */
  private _stop(error: ClientError, end?: ClientError): void {
    this._letGo();
    this._heedNetwork("removeEventListener");
    this._last = error.message;
    this._waitsForRoom = false;
    (this as { state: State }).state = "disconnected"; // before anybody is told
    this._calls.fail(this._notConnected());
    for (const waiter of this._connects.splice(0)) waiter.reject(error);
    for (const group of this._groups.values()) {
      group._onLost();
      group._finish(error, end, end && group._wanted);
    }
    for (const channel of this._own.values()) channel.end(end);
    this._turnTo("disconnected", error);
  }

  private _letGo(): void {
    this._timers.clear();
    void this._connection?.close();
    this._connection = this._attemptNow = this._greetedAt = undefined;
  }

  private _retry(): void {
    if (this.state !== "reconnecting" || this._attemptNow) return;
    this._timers.clear();
    void this._attempt();
  }

  private _heedNetwork(method: "addEventListener" | "removeEventListener"): void {
    // `pageshow`: the page was left and is there again, as it was.
    for (const type of ["online", "offline", "pageshow"]) globalThis[method]?.(type, this._onNetwork);
  }

  private _onNetwork = ({ type }: { type: string }): void => {
    if (this.state === "connected") this._connection!.probe();
    else if (type !== "offline" && !this._waitsForRoom) this._retry();
  };

  private _channels(): Channel[] {
    return [...this._own.values(), ...[...this._groups.values()].map((group) => group._channel)];
  }

  /** Milliseconds. @internal */
  _delay(failures: number): number {
    return (this._options.backoff ?? fullJitter)(failures) * 1000;
  }

  private _sendCalls(): void {
    if (this.state === "connected") this._calls.send(this);
  }

  private _turnTo(state: State, error?: ClientError, delay?: number): void {
    (this as { state: State }).state = state;
    this._emit("state", { state, error, delay });
  }
}
