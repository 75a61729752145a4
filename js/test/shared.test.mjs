// Tabs that share one connection: in virtual time, and in Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Pond } from "../pond.js";
import { serve, shared } from "../pond-shared.js";
import { launch, open } from "./browser.mjs";
import { History } from "./history.mjs";
import { goServer } from "./process.mjs";
import { Proxy } from "./proxy.mjs";
import { it } from "./world.mjs";

const second = 1000;
let next = 0;
const locks = new Map(); // of all tests, because the module keeps that of its worker

/** Shared workers, and the locks that notify them of the end of a tab. */
function workers(world) {
  const { server } = world;
  const path = `/shared/${next++}`; // a hub of its own for each test
  const request = (name, ...rest) => {
    const before = locks.get(name) ?? Promise.resolve();
    const held = before.then(rest.at(-1));
    locks.set(name, Promise.resolve(held).catch(() => {}));
    return held;
  };
  world.global("navigator", { locks: { request } });
  world.global("SharedWorker", class {
    constructor() {
      const ports = [{}, {}];
      for (const [i, port] of ports.entries()) {
        port.postMessage = (data) => queueMicrotask(() => ports[1 - i].onmessage?.({ data: structuredClone(data) }));
        port.close = () => { ports[i].onmessage = null; };
      }
      [this.port] = ports;
      serve(ports[1], { WebSocket: server.WebSocket, fetch: server.fetch });
    }
  });
  return (options = {}) => new Pond(`https://example.com${path}`, { ...shared(), ...options });
}

it("32: tabs share one connection and one membership, and each has its own answers", async (world) => {
  const { clock, server } = world;
  const tab = workers(world);
  const ponds = [tab(), tab(), tab()];
  const rooms = ponds.map((pond) => pond.channel("/room/1"));
  const got = rooms.map(() => []);
  rooms.forEach((room, i) => room.onMessage(({ event, payload }) => got[i].push(event + (payload.n ?? ""))));
  await clock.advance(second);
  assert.equal(server.peers.length, 1);
  const [peer] = server.peers;
  assert.equal(peer.sent("JOIN_CHANNEL").length, 1);
  assert.deepEqual(rooms.map(({ status }) => status), ["joined", "joined", "joined"]);

  peer.broadcast("/room/1", "said", { n: 1 });
  const answers = rooms.map((room, n) => room.request("echo", { n }));
  await clock.advance(second);
  assert.deepEqual(await Promise.all(answers), [{ n: 0 }, { n: 1 }, { n: 2 }]);
  assert.deepEqual(got, [["said1", "echo"], ["said1", "echo1"], ["said1", "echo2"]].map(([a, b], i) => [a, i ? b : "echo0"]));
  await assert.rejects(Promise.all([rooms[1].request("fail"), clock.advance(second)]), { status: 409 });

  rooms[0].leave();
  await clock.advance(second);
  assert.equal(peer.sent("LEAVE_CHANNEL").length, 0);
  rooms[1].leave();
  rooms[2].leave();
  await clock.advance(second);
  assert.equal(peer.sent("LEAVE_CHANNEL").length, 1);
  for (const pond of ponds) pond.close();
  await clock.advance(second);
  assert.equal(server.live.length, 0, "the last tab closes the connection");
});

