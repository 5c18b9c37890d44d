// Calls that wait for their answers.

import { NotConnectedError, ReplyError, TimeoutError } from "./errors.js";
import type { Wire } from "./wire.js";

const WITHIN = 10_000;

/** A promise that is settled by whoever holds it, or fails after 10 seconds. */
export class Waiter<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  constructor(what: string, pace: number) {
    this.promise = new Promise<T>((resolve, reject) => {
      const late = () => reject(new TimeoutError(`No answer to ${what} in 10 seconds.`));
      const timer = setTimeout(late, WITHIN * pace);
      this.resolve = (value) => (clearTimeout(timer), resolve(value));
      this.reject = (error) => (clearTimeout(timer), reject(error));
    });
  }
}

interface Call {
  message: { type: string; id: number };
  waiter: Waiter<Wire>;
  sent: boolean;
}

export class Calls {
  private _calls = new Map<number, Call>();
  private _lastId = 0;

  constructor(private _pace: number) {}

  /** An id that no other message has. */
  nextId(): number {
    return ++this._lastId;
  }

  /** A call that `send` sends; its answer. */
  async add(type: string, fields: object): Promise<Wire> {
    const id = this.nextId();
    const waiter = new Waiter<Wire>(type, this._pace);
    this._calls.set(id, { message: { type, id, ...fields }, waiter, sent: false });
    try {
      return await waiter.promise;
    } finally {
      this._calls.delete(id);
    }
  }

  /** Send what waits to be sent. */
  send(by: { _send(message: object): void }): void {
    for (const call of this._calls.values()) {
      if (!call.sent) by._send(call.message);
      call.sent = true;
    }
  }

  /** Finish the call that this message answers; whether there is one. */
  settle(message: Wire): boolean {
    const call = this._calls.get(message.id!);
    if (!call) return false;
    if (message.type === "error") call.waiter.reject(replyError(message));
    else call.waiter.resolve(message);
    return true;
  }

  /** The connection ended: who was under way fails. Who still waits to be sent fails with `error`, where there is one. */
  fail(error?: Error): void {
    for (const { sent, waiter, message } of this._calls.values()) {
      if (sent) {
        waiter.reject(
          new NotConnectedError(
            `The connection was lost: nobody knows whether ${message.type} was done.`,
          ),
        );
      } else if (error) waiter.reject(error);
    }
  }
}

/** An `error` as what is thrown for it. */
export function replyError({ code, message, temporary }: Wire): ReplyError {
  return new ReplyError(`${message} (${code})`, { code, reason: message as string, temporary: temporary as boolean });
}
