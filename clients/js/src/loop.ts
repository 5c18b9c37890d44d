// What waits for one loop until the program asks for it.

import type { Bounds, Channel } from "./channel.js";
import type { Position } from "./positions.js";
import type { Gap, Message, Notice } from "./wire.js";

/** Something to give, and the position that holds as long as it is not given. */
export interface Entry {
  what: Message<any> | Notice<any> | Gap;
  before: Position | null;
  turn: number;
  channel: Channel;
}

/** An iterator of its own rather than a generator: that cannot be left before it was begun, nor while it waits. */
export class Loop<T> implements AsyncIterableIterator<T, void> {
  /** The first may be in the program's hands; it counts as given when the program asks for the next. */
  readonly queue: Entry[] = [];
  ended = false;
  private _gaps: boolean | undefined;
  private _channels: Channel[] = [];
  private _bounds: Bounds | undefined;
  private _left: (() => void) | undefined;
  private _inHand = 0;
  private _error: Error | undefined;
  private _wakes: (() => void)[] = [];

  /** Be given what comes in these; `left` is told when nothing more is asked for. With `gaps` it yields gaps, too. */
  open(channels: Channel[], gaps: boolean | undefined, bounds: Bounds, left?: () => void): this {
    for (const { loops } of channels) loops.add(this);
    this._channels = channels;
    this._gaps = gaps;
    this._bounds = bounds;
    this._left = left;
    return this;
  }

  /** Whether somebody takes from it, for whom more than this waits, apart from what is in the program's hands. */
  holds(count: number): boolean {
    return !!this._bounds && !this.ended && this.queue.length - this._inHand > count;
  }

  /** Where there is no room for a message the oldest one goes, and in its place stands a gap. */
  add(entry: Entry, buffer: number): void {
    if (this.ended) return;
    const { queue, _inHand: first } = this;
    const at = queue.findIndex(({ what }, n) => n >= first && what.kind !== "gap");
    if (at >= 0 && entry.what.kind !== "gap" && queue.length - at >= buffer) {
      const gone = queue[at]!;
      const { channel, what } = gone;
      const told = queue.slice(first, at).find((other) => other.channel === channel);
      if (told) queue.splice(at, 1);
      (told ?? gone).what = channel.gapAt(what.position);
    }
    queue.push(entry);
    this._rouse();
  }

  /** What waits is still given; then comes the end, with this error where there is one. */
  end(error?: Error): void {
    if (!this._bounds) return; // nobody has begun it
    this.ended = true;
    this._error = error;
    this._rouse();
  }

  async next(): Promise<IteratorResult<T, void>> {
    for (;;) {
      const { queue } = this;
      queue.splice(0, this._inHand);
      const [entry] = queue;
      this._inHand = entry ? 1 : 0;
      this._bounds!._roomier();
      if (entry) {
        if (entry.what.kind !== "gap") return { value: entry.what as T };
        // Two in a row that both still wait are one.
        while (queue[1]?.what.kind === "gap" && queue[1].channel === entry.channel) {
          entry.what = queue.splice(1, 1)[0]!.what;
        }
        if (this._gaps) return { value: entry.what as T };
      } else if (this.ended) {
        const left = this.return();
        if (this._error) throw this._error;
        return left;
      } else await new Promise<void>((resolve) => this._wakes.push(resolve));
    }
  }

  async return(): Promise<IteratorResult<T, void>> {
    this.queue.splice(0, this._inHand);
    this._inHand = 0;
    this.ended = true;
    for (const { loops } of this._channels) loops.delete(this);
    this._left?.();
    this._bounds!._roomier();
    this._rouse();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private _rouse(): void {
    for (const wake of this._wakes.splice(0)) wake();
  }
}
