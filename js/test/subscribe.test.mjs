// Requirements 14 to 21: channels and listeners.

import assert from "node:assert/strict";
import { it } from "./world.mjs";

const second = 1000;
const names = (peer) => peer.received.map(({ action, channelName }) => `${action[0]} ${channelName}`);

it("14: a burst of joins and leaves ends in the state of the last call", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected();
  for (const last of ["join", "leave"]) {
    peer.received.length = 0;
    const handles = [];
    for (let i = 0; i < 20; i++) {
      const handle = pond.channel("/room/1");
      handle.join();
      handles.push(handle);
      if (i % 3 === 0) await clock.advance(1); // runs a deferred leave
      if (i < 19 || last === "leave") handle.leave();
      if (i % 4 === 0) await clock.advance(1);
    }
    await clock.advance(second);
    const actions = peer.received.map(({ action }) => action);
    assert.equal(actions.at(-1), last === "join" ? "JOIN_CHANNEL" : "LEAVE_CHANNEL");
    assert.equal(pond.channel("/room/1").status, "idle", "an unused handle");
    assert.equal(handles.at(-1).status, last === "join" ? "joined" : "idle");
    assert.ok(peer.received.every(({ requestId }, i, all) => all.findIndex((m) => m.requestId === requestId) === i));
    for (const handle of handles) handle.leave();
    await clock.advance(second);
  }
});

it("14: answers to earlier attempts of another membership do not count", async (world) => {
  const { clock, server } = world;
  const joins = [];
  server.join = (peer, message) => joins.push(message);
  const { pond, peer } = await world.connected();
  const first = pond.channel("/room/1");
  first.join();
  await clock.advance(1);
  first.leave();
  await clock.advance(1);
  const second_ = pond.channel("/room/1");
  second_.join();
  await clock.advance(1);
  assert.equal(joins.length, 2);
  peer.system("/room/1", "UNAUTHORIZED", { message: "no" }, joins[0].requestId);
  peer.system("/room/1", "ACKNOWLEDGE", {}, joins[0].requestId);
  assert.equal(second_.status, "joining");
  peer.system("/room/1", "ACKNOWLEDGE", {}, joins[1].requestId);
  assert.equal(second_.status, "joined");
});

it("15: subscribing twice is harmless, and each registration has its own disposer", async (world) => {
  const { clock } = world;
  const { pond, room, peer } = await world.joined();
  let calls = 0;
  const listener = () => calls++;
  const one = room.on("said", listener);
  const two = room.on("said", listener);
  peer.broadcast(room.name, "said");
  assert.equal(calls, 2);
  one();
  one();
  peer.broadcast(room.name, "said");
  assert.equal(calls, 3);
  two();
  peer.broadcast(room.name, "said");
  assert.equal(calls, 3);
  pond.channel(room.name).join();
  room.join();
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /room/1"]);
});

it("16: several handles share one membership, and leaving waits a macrotask", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected();
  const [a, b] = [pond.channel("/room/1"), pond.channel("/room/1")];
  const [stopA, stopB] = [a.on("x", () => {}), b.subscribe(() => {})];
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /room/1"]);
  stopA();
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /room/1"]);

  stopB(); // as React's StrictMode does: mount, unmount, mount
  const again = b.subscribe(() => {});
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /room/1"]);
  assert.equal(b.status, "joined");
  again();
  again();
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /room/1", "L /room/1"]);
});

it("16: a handle that is created and not used causes no traffic", async (world) => {
  const { clock, server } = world;
  const pond = world.pond();
  for (let i = 0; i < 10; i++) pond.channel("/room/1").getSnapshot();
  await clock.advance(second);
  assert.equal(server.peers.length, 0);
});

