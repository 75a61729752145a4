// The client in Node against real servers: a Pond, and two servers of other projects.

import assert from "node:assert/strict";
import test from "node:test";
import { WebSocket } from "ws";
import { Pond } from "../pond.js";
import { goServer, npmServer, pythonServer } from "./process.mjs";

const fast = { backoff: [20, 200], heartbeat: 2000 };
const kinds = {
  "pond, WebSocket": { server: goServer, options: { transports: ["websocket"] } },
  "pond, stream": { server: goServer, options: { transports: ["stream"] } },
  "pondsocket-asgi, WebSocket": { server: pythonServer, options: { transports: ["websocket"] } },
  "pondsocket-asgi, stream": { server: pythonServer, options: { transports: ["stream"] } },
  "npm 0.1.70, WebSocket": { server: npmServer, options: { transports: ["websocket"], welcomeAfter: 50 }, old: true },
};

/** until resolves when a store has a snapshot that the condition accepts. */
function until(store, condition) {
  return new Promise((resolve) => {
    const check = (snapshot) => condition(snapshot) && (stop(), resolve(snapshot));
    let done = false;
    let stop = () => (done = true);
    const remove = store.subscribe(check);
    stop = remove;
    if (check(store.getSnapshot()) || done) remove();
  });
}

const next = (room, event) => new Promise((resolve) => { const off = room.on(event, (payload) => (off(), resolve(payload))); });

/** counting returns options whose transports call a function with each message that the client sends. */
const counting = (sent) => ({
  WebSocket: class extends WebSocket {
    send(text) {
      sent();
      super.send(text);
    }
  },
  fetch: (url, init) => {
    if (init.method === "POST") sent();
    return fetch(url, init);
  },
});

for (const [kind, { server: make, options, old }] of Object.entries(kinds)) test(kind, { timeout: 120_000 }, async (t) => {
  const server = await make().start();
  const run = (name, body) => t.test(name, { timeout: 60_000 }, async () => {
    const ponds = [];
    const pond = (more) => {
      const made = new Pond(`http://${server.host}/socket`, { WebSocket, ...fast, ...options, ...more });
      ponds.push(made);
      return made;
    };
    try {
      await body({ pond });
    } finally {
      for (const made of ponds) made.close();
    }
  });

  await run("join, broadcast, presence, leave", async ({ pond }) => {
    const [ann, bob] = [pond(), pond()].map((each, i) => each.channel("/chat/1", { params: { name: "ab"[i], track: true } }));
    assert.deepEqual((await ann.join()).status, "fresh");
    await bob.join();
    const online = (snapshot) => snapshot.presence.map(({ presence }) => `${presence.name} ${presence.status}`).join();
    for (const room of [ann, bob]) await until(room, (snapshot) => online(snapshot) === "a online,b online");
    const said = [next(ann, "say"), next(bob, "say")];
    await ann.send("say", { text: "日本語 \u2028\n" });
    assert.deepEqual(await Promise.all(said), [{ text: "日本語 \u2028\n" }, { text: "日本語 \u2028\n" }]);
    await bob.send("status", { name: "b", status: "away" });
    await until(ann, (snapshot) => online(snapshot) === "a online,b away");
    bob.leave();
    await until(ann, (snapshot) => online(snapshot) === "a online");
  });

  await run("order", async ({ pond }) => {
    const room = pond().channel("/chat/1");
    const got = [];
    const all = new Promise((resolve) => room.on("say", ({ n }) => got.push(n) === 200 && resolve()));
    const sent = Array.from({ length: 200 }, (_, n) => room.send("say", { n }));
    await Promise.all([...sent, all]);
    assert.deepEqual(got, Array.from({ length: 200 }, (_, n) => n));
  });

  await run("requests", async ({ pond }) => {
    if (old) return; // its answers have no request ID
    const room = pond().channel("/chat/1");
    const questions = Array.from({ length: 20 }, (_, n) => ({ n }));
    assert.deepEqual(await Promise.all(questions.map((question) => room.request("echo", question))), questions);
  });

  await run("declined join", async ({ pond }) => {
    const client = pond();
    const room = client.channel("/chat/1", { params: { decline: true } });
    room.onError(() => {});
    await assert.rejects(room.join(), ({ name, status, message }) => name === "PondError" && status === 403 && message.includes("Nope"));
    assert.equal(room.status, "declined");
    await client.channel("/chat/2").join();
  });

  await run("eviction", async ({ pond }) => {
    const client = pond();
    const room = client.channel("/chat/1");
    room.onError(() => {});
    await room.join();
    const removed = until(room, ({ status }) => status === "removed");
    await room.send("kick", { id: client.userId, reason: "spam" });
    const { error } = await removed;
    assert.match(error.message, /spam/);
    await room.join();
    assert.equal(room.status, "joined");
  });

  await run("restart", async ({ pond }) => {
    const client = pond();
    const room = client.channel("/chat/1", { params: { name: "a", track: true } });
    await room.join();
    const lost = until(client, ({ status }) => status === "waiting");
    await server.stop();
    await lost;
    const sent = room.send("say", { text: "meanwhile" });
    const said = next(room, "say");
    await server.start();
    await sent;
    assert.deepEqual(await said, { text: "meanwhile" });
    assert.equal(room.status, "joined");
    assert.equal(room.getSnapshot().outcome.status, "fresh");
  });

  await run("probes of an idle connection are answered", async ({ pond }) => {
    const errors = [];
    let count = 0;
    let done;
    const enough = new Promise((resolve) => { done = resolve; });
    // There is no second probe before the first one is answered.
    const client = pond({ heartbeat: 20, ...counting(() => ++count === 6 && done()) });
    client.onError((error) => errors.push(error));
    await client.channel("/chat/1").join();
    const id = client.userId;
    await enough;
    assert.equal(client.status, "connected");
    assert.equal(client.userId, id);
    assert.deepEqual(errors, []);
  });

  await server.stop();
});

for (const transport of ["websocket", "stream"]) {
  test(`pond, ${transport}: a rejected connection stops the client`, { timeout: 60_000 }, async () => {
    const server = await goServer().start();
    const pond = new Pond(`http://${server.host}/socket`, { WebSocket, ...fast, transports: [...new Set([transport, "stream"])], token: "deny" });
    try {
      pond.connect();
      const { error } = await until(pond, ({ status }) => status === "stopped");
      assert.deepEqual([error.status, error.message], [403, "Forbidden"]);
    } finally {
      pond.close();
      await server.stop();
    }
  });
}
