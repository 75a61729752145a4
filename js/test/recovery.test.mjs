// Recovery against the real server: links are broken at random, and no message is lost,
// duplicated or out of order.

import assert from "node:assert/strict";
import test from "node:test";
import { WebSocket } from "ws";
import { Pond } from "../pond.js";
import { goServer } from "./process.mjs";

/** Transports whose links can be broken, and which count the messages that they send. */
function breakable() {
  const links = new Set();
  const posts = [];
  return {
    cut() {
      for (const end of links) end();
      links.clear();
    },
    posts,
    WebSocket: class extends WebSocket {
      constructor(url) {
        super(url);
        links.add(() => this.terminate());
      }
    },
    fetch(url, init) {
      if (init.method === "POST") {
        posts.push(init.body);
        return fetch(url, init);
      }
      const abort = new AbortController();
      init.signal.addEventListener("abort", () => abort.abort());
      links.add(() => abort.abort(new TypeError("network error")));
      return fetch(url, { ...init, signal: abort.signal });
    },
  };
}

/** Numbers that are the same in each run. */
function random(seed) {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % n;
  };
}

for (const transport of ["websocket", "stream"]) {
  test(`${transport}: links that break at random lose no messages`, { timeout: 120_000 }, async () => {
    const server = await goServer().start();
    const ponds = [];
    const connect = (links, more) => {
      const pond = new Pond(`http://${server.host}/socket`, { ...links, transports: [transport], backoff: [1, 30], ...more });
      ponds.push(pond);
      return pond;
    };
    try {
      const total = 1000;
      const room = connect({ WebSocket, fetch }, { queue: { messages: total } }).channel("/log/1");
      await room.join();

      const readers = Array.from({ length: 8 }, (_, seed) => {
        const links = breakable();
        const next = random(seed + 1);
        const reader = connect(links).channel("/log/1");
        const got = [];
        const outcomes = [];
        reader.onError((error) => outcomes.push(error.code));
        reader.onGap(({ reason }) => outcomes.push(reason));
        reader.onJoin(({ status }) => outcomes.push(status));
        const done = new Promise((resolve) => {
          reader.on("say", ({ n }) => {
            got.push(n);
            if (next(20) === 0) links.cut(); // perhaps while a replay runs
            if (n === total - 1) resolve();
          });
        });
        return { reader, got, outcomes, done };
      });
      await Promise.all(readers.map(({ reader }) => reader.join()));
      await Promise.all(Array.from({ length: total }, (_, n) => room.send("say", { n, text: "x".repeat(200) })));
      await Promise.all(readers.map(({ done }) => done));
      const want = Array.from({ length: total }, (_, n) => n);
      let cuts = 0;
      for (const { got, outcomes } of readers) {
        assert.deepEqual(got, want);
        assert.deepEqual([...new Set(outcomes)].sort(), ["fresh", "recovered"]);
        cuts += outcomes.length - 1;
      }
      assert.ok(cuts >= 24, `only ${cuts} recoveries`);
    } finally {
      for (const pond of ponds) pond.close();
      await server.stop();
    }
  });

  test(`${transport}: past messages for newcomers, and a restart is a gap`, { timeout: 60_000 }, async () => {
    const server = await goServer().start();
    const links = breakable();
    const pond = new Pond(`http://${server.host}/socket`, { ...links, transports: [transport], backoff: [1, 30] });
    const other = new Pond(`http://${server.host}/socket`, { WebSocket, backoff: [1, 30] });
    try {
      const room = other.channel("/log/1");
      room.onGap(() => {});
      for (let n = 1; n <= 20; n++) await room.request("say", { n });
      const got = [];
      const late = pond.channel("/log/1", { last: 5 });
      const live = new Promise((resolve) => late.on("say", ({ n }, { replayed }) => (got.push([n, replayed]), n === 21 && resolve())));
      assert.equal((await late.join()).status, "fresh");
      await room.request("say", { n: 21 });
      await live;
      assert.deepEqual(got, [[16, true], [17, true], [18, true], [19, true], [20, true], [21, false]]);

      const gap = new Promise((resolve) => late.onGap(resolve));
      await server.stop();
      await server.start();
      assert.deepEqual(await gap, { reason: "epoch" });
      assert.deepEqual(late.getSnapshot().outcome, { status: "gap", reason: "epoch" });
      assert.equal(late.status, "joined");
    } finally {
      pond.close();
      other.close();
      await server.stop();
    }
  });
}