it("32: each tab recovers separately, after losses and when it opens late", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const tab = workers(world);
  const reader = (pond, options) => {
    const room = pond.channel("/room/1", options);
    const log = [];
    room.on("n", ({ n }) => log.push(n));
    room.onJoin(({ status, reason }) => log.push(reason ? `${status} ${reason}` : status));
    room.onGap(() => {});
    return log;
  };
  const ponds = [tab(), tab()];
  const logs = ponds.map((pond) => reader(pond));
  await clock.advance(second);
  for (let n = 1; n <= 3; n++) history.publish("n", { n });
  server.last.reset();
  for (let n = 4; n <= 6; n++) history.publish("n", { n });
  await clock.advance(60 * second);
  for (let n = 7; n <= 8; n++) history.publish("n", { n });
  await clock.advance(second);
  const late = reader(tab(), { last: 3 });
  await clock.advance(second);
  history.publish("n", { n: 9 });
  await clock.advance(second);
  for (const log of logs) assert.deepEqual(log, ["fresh", 1, 2, 3, "recovered", 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(late, ["fresh", 6, 7, 8, 9]);
  assert.equal(server.live.length, 1);

  history.restart("e2");
  server.last.reset();
  await clock.advance(60 * second);
  for (const log of [...logs, late]) assert.equal(log.at(-1), "gap epoch");
});

it("32: tabs that open later get the current presence", async (world) => {
  const { clock, server } = world;
  server.features = ["diff"];
  server.join = (peer, { channelName, requestId, want }) => queueMicrotask(() => {
    peer.system(channelName, "ACKNOWLEDGE", want?.includes("diff") ? { diff: {} } : {}, requestId);
    peer.system(channelName, "PRESENCE_STATE", { users: [{ id: "a", presence: {} }, { id: "b", presence: {} }], total: 2, more: false });
  });
  const tab = workers(world);
  const first = tab().channel("/room/1");
  first.join();
  await clock.advance(second);
  server.last.system("/room/1", "PRESENCE_DIFF", { joins: [{ id: "c", presence: {} }], leaves: [{ id: "a" }], total: 2 });
  const late = tab().channel("/room/1");
  late.join();
  await clock.advance(second);
  for (const room of [first, late]) assert.deepEqual(room.presence.map(({ id }) => id), ["b", "c"]);
});

it("32: they also do if the server only sends full lists", async (world) => {
  const { clock, server } = world;
  const tab = workers(world);
  tab().channel("/plain").join();
  await clock.advance(second);
  server.last.send({ action: "PRESENCE", event: "JOIN", channelName: "/plain", payload: { presence: [{ n: 1 }], changed: { n: 1 } } });
  const late = tab().channel("/plain");
  late.join();
  await clock.advance(second);
  assert.deepEqual(late.presence, [{ id: null, presence: { n: 1 } }]);
});

it("32: a rejection reaches each tab with its status, and a blocked WebSocket leads to one stream for all", async (world) => {
  const { clock, server } = world;
  const tab = workers(world);
  const ponds = [tab(), tab()];
  for (const pond of ponds) pond.onError(() => {});
  const joined = ponds.map((pond) => pond.channel("/room/1").join().catch((error) => error));
  await clock.advance(second);
  for (const outcome of await Promise.all(joined)) assert.equal(outcome.status, "fresh");
  server.last.close(4403, "banned");
  await clock.advance(second);
  for (const pond of ponds) assert.deepEqual([pond.status, pond.getSnapshot().error.status], ["stopped", 4403]);

  server.websocket = false;
  for (const pond of ponds) pond.connect();
  await clock.advance(6 * second);
  assert.equal(server.live.filter(({ transport }) => transport === "stream").length, 1);
  for (const pond of ponds) assert.equal(pond.status, "connected");
});

it("32: a declined join is passed on, and the next tab tries with its own parameters", async (world) => {
  const { clock, server } = world;
  server.join = (peer, { channelName, requestId, payload }) => queueMicrotask(() =>
    payload.good
      ? peer.system(channelName, "ACKNOWLEDGE", {}, requestId)
      : peer.system(channelName, "UNAUTHORIZED", { status: 403, message: "no" }, requestId));
  const tab = workers(world);
  const rooms = [tab().channel("/a", { params: { good: false } }), tab().channel("/a", { params: { good: true } })];
  for (const room of rooms) room.onError(() => {});
  const joins = rooms.map((room) => room.join().catch((error) => error.status));
  await clock.advance(second);
  assert.deepEqual((await Promise.all(joins)).map((outcome) => outcome.status ?? outcome), [403, "fresh"]);
});

it("32: a message with wrong types costs its own report, in tabs as well", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const tab = workers(world);
  const rooms = [tab(), tab()].map((pond) => pond.channel("/room/1"));
  const got = rooms.map(() => []);
  rooms.forEach((room, i) => room.onMessage(({ event }) => got[i].push(event)));
  await clock.advance(second);
  const bad = [
    null,
    7,
    { action: "SYSTEM", event: "GAP", channelName: "/room/1", requestId: "s", payload: null },
    { action: "SYSTEM", event: "PRESENCE_DIFF", channelName: "/room/1", requestId: "s", payload: { joins: 7 } },
    { action: "SYSTEM", event: "PRESENCE_STATE", channelName: "/room/1", requestId: "s", payload: {} },
    { action: "CONNECT", event: "CONNECTION", channelName: "ENDPOINT", payload: null },
  ];
  const frame = (event) => ({ action: "BROADCAST", event, channelName: "/room/1", requestId: "s", payload: {} });
  for (const [i, message] of bad.entries()) server.last.write(`${JSON.stringify(message)}\n${JSON.stringify(frame(`good${i}`))}`);
  await clock.advance(second);
  for (const each of got) assert.deepEqual(each.filter((event) => event.startsWith("good")), bad.map((_, i) => `good${i}`));
  history.publish("n");
  await clock.advance(second);
  for (const each of got) assert.equal(each.at(-1), "n");
  assert.equal(server.peers.length, 1);
  for (const room of rooms) room.leave();
});

it("32: a join that the server rejects by its POST does not keep the channel from being joined", async (world) => {
  const { clock, server } = world;
  server.websocket = false;
  const tab = workers(world);
  let rejected = 1;
  server.postStatus = ({ body }) => (body.includes("JOIN") && rejected-- > 0 ? 403 : 204);
  const [a, b] = [tab(), tab()].map((pond) => pond.channel("/room/1"));
  for (const room of [a, b]) room.onError(() => {});
  a.join();
  b.join();
  await clock.advance(10 * second);
  assert.equal(a.status, "declined");
  assert.equal(a.getSnapshot().error.status, 403);
  assert.equal(b.status, "joined");
  a.join();
  await clock.advance(second);
  assert.equal(a.status, "joined");
  for (const room of [a, b]) room.leave();
});

