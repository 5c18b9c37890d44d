// A network that can be taken away from this page, to show what the client does then.

let cut = false;
const sockets = new Set();

/** A WebSocket while there is a network; while there is none, one that cannot connect. */
export class Socket {
  constructor(url, protocols) {
    if (cut) return new Unconnected();
    const socket = new WebSocket(url, protocols);
    sockets.add(socket);
    socket.addEventListener("close", () => sockets.delete(socket));
    return socket;
  }
}

class Unconnected {
  readyState = 0;
  protocol = "";

  constructor() {
    setTimeout(() => {
      this.readyState = 3;
      this.onclose?.({ code: 1006, reason: "" });
    });
  }

  send() {}
  close() {}
}

/** Take the network away: connections end without a word, and no other comes about. */
export function cutOff() {
  cut = true;
  for (const socket of sockets) {
    const { onclose } = socket;
    socket.onmessage = socket.onclose = null;
    socket.close();
    onclose?.({ code: 1006, reason: "" });
  }
}

/** Give it back, and say so as a browser does. */
export function mend() {
  cut = false;
  window.dispatchEvent(new Event("online"));
}
