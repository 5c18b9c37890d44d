// One joined group: its tab, its log, and who is in it.

import { Log, asText } from "./log.js";

// Above this many the names are no longer asked for, only counted.
const MOST_NAMES = 50;

export class Group {
  unread = 0;
  people = "";
  tab = null;
  #group = null;
  #names = null;
  #countsPeople = true;
  #gap = false;
  #told;

  /** `told` is called with each message that is shown here. */
  constructor(name, told) {
    this.name = name;
    this.log = new Log(`Messages in ${name}`);
    this.#told = told;
  }

  /** Be in the group by this client, from now on and whenever that comes back. */
  join(client, isRecovered) {
    const group = client.group(this.name);
    if (this.#group !== group) {
      this.#group = group;
      group.addEventListener("gap", () => { this.#gap = true; });
      group.addEventListener("joined", ({ detail }) => this.#welcome(detail));
      group.addEventListener("message", ({ detail }) => this.#show(detail, client.clientId, isRecovered(detail)));
    }
    return group.join();
  }

  leave() {
    this.#group.leave();
  }

  /** Say something to everybody in the group; the server hands it back to this client too. */
  say(text) {
    return this.#group.sendChatMessage(text);
  }

  /** Learn who is here, and note who came and who went since the last time. */
  async countPeople({ announce = true } = {}) {
    if (!this.#countsPeople || !this.#group?.joined) return;
    try {
      const { clients } = await this.#group.presenceStats();
      if (clients > MOST_NAMES) this.people = `${clients} here`;
      else await this.#learnNames(announce);
    } catch (error) {
      if (error.name === "ReplyError") this.#countsPeople = false; // presence is switched off for this group
    }
  }

  async #learnNames(announce) {
    const names = new Set(Object.values(await this.#group.presence()).map((member) => member.clientId));
    if (announce && this.#names) {
      for (const name of names) if (!this.#names.has(name)) this.log.addNote(`${name} joined`);
      for (const name of this.#names) if (!names.has(name)) this.log.addNote(`${name} left`);
    }
    this.#names = names;
    this.people = `${names.size} here: ${[...names].sort().join(", ")}`;
  }

  #welcome({ recovered }) {
    this.log.addNote(this.#greeting(recovered));
    this.#gap = false;
    this.#names = null;
    this.countPeople({ announce: false }).then(this.#told);
  }

  #greeting(recovered) {
    if (this.#gap) return `Back in ${this.name}; some messages were missed`;
    if (recovered) return `Back in ${this.name}; nothing was missed`;
    return this.#names ? `Back in ${this.name}` : `You joined ${this.name}`;
  }

  #show({ kind, data, sender, timestamp }, clientId, recovered) {
    const shown = { sender, text: asText(data), timestamp, recovered };
    if (kind === "chat") this.log.addChat({ ...shown, own: sender === clientId });
    else this.log.addPublication({ ...shown, label: sender || "Published", data });
    this.#told(this);
  }
}
