// Servers and networks that break the rules: a bad message costs its reporting and nothing else.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const second = 1000;
const minute = 60 * second;
const name = "/room/1";
const junk = [null, 0, -1, 1e300, true, "", "x", "__proto__", "constructor", [], [null], [[]], {}, { id: null }, { users: 7 }, { toString: 1 }];

/** The junk, and messages with one field after the other replaced by junk. */
function* broken(message, values) {
  for (const value of values) {
    yield value;
    for (const key of Object.keys(message)) {
      yield { ...message, [key]: value };
      const inner = message[key];
      if (inner === null || typeof inner !== "object") continue;
      const copy = { ...message, [key]: Array.isArray(inner) ? [value, ...inner] : inner };
      yield copy;
      for (const member of Object.keys(inner)) {
        yield { ...message, [key]: { ...inner, [member]: value } };
        if (inner[member]?.constructor === Object) for (const leaf of Object.keys(inner[member])) yield { ...message, [key]: { ...inner, [member]: { ...inner[member], [leaf]: value } } };
      }
    }
  }
}

const connect = { action: "CONNECT", event: "CONNECTION", channelName: "ENDPOINT", requestId: "s", payload: { id: "u", connectionId: "c", features: ["diff", "recover"] } };
const acknowledge = (requestId) => ({ action: "SYSTEM", event: "ACKNOWLEDGE", channelName: name, requestId, payload: { recover: { epoch: "e", offset: 1, to: 2, recovered: true, reason: "limit" }, diff: {} } });
const messages = [
  connect,
  acknowledge("s"),
  { action: "BROADCAST", event: "say", channelName: name, requestId: "s", payload: { text: "x" }, offset: 3 },
  { action: "PRESENCE", event: "JOIN", channelName: name, requestId: "s", payload: { presence: [{ a: 1 }], changed: { a: 1 } } },
  { action: "ERROR", event: "INVALID_MESSAGE", channelName: name, requestId: "s", payload: { code: 400, message: "no", error: { message: "m" }, reason: "r", status: 400 } },
  { action: "ERROR", event: "INVALID_MESSAGE", channelName: "ENDPOINT", requestId: "s", payload: { code: 400, message: "no" } },
  { action: "SYSTEM", event: "RECONNECT", channelName: "ENDPOINT", requestId: "s", payload: { after: 1, reason: "shutdown" } },
  ...["GAP", "POSITION", "RECOVERED"].map((event) => ({ action: "SYSTEM", event, channelName: name, requestId: "s", payload: { epoch: "e", offset: 5, reason: "expired" } })),
  { action: "SYSTEM", event: "PRESENCE_STATE", channelName: name, requestId: "s", payload: { users: [{ id: "a", presence: {} }], total: 1, more: false } },
  { action: "SYSTEM", event: "PRESENCE_DIFF", channelName: name, requestId: "s", payload: { joins: [{ id: "a", presence: {} }], updates: [{ id: "a", presence: {} }], leaves: [{ id: "a" }], total: 1 } },
];

for (const transport of ["websocket", "stream"]) {
  it(`a message with wrong types costs its own report and nothing else, over ${transport}`, async (world) => {
    const { clock, server } = world;
    server.features = ["diff", "recover"];
    const good = { action: "BROADCAST", event: "good", channelName: name, requestId: "g", payload: {} };
    let count = 0;
    for (const granted of [{ recover: { epoch: "e", offset: 1 }, diff: {} }, {}]) {
      server.join = (peer, { requestId }) => queueMicrotask(() => peer.system(name, "ACKNOWLEDGE", granted, requestId));
      for (const message of messages) {
        for (const bad of broken(message, transport === "stream" ? junk.filter((_, i) => i % 4 === 3) : junk)) {
          const { pond, room, peer } = await world.joined({ transports: [transport], heartbeat: 0, channel: {} });
          let seen = 0;
          for (const listen of ["onError", "onGap", "onPresence"]) room[listen](() => {});
          room.on("good", () => seen++);
          pond.onError(({ message: text }) => assert.equal(typeof text, "string"));
          const lines = [bad, good].map((each) => JSON.stringify(each));
          peer.write(lines.join(transport === "stream" ? "\ndata:" : "\n"));
          await clock.advance(1);
          const text = `after ${lines[0]}`;
          if (room.status === "joined") assert.equal(seen, 1, text); // a position that makes no sense leads to another join
          assert.equal(pond.status, "connected", text);
          assert.equal(server.last, peer, text);
          pond.close();
          count++;
        }
      }
    }
    assert.ok(count > 400, `${count}`);
  });
}