it("17: removing a channel does not affect others, in any state", async (world) => {
  const { clock, server } = world;
  for (const state of ["joining", "joined", "declined", "offline"]) {
    const { pond, peer } = await world.connected();
    const open = server.join;
    if (state === "joining") server.join = () => {};
    if (state === "declined") {
      server.join = (p, { channelName, requestId }) => p.system(channelName, "UNAUTHORIZED", { status: 403, message: "no" }, requestId);
    }
    const rooms = ["/a", "/b", "/c"].map((name) => pond.channel(name));
    for (const room of rooms) {
      room.onError(() => {});
      room.join();
    }
    await clock.advance(5);
    if (state === "offline") peer.reset();
    const before = rooms.map(({ status }) => status);
    rooms[1].leave();
    await clock.advance(1);
    assert.deepEqual([rooms[0].status, rooms[1].status, rooms[2].status], [before[0], "idle", before[2]], state);
    server.join = open;
    await clock.advance(30 * second);
    const wanted = state === "declined" ? ["declined", "idle", "declined"] : ["joined", "idle", "joined"];
    assert.deepEqual(rooms.map(({ status }) => status), wanted, state);
    pond.close();
  }
});

it("18: every listener has a disposer, and after the last one no state remains", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected({ heartbeat: 0 });
  const timers = clock.pending;
  const room = pond.channel("/room/1");
  const calls = [];
  const add = (kind) => kind === "on" ? room.on("x", () => calls.push(kind)) : room[kind](() => calls.push(kind));
  const disposers = ["on", "onMessage", "onPresence", "onJoin", "onGap", "onError", "subscribe"].map(add);
  const ofPond = [pond.on("x", () => calls.push("pond.on")), pond.onError(() => calls.push("pond.onError")), pond.subscribe(() => calls.push("pond.subscribe"))];
  await clock.advance(5);
  const all = () => {
    peer.broadcast("/room/1", "x");
    peer.send({ action: "PRESENCE", event: "JOIN", channelName: "/room/1", payload: { presence: [{}], changed: {} } });
    peer.send({ action: "ERROR", event: "E", channelName: "/room/1", payload: { message: "e" } });
    peer.system("ENDPOINT", "x");
    peer.send({ action: "ERROR", event: "E", channelName: "ENDPOINT", payload: { message: "e" } });
  };
  all();
  assert.deepEqual([...new Set(calls)].sort(), ["on", "onError", "onJoin", "onMessage", "onPresence", "pond.on", "pond.onError", "subscribe"]);
  for (const dispose of [...disposers, ...ofPond]) dispose();
  calls.length = 0;
  all();
  await clock.advance(5);
  assert.deepEqual(calls, []);
  assert.equal(room.status, "idle");
  assert.deepEqual(peer.received.map(({ action }) => action), ["JOIN_CHANNEL", "LEAVE_CHANNEL"]);
  assert.equal(clock.pending, timers);
});

it("18: an error of a listener is reported and does not affect others; a listener that was removed is not called", async (world) => {
  const reported = [];
  world.global("reportError", (error) => reported.push(error.message));
  const { room, peer } = await world.joined();
  const calls = [];
  room.on("x", () => { calls.push(1); remove(); });
  room.on("x", () => { throw new Error("mine"); });
  const remove = room.on("x", () => calls.push(2));
  room.on("x", () => calls.push(3));
  peer.broadcast(room.name, "x");
  assert.deepEqual(calls, [1, 3]);
  assert.deepEqual(reported, ["mine"]);
});

it("19: events before the answer are held, and delivered in order after it", async (world) => {
  const { clock, server } = world;
  let join;
  server.join = (peer, message) => { join = message; };
  const pond = world.pond();
  const room = pond.channel("/room/1");
  const log = [];
  room.onJoin(() => log.push("joined"));
  room.onMessage(({ event, payload }) => log.push(event + (payload.n ?? "")));
  await clock.advance(10);
  const peer = server.last;
  peer.system("/room/1", "welcome", {}, join.requestId); // some servers let a reply overtake the answer
  peer.broadcast("/room/1", "n", { n: 1 });
  peer.send({ action: "PRESENCE", event: "JOIN", channelName: "/room/1", payload: { presence: [{ name: "Ann" }], changed: { name: "Ann" } } });
  assert.deepEqual(log, []);
  peer.system("/room/1", "ACKNOWLEDGE", {}, join.requestId);
  peer.broadcast("/room/1", "n", { n: 2 });
  assert.deepEqual(log, ["joined", "welcome", "n1", "n2"]);
  assert.deepEqual(room.presence, [{ id: null, presence: { name: "Ann" } }]);
});

