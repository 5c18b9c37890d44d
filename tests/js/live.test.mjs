// The client against a real server.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { CLIENT, happens, python, within } from "./running.mjs";

const {
  Client,
  ClientError,
  InvalidURLError,
  NotConnectedError,
  RefusedError,
  ReplyError,
  TimeoutError,
  UnreachableError,
  BadTokenError,
} = await import(CLIENT);

const SECRET = "a secret that is known to these tests alone and is long";
const sites = new Map();
const ending = [];
after(() => Promise.all(ending.map((end) => end())));

async function start(settings) {
  const program = python({ after: (end) => ending.push(end) }, "tests.js.site", JSON.stringify(settings));
  return { program, ...JSON.parse(await program.line()) };
}

/** A server behind a proxy, the same for all tests that ask for these settings, and clients that end with the test. */
async function site(t, settings = {}) {
  const key = JSON.stringify(settings);
  if (!sites.has(key)) sites.set(key, start(settings));
  const { program, url, tokens } = await sites.get(key);
  return {
    url,
    tokens,
    client(options = {}) {
      const client = new Client(url, { backoff: () => 0.01, ...options });
      t.after(() => client.disconnect());
      return client;
    },
    async do(command) {
      program.write(command);
      assert.equal(await program.line(), "done");
    },
  };
}

async function take(iterator, count) {
  const taken = [];
  while (taken.length < count) taken.push((await within(iterator.next(), `message ${taken.length + 1}`)).value.data);
  return taken;
}

const events = (client, type, seen = []) => {
  client.addEventListener(type, ({ detail }) => seen.push(detail));
  return seen;
};

test("a group", async (t) => {
  const { client } = await site(t);
  const [ada, bob] = [client({ clientId: "ada" }), client({ clientId: "bob" })];
  await Promise.all([ada.connect(), bob.connect()]);
  const orders = ada.group("kept:orders-1");
  const heard = events(orders, "message");
  const [joined, left] = [events(orders, "memberjoined"), events(orders, "memberleft")];

  await t.test("is heard by handlers and by loops, with the sender and the position", async () => {
    await orders.join();
    const listener = orders[Symbol.asyncIterator]();
    const position = await bob.group("kept:orders-1").publish({ n: 1 });
    await bob.group("kept:orders-1").sendChatMessage("hello");
    assert.deepEqual(await take(listener, 2), [{ n: 1 }, "hello"]);
    const [first, second] = heard;
    assert.deepEqual(
      { ...first, timestamp: "" },
      { group: "kept:orders-1", kind: "data", data: { n: 1 }, sender: "bob", timestamp: "", position, tags: {} },
    );
    assert.equal(second.kind, "chat");
    assert.equal(position.offset, 1);
  });

  await t.test("has a history and members", async () => {
    const { messages, position } = await orders.history({ limit: 10, reverse: true });
    assert.deepEqual(messages.map(({ data }) => data), ["hello", { n: 1 }]);
    assert.equal(position.offset, 2);
    assert.deepEqual(Object.values(await orders.presence()), [{ clientId: "ada" }]);
    assert.deepEqual(await orders.presenceStats(), { connections: 1, clients: 1 });
    const coming = happens(orders, "memberjoined");
    await bob.group("kept:orders-1").join();
    assert.deepEqual(await coming, { clientId: "bob" });
    await bob.group("kept:orders-1").leave();
    if (!left.length) await happens(orders, "memberleft");
    assert.deepEqual(joined.map(({ clientId }) => clientId), ["ada", "bob"]);
  });

  await t.test("that was left is heard no longer, and can be joined again", async () => {
    await orders.leave();
    await bob.group("kept:orders-1").publish("meanwhile");
    await orders.join();
    await bob.group("kept:orders-1").publish("after");
    while (heard.at(-1).data !== "after") await happens(orders, "message");
    assert.ok(!heard.some(({ data }) => data === "meanwhile"));
  });

  await t.test("that is refused fails its own call alone", async () => {
    await assert.rejects(ada.group("$all").join(), { name: "ReplyError", code: 107 });
    await assert.rejects(ada.rpc("nothing"), (error) => error instanceof ReplyError && error.code === 104);
    assert.equal(ada.state, "connected");
    assert.equal((await orders.publish("still")).offset, 5);
  });

  await t.test("that is iterated is joined, and a loop goes on where the last one stopped", async () => {
    const group = ada.group("kept:loop");
    const listening = (async () => {
      const seen = [];
      for await (const { data } of group) if (seen.push(data) === 2) break;
      for await (const { data } of group) if (seen.push(data) === 4) break;
      return seen;
    })();
    await happens(group, "joined");
    for (const n of [1, 2, 3, 4]) await bob.group("kept:loop").publish(n);
    assert.deepEqual(await within(listening, "four messages"), [1, 2, 3, 4]);
  });
});

