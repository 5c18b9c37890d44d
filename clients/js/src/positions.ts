// How far a channel has been read.

import type { Wire } from "./wire.js";

/** A place in a channel's history. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Positions by the names of groups, and of what is the client's own: `$all`, `$client`, `$user`. */
export type Positions = Record<string, Position>;

/** The position up to which everything of one channel has been received. */
export class Track {
  constructor(public position: Position | null = null) {}

  /** Whether a gap was told already, whose hole in the offsets is still to come. */
  private _told = false;

  /** Take over what a greeting or a `group_joined` says; whether that leaves a gap. */
  settle({ epoch, offset, recovered }: Partial<Position> & { recovered?: boolean | undefined }): boolean {
    const held = this.position;
    this.position = epoch === undefined ? null : { epoch, offset: offset! };
    this._told = false;
    return recovered === false && held !== null;
  }

  /** The server dropped messages: the hole that they leave needs no telling. */
  drop(): void {
    this._told = true;
  }

  /** Move with a message. `null` where it was had before; else whether a gap comes before it. */
  move({ epoch, offset }: Wire): boolean | null {
    const held = this.position;
    if (offset === undefined || !held) return false; // beside the history
    const now = { epoch: epoch ?? held.epoch, offset };
    if (now.epoch === held.epoch && offset <= held.offset) return null;
    const gap = offset > held.offset + 1 && !this._told;
    this._told = false;
    this.position = now;
    return gap;
  }
}