it("19: several messages in one frame are handled one by one, and an invalid line is reported", async (world) => {
  const { room, peer, pond } = await world.joined();
  const got = [];
  const errors = [];
  pond.onError(({ code }) => errors.push(code));
  room.on("n", ({ n }) => got.push(n));
  const line = (n) => JSON.stringify({ action: "BROADCAST", event: "n", channelName: room.name, requestId: "", payload: { n } });
  peer.write(`${line(1)}\n${line(2)}\n`);
  peer.write(`{oops\n${line(3)}`);
  peer.write("null\n[]\n7");
  peer.write(new Blob(["binary"]));
  peer.write(line(4));
  assert.deepEqual(got, [1, 2, 3, 4]);
  assert.ok(errors.length >= 2 && errors.every((code) => code === "INVALID_FRAME"), String(errors));
});

it("20: after a reconnect there is exactly one join for each wanted channel", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected();
  const rooms = ["/a", "/b", "/c", "/d"].map((name) => pond.channel(name));
  for (const room of rooms) room.join();
  rooms[0].on("x", () => {});
  pond.channel("/a").on("x", () => {});
  await clock.advance(10);
  peer.reset();
  rooms[1].leave();
  pond.channel("/e").join();
  await clock.advance(5 * second);
  assert.deepEqual(server.last.received.map(({ channelName }) => channelName).sort(), ["/a", "/c", "/d", "/e"]);
});

it("20: a join without an answer is repeated, on the same connection and after a loss", async (world) => {
  const { clock, server } = world;
  const joins = [];
  server.join = (peer, message) => joins.push(message);
  const { pond, room } = await world.joined({ heartbeat: 0 });
  const errors = [];
  room.onError(({ code }) => errors.push(code));
  await clock.advance(30 * second);
  assert.ok(joins.length >= 2, `${joins.length} joins`);
  assert.equal(errors[0], "JOIN_TIMEOUT");
  const before = joins.length;
  server.last.reset();
  await clock.advance(2 * second);
  assert.equal(joins.length, before + 1);
  assert.equal(room.status, "joining");
  await clock.advance(12 * second);
  const [early] = joins.slice(before);
  server.last.system(room.name, "ACKNOWLEDGE", {}, early.requestId); // late, and still an answer
  assert.equal(room.status, "joined");
  await clock.advance(60 * second);
  assert.equal(room.status, "joined");
  assert.equal(pond.status, "connected");
});

it("20: rejections of all servers are understood, temporary ones are retried, and a declined channel stays declined", async (world) => {
  const { clock, server } = world;
  const E = (code, status) => ({ code, message: "no", status, statusCode: status, error: { message: "no", status } });
  const refusals = [
    [{ action: "SYSTEM", event: "UNAUTHORIZED", payload: E("UNAUTHORIZED_JOIN_REQUEST", 403) }, "UNAUTHORIZED_JOIN_REQUEST", 403],
    [{ action: "SYSTEM", event: "UNAUTHORIZED", payload: { code: 403, message: "no" } }, "UNAUTHORIZED", 403],
    [{ action: "ERROR", event: "UNAUTHORIZED_JOIN_REQUEST", payload: E("UNAUTHORIZED_JOIN_REQUEST", 401) }, "UNAUTHORIZED_JOIN_REQUEST", 401],
    [{ action: "ERROR", event: "CHANNEL_NOT_FOUND", payload: E("CHANNEL_NOT_FOUND", 404) }, "CHANNEL_NOT_FOUND", 404],
  ];
  for (const [refusal, code, status] of refusals) {
    server.join = (peer, { channelName, requestId }) => peer.send({ channelName, ...refusal, requestId });
    const { pond, room, peer } = await world.joined();
    await assert.rejects(room.join(), { name: "PondError", code, status, message: "no" });
    peer.reset();
    await clock.advance(5 * second);
    assert.equal(room.status, "declined");
    assert.equal(server.last.sent("JOIN_CHANNEL").length, 0);
    await assert.rejects(room.send("x"), { code: "NOT_JOINED", status });
    pond.close();
  }
  for (const event of ["NOT_FOUND", "INTERNAL_ERROR"]) {
    let n = 0;
    server.join = (peer, { channelName, requestId }) =>
      peer.system(channelName, n++ ? "ACKNOWLEDGE" : event, n > 1 ? {} : { code: 503, message: "busy" }, requestId);
    const { pond, room } = await world.joined();
    assert.equal(room.status, "joining");
    assert.equal(room.getSnapshot().error.code, event);
    await clock.advance(2 * second);
    assert.equal(room.status, "joined");
    assert.equal(room.getSnapshot().error, null);
    pond.close();
  }
});

