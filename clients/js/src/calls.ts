// Calls that wait for their answers.

import { late, NotConnectedError, ReplyError } from "./errors.js";
import { WITHIN } from "./limits.js";
import type { Wire } from "./wire.js";

/** The two ends of a promise that are in other hands. */
export interface Waiter<T> {
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
}

/** A promise whose other ends go into a list. */
export function waitIn(list: Waiter<void>[]): Promise<void> {
  return new Promise((resolve, reject) => list.push({ resolve, reject }));
}

interface Call extends Waiter<Wire> {
  message: { type: string; id: number };
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
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<Wire>((resolve, reject) => {
        timer = setTimeout(() => reject(late(`to ${type}`)), WITHIN * this._pace);
        this._calls.set(id, { message: { type, id, ...fields }, resolve, reject, sent: false });
      });
    } finally {
      clearTimeout(timer);
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
    if (message.type === "error") call.reject(replyError(message));
    else call.resolve(message);
    return true;
  }

  /** The connection ended: who was under way fails. Who still waits to be sent fails with `error`, where there is one. */
  fail(error?: Error): void {
    for (const { sent, reject, message } of this._calls.values()) {
      if (sent) {
        reject(new NotConnectedError(`Connection lost: nobody knows whether ${message.type} was done.`));
      } else if (error) reject(error);
    }
  }
}

/** An `error` as what is thrown for it. */
export function replyError({ code, message, temporary }: Wire): ReplyError {
  return new ReplyError(`${message} (${code})`, { code, reason: message as string, temporary: temporary as boolean });
}
