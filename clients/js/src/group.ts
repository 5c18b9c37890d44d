// A group as the program has it: joined once, and from then on what is published in it.

import { replyError, Waiter } from "./calls.js";
import { Emitter, type Handler } from "./emitter.js";
import { type ClientError, RemovedError } from "./errors.js";
import { type Entry, Inbox } from "./inbox.js";
import { type Position, Track } from "./positions.js";
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
export interface Owner {
  readonly _pace: number;
  readonly _buffer: number;
  readonly state: string;
  _call(type: string, fields: object): Promise<Wire>;
  _send(message: object): void;
  /** Ask to join, where there is a connection to ask on. */
  _askFor(group: Group<any>): void;
  /** There is no room: whether it lets go of the connection, and comes back when there is. */
  _overflow(name: string): boolean;
  /** The program has taken something. */
  _roomier(): void;
  _notConnected(): Error;
  _failed(error: unknown, event: CustomEvent): void;
}

export class Group<T = unknown> extends Emitter<GroupEvents<T>> implements AsyncIterable<Message<T>> {
  /** Whether the client is in the group on the connection of now. */
  joined = false;
  /** Wanted from `join` until `leave`, a refusal or a removal. @internal */
  _wanted = false;
  /** Whether the connection of now was asked for it. @internal */
  _asked = false;
  /** Refusals in a row that were temporary. @internal */
  _refusals = 0;
  /** Whether iteration yields gaps, too. @internal */
  _gaps = false;
  /** @internal */
  readonly _track: Track;
  private _turns = 0;
  private _joins = new Set<Waiter<void>>();
  private _inboxes = new Set<Inbox<T>>();
  /** What nobody listened to yet. */
  private _backlog: Inbox<T> | null = new Inbox();
  /** Answers that are still to come to `leave_group`: what comes before them is of an earlier membership. */
  private _leaving = 0;

  /** @internal */
  constructor(
    readonly name: string,
    private _owner: Owner,
    position: Position | null,
  ) {
    super();
    this._track = new Track(position);
  }

  /** Be a member, from now on and on every connection to come. Rejects with `ReplyError` where the server refuses. */
  async join(): Promise<void> {
    if (this.joined) return;
    if (this._owner.state === "disconnected") throw this._owner._notConnected();
    const waiter = new Waiter<void>(`join_group of ${this.name}`, this._owner._pace);
    this._joins.add(waiter);
    if (!this._wanted) {
      this._wanted = true;
      this._owner._askFor(this as Group<any>);
    }
    try {
      await waiter.promise;
    } finally {
      this._joins.delete(waiter);
    }
  }

