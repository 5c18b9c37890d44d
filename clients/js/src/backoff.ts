// How long a client stays away before it tries again.

const FIRST_CEILING = 0.1;
const LAST_CEILING = 20;

/** Seconds, drawn at random below a ceiling that doubles: clients that were lost together come back apart. */
export function fullJitter(failures: number): number {
  return Math.random() * Math.min(LAST_CEILING, FIRST_CEILING * 2 ** failures);
}