it("5: an interval that makes no sense neither floods the server nor keeps the client busy", async (world) => {
  const { clock, server } = world;
  for (const heartbeatInterval of [-1, 0, 1e-9, 1, 1e12, 1e308, "soon", "-1", null, {}, true]) {
    server.heartbeatInterval = heartbeatInterval;
    const { pond, peer } = await world.connected();
    let timers = 0;
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (...args) => (timers++, assert.ok(timers < 1000, `${heartbeatInterval}: too many timers`), setTimeout(...args));
    await clock.advance(60_000);
    globalThis.setTimeout = setTimeout;
    assert.ok(peer.received.length <= 60, `${heartbeatInterval}: ${peer.received.length} probes in a minute`);
    assert.ok(timers < 200, `${heartbeatInterval}: ${timers} timers in a minute`);
    assert.equal(pond.status, "connected");
    pond.close();
  }
});

it("options that are undefined have their defaults, and Infinity is no limit", async (world) => {
  const { clock } = world;
  const nothing = Object.fromEntries(
    ["params", "token", "transports", "headers", "credentials", "timeout", "welcomeAfter", "requestTimeout", "heartbeat", "backoff", "queue", "reactions"].map((key) => [key, undefined]),
  );
  for (const options of [nothing, { queue: { messages: undefined, bytes: undefined, age: undefined } }]) {
    const { room, pond } = await world.joined({ ...options, channel: { params: undefined, last: undefined } });
    assert.equal(room.status, "joined");
    assert.deepEqual(await room.request("echo", { n: 1 }), { n: 1 });
    pond.close();
  }

  const { room, pond, peer } = await world.joined({ timeout: Infinity, requestTimeout: Infinity, heartbeat: Infinity, queue: { messages: Infinity, bytes: Infinity, age: Infinity } });
  const answer = room.request("silence");
  const other = room.request("silence", {}, { timeout: Infinity });
  await clock.advance(3_600_000);
  for (const { requestId } of peer.sent("BROADCAST")) peer.system(room.name, "silence", { late: true }, requestId);
  assert.deepEqual([await answer, await other], [{ late: true }, { late: true }]);
  peer.reset();
  const queued = room.send("queued");
  await clock.advance(5000);
  await queued;
  assert.equal(pond.status, "connected");
});

it("6: waking up again and again does not put off the end of a dead connection", async (world) => {
  const { clock, server } = world;
  const page = world.page();
  const { peer } = await world.connected();
  server.silent = true;
  for (let i = 0; i < 3; i++) {
    page.fire("visibilitychange");
    await clock.advance(4 * second);
  }
  assert.notEqual(peer.lostBy, undefined);
});

it("10: a token function that hangs or throws once does not stop the client, nor does one of a channel", async (world) => {
  const { clock } = world;
  const failures = [() => new Promise(() => {}), () => Promise.reject(new Error("no network")), () => { throw new Error("at once"); }, () => null];
  for (const fail of failures) {
    let n = 0;
    const pond = world.pond({ token: () => (n++ ? "t" : fail()) });
    pond.connect();
    await clock.advance(2 * minute);
    assert.equal(pond.status, "connected", String(fail));
    assert.equal(n, 2);

    let tries = 0;
    const room = pond.channel(name, { params: () => (tries++ ? {} : fail()) });
    room.onError(() => {});
    room.join();
    await clock.advance(minute);
    assert.equal(room.status, "joined", String(fail));
    pond.close();
  }
});

it("12: a lifetime that makes no sense does not lead to a refresh for each join", async (world) => {
  const { clock } = world;
  const channel = { params: ({ token }) => ({ token }) };
  for (const expiresIn of [Number.NaN, "soon", null, -1, 0, {}, undefined, "3600", Infinity]) {
    let n = 0;
    const { pond } = await world.joined({ token: () => (n++, { value: "t", expiresIn }), channel });
    for (let i = 0; i < 5; i++) {
      pond.channel(`/other/${i}`, channel).join();
      await clock.advance(10);
    }
    assert.equal(n, 1, String(expiresIn));
    pond.close();
  }
});