test("a client that is cut off comes back with everything, once and in order", async (t) => {
  const { client, do: tell } = await site(t);
  const [ada, bob] = [client(), client()];
  await Promise.all([ada.connect(), bob.connect()]);
  const orders = ada.group("kept:orders-2")[Symbol.asyncIterator]();
  const broadcasts = events(ada, "broadcast");
  await ada.group("kept:orders-2").join();
  await ada.group("plain:2").join();
  const gaps = events(ada.group("kept:orders-2"), "gap", events(ada, "gap"));
  for (const n of [1, 2, 3]) await bob.group("kept:orders-2").publish(n);
  const lost = happens(ada, "state", ({ state }) => state === "reconnecting");
  await tell("cut");
  assert.ok((await lost).delay >= 0);
  await tell("refuse");
  await tell("publish kept:orders-2 4");
  await tell("publish kept:orders-2 5");
  await tell("broadcast");
  await tell("accept");
  assert.deepEqual(await take(orders, 5), [1, 2, 3, 4, 5]);
  while (!broadcasts.length) await happens(ada, "broadcast");
  assert.deepEqual(gaps, []);
  if (!ada.group("plain:2").joined) await happens(ada.group("plain:2"), "joined");
});

test("positions outlive a client", async (t) => {
  const { client } = await site(t);
  const before = client();
  await before.connect();
  const orders = before.group("kept:orders-3");
  const listener = orders[Symbol.asyncIterator]();
  await orders.join();
  for (const n of [1, 2, 3]) await orders.publish(n);
  assert.deepEqual(await take(listener, 2), [1, 2]);
  const kept = JSON.parse(JSON.stringify(before.positions));
  await before.disconnect();
  const after = client({ positions: kept });
  await after.connect();
  // The second was still in the program's hands, so it is given again.
  assert.deepEqual(await take(after.group("kept:orders-3")[Symbol.asyncIterator](), 2), [2, 3]);
});

test("a client that was disconnected comes back to its groups by connect()", async (t) => {
  const { client, do: tell } = await site(t);
  const ada = client();
  await ada.connect();
  const heard = events(ada.group("kept:orders-4"), "message");
  await ada.group("kept:orders-4").join();
  await ada.disconnect();
  assert.equal(ada.state, "disconnected");
  await assert.rejects(ada.rpc("anything"), NotConnectedError);
  await tell("publish kept:orders-4 1");
  await ada.connect();
  while (!heard.length) await happens(ada.group("kept:orders-4"), "message");
  assert.equal(heard[0].data, 1);
});

test("what a loop had not taken when its client was disconnected is not lost", async (t) => {
  const { client, do: tell } = await site(t);
  const ada = client();
  await ada.connect();
  const group = ada.group("kept:leftovers");
  const first = group[Symbol.asyncIterator]();
  await group.join();
  const third = happens(ada, "message", ({ data }) => data === 3);
  for (const n of [1, 2, 3]) await group.publish(n);
  await third;
  assert.deepEqual(await take(first, 1), [1]);
  await ada.disconnect();
  await tell("publish kept:leftovers 4");
  const joined = happens(group, "joined");
  await ada.connect();
  await joined;
  await tell("publish kept:leftovers 5");
  assert.deepEqual(await take(first, 2), [2, 3]);
  assert.deepEqual(await within(first.next(), "the end"), { done: true, value: undefined });
  assert.deepEqual(await take(group[Symbol.asyncIterator](), 2), [4, 5]);
});

test("a client that waits for room", async (t) => {
  const { client } = await site(t);
  const bob = client();
  await bob.connect();
  const full = async (name) => {
    const ada = client({ buffer: 2 });
    await ada.connect();
    const listener = ada.group(name)[Symbol.asyncIterator]();
    await ada.group(name).join();
    const waits = happens(ada, "state", ({ state }) => state === "reconnecting");
    for (const n of [1, 2, 3]) await bob.group(name).publish(n);
    await waits;
    return { ada, listener };
  };

  await t.test("comes back when the program has taken half", async () => {
    const { listener } = await full("kept:room-1");
    assert.deepEqual(await take(listener, 3), [1, 2, 3]);
  });

  await t.test("comes back when the group is left", async () => {
    const { ada } = await full("kept:room-2");
    const back = happens(ada, "state", ({ state }) => state === "connected");
    await ada.group("kept:room-2").leave();
    await back;
  });

  await t.test("is as new after disconnect()", async () => {
    const { ada, listener } = await full("kept:room-3");
    await ada.disconnect();
    const back = happens(ada, "state", ({ state }) => state === "connected");
    await ada.connect();
    await back;
    assert.deepEqual(await take(listener, 2), [1, 2]);
    assert.equal((await within(listener.next(), "the end")).done, true);
    assert.deepEqual(await take(ada.group("kept:room-3")[Symbol.asyncIterator](), 1), [3]);
  });
});

