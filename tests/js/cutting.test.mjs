// The promise, put to the test at random: a group with history is heard once and in order, whatever happens.
//
// RUNS=1000 SEED=7 node --experimental-websocket --test tests/js/cutting.test.mjs

import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { CLIENT, python, within } from "./running.mjs";

const { Client } = await import(CLIENT);
const RUNS = Number(process.env.RUNS ?? 200);
const SEED = Number(process.env.SEED ?? 1);
const AT_ONCE = 20;
const MESSAGES = 30;

/** The same numbers again for the same seed (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A proxy before a server that cuts, truncates, splits, and drops new connections, as its draw says. */
class Trouble {
  links = new Set();
  connections = 0;
  dropping = false;

  constructor(port, draw) {
    this.draw = draw;
    this.server = createServer((inward) => {
      this.connections++;
      if (this.dropping) return inward.destroy();
      const outward = connect(port, "127.0.0.1");
      const link = () => [inward, outward].forEach((end) => end.destroy());
      this.links.add(link);
      inward.setNoDelay();
      for (const end of [inward, outward]) {
        end.on("error", link);
        end.on("close", () => (link(), this.links.delete(link)));
      }
      inward.on("data", (data) => outward.write(data));
      outward.on("data", (data) => this.deliver(data, inward, link));
    });
  }

  deliver(data, inward, link) {
    const fate = this.calm ? 1 : this.draw();
    if (fate < 0.02) {
      inward.write(data.subarray(0, Math.floor(this.draw() * data.length)));
      return setTimeout(link, 1);
    }
    if (fate > 0.3) return inward.write(data);
    const at = Math.floor(this.draw() * data.length);
    inward.write(data.subarray(0, at)); // in two pieces
    return inward.write(data.subarray(at));
  }

  cut() {
    for (const link of this.links) link();
  }

  async make() {
    for (let n = 0; n < 6; n++) {
      await pause(this.draw() * 25);
      this.dropping = this.draw() < 0.3;
      if (this.draw() < 0.8) this.cut();
    }
    this.dropping = false;
  }
}

async function run(seed, port, publisher) {
  const draw = random(seed);
  const trouble = new Trouble(port, draw);
  await new Promise((resolve) => trouble.server.listen(0, "127.0.0.1", resolve));
  const url = `ws://127.0.0.1:${trouble.server.address().port}`;
  const group = `kept:${SEED}-${seed}`;
  const options = () => ({ clientId: `client-${seed}`, backoff: () => draw() * 0.02 });
  const heard = [];
  let gaps = 0;
  let again = 0;
  let client = new Client(url, options());
  const connect = async (client) => {
    for (;;) {
      try {
        return await client.connect();
      } catch {
        await pause(draw() * 10); // a first attempt that fails is the program's to repeat
      }
    }
  };
  try {
    await connect(client);
    let listener = client.group(group, { gaps: true })[Symbol.asyncIterator]();
    await client.group(group).join();
    const busy = trouble.make();
    const publishing = (async () => {
      for (let n = 1; n <= MESSAGES; n++) {
        await publisher.group(group).publish(n);
        if (draw() < 0.5) await pause(draw() * 4);
      }
      await busy;
      trouble.calm = true;
    })();
    while (heard.at(-1) !== MESSAGES) {
      const { value } = await within(listener.next(), `message ${heard.length + 1} of run ${seed}`);
      if (value.kind === "gap") gaps++;
      else heard.push(value.data);
      if (draw() > 0.03) continue;
      // Another process goes on from what this one has kept; what was in hand comes again.
      const { positions } = client;
      await client.disconnect();
      if (!(group in positions)) throw new Error("no position was kept");
      heard.pop();
      again++;
      client = new Client(url, { ...options(), positions });
      await connect(client);
      listener = client.group(group, { gaps: true })[Symbol.asyncIterator]();
    }
    await publishing;
  } finally {
    await client.disconnect();
    trouble.server.close();
    trouble.cut();
  }
  const whole = Array.from({ length: MESSAGES }, (_, n) => n + 1);
  assert.deepEqual(heard, whole, `run ${seed}`);
  assert.equal(gaps, 0, `run ${seed}`);
  return { connections: trouble.connections, again };
}

test(`${RUNS} runs of cutting and resuming from seed ${SEED}: no gap, and nothing twice`, async (t) => {
  const site = python(t, "tests.js.site");
  const { port } = JSON.parse(await site.line());
  const publisher = new Client(`ws://127.0.0.1:${port}`);
  await publisher.connect();
  t.after(() => publisher.disconnect());
  let [next, connections, again] = [0, 0, 0];
  const work = async () => {
    while (next < RUNS) {
      const done = await run(SEED * 100_000 + next++, port, publisher);
      connections += done.connections;
      again += done.again;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  t.diagnostic(`${RUNS * MESSAGES} messages over ${connections} connections; ${again} times another client went on`);
});