it("12: waking up does not ask for tokens more often than every ten seconds", async (world) => {
  const { clock } = world;
  const page = world.page();
  let n = 0;
  const token = () => {
    n++;
    throw new Error("no network");
  };
  world.pond({ token }).connect();
  for (let i = 0; i < 60; i++) {
    page.fire("online");
    await clock.advance(second);
  }
  assert.ok(n > 1 && n <= 7, `${n} in a minute`);
});

it("31: a request without its answer keeps the transport, even if it is made while the other one opens", async (world) => {
  const { clock, server } = world;
  new History(server, name);
  server.websocket = false;
  const pond = world.pond({ requestTimeout: 3_600_000 });
  const room = pond.channel(name);
  room.join();
  await clock.advance(15 * second);
  assert.equal(pond.getSnapshot().transport, "stream");
  server.websocket = true;
  server.delay = second;
  while (server.last.transport === "stream") await clock.advance(500);
  const answer = room.request("silence"); // the WebSocket is not open yet
  await clock.advance(10 * minute);
  assert.equal(pond.getSnapshot().transport, "stream");
  const [{ requestId }] = server.live[0].sent("BROADCAST");
  server.live[0].system(name, "silence", { ok: 1 }, requestId);
  assert.deepEqual(await answer, { ok: 1 });
  await clock.advance(10 * minute);
  assert.equal(pond.getSnapshot().transport, "websocket");
  assert.equal(server.live.length, 1);
});

it("messages of a channel that was left do not reach the pond's listeners", async (world) => {
  const { clock, server } = world;
  for (const gateway of [false, true]) {
    server.gateway = gateway;
    const { pond, room, peer } = await world.joined();
    const got = [];
    pond.on("say", ({ n }) => got.push(n));
    room.leave();
    await clock.advance(1);
    peer.broadcast(name, "say", { n: 1 });
    peer.system(gateway ? "GATEWAY" : "ENDPOINT", "say", { n: 2 });
    assert.deepEqual(got, [2]);
    pond.close();
  }
});

it("20: joins do not pile up while POSTs are rejected for a while", async (world) => {
  const { clock, server } = world;
  server.features = ["recover"];
  const { pond } = await world.connected({ transports: ["stream"] });
  server.postStatus = () => 429;
  const room = pond.channel(name);
  room.onError(() => {});
  room.join();
  await clock.advance(5 * minute);
  server.postStatus = () => 204;
  await clock.advance(minute);
  assert.equal(room.status, "joined");
  assert.equal(server.last.sent("JOIN_CHANNEL").length, 1);
});

