// How far something has been read.

/** A place in a channel's history. */
export interface Position {
  epoch: string;
  offset: number;
}

/** Positions by the names of groups, and of what is the client's own: `$all`, `$client`, `$user`. */
export type Positions = Record<string, Position>;

/** The place that a message names, where it names one. */
export function placed({ epoch, offset }: { epoch?: string | undefined; offset?: number }): Position | null {
  return epoch === undefined || offset === undefined ? null : { epoch, offset };
}
