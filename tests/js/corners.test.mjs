// Where a program does two things at once, or something in the middle of something else.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CLIENT, happens, python, within } from "./running.mjs";

const { Client, NotConnectedError, TimeoutError, UnreachableError } = await import(CLIENT);

describe("corners", () => {
  const ending = [];
  let url;
  let program;
  before(async () => {
    program = python({ after: (end) => ending.push(end) }, "tests.js.site");
    ({ url } = JSON.parse(await program.line()));
  });
  after(() => Promise.all(ending.map((end) => end())));

  const make = (t, options = {}) => {
    const client = new Client(url, { backoff: () => 0.01, ...options });
    t.after(() => client.disconnect());
    return client;
  };
  const tell = async (command) => {
    program.write(command);
    assert.equal(await program.line(), "done");
  };

  test("what is the client's own comes in loops, from when they begin", async (t) => {
    const client = make(t);
    const early = client.own()[Symbol.asyncIterator]();
    await client.connect();
    const heard = within(early.next(), "a broadcast");
    await tell("broadcast");
    const { value } = await heard;
    assert.deepEqual(
      { kind: value.kind, channel: value.channel, data: value.data },
      { kind: "broadcast_message", channel: "$all", data: "to everybody" },
    );
    // It is in the program's hands, so it was not given yet.
    assert.equal(client.positions.$all.offset, value.position.offset - 1);
    const next = early.next();
    assert.deepEqual(client.positions.$all, value.position);
    await client.disconnect();
    assert.equal((await within(next, "the end")).done, true);
  });

  test("connecting twice at once is connecting once", async (t) => {
    const client = make(t);
    const states = [];
    client.addEventListener("state", ({ detail }) => states.push(detail.state));
    await Promise.all([client.connect(), client.connect()]);
    await client.connect();
    assert.deepEqual(states, ["connecting", "connected"]);
  });

  test("disconnect() in the middle of connect() fails it, also from a handler", async (t) => {
    const client = make(t);
    const connecting = client.connect();
    await client.disconnect();
    await assert.rejects(connecting, NotConnectedError);
    let asked = 0;
    const other = make(t, { token: () => (asked++, new Promise(() => {})) });
    other.addEventListener("state", ({ detail }) => detail.state === "connecting" && other.disconnect());
    await assert.rejects(other.connect(), NotConnectedError);
    assert.equal(other.state, "disconnected");
  });

  test("a client that leaves when it is greeted has left", async (t) => {
    const client = make(t, { token: () => "text" });
    client.addEventListener("message", () => client.disconnect());
    await assert.rejects(client.connect(), NotConnectedError);
    assert.equal(client.state, "disconnected");
  });

  test("connect() in answer to the end is not failed by that end", async (t) => {
    const client = new Client("ws://127.0.0.1:9", { backoff: () => 0.01 });
    let again;
    client.addEventListener(
      "state",
      function once({ detail }) {
        if (detail.state !== "disconnected") return;
        client.removeEventListener("state", once);
        again = client.connect();
        again.catch(() => {});
      },
    );
    const first = await client.connect().catch((error) => error);
    const second = await again.catch((error) => error);
    assert.ok(first instanceof UnreachableError && second instanceof UnreachableError);
    assert.notEqual(first, second);
  });

  test("a token that never comes fails the attempt in its time", async (t) => {
    const client = make(t, { token: () => new Promise(() => {}), pace: 0.02 });
    await assert.rejects(client.connect(), TimeoutError);
  });

  test("a loop that was left before it was begun holds up nobody", async (t) => {
    const client = make(t, { buffer: 2 });
    await client.connect();
    const group = client.group("kept:left-early");
    const early = group[Symbol.asyncIterator]();
    await group.join();
    await early.return();
    const last = happens(client, "message", ({ data }) => data === 5);
    for (const n of [1, 2, 3, 4, 5]) await group.publish(n);
    await last;
    assert.equal(client.state, "connected");
  });

  test("a loop that waits can be left", async (t) => {
    const client = make(t);
    await client.connect();
    const loop = client.group("kept:left-late")[Symbol.asyncIterator]();
    const next = loop.next();
    await loop.return();
    assert.equal((await within(next, "the end")).done, true);
  });

  test("groups stay wanted when a connect() fails", async (t) => {
    const client = make(t);
    await client.connect();
    const group = client.group("kept:wanted");
    await group.join();
    await client.disconnect();
    await tell("refuse");
    await assert.rejects(client.connect());
    await tell("accept");
    const joined = happens(group, "joined");
    await client.connect();
    await joined;
  });
});