test("a handler that fails stops nothing, and is told of", async (t) => {
  const { client } = await site(t);
  const ada = client();
  const failures = events(ada, "error");
  await ada.connect();
  const group = ada.group("kept:orders-5");
  group.addEventListener("message", () => {
    throw new Error("at once");
  });
  group.addEventListener("message", async () => {
    throw new Error("later");
  });
  const heard = events(group, "message");
  await group.join();
  await group.publish(1);
  await group.publish(2);
  while (failures.length < 4) await happens(ada, "error");
  assert.deepEqual(heard.map(({ data }) => data), [1, 2]);
  assert.deepEqual(failures.map(({ error }) => error.message).sort(), ["at once", "at once", "later", "later"]);
  assert.equal(failures[0].detail.data, 1);
});

test("a token", async (t) => {
  const { client, tokens } = await site(t, { token_secret: SECRET });

  await t.test("travels as a subprotocol, and a function is asked for another", async () => {
    const given = [];
    const ada = client({ token: async () => given[given.push(tokens.ada) - 1] });
    await ada.connect();
    await ada.group("lobby").join();
    assert.deepEqual(Object.values(await ada.group("lobby").presence()).map(({ user }) => user), ["ada"]);
    assert.equal(given.length, 1);
  });

  await t.test("that cannot travel is said so without repeating it", async () => {
    await assert.rejects(client({ token: "se cret" }).connect(), (error) => {
      return error instanceof BadTokenError && !error.message.includes("se cret");
    });
    await assert.rejects(client({ token: () => null }).connect(), BadTokenError);
    await assert.rejects(client({ token: () => Promise.reject(new Error("logged out")) }).connect(), /logged out/);
  });

  await t.test("that is no good fails the first attempt", async () => {
    await assert.rejects(client({ token: "nonsense" }).connect(), UnreachableError);
  });

  await t.test("that ends is refreshed in time", async () => {
    const given = [];
    const ada = client({ token: () => given[given.push(given.length ? tokens.ada : tokens.short) - 1] });
    await ada.connect();
    await within(
      new Promise((resolve) => ada.addEventListener("message", ({ detail }) => detail.type === "refreshed" && resolve())),
      "a refresh",
    );
    assert.equal(given.length, 2);
    assert.equal(ada.state, "connected");
  });
});

test("what cannot be connected to is named", async (t) => {
  assert.throws(() => new Client("gopher://example.com"), InvalidURLError);
  assert.throws(() => new Client("/ws"), InvalidURLError); // there is no page here
  await assert.rejects(new Client("ws://127.0.0.1:9").connect(), (error) => {
    return error instanceof UnreachableError && error instanceof ClientError && error.message.includes("127.0.0.1:9/ws");
  });
  assert.ok(RefusedError && TimeoutError);
  await assert.rejects(new Client("ws://127.0.0.1:9").group("g").join(), NotConnectedError);
});

test("a client that was frozen goes on as if no time had passed", async (t) => {
  const { url, do: tell } = await site(t);
  // It pings every 1.25 seconds and would take silence for the end after half a second more.
  const program = `
    import { Client } from ${JSON.stringify(CLIENT)};
    const client = new Client(${JSON.stringify(url)}, { pace: 0.05 });
    client.addEventListener("state", ({ detail }) => console.log(detail.state));
    client.group("kept:frozen").addEventListener("message", ({ detail }) => console.log(detail.data));
    await client.connect();
    await client.group("kept:frozen").join();
    console.log("joined");`;
  const args = ["--experimental-websocket", "--no-warnings", "--input-type=module", "-e", program];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => (await within(lines.next(), "a line of the client")).value;
  assert.deepEqual([await line(), await line(), await line()], ["connecting", "connected", "joined"]);
  child.kill("SIGSTOP");
  await tell("publish kept:frozen 1");
  await new Promise((resolve) => setTimeout(resolve, 3000)); // the sleep itself
  await tell("publish kept:frozen 2");
  child.kill("SIGCONT");
  assert.deepEqual([await line(), await line()], ["1", "2"]);
  await new Promise((resolve) => setTimeout(resolve, 700)); // long enough to be taken for lost
  await tell("publish kept:frozen 3");
  assert.equal(await line(), "3");
});

test("nothing keeps a process alive after disconnect()", async (t) => {
  const { url } = await site(t);
  const program = `
    import { Client } from ${JSON.stringify(CLIENT)};
    const client = new Client(${JSON.stringify(url)});
    await client.connect();
    await client.group("plain:8").join();
    await client.disconnect();
    console.log("over");`;
  const args = ["--experimental-websocket", "--input-type=module", "-e", program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { timeout: 15_000, encoding: "utf8" });
  assert.deepEqual([status, stdout.trim()], [0, "over"], stderr);
});
