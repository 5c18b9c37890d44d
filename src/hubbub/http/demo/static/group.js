// One joined group: its tab, its log, who is in it, and how far this client has read.

import { Log, asText } from "./log.js";

// Above this many the names are no longer asked for, only counted.
const MOST_NAMES = 50;

export class Group {
  unread = 0;
  people = "";
  tab = null;
  #position = null;
  #names = null;
  #countsPeople = true;

  constructor(name, connection) {
    this.name = name;
    this.log = new Log(`Messages in ${name}`);
    this.connection = connection;
  }

  /** Join, or join again after a lost connection, picking up what was missed where the group has history. */
  async join() {
    const again = this.#names !== null;
    const recover = this.#position ?? undefined;
    const { epoch, offset, recovered } = await this.connection.request("join_group", {
      group_name: this.name,
      recover,
    });
    // What was missed follows this reply, and each message moves the position on by itself.
    this.#position = epoch && (recovered ? { ...recover, epoch } : { epoch, offset });
    this.log.addNote(welcome(this.name, again, recovered));
    this.#names = new Set();
    await this.countPeople({ announce: false });
  }

  leave() {
    this.connection.send("leave_group", { group_name: this.name });
  }

  /** Say something to everybody in the group; the server hands it back to this client too. */
  say(text) {
    this.connection.send("chat_message", { group_name: this.name, message: text });
  }

  showChat(message, own) {
    this.#advance(message);
    this.log.addChat({ sender: message.from, text: asText(message.message), timestamp: message.timestamp, own });
  }

  showPublication(message) {
    this.#advance(message);
    this.log.addPublication({ label: message.from || "Published", ...message });
  }

  /** Learn who is here, and note who came and who went since the last time. */
  async countPeople({ announce = true } = {}) {
    if (!this.#countsPeople || this.#names === null) return;
    try {
      const { clients } = await this.connection.request("presence_stats", { group_name: this.name });
      if (clients > MOST_NAMES) this.people = `${clients} here`;
      else await this.#learnNames(announce);
    } catch (error) {
      if (error.code) this.#countsPeople = false; // presence is switched off for this group
    }
  }

  async #learnNames(announce) {
    const { members } = await this.connection.request("presence", { group_name: this.name });
    const names = new Set(Object.values(members).map((member) => member.client_id));
    if (announce) {
      for (const name of names) if (!this.#names.has(name)) this.log.addNote(`${name} joined`);
      for (const name of this.#names) if (!names.has(name)) this.log.addNote(`${name} left`);
    }
    this.#names = names;
    this.people = `${names.size} here: ${[...names].sort().join(", ")}`;
  }

  #advance({ offset }) {
    if (this.#position && offset) this.#position.offset = offset;
  }
}

function welcome(name, again, recovered) {
  if (!again) return `You joined ${name}`;
  if (recovered === undefined) return `Back in ${name}`;
  return recovered ? `Back in ${name}; nothing was missed` : `Back in ${name}; some messages were missed`;
}
