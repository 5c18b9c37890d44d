// The client goes through every scenario of spec/scenarios, against the scripted server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CLIENT, ROOT, python, within } from "./running.mjs";

const { Client } = await import(CLIENT);
const FOLDER = join(ROOT, "spec", "scenarios");
const KINDS = {
  RefusedError: "refused",
  UnreachableError: "unreachable",
  TimeoutError: "timeout",
  NotHubbubError: "not_hubbub",
  NotConnectedError: "not_connected",
  ReplyError: "error",
};
const NOTICES = {
  broadcast: "broadcast_message",
  notification: "personal_notification",
  system: "system_notification",
};
// A WebSocket of the platform tells nothing of the answer to a handshake that was refused.
const NEEDS_STATUS = new Set(["unauthorized-for-good"]);

/** Of a scenario about both ways to be told when to come back, the one that travels in a message. */
function withoutHandshakes({ server, program, ...rest }) {
  const cut = server.findIndex((step) => "cut" in step);
  return { ...rest, server: [...server.slice(0, cut), server.at(-1)], program: [...program.slice(0, 3), program.at(-1)] };
}

/** How often this platform itself asks where the answer is 401: Node from 22 on twice, as `fetch` does. */
async function asksAfter401() {
  let asked = 0;
  const server = createServer().on("upgrade", (_, socket) => {
    asked++;
    socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
  await within(new Promise((resolve) => (socket.onerror = resolve)), "a refusal");
  server.close();
  return asked;
}

/** Each answer 401 as often as it is asked for. */
function refusedEach(step) {
  return Array.from({ length: step.refuse?.status === 401 ? ASKS : 1 }, () => step);
}

const ASKS = await asksAfter401();

class Program {
  listeners = new Map();
  own = [];
  states = ["disconnected"];
  state = 0;
  changed = () => {};

  constructor(port, { client_id: clientId, token, ...options } = {}) {
    const tokens = Array.isArray(token) ? [...token] : null;
    this.client = new Client(`ws://127.0.0.1:${port}`, {
      ...options,
      ...(clientId && { clientId }),
      ...(token && { token: tokens ? () => (tokens.length > 1 ? tokens.shift() : tokens[0]) : token }),
      backoff: () => 0,
      pace: 0.1,
    });
    const note = (list, item) => (list.push(item), this.changed());
    this.client.addEventListener("state", ({ detail }) => note(this.states, detail.state));
    for (const [type, own] of Object.entries(NOTICES)) {
      this.client.addEventListener(type, ({ detail }) => note(this.own, { own, ...detail }));
    }
    this.client.addEventListener("gap", ({ detail }) => note(this.own, { own: "gap", ...detail }));
  }

  async play(steps) {
    for (const [number, step] of steps.entries()) {
      const says = `step ${number + 1} of the program, ${JSON.stringify(step)}`;
      try {
        await within(this.step(step), says, 10_000);
      } catch (error) {
        throw new Error(`${says}: ${error.message}`, { cause: error });
      }
    }
  }

  async step({ fails, gives, later, ...step }) {
    const [[name, argument]] = Object.entries(step);
    const doing = this[name](argument);
    if (later) doing.catch(() => {});
    else if (fails) {
      const error = await doing.then(
        () => assert.fail("did not fail"),
        (error) => error,
      );
      const seen = { kind: KINDS[error.name], code: error.code };
      if (fails.status) fails = { kind: "unreachable" };
      assert.deepEqual({ ...seen, ...fails }, seen);
    } else {
      const value = await doing;
      if (gives !== undefined) assert.deepEqual(value, gives);
    }
  }

  async connect() {
    try {
      await this.client.connect();
    } finally {
      this.state = this.states.findIndex((state, at) => at > this.state && /connected$/.test(state));
    }
  }

  async disconnect() {
    await this.client.disconnect();
    this.state = this.states.lastIndexOf("disconnected");
  }

  async join(name) {
    const group = this.client.group(name, { gaps: true });
    this.listeners.set(name, group[Symbol.asyncIterator]());
    await group.join();
  }

  leave(name) {
    return this.client.group(name).leave();
  }

  publish([name, data]) {
    return this.client.group(name).publish(data);
  }

  rpc([method, data]) {
    return this.client.rpc(method, data);
  }

  async history(name) {
    return (await this.client.group(name).history()).position;
  }

  async presence(name) {
    const members = Object.entries(await this.client.group(name).presence());
    return Object.fromEntries(members.map(([id, { clientId, ...rest }]) => [id, { client_id: clientId, ...rest }]));
  }

  async hears({ group, own, gap, removed, from, ...fields }) {
    if (own) {
      await this.until(() => this.own.length);
      const seen = this.own.shift();
      return assert.deepEqual({ ...seen, own, ...fields }, seen);
    }
    const heard = this.listeners.get(group).next();
    if (removed) return assert.rejects(heard, { code: removed });
    const { value } = await heard;
    if (gap) return assert.equal(value.kind, "gap");
    if (from !== undefined) fields.sender = from;
    return assert.deepEqual({ ...value, ...fields }, value);
  }

  async state_(wanted) {
    await this.until(() => {
      const at = this.states.indexOf(wanted, this.state);
      if (at >= 0) this.state = at;
      return at >= 0;
    });
  }

  pause(seconds) {
    return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }

  async positions(wanted) {
    assert.deepEqual(this.client.positions, wanted);
  }

  async until(condition) {
    while (!condition()) await new Promise((resolve) => (this.changed = resolve));
  }
}

describe("scenarios", { concurrency: 4 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "hubbub-scenarios-"));
  after(() => rmSync(folder, { recursive: true }));
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json"))) {
    const name = file.replace(".json", "");
    const whole = JSON.parse(readFileSync(join(FOLDER, file), "utf8"));
    const scenario = name === "retry-after" ? withoutHandshakes(whole) : whole;
    const { says, options, program } = scenario;
    const skip = NEEDS_STATUS.has(name) && "the platform's WebSocket tells no HTTP status";
    test(`${name}: ${says}`, { skip }, async (t) => {
      const path = join(folder, file);
      writeFileSync(path, JSON.stringify({ ...scenario, server: scenario.server.flatMap(refusedEach) }));
      const server = python(t, "tests.client.scenario", path);
      const running = new Program(await server.line(), options);
      t.after(() => running.client.disconnect());
      const played = running.play(program.map(renamed));
      const verdict = server.line();
      const first = await Promise.race([played, verdict.then((line) => line !== "ok" && assert.fail(line))]);
      await played;
      assert.equal(await verdict, "ok", first);
    });
  }
});

/** `state` is what the program is in, so its step goes by another name. */
function renamed({ state, ...step }) {
  return state ? { state_: state, ...step } : step;
}
