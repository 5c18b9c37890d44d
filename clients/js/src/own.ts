// What is a client's own: broadcasts, and what is sent to it alone, with their positions.

import { type Position, type Positions, Track } from "./positions.js";
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
export interface Teller {
  /** The position that the program brought along. */
  _keep(name: string): Position | null;
  _emit(type: keyof OwnEvents, detail: any): void;
}

export class Own {
  private _tracks = new Map<string, Track>();

  constructor(private _teller: Teller) {
    for (const name of ["$all", "$client", "$user"]) this._tracks.set(name, new Track(_teller._keep(name)));
  }

  get positions(): [string, Position | null][] {
    return [...this._tracks].map(([name, track]) => [name, track.position]);
  }

  onGreeting(positions: Positions, recovered: Record<string, boolean>): void {
    for (const name of this._tracks.keys()) {
      if (name in positions || name in recovered) this.onGap(name, { ...positions[name], recovered: recovered[name] });
    }
  }

  /** Take over a position; whether the name is one of these. */
  onGap(name: string, message: Parameters<Track["settle"]>[0]): boolean {
    const track = this._tracks.get(name);
    if (track?.settle(message)) this._tellGap(name, track);
    return !!track;
  }

  /** The server dropped messages; whether the name is one of these. */
  onDropped(name: string): boolean {
    const track = this._tracks.get(name);
    track?.drop();
    if (track) this._tellGap(name, track);
    return !!track;
  }

  onMessage(message: Wire): void {
    const personal = message.type === "personal_notification";
    const name = personal ? (message["channel"] as string) : "$all";
    const track = this._tracks.get(name);
    const gap = track ? track.move(message) : false;
    if (gap === null) return;
    if (gap) this._tellGap(name, track!);
    const type = personal ? "notification" : (message.type.split("_")[0] as "broadcast" | "system");
    this._teller._emit(type, toNotice(message, track?.position?.epoch));
  }

  private _tellGap(name: string, { position }: Track): void {
    this._teller._emit("gap", { kind: "gap", name, position });
  }
}
