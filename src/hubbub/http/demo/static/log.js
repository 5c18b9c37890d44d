// What happened in one group, as a list on the page. Everything is set as text, never as markup.

const MOST_ENTRIES = 500;
const CLOSE_TO_THE_END_PX = 40;

export class Log {
  #lastSender = null;

  constructor(label) {
    this.element = document.createElement("ol");
    this.element.className = "log";
    this.element.tabIndex = 0; // so that the keyboard can scroll it
    this.element.setAttribute("role", "log");
    this.element.setAttribute("aria-label", label);
    this.hide();
  }

  show() {
    this.element.hidden = false;
    this.element.scrollTop = this.element.scrollHeight; // a hidden list forgets where it was
  }

  hide() {
    this.element.hidden = true;
  }

  /** Somebody's message; `own` when it is this client's, `recovered` when it was said while the page was away. */
  addChat({ sender, text, timestamp, own, recovered }) {
    this.#add({ kind: own ? "chat own" : "chat", sender, text, timestamp, recovered });
  }

  /** A publication from outside the chat; `label` says what kind. */
  addPublication({ label, data, timestamp, recovered }) {
    this.#add({ kind: "publication", sender: label, text: asText(data), timestamp, recovered });
  }

  /** A line about the group itself. */
  addNote(text) {
    this.#add({ kind: "note", text, timestamp: new Date().toISOString() });
  }

  #add({ kind, sender = "", text, timestamp, recovered = false }) {
    const entry = document.getElementById("entry-template").content.firstElementChild.cloneNode(true);
    const speaker = `${kind} ${sender}`;
    entry.className = `entry ${kind}`;
    entry.classList.toggle("recovered", recovered);
    entry.classList.toggle("continued", speaker === this.#lastSender);
    entry.querySelector(".sender").textContent = sender;
    entry.querySelector(".text").textContent = text;
    showTime(entry.querySelector("time"), timestamp);
    if (recovered) entry.querySelector("time").prepend(recoveredMark());
    this.#lastSender = speaker;
    this.#append(entry);
  }

  #append(entry) {
    const list = this.element;
    // Whoever scrolled up to read is left where they are.
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < CLOSE_TO_THE_END_PX;
    list.append(entry);
    if (list.childElementCount > MOST_ENTRIES) list.firstElementChild.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }
}

/** Any JSON as the page shows it: text as it is, the rest as JSON. */
export function asText(data) {
  return typeof data === "string" ? data : JSON.stringify(data);
}

function recoveredMark() {
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.textContent = "recovered";
  mark.title = "It was sent while this page was cut off";
  return mark;
}

function showTime(element, timestamp) {
  const time = new Date(timestamp);
  if (Number.isNaN(time.getTime())) return; // another program may publish what it likes as a timestamp
  element.dateTime = timestamp;
  element.title = time.toLocaleString();
  element.textContent = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
