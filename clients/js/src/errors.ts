// Everything that the client throws, and whose fault it was.

/** What is known about a failure, as far as it is. */
export interface Details {
  /** The code of a close frame, of an answer, or of the end of a group. */
  code?: number | undefined;
  /** The server's words. */
  reason?: string | undefined;
  /** Whether the same may succeed later. */
  temporary?: boolean | undefined;
}

/** Anything that went wrong in the client; the sentence says what to do. */
export class ClientError extends Error {
  static {
    this.prototype.name = "ClientError";
  }
  declare readonly code?: number;
  declare readonly reason?: string;
  declare readonly temporary?: boolean;

  constructor(sentence: string, details?: Details) {
    super(sentence);
    Object.assign(this, details);
  }
}

/** Yours: the server URL is not one. */
export class InvalidURLError extends ClientError {
  static {
    this.prototype.name = "InvalidURLError";
  }
}

/** Yours: there is no token, or it cannot be sent. The sentence does not repeat it. */
export class BadTokenError extends ClientError {
  static {
    this.prototype.name = "BadTokenError";
  }
}

/** Nobody's: there is no connection, or there is none any more. */
export class NotConnectedError extends ClientError {
  static {
    this.prototype.name = "NotConnectedError";
  }
}

/** Nothing came in time. */
export class TimeoutError extends ClientError {
  static {
    this.prototype.name = "TimeoutError";
  }
}

/** The server could not be reached, or refused the handshake: the platform does not tell which. */
export class UnreachableError extends ClientError {
  static {
    this.prototype.name = "UnreachableError";
  }
}

/** Something answered that is no Hubbub server. */
export class NotHubbubError extends ClientError {
  static {
    this.prototype.name = "NotHubbubError";
  }
}

/** The server closed the connection, with a `code`. */
export class RefusedError extends ClientError {
  static {
    this.prototype.name = "RefusedError";
  }
}

/** The server answered a call with an error; nothing else is touched by it. */
export class ReplyError extends ClientError {
  static {
    this.prototype.name = "ReplyError";
  }
}

/** The server took the client out of a group. */
export class RemovedError extends ClientError {
  static {
    this.prototype.name = "RemovedError";
  }
}

/** What is thrown where an answer does not come. */
export function late(what: string): TimeoutError {
  return new TimeoutError(`No answer ${what} in 10 seconds.`);
}