  /** Be a member no longer; ends every loop over the group. */
  async leave(): Promise<void> {
    if (this._asked) {
      this._leaving++;
      this._owner._send({ type: "leave_group", group_name: this.name });
    }
    this._track.position = null;
    this._forget();
    this._finish(new RemovedError("leave() was called."));
    for (const inbox of this._all()) inbox.entries.length = 0;
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
      messages: (answer["messages"] as Wire[]).map((message) => toMessage<T>(message, answer.epoch)),
      position: placed(answer),
    };
  }

  /** Who is in the group: the connections by their ids. */
  async presence(): Promise<Record<string, Member>> {
    const { members } = await this._call("presence");
    return Object.fromEntries(
      Object.entries(members as Record<string, any>).map(([id, member]) => [id, toMember(member)]),
    );
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
  [Symbol.asyncIterator](): AsyncGenerator<Message<T>, void> {
    // Whoever listens first is given what came since the group was joined.
    const inbox = this._backlog ?? new Inbox<T>();
    this._backlog = null;
    this._inboxes.add(inbox);
    if (!this._wanted) this.join().catch((error) => inbox.end(error));
    return this._take(inbox);
  }

  private async *_take(inbox: Inbox<T>): AsyncGenerator<Message<T>, void> {
    try {
      for (;;) {
        const taking = inbox.take();
        this._owner._roomier();
        const entry = await taking;
        if (!entry) return;
        if (entry.what.kind !== "gap" || this._gaps) yield entry.what as Message<T>;
      }
    } finally {
      inbox.release();
      this._inboxes.delete(inbox);
      // What this loop did not ask for waits for the next one.
      if (!this._inboxes.size) this._keepBacklog(inbox.entries);
      this._owner._roomier();
    }
  }

  override addEventListener<K extends keyof GroupEvents<T> & string>(
    type: K,
    handler: Handler<GroupEvents<T>[K]>,
    options?: boolean | AddEventListenerOptions,
  ): void {
    super.addEventListener(type, handler, options);
    queueMicrotask(() => this._catchUp());
  }

  // What the client tells.

  /** The position up to which the program was given everything. @internal */
  get _given(): Position | null {
    let first: Entry<T> | undefined;
    for (const inbox of this._all()) {
      const [entry] = inbox.entries;
      if (entry && !(first && first.turn < entry.turn)) first = entry;
    }
    return first ? first.before : this._track.position;
  }

  /** Whether more than this waits for a listener. @internal */
  _holds(count: number): boolean {
    return [...this._inboxes].some((inbox) => !inbox.ended && inbox.waiting > count);
  }

  /** @internal */
  _onJoined(message: Wire): void {
    if (this._leaving) return;
    const before = this._track.position;
    if (this._track.settle(message)) this._giveGap(before, this._track.position);
    this._wanted = this._asked = this.joined = true;
    this._refusals = 0;
    this._emit("joined", { position: this._track.position, recovered: message.recovered });
    for (const waiter of this._joins) waiter.resolve();
  }

  /** @internal */
  _onMessage(message: Wire): void {
    if (!this.joined) return; // from a membership that has ended
    if (this._holds(this._owner._buffer - 1) && this._owner._overflow(this.name)) {
      // Without a history it cannot be had again.
      if (!this._track.position) this._giveGap(null, null);
      return;
    }
    const before = this._track.position;
    const gap = this._track.move(message);
    if (gap === null) return;
    const now = this._track.position;
    if (gap) this._giveGap(before, { epoch: now!.epoch, offset: message.offset! - 1 });
    this._give("message", toMessage<T>(message, now?.epoch), before);
  }

  /** @internal */
  _onDropped(): void {
    this._track.drop();
    this._giveGap(this._track.position, this._track.position);
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

  /** The server refused it. Whether to ask again after a while. @internal */
  _onRefused(message: Wire): boolean {
    this._asked = false;
    if (message["temporary"]) return this._wanted;
    this._end(replyError(message));
    return false;
  }

  /** It is over, by the server's will. @internal */
  _end(error: ClientError): void {
    // A join that is refused is told to who joins.
    const told = this._joins.size > 0 || !this._wanted;
    this._forget();
    this._finish(error, error);
    if (!told) this._emit("removed", error);
  }

  /** The connection has ended. @internal */
  _onLost(): void {
    this.joined = this._asked = false;
    this._leaving = 0;
  }

  /** The program disconnects: loops end, but the group stays wanted. @internal */
  _pause(error: ClientError): void {
    this._onLost();
    this._finish(error);
  }

  /** @internal */
  _failed(error: unknown, event: CustomEvent): void {
    this._owner._failed(error, event);
  }

  private _call(type: string, fields: object = {}): Promise<Wire> {
    return this._owner._call(type, { group_name: this.name, ...fields });
  }

  private _forget(): void {
    this.joined = this._wanted = this._asked = false;
  }

  /** Joins under way fail, and loops end; with `end` where there is one. */
  private _finish(error: ClientError, end?: ClientError): void {
    for (const waiter of this._joins) waiter.reject(error);
    for (const inbox of this._inboxes) inbox.end(end);
    this._keepBacklog();
  }

  /** Nobody listens from here on: keep what comes, and these before it. */
  private _keepBacklog(entries: Entry<T>[] = []): void {
    if (!this._handled) (this._backlog ??= new Inbox()).entries.unshift(...entries);
  }

  private get _handled(): boolean {
    return this._heard.has("message");
  }

  private _all(): Inbox<T>[] {
    return this._backlog ? [this._backlog, ...this._inboxes] : [...this._inboxes];
  }

  private _giveGap(before: Position | null, position: Position | null): void {
    this._give("gap", { kind: "gap", name: this.name, position }, before);
  }

  private _give(type: "message" | "gap", what: any, before: Position | null): void {
    this._catchUp();
    const turn = ++this._turns;
    for (const inbox of this._all()) {
      if (inbox.ended) continue;
      if (type === "message" && inbox.waiting >= this._owner._buffer) inbox.dropOldest(this.name);
      inbox.add({ what, before, turn });
    }
    this._emit(type, what);
  }

  /** Give the first handler what came before it. */
  private _catchUp(): void {
    if (!this._handled) return;
    const entries = this._backlog?.entries ?? [];
    this._backlog = null;
    for (const { what } of entries) if (what.kind !== "gap") this._emit("message", what);
  }
}

function placed({ epoch, offset }: Wire): Position | null {
  return epoch === undefined ? null : { epoch, offset: offset! };
}