test("stream: several messages are in one POST, and the server accepts them in order", { timeout: 60_000 }, async () => {
  const server = await goServer().start();
  const links = breakable();
  const pond = new Pond(`http://${server.host}/socket`, { ...links, transports: ["stream"] });
  const errors = [];
  pond.onError((error) => errors.push(error));
  try {
    const room = pond.channel("/log/1");
    await room.join();
    const got = [];
    const all = new Promise((resolve) => room.on("say", ({ n }) => got.push(n) === 300 && resolve()));
    await Promise.all(Array.from({ length: 300 }, (_, n) => room.send("say", { n })));
    await all;
    assert.deepEqual(got, Array.from({ length: 300 }, (_, n) => n));
    assert.ok(links.posts.length < 30, `${links.posts.length} POSTs`);

    // An invalid message in the same POST does not affect the others.
    const [, , bad, good] = ["echo", "echo", "x".repeat(300), "echo"].map((event) => room.request(event, { ok: true }));
    await assert.rejects(bad, ({ name, status }) => name === "PondError" && status === 400);
    assert.deepEqual(await good, { ok: true });
    assert.deepEqual(errors, [], "each error is reported once");
  } finally {
    pond.close();
    await server.stop();
  }
});

test("X-21: before it shuts down, the server advises when to reconnect, and the client obeys", { timeout: 60_000 }, async () => {
  const server = await goServer().start();
  let advice;
  class Listening extends WebSocket {
    constructor(url) {
      super(url);
      this.addEventListener("message", ({ data }) => {
        const { event, payload } = JSON.parse(data);
        if (event === "RECONNECT") advice = { due: Date.now() + payload.after, payload };
      });
    }
  }
  const pond = new Pond(`http://${server.host}/socket`, { WebSocket: Listening, transports: ["websocket"] });
  try {
    await pond.channel("/log/1").join();
    const waiting = new Promise((resolve) => pond.subscribe(({ status, retryAt }) => status === "waiting" && resolve(retryAt)));
    await server.stop();
    const retryAt = await waiting;
    assert.equal(advice.payload.reason, "shutdown");
    assert.ok(retryAt >= advice.due - 1, `${advice.due - retryAt} ms too early`);
  } finally {
    pond.close();
    await server.stop();
  }
});

test("X-19: lists from differences agree with each other after any join, change, lost connection or leave", { timeout: 60_000 }, async () => {
  const server = await goServer().start();
  const next = random(11);
  const clients = Array.from({ length: 12 }, (_, i) => {
    const links = breakable();
    const pond = new Pond(`http://${server.host}/socket`, { ...links, transports: [i % 2 ? "stream" : "websocket"], backoff: [1, 30] });
    const room = pond.channel("/log/1", { params: { name: `n${i}`, track: i < 8 } }); // the others only watch
    return { links, pond, room, name: `n${i}` };
  });
  const list = ({ room }) => room.presence.map(({ presence: { name, status } }) => `${name} ${status}`).sort().join();
  /** Resolves when a client has that list. */
  const shows = (client, want) => new Promise((resolve) => {
    const check = () => list(client) === want && resolve();
    client.room.onPresence(check);
    check();
  });
  try {
    await Promise.all(clients.map(({ room }) => room.join()));
    const status = new Map(clients.slice(0, 8).map(({ name }) => [name, "online"]));
    for (let step = 0; step < 60; step++) {
      const client = clients[next(8)];
      const what = next(3);
      if (what === 0) {
        const back = new Promise((resolve) => { const off = client.room.onJoin(() => resolve(off())); });
        client.links.cut();
        await back;
        status.set(client.name, "online");
      } else {
        await client.room.send("status", { status: `s${step}` });
        status.set(client.name, `s${step}`);
      }
    }
    clients[0].room.leave();
    clients[0].pond.close();
    status.delete("n0");
    const want = [...status].map(([name, value]) => `${name} ${value}`).sort().join();
    const rest = clients.slice(1);
    await Promise.all(rest.map((client) => shows(client, want)));
    for (const { room } of rest) {
      const ids = room.presence.map(({ id }) => id);
      assert.ok(ids.every((id) => typeof id === "string"), "differences, and not full lists");
      for (const { pond, name } of rest.slice(0, 7)) assert.equal(room.presence.find(({ presence }) => presence.name === name).id, pond.userId);
    }
  } finally {
    for (const { pond } of clients) pond.close();
    await server.stop();
  }
});