it("21: a send that was aborted before causes no traffic", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected();
  const room = pond.channel(name);
  await assert.rejects(room.send("x", {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  await assert.rejects(room.request("x", {}, { signal: AbortSignal.abort(new Error("mine")) }), { message: "mine" });
  await assert.rejects(room.join({ signal: AbortSignal.abort() }), { name: "AbortError" });
  await clock.advance(10);
  assert.deepEqual(peer.received, []);
  assert.equal(room.status, "idle");
});

for (const after of ["1e9", "Infinity", "86400", "0", "-1", "NaN", "Thu, 01 Jan 2026 00:00:00 GMT", ""]) {
  it(`C-X4: Retry-After "${after}" of a POST neither floods the server nor stops the client`, async (world) => {
    const { clock, server } = world;
    const { room, pond } = await world.joined({ transports: ["stream"] });
    let posts = 0;
    let busy = true;
    server.postHeaders = { "retry-after": after };
    server.postStatus = () => (busy ? (posts++, 503) : 204);
    const sent = room.send("kept"); // none of these was taken
    await clock.advance(minute);
    assert.ok(posts >= 2 && posts < 60, `${posts} POSTs in a minute`);
    busy = false;
    await clock.advance(2 * minute);
    await sent;
    assert.equal(pond.status, "connected");
    assert.equal(server.peers.flatMap((each) => each.sent("BROADCAST")).length, 1);
  });
}

it("C-X4: a rejected POST whose body never ends does not stop the others", async (world) => {
  const { clock, server } = world;
  let endless = 1;
  const fetch = async (url, init) => {
    if (!endless || !init.body?.includes("BROADCAST")) return server.fetch(url, init);
    endless--;
    const start = (controller) => init.signal.addEventListener("abort", () => controller.error(init.signal.reason));
    return new Response(new ReadableStream({ start }), { status: 400 });
  };
  const { room } = await world.joined({ transports: ["stream"], fetch });
  const one = room.send("one").catch(({ code }) => code);
  const two = room.send("two", {}, { idempotent: true });
  for (let i = 0; i < 60; i++) {
    server.last.broadcast(name, "tick"); // so that the stream is not silent
    await clock.advance(second);
  }
  await two;
  assert.equal(await one, "OUTCOME_UNKNOWN");
});

it("22: a message costs the same however many channels there are", async (world) => {
  const { clock } = world;
  const cost = async (channels) => {
    const { pond, room } = await world.joined();
    for (let i = 0; i < channels; i++) pond.channel(`/other/${i}`).join();
    await clock.advance(10);
    const { values } = Map.prototype;
    let calls = 0;
    Map.prototype.values = function () {
      calls++;
      return values.call(this);
    };
    const sent = room.send("x");
    Map.prototype.values = values;
    await sent;
    pond.close();
    return calls;
  };
  assert.equal(await cost(200), await cost(2));
});

it("9: what the application did wrong is reported, although the client tries again", async (world) => {
  const { clock } = world;
  for (const options of [{ token: () => { throw new Error("mine"); } }, { params: () => Promise.reject(new Error("mine")) }, { headers: () => { throw new Error("mine"); }, transports: ["stream"] }]) {
    const pond = world.pond(options);
    const errors = [];
    pond.onError(({ code, message }) => errors.push(`${code} ${message}`));
    pond.connect();
    await clock.advance(minute);
    assert.ok(errors.length > 1, `${errors}`);
    assert.deepEqual(new Set(errors), new Set(["SETUP mine"]));
    assert.equal(pond.status, "waiting");
    pond.close();
  }
  world.pond({}, "/socket").connect(); // no page, so a relative URL is none
  await clock.advance(10);
  assert.match(String(world.errors[0]), /Invalid URL/);
});

it("13: a WebSocket that is tried next to a stream ends with it", async (world) => {
  const { clock, server } = world;
  const idle = clock.pending;
  for (const end of ["close", "loss"]) {
    Object.assign(server, { websocket: false, up: true });
    new History(server, name);
    const { pond } = await world.joined();
    await clock.advance(15 * second);
    assert.equal(server.last.transport, "stream");
    while (server.last.transport === "stream") await clock.advance(500);
    const probe = server.last;
    assert.equal(probe.lostBy, undefined);
    server.up = false;
    if (end === "close") pond.close();
    else server.live[0].reset();
    await clock.advance(0);
    assert.notEqual(probe.lostBy, undefined, end);
    probe.accept(); // late
    assert.equal(server.live.length, 0, end);
    pond.close();
    await clock.advance(10);
    assert.equal(clock.pending, idle, end);
  }
});

it("11: a token that was rejected once is not held against it after it was accepted for a while", async (world) => {
  const { clock, server } = world;
  const { pond } = await world.connected({ token: () => "same" });
  for (let i = 0; i < 5; i++) {
    await clock.advance(20 * second);
    server.last.close(4401);
    await clock.advance(2 * second);
    assert.equal(pond.status, "connected", `rejection ${i + 1}`);
  }
});

it("20: a join whose parameters come late is not sent if another one replaced it", async (world) => {
  const { clock, server } = world;
  const late = [];
  const { room, peer } = await world.joined({ channel: { params: () => new Promise((resolve) => late.push(resolve)) } });
  peer.reset();
  await clock.advance(2 * second);
  assert.equal(late.length, 2);
  late[1]({ n: 2 });
  await clock.advance(1);
  late[0]({ n: 1 });
  await clock.advance(1);
  assert.equal(room.status, "joined");
  assert.deepEqual(server.last.sent("JOIN_CHANNEL").map(({ payload }) => payload), [{ n: 2 }]);
});
