// What waits for one listener of a group until the program asks for it.

import type { Position } from "./positions.js";
import type { Gap, Message } from "./wire.js";

/** Something to give, and the position that holds as long as it is not given. */
export interface Entry<T> {
  what: Message<T> | Gap;
  before: Position | null;
  turn: number;
}

export class Inbox<T> {
  /** The first may be in the program's hands; it counts as given when the program asks for the next. */
  readonly entries: Entry<T>[] = [];
  ended = false;
  private _inHand = false;
  private _error: Error | undefined;
  private _wake: (() => void) | null = null;

  /** How many entries wait, apart from the one in the program's hands. */
  get waiting(): number {
    return this.entries.length - (this._inHand ? 1 : 0);
  }

  add(entry: Entry<T>): void {
    this.entries.push(entry);
    this._rouse();
  }

  /** Make room for one more: the oldest goes, and in its place stands a gap. */
  dropOldest(name: string): void {
    const first = this._inHand ? 1 : 0;
    const [oldest, next] = this.entries.slice(first);
    if (!oldest) return;
    const gone = oldest.what.kind === "gap" && next ? this.entries.splice(first + 1, 1)[0]! : oldest;
    this.entries[first] = { ...oldest, what: { kind: "gap", name, position: gone.what.position } };
  }

  /** What waits is still given; then comes the end, with this error where there is one. */
  end(error?: Error): void {
    this.ended = true;
    this._error = error;
    this._rouse();
  }

  /** What is in the program's hands has been dealt with. */
  release(): void {
    if (this._inHand) this.entries.shift();
    this._inHand = false;
  }

  /** The next entry, or none at the end; throws what ended it. */
  async take(): Promise<Entry<T> | undefined> {
    this.release();
    while (!this.entries.length) {
      if (this.ended) {
        if (this._error) throw this._error;
        return undefined;
      }
      await new Promise<void>((resolve) => (this._wake = resolve));
    }
    this._inHand = true;
    return this.entries[0];
  }

  private _rouse(): void {
    this._wake?.();
    this._wake = null;
  }
}
