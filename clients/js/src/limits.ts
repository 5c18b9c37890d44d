// Times in milliseconds, and other numbers that are agreed on; spec/client.md says what for.

/** How long an answer may take, or a sign of life. */
export const WITHIN = 10_000;
export const PING_EVERY = 25_000;
/** A timer that comes later than this was held up by a frozen page or process. */
export const LATE = 2_000;
/** A connection that ends before this counts as a failure. */
export const SHORT_LIVED = 20_000;
/** More than 2**31 - 1 would come at once. */
export const LONGEST = 2e9;
/** The id of every `connect`; those of calls and joins count up from 1. */
export const CONNECT = 0;
