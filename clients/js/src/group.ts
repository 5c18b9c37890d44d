// A group as the program has it: joined once, and from then on what is published in it.

import { type Calls, replyError, type Waiter, waitIn } from "./calls.js";
import { type Bounds, Channel } from "./channel.js";
import { Emitter } from "./emitter.js";
import { type ClientError, late, RemovedError } from "./errors.js";
import { WITHIN } from "./limits.js";
import { type Entry, Loop } from "./loop.js";
import { placed, type Position } from "./positions.js";
import type { Timers } from "./timers.js";
import { type Gap, type Member, type Message, toMember, toMessage, type Wire } from "./wire.js";

export interface GroupEvents<T> {
  message: Message<T>;
  /** Messages are missing; told between the last before them and the first after them. */
  gap: Gap;
  /** The client is in the group, for the first time or again; `recovered` says whether it was given all, where it came back with a position. */
  joined: { position: Position | null; recovered: boolean | undefined };
  /** The group has ended and is not joined again by itself: the server refused it, or took the client out. */
  removed: ClientError;
  memberjoined: Member;
  memberleft: Member;
}

export interface HistoryOptions {
  /** How many messages at most, up to 1000; -1 for as many as one answer holds. */
  limit?: number;
  /** The messages after this position; with `reverse` those before it. */
  since?: Position;
  reverse?: boolean;
}

/** What a group needs of its client. @internal */
export interface Owner extends Bounds {
  readonly state: string;
  _call(type: string, fields: object): Promise<Wire>;
  readonly _calls: Calls;
  readonly _pace: number;
  readonly _timers: Timers;
  _send(message: object): void;
  /** How long to stay away after so many failures. */
  _delay(failures: number): number;
  _notConnected(): Error;
  _failed(error: unknown, event: CustomEvent): void;
}

export class Group<T = unknown> extends Emitter<GroupEvents<T>> implements AsyncIterable<Message<T>> {
  /** Whether the client is in the group on the connection of now. */
  joined = false;
  /** Wanted from `join` until `leave`, a refusal or a removal. @internal */
  _wanted = false;
  /** What the connection of now was asked for it by: the id while there is no answer, then 0. @internal */
  _asked: number | null = null;
  /** Refusals in a row that were temporary. */
  private _refusals = 0;
  /** Whether iteration yields gaps, too. @internal */
  _gaps = false;
  /** @internal */
  readonly _channel: Channel;
  private _joins: Waiter<void>[] = [];
  /** What nobody listened to yet. */
  private _backlog: Loop<Message<T>> | null = null;
  /** Answers that are still to come to `leave_group`: what comes before them is of an earlier membership. */
  private _leaving = 0;

  /** @internal */
  constructor(
    readonly name: string,
    private _owner: Owner,
    position: Position | undefined,
  ) {
    super();
    this._channel = new Channel(name, position, _owner, (what: Message<T> | Gap) =>
      this._emit(what.kind === "gap" ? "gap" : "message", what as any),
    );
    this._keepBacklog();
  }

  /** The position up to which the program was given everything. */
  get position(): Position | null {
    return this._channel.given;
  }

  /** Be a member, from now on and on every connection to come. Rejects with `ReplyError` where the server refuses. */
  async join(): Promise<void> {
    if (this.joined) return;
    if (this._owner.state === "disconnected") throw this._owner._notConnected();
    const joined = waitIn(this._joins);
    if (!this._wanted) {
      this._wanted = true;
      this._ask();
    }
    return joined;
  }

  /** Be a member no longer; ends every loop over the group. */
  async leave(): Promise<void> {
    this._depart();
    this._forget();
    this._channel.position = null;
    this._finish(new RemovedError("leave() was called."));
    for (const { queue } of this._channel.loops) queue.length = 0;
    this._owner._roomier();
  }

  /** Send everybody in the group some data. Where it stands in the history, if the group has one. */
  async publish(data: unknown): Promise<Position | null> {
    return placed(await this._call("publish", { data }));
  }

  /** As `publish`, but it arrives as a chat message. */
  async sendChatMessage(message: unknown): Promise<Position | null> {
    return placed(await this._call("chat_message", { message }));
  }

  /** What was published, and the position of the newest. Without a `limit` the position alone. */
  async history(options: HistoryOptions = {}): Promise<{ messages: Message<T>[]; position: Position | null }> {
    const answer = await this._call("history", options);
    return {
      messages: (answer["messages"] as Wire[]).map((message) => toMessage<T>(message, placed({ epoch: answer.epoch, ...message }))),
      position: placed(answer),
    };
  }

  /** Who is in the group: the connections by their ids. */
  async presence(): Promise<Record<string, Member>> {
    const { members } = (await this._call("presence")) as any;
    for (const id in members) members[id] = toMember(members[id]);
    return members;
  }

