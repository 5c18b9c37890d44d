// The codes that a client decides by; the whole table is src/hubbub/core/codes.py.

/** The client itself closed the connection. */
export const NORMAL = 1000;
/** Stands for an end without a close frame. */
export const ABNORMAL = 1006;
/** Close code: the token has expired. */
export const EXPIRED_TOKEN = 3005;
/** Error: a token is needed, or the one that was sent is not good. */
export const UNAUTHORIZED = 101;
/** Error: the token that was sent has expired. */
export const TOKEN_EXPIRED = 109;

/** Whether a client that was closed with this code comes back; the other ranges would end the same way. */
export function reconnects(code: number): boolean {
  return !((code >= 3500 && code < 4000) || (code >= 4500 && code < 5000));
}
