// One WebSocket: messages in and out, and whether the other end is still alive.

import { ABNORMAL, NORMAL } from "./codes.js";
import { LATE, PING_EVERY, WITHIN } from "./limits.js";
import type { Wire } from "./wire.js";

/** The part of a WebSocket that is needed. */
export interface Socket {
  readonly readyState: number;
  readonly protocol: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** What makes one: the browser's `WebSocket`, that of Node 22, or that of the package `ws`. */
export type SocketClass = new (url: string, protocols: string[]) => Socket;

/** Who is told what happens. `onEnd` comes once, and nothing after it. */
export interface Listener {
  onOpen(): void;
  onMessage(message: Wire): void;
  onGarbage(text: unknown): void;
  onEnd(code: number, reason: string, trouble: string): void;
}

export class Connection {
  private _socket: Socket;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _trouble = "";
  private _probing = false;
  private _closing: Promise<void> | undefined;

  constructor(
    SocketClass: SocketClass,
    url: string,
    token: string | undefined,
    private _listener: Listener,
    private _pace: number,
  ) {
    const socket = (this._socket = new SocketClass(url, ["hubbub.v1", ...(token ? [`bearer.${token}`] : [])]));
    socket.onopen = () => _listener.onOpen();
    socket.onmessage = ({ data }) => this._receive(data);
    socket.onerror = ({ message, error }) => {
      this._trouble = message || error?.message || "";
      // After a handshake that failed Node 20 closes nothing.
      if (!socket.readyState) this._later(0, () => this._end(ABNORMAL, ""));
    };
    socket.onclose = ({ code, reason }) => this._end(code, reason);
  }

  send(message: object): void {
    if (this._socket.readyState === 1) this._socket.send(JSON.stringify(message));
  }

  /** Look for signs of life from now on. */
  watch(): void {
    this._probing = false;
    this._later(PING_EVERY, () => this.probe());
  }

  /** Send a ping; where nothing at all comes in its time, the connection is lost. */
  probe(again = false): void {
    const before = Date.now();
    this.send({ type: "ping" });
    this._later(WITHIN, () => {
      // Whoever was frozen meanwhile has read nothing that may have come: time that nobody ran does not count.
      const late = Date.now() - before - this._pace * WITHIN > LATE;
      if (late && !again) this.probe(true);
      else this._end(ABNORMAL, "no sign of life");
    });
    this._probing = true;
  }

  /** Let go of the socket; nothing of it is heard any more. Resolves when it is closed. */
  close(): Promise<void> {
    const socket = this._socket;
    clearTimeout(this._timer);
    socket.onopen = socket.onmessage = null;
    return (this._closing ??= new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000);
      socket.onerror = () => {};
      socket.onclose = () => {
        clearTimeout(timer);
        resolve();
      };
      if (socket.readyState === 3) socket.onclose(null);
      else socket.close(NORMAL);
    }));
  }

  private _later(ms: number, act: () => void): void {
    clearTimeout(this._timer);
    this._timer = setTimeout(act, ms * this._pace);
  }

  private _receive(text: unknown): void {
    if (this._probing) this.watch();
    let message: Wire | undefined;
    try {
      message = JSON.parse(text as string);
    } catch {
      // Told below.
    }
    if (typeof message?.type !== "string") this._listener.onGarbage(text);
    else if (message.type === "ping") this.send({ type: "pong" });
    else this._listener.onMessage(message);
  }

  private _end(code: number, reason: string): void {
    this._listener.onEnd(code, reason, this._trouble);
  }
}