it("20: a member that the server removes is not joined again by itself", async (world) => {
  const { clock, server } = world;
  const ends = [["SYSTEM", "kicked_out", { message: "spam", code: 403 }], ["SYSTEM", "EVICTED", { reason: "spam" }], ["SYSTEM", "evicted", { reason: "spam" }], ["ERROR", "destroyed", { message: "spam" }]];
  for (const [action, event, payload] of ends) {
    const { pond, room, peer } = await world.joined();
    const errors = [];
    room.onError((error) => errors.push([error.code, error.message]));
    const unanswered = assert.rejects(room.request("slow"), { code: event });
    peer.send({ action, event, channelName: room.name, payload });
    peer.system(room.name, "kicked", { userId: "me" });
    assert.equal(room.status, "removed");
    assert.deepEqual(errors, [[event, "spam"]]);
    await unanswered;
    peer.reset();
    await clock.advance(5 * second);
    assert.equal(room.status, "removed");
    await room.join();
    assert.equal(room.status, "joined");
    pond.close();
  }
  // An event of the application may have the same name.
  const { room, peer } = await world.joined();
  const got = [];
  room.on("evicted", () => got.push(1));
  peer.broadcast(room.name, "evicted");
  assert.deepEqual([got, room.status], [[1], "joined"]);
});

it("20: a membership that the server lost without a notice is joined again", async (world) => {
  const { clock, server } = world;
  server.event = (peer, { channelName, requestId }) =>
    peer.send({ action: "ERROR", event: "CHANNEL_NOT_FOUND", channelName, requestId, payload: { code: "CHANNEL_NOT_FOUND", status: 404, message: "not a member" } });
  const { room, peer } = await world.joined();
  room.onError(() => {});
  await assert.rejects(room.request("x"), { code: "CHANNEL_NOT_FOUND" });
  await clock.advance(2 * second);
  assert.equal(room.status, "joined");
  assert.deepEqual(names(peer), ["J /room/1", "B /room/1", "L /room/1", "J /room/1"]);
});

it("21: queued messages wait for the answer, and precede those that a listener sends", async (world) => {
  const { clock, server } = world;
  let join;
  server.join = (peer, message) => { join = message; };
  const pond = world.pond();
  const room = pond.channel("/room/1");
  room.onJoin(() => void room.send("third"));
  const sent = [room.send("first"), room.send("second")];
  await clock.advance(10);
  const peer = server.last;
  assert.deepEqual(peer.sent("BROADCAST"), []);
  assert.deepEqual(pond.queued.messages, 2);
  peer.system("/room/1", "ACKNOWLEDGE", {}, join.requestId);
  assert.deepEqual(peer.sent("BROADCAST").map(({ event }) => event), ["first", "second", "third"]);
  await Promise.all(sent);
  assert.deepEqual(pond.queued, { messages: 0, bytes: 0 });
});