  /** How many are in the group: connections, and different clients among them. */
  async presenceStats(): Promise<{ connections: number; clients: number }> {
    const { connections, clients } = (await this._call("presence_stats")) as any;
    return { connections, clients };
  }

  /**
   * What is published, one after another; joins the group where it is not joined. The loop ends when the group is
   * left or the client disconnects, and throws what ended it where that was the server.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message<T>, void> {
    // Whoever listens first is given what came since the group was joined.
    const loop = this._backlog ?? new Loop<Message<T>>();
    const channel = this._channel;
    this._backlog = null;
    loop.open([channel], this._gaps, this._owner, () => {
      // What this loop did not ask for waits for the next one.
      if (!channel.holds(-1)) this._keepBacklog(loop.queue.splice(0));
    });
    if (!this._wanted) this.join().catch((error) => loop.end(error));
    return loop;
  }

  /** @internal */
  override _onHeard(): void {
    queueMicrotask(() => this._catchUp());
  }

  // What the client tells.

  /** Ask to be let in, where there is a connection that was not asked. @internal */
  _ask(): void {
    const { _calls, _pace, _timers, state } = this._owner;
    if (state !== "connected" || this._asked !== null || !this._wanted) return;
    const id = (this._asked = _calls.nextId());
    _timers.later(WITHIN * _pace, () => {
      if (this._asked !== id) return;
      this._depart(); // the answer may still come
      this._end(late("to join_group"));
    });
    this._owner._send({ type: "join_group", id, group_name: this.name, recover: this._channel.position });
  }

  /** @internal */
  _onJoined(message: Wire): void {
    if (this._leaving) return;
    this._wanted = this.joined = true;
    this._asked = 0;
    this._refusals = 0;
    this._channel.settle(message);
    this._emit("joined", { position: this._channel.position, recovered: message.recovered });
    for (const waiter of this._joins.splice(0)) waiter.resolve();
  }

  /** @internal */
  _onMessage(message: Wire): void {
    if (!this.joined) return; // from a membership that has ended
    this._catchUp();
    this._channel.take(message, toMessage);
  }

  /** @internal */
  _onMember(message: Wire): void {
    const type = message.type.replace("_", "") as "memberjoined" | "memberleft";
    this._emit(type, toMember(message["member"] as Record<string, unknown>));
  }

  /** @internal */
  _onLeft(): void {
    if (this._leaving) this._leaving--;
  }

  /** @internal */
  _onRefused(message: Wire): void {
    this._asked = null;
    if (!message["temporary"]) this._end(replyError(message));
    else this._owner._timers.later(this._owner._delay(++this._refusals), () => this._ask());
  }

  /** It is over, by the server's will. @internal */
  _end(error: ClientError): void {
    const wanted = this._wanted;
    this._forget();
    this._finish(error, error, wanted);
  }

  /** The connection has ended. @internal */
  _onLost(): void {
    this.joined = false;
    this._asked = null;
    this._leaving = 0;
  }

  /** @internal */
  _failed(error: unknown, event: CustomEvent): void {
    this._owner._failed(error, event);
  }

  private _call(type: string, fields: object = {}): Promise<Wire> {
    return this._owner._call(type, { group_name: this.name, ...fields });
  }

  /** Leave, as far as the server knows of a membership. */
  private _depart(): void {
    if (this._asked !== null) {
      this._leaving++;
      this._owner._send({ type: "leave_group", group_name: this.name });
    }
  }

  private _forget(): void {
    this.joined = this._wanted = false;
    this._asked = null;
  }

  /** Joins under way fail, and loops end, with `end` where there is one; handlers are told where it was wanted. @internal */
  _finish(error: ClientError, end?: ClientError, wanted?: boolean): void {
    // A join that is refused is told to who joins.
    const tell = wanted && !this._joins.length;
    for (const waiter of this._joins.splice(0)) waiter.reject(error);
    this._channel.end(end);
    this._keepBacklog();
    if (tell) this._emit("removed", error);
  }

  /** Nobody listens from here on: keep what comes, and these before it. */
  private _keepBacklog(entries: Entry[] = []): void {
    if (this._handled) return;
    this._channel.loops.add((this._backlog ??= new Loop()));
    this._backlog.queue.unshift(...entries);
  }

  private get _handled(): boolean {
    return this._heard.has("message");
  }

  /** Give the first handler what came before it. */
  private _catchUp(): void {
    const backlog = this._backlog;
    if (!this._handled || !backlog) return;
    this._backlog = null;
    this._channel.loops.delete(backlog);
    for (const { what } of backlog.queue) if (what.kind !== "gap") this._emit("message", what as Message<T>);
  }
}
