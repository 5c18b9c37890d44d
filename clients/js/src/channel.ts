// One name that is followed, a group or one of the client's own: up to where everything has come, and who loops over it.

import type { Loop } from "./loop.js";
import { type Position, placed } from "./positions.js";
import type { Gap, Message, Notice, Wire } from "./wire.js";

/** What a channel needs of its client. */
export interface Bounds {
  readonly _buffer: number;
  /** There is no room: whether it lets go of the connection, and comes back when there is. */
  _overflow(name: string): boolean;
  /** The program has taken something. */
  _roomier(): void;
}

let turns = 0;

export class Channel {
  /** What is given to each loop, and what waits for the first of them. */
  readonly loops = new Set<Loop<any>>();
  /** Whether the hole that is to come was told already. */
  private _told = false;

  constructor(
    readonly name: string,
    /** Everything up to here has come. */
    public position: Position | null = null,
    private _bounds: Bounds,
    private _tell: (what: any) => void,
  ) {}

  /** The position up to which the program was given everything. */
  get given(): Position | null {
    const [first] = [...this.loops]
      .flatMap(({ queue }) => queue.find(({ channel }) => channel === this) ?? [])
      .sort((one, other) => one.turn - other.turn);
    return first ? first.before : this.position;
  }

  /** Whether more than this waits for a loop. */
  holds(count: number): boolean {
    return [...this.loops].some((loop) => loop.holds(count));
  }

  /** Take over what a greeting or a `group_joined` says. */
  settle(said: Partial<Wire>): void {
    this._told = false;
    if (said.recovered === false && this.position) this._gap(placed(said));
    else this.position = placed(said);
  }

  /** The server dropped messages: the hole that they leave needs no telling. */
  drop(): void {
    this._told = true;
    this._gap(this.position);
  }

  /** A message is given, unless it was had before or there is no room. */
  take(wire: Wire, read: (wire: Wire, position: Position | null) => Message | Notice): void {
    if (this.holds(this._bounds._buffer - 1) && this._bounds._overflow(this.name)) {
      // Without a history it cannot be had again.
      if (!this.position) this._gap(null);
      return;
    }
    const held = this.position;
    const position = placed({ epoch: held?.epoch, ...wire });
    if (position && position.epoch === held?.epoch) {
      if (position.offset <= held.offset) return;
      if (position.offset > held.offset + 1 && !this._told) {
        this._gap({ ...position, offset: position.offset - 1 });
        if (!this.position) return; // whoever was told has left
      }
    }
    const before = this.position;
    if (position) this.position = position;
    this._told = false;
    this._give(read(wire, position), before);
  }

  /** What tells that messages are missing, and where it goes on. */
  gapAt(position: Position | null): Gap {
    return { kind: "gap", name: this.name, position };
  }

  /** Every loop ends, by this error where there is one. */
  end(error: Error | undefined): void {
    for (const loop of this.loops) loop.end(error);
  }

  private _gap(position: Position | null): void {
    const before = this.position;
    this.position = position;
    this._give(this.gapAt(position), before);
  }

  private _give(what: Message | Notice | Gap, before: Position | null): void {
    const turn = ++turns;
    for (const loop of this.loops) loop.add({ what, before, turn, channel: this }, this._bounds._buffer);
    this._tell(what);
  }
}