it("21: params are evaluated for each join, and errors are reported and retried", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const params = async () => {
    if (++n === 2) throw new Error("not now");
    return { n };
  };
  const { room, peer } = await world.joined({ channel: { params } });
  const errors = [];
  room.onError(({ code, message }) => errors.push([code, message]));
  assert.deepEqual(peer.sent("JOIN_CHANNEL")[0].payload, { n: 1 });
  peer.reset();
  await clock.advance(5 * second);
  assert.deepEqual(errors, [["SETUP", "not now"]]);
  assert.deepEqual(server.last.sent("JOIN_CHANNEL").map(({ payload }) => payload), [{ n: 3 }]);
  assert.equal(room.status, "joined");
});

it("21: join can be aborted, which releases the channel", async (world) => {
  const { clock, server } = world;
  server.join = () => {};
  const { pond, peer } = await world.connected();
  const room = pond.channel("/room/1");
  const abort = new AbortController();
  const joined = assert.rejects(room.join({ signal: abort.signal }), { name: "AbortError" });
  await clock.advance(1);
  abort.abort();
  await joined;
  await clock.advance(5);
  assert.equal(room.status, "idle");
  assert.deepEqual(names(peer), ["J /room/1", "L /room/1"]);
  await assert.rejects(room.join({ signal: AbortSignal.abort() }), { name: "AbortError" });
});

it("16: a handle with listeners is released with them, even if it sent a message; one without is used until leave", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected();
  const a = pond.channel("/a");
  const off = a.on("x", () => {});
  await clock.advance(1);
  await a.send("x");
  off();
  const b = pond.channel("/b");
  void b.send("x");
  await clock.advance(second);
  assert.deepEqual(names(peer), ["J /a", "B /a", "J /b", "B /b", "L /a"]);
  b.leave();
  await clock.advance(second);
  assert.equal(names(peer).at(-1), "L /b");
});

it("16: a channel that is released twice at once and used again in between stays joined", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected();
  const room = pond.channel("/room/1");
  const got = [];
  room.subscribe(() => {})(); // it is released in a macrotask
  setTimeout(() => pond.channel("/room/1").on("x", () => got.push(1)));
  room.subscribe(() => {})(); // and once more, after that
  await clock.advance(second);
  peer.broadcast("/room/1", "x");
  assert.deepEqual(got, [1]);
  assert.deepEqual(names(peer), ["J /room/1", "L /room/1", "J /room/1"]);
});

it("24: a channel of a closed pond settles all promises immediately", async (world) => {
  const { clock } = world;
  const { pond } = await world.connected();
  pond.close();
  const room = pond.channel("/late");
  await assert.rejects(room.join(), { code: "CLOSED" });
  await assert.rejects(room.send("x"), { code: "NOT_JOINED" });
  assert.equal(room.status, "idle");
  await clock.advance(second);
  assert.equal(clock.pending, 0);
});

it("9: a client that stops reports it, and rejects pending joins", async (world) => {
  const { clock, server } = world;
  Object.assign(server, { stream: 403 });
  const pond = world.pond({ transports: ["stream"] });
  const joined = assert.rejects(pond.channel("/a").join(), { code: "REJECTED", status: 403 });
  await clock.advance(10);
  await joined;
  await assert.rejects(pond.channel("/b").join(), { status: 403 });
  assert.match(String(world.errors[0]), /no/);
  Object.assign(server, { stream: 200 });
  pond.connect();
  await clock.advance(10);
  assert.equal((await pond.channel("/a").join()).status, "fresh");
});

it("21: parameters that cannot be sent decline the join", async (world) => {
  const circle = {};
  circle.self = circle;
  const { room } = await world.joined({ channel: { params: circle } });
  assert.equal(room.getSnapshot().error?.code, "SETUP");
  assert.equal(world.errors.length > 0, true);
});

it("14: an answer to a join of an earlier connection does not count", async (world) => {
  const { clock, server } = world;
  const joins = [];
  server.join = (peer, message) => joins.push(message);
  const { room, peer } = await world.joined();
  peer.reset();
  await clock.advance(2 * second);
  assert.equal(joins.length, 2);
  server.last.system(room.name, "ACKNOWLEDGE", {}, joins[0].requestId);
  assert.equal(room.status, "joining");
  server.last.system(room.name, "ACKNOWLEDGE", {}, joins[1].requestId);
  assert.equal(room.status, "joined");
});