it("32: a join without an answer is repeated, and a tab that left is not joined by it", async (world) => {
  const { clock, server } = world;
  const tab = workers(world);
  const ponds = [tab(), tab()];
  const [a, b] = ponds.map((pond) => pond.channel("/room/1"));
  const answer = server.join;
  server.join = () => {};
  for (const room of [a, b]) {
    room.onError(() => {});
    room.join();
  }
  await clock.advance(15 * second);
  ponds[0].close(); // the first join was its own
  server.join = answer;
  await clock.advance(30 * second);
  assert.equal(b.status, "joined");
  const joins = server.last.sent("JOIN_CHANNEL").length;
  assert.ok(joins >= 2 && joins < 8, `${joins} joins`);

  const c = tab().channel("/room/2");
  let held;
  server.join = (peer, message) => { held ??= () => answer(peer, message); };
  c.onError(() => {});
  c.join();
  await clock.advance(second);
  c.leave();
  await clock.advance(second);
  held();
  await clock.advance(second);
  assert.deepEqual(server.last.sent("LEAVE_CHANNEL").map(({ channelName }) => channelName), ["/room/2"]);
  b.leave();
});

it("32: Retry-After is obeyed by all tabs", async (world) => {
  const { clock, server } = world;
  Object.assign(server, { websocket: false, stream: 503, headers: { "retry-after": "60" } });
  const tab = workers(world);
  const ponds = [tab(), tab()];
  for (const pond of ponds) pond.connect();
  await clock.advance(5 * second);
  for (const pond of ponds) {
    const { status, error, retryAt } = pond.getSnapshot();
    assert.deepEqual([status, error.status], ["waiting", 4503]);
    assert.ok(retryAt - clock.wall > 50 * second, `${retryAt - clock.wall}`);
  }
});

test("without shared workers each tab has its own connection", () => {
  assert.deepEqual(shared(), {});
});

test("Chromium: three tabs share one connection; one that closes leaves the others alone, and a worker that ends is replaced", { timeout: 60_000 }, async () => {
  const browser = await launch();
  const server = await goServer().start();
  const proxy = await new Proxy(server.host).start();
  try {
    const context = await browser.newContext();
    const module = readFileSync(join(import.meta.dirname, "..", "pond-shared.js"), "utf8");
    const script = `
      import { shared } from "/pond-shared.js";
      globalThis.pond = new Pond("/socket", shared(trustedTypes.createPolicy("app", { createScriptURL: (url) => url }).createScriptURL("/pond-shared.js")));
      globalThis.room = pond.channel("/log/1");
      globalThis.got = [];
      room.on("say", ({ text }) => got.push(text));
      await room.join();
    `;
    const tabs = [];
    for (let i = 0; i < 3; i++) tabs.push(await open(context, proxy, script, { "/pond-shared.js": module }));
    const attempts = () => proxy.attempts.filter(({ url }) => url.startsWith("/socket")).length;
    assert.equal(attempts(), 1);
    const say = (tab, text) => tab.evaluate((text) => room.request("say", { text }), text);
    const got = (tab, text) => tab.waitForFunction((text) => globalThis.got.includes(text), text);
    await say(tabs[0], "one");
    for (const tab of tabs) await got(tab, "one");

    await tabs[0].close();
    await say(tabs[1], "two");
    for (const tab of tabs.slice(1)) await got(tab, "two");
    proxy.cut();
    await tabs[1].waitForFunction(() => pond.status === "connected" && room.status === "joined");
    await say(tabs[2], "three");
    for (const tab of tabs.slice(1)) await got(tab, "three");
    assert.deepEqual(await tabs[1].evaluate(() => globalThis.got), ["one", "two", "three"]);
    assert.equal(attempts(), 2);

    // The worker ends without a message. Nothing but its lock says so before a heartbeat.
    const cdp = await browser.newBrowserCDPSession();
    const filter = [{ type: "shared_worker", exclude: false }, { exclude: true }];
    const { targetInfos } = await cdp.send("Target.getTargets", { filter });
    assert.equal(targetInfos.length, 1);
    const lost = tabs[1].evaluate(() => new Promise((resolve) => pond.subscribe(({ error }) => error && resolve(error.message))));
    await cdp.send("Target.closeTarget", targetInfos[0]);
    assert.equal(await lost, "the shared worker ended");
    await tabs[1].waitForFunction(() => pond.status === "connected" && room.status === "joined");
    await say(tabs[2], "four");
    for (const tab of tabs.slice(1)) await got(tab, "four");
  } finally {
    await browser.close();
    await proxy.stop();
    await server.stop();
  }
});
