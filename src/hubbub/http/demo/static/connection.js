// One WebSocket that stays: it keeps itself alive, comes back when it is lost, and matches replies to requests.

const FIRST_CEILING_MS = 250;
const LAST_CEILING_MS = 20_000;
const PING_EVERY_MS = 25_000;

/** The connection went away before the reply came. */
export class ConnectionLost extends Error {}

/** The server answered a request with an error. */
export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

/**
 * `onMessage` gets every message that answers no request. `onState` gets `{name, ...}`: "connecting", "open",
 * "waiting" (with `delay`, `code`, `reason`) or "stopped" (with `code`, `reason`).
 */
export class Connection {
  #onMessage;
  #onState;
  #url = "";
  #socket = null;
  #failures = 0;
  #retryTimer = 0;
  #pingTimer = 0;
  #heard = false;
  #requests = new Map();
  #lastId = 0;

  constructor({ onMessage, onState }) {
    this.#onMessage = onMessage;
    this.#onState = onState;
  }

  /** Connect to `url`, in place of whatever there was before. */
  open(url) {
    this.#url = url;
    this.#failures = 0;
    this.retryNow();
  }

  /** Connect afresh without waiting. */
  retryNow() {
    this.#letGo();
    this.#connect();
  }

  /** Send a message that wants no reply; nothing happens while there is no connection. */
  send(type, fields = {}) {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ type, ...fields }));
    }
  }

  /** Send a message and return its reply; rejects with `Refused` or `ConnectionLost`. */
  request(type, fields = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(new ConnectionLost());
    }
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.send(type, { ...fields, id });
    });
  }

  #connect() {
    this.#onState({ name: "connecting" });
    const socket = new WebSocket(this.#url);
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#socket = socket;
  }

  #receive(message) {
    this.#heard = true;
    const request = this.#requests.get(message.id);
    if (request) {
      this.#requests.delete(message.id);
      if (message.type === "error") request.reject(new Refused(message));
      else request.resolve(message);
      return;
    }
    if (message.type === "ping") this.send("pong");
    if (message.type === "connection_established") this.#established();
    this.#onMessage(message);
  }

  #established() {
    this.#pingTimer = setInterval(() => this.#proveLife(), PING_EVERY_MS);
    this.#onState({ name: "open" });
  }

  #proveLife() {
    // The last ping's pong should be here by now. A half-open connection would say nothing for many minutes.
    if (!this.#heard) {
      this.#lost(1006, "the server fell silent");
      return;
    }
    // Only a connection that has lived for a while ends the back-off: a server that lets clients in and throws
    // them out again at once must not be hammered.
    this.#failures = 0;
    this.#heard = false;
    this.send("ping");
  }

  #lost(code, reason) {
    this.#letGo();
    if (isFinal(code)) {
      this.#onState({ name: "stopped", code, reason });
      return;
    }
    const delay = fullJitter(this.#failures++);
    this.#retryTimer = setTimeout(() => this.#connect(), delay);
    this.#onState({ name: "waiting", delay, code, reason });
  }

  #letGo() {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#pingTimer);
    if (this.#socket) {
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
      this.#socket = null;
    }
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { reject } of requests) reject(new ConnectionLost());
  }
}

/** Whether a client that was closed with this code stays away: coming back would end the same way. */
function isFinal(code) {
  return (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

/** A delay anywhere below a ceiling that doubles: clients that were lost together come back apart. */
function fullJitter(failures) {
  return Math.random() * Math.min(LAST_CEILING_MS, FIRST_CEILING_MS * 2 ** failures);
}
