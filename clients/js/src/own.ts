// What is a client's own: broadcasts, and what is sent to it alone.

import { type Bounds, Channel } from "./channel.js";
import { Loop } from "./loop.js";
import type { Positions } from "./positions.js";
import { type Gap, type Notice, toNotice, type Wire } from "./wire.js";

export interface OwnEvents {
  /** To every connection of every client. */
  broadcast: Notice;
  /** To this client, or to its user. */
  notification: Notice;
  /** News of the server itself. */
  system: Notice;
  /** Messages of `$all`, `$client` or `$user` are missing. */
  gap: Gap;
}

/** What is needed of the client. */
export interface Teller extends Bounds {
  /** The positions that the program brought along. */
  readonly _kept: Positions;
  _emit(type: keyof OwnEvents, detail: any): void;
}

/** The channels that every client follows, by their names. */
export class Own extends Map<string, Channel> {
  constructor(private _teller: Teller) {
    super();
    const tell = ({ kind }: Notice | Gap) => kind.replace(/personal_|_.*/, "") as keyof OwnEvents;
    for (const name of ["$all", "$client", "$user"]) {
      this.set(name, new Channel(name, _teller._kept[name], _teller, (what) => _teller._emit(tell(what), what)));
    }
  }

  onGreeting(positions: Positions, recovered: Record<string, boolean>): void {
    for (const [name, channel] of this) {
      if (name in positions || name in recovered) {
        channel.settle({ ...positions[name], recovered: recovered[name]! });
      }
    }
  }

  onMessage(message: Wire): void {
    const { channel = "$all" } = message as { channel?: string };
    this.get(channel)?.take(message, toNotice);
  }

  loop<T>(gaps?: boolean): Loop<T> {
    return new Loop<T>().open([...this.values()], gaps, this._teller);
  }
}
