// Requirements 22 to 29 and the rules C-X of the extensions: delivery and recovery.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const second = 1000;
const minute = 60 * second;

it("22: the queue is limited by number, and messages above the limit reject", async (world) => {
  const { clock, server } = world;
  server.up = false;
  const pond = world.pond({ queue: { messages: 3 } });
  const [a, b] = [pond.channel("/a"), pond.channel("/b")];
  const sent = [a.send("1"), b.send("2"), a.send("3")];
  await assert.rejects(b.send("4"), { code: "QUEUE_FULL" });
  assert.equal(pond.queued.messages, 3);
  server.up = true;
  await clock.advance(5 * second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event).sort(), ["1", "2", "3"]);
  assert.deepEqual(pond.queued, { messages: 0, bytes: 0 });
});

it("22: the queue is limited by bytes, as encoded", async (world) => {
  const { server } = world;
  server.up = false;
  const pond = world.pond({ queue: { bytes: 1000 } });
  const room = pond.channel("/a");
  void room.send("x", { text: "é".repeat(350) }); // two bytes each
  assert.ok(pond.queued.bytes > 700 && pond.queued.bytes < 1000, String(pond.queued.bytes));
  await assert.rejects(room.send("x", { text: "a".repeat(300) }), { code: "QUEUE_FULL" });
});

it("22: the queue is limited by age", async (world) => {
  const { clock, server } = world;
  server.up = false;
  const pond = world.pond({ queue: { age: minute } });
  const room = pond.channel("/a");
  const old = assert.rejects(room.send("old"), { code: "EXPIRED" });
  await clock.advance(30 * second);
  const young = room.send("young");
  await clock.advance(31 * second);
  await old;
  server.up = true;
  await clock.advance(29 * second);
  await young;
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["young"]);
});

it("22: the application can clear the queue, and a signal removes one message", async (world) => {
  const { clock, server } = world;
  server.up = false;
  const pond = world.pond();
  const room = pond.channel("/a");
  const abort = new AbortController();
  const one = assert.rejects(room.send("one", {}, { signal: abort.signal }), { name: "AbortError" });
  const two = room.send("two");
  abort.abort();
  await one;
  assert.equal(pond.queued.messages, 1);
  const cleared = assert.rejects(two, { code: "CLEARED" });
  pond.clearQueue();
  await cleared;
  void room.send("no promise is awaited for this one"); // and its rejection is not unhandled
  pond.clearQueue();
  await assert.rejects(room.send("x", {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  server.up = true;
  await clock.advance(5 * second);
  assert.deepEqual(server.last.sent("BROADCAST"), []);
  assert.deepEqual(pond.queued, { messages: 0, bytes: 0 });
});

it("22: messages that the transport did not send yet count", async (world) => {
  const { server } = world;
  const { room, peer } = await world.joined({ queue: { bytes: 1000 } });
  await room.send("large", { text: "x".repeat(5000) }); // the queue is empty
  server.buffered = 5000;
  await assert.rejects(room.send("x"), { code: "QUEUE_FULL" });
  assert.equal(peer.sent("BROADCAST").length, 1);
});

it("22: payloads that no server accepts are rejected immediately", async (world) => {
  const { room, peer } = await world.joined();
  for (const payload of [[], "text", 7, true]) await assert.rejects(room.send("x", payload), TypeError);
  const circle = {};
  circle.self = circle;
  await assert.rejects(room.send("x", circle), TypeError);
  await room.send("x", null);
  await room.send("x");
  assert.deepEqual(peer.sent("BROADCAST").map(({ payload }) => payload), [{}, {}]);
});

it("23: a request resolves to its answer, and rejects with the server's error", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined();
  assert.deepEqual(await room.request("echo", { n: 1 }), { n: 1 });
  await assert.rejects(room.request("fail"), { name: "PondError", code: "HANDLER_NOT_FOUND", status: 409, message: "not now" });
  const late = assert.rejects(room.request("silence", {}, { timeout: 5000 }), { code: "TIMEOUT", status: 408 });
  await clock.advance(5000);
  await late;
  const asked = room.request("say");
  peer.send({ action: "PRESENCE", event: "JOIN", channelName: room.name, requestId: peer.received.at(-1).requestId, payload: { presence: [], changed: {} } });
  peer.broadcast(room.name, "said", { ok: 1 }, { requestId: peer.received.at(-1).requestId }); // an answer that the other members get as well
  assert.deepEqual(await asked, { ok: 1 });
  const refused = assert.rejects(room.request("x"), { code: "NOT_FOUND" }); // of other servers
  peer.system(room.name, "NOT_FOUND", { channel: room.name }, peer.received.at(-1).requestId);
  await refused;
  assert.equal(server.peers.length, 1);
});

it("23: an error that no request waits for is an event of the channel", async (world) => {
  const { room, peer } = await world.joined();
  const errors = [];
  const off = room.onError((error) => errors.push(error.message));
  await room.send("fail");
  off();
  await room.send("fail");
  assert.deepEqual(errors, ["not now"]);
  assert.equal(world.errors.length, 1, "and else goes to the console");
  assert.equal(peer.sent("BROADCAST").length, 2);
});

it("23: a request whose outcome is unknown rejects as that, unless it is idempotent", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined();
  const once = assert.rejects(room.request("silence"), { code: "OUTCOME_UNKNOWN" });
  const again = room.request("silence", { n: 2 }, { idempotent: true });
  peer.reset();
  await once;
  const waiting = room.request("echo", { n: 3 }); // it was not sent, so it may be sent now
  const event = server.event;
  server.event = (p, message) => event.call(server, p, { ...message, event: "echo" });
  await clock.advance(5 * second);
  assert.deepEqual([await again, await waiting], [{ n: 2 }, { n: 3 }]);
  const repeated = server.last.sent("BROADCAST");
  assert.deepEqual(repeated.map(({ payload }) => payload), [{ n: 2 }, { n: 3 }]);
  assert.equal(repeated[0].requestId, peer.sent("BROADCAST")[1].requestId, "the server can recognize it");
});

it("24: calls settle in every case", async (world) => {
  const { clock, server } = world;
  for (const when of ["offline", "joining", "joined"]) {
    server.up = when !== "offline";
    if (when === "joining") server.join = () => {};
    else server.join = Object.getPrototypeOf(server).join;
    for (const end of ["close", "leave"]) {
      const { pond, room } = await world.joined();
      const code = end === "close" ? "CLOSED" : "LEFT";
      const calls = [assert.rejects(room.request("silence"), { code })];
      if (when !== "joined") calls.push(assert.rejects(room.send("x"), { code }), assert.rejects(room.join(), { code }));
      void room.request("silence"); // its promise is not awaited, and no rejection is unhandled
      if (end === "close") pond.close();
      else room.leave();
      await clock.advance(1);
      await Promise.all(calls);
      assert.deepEqual(pond.queued, { messages: 0, bytes: 0 });
      if (end === "close") {
        await assert.rejects(room.send("x"), { code: "NOT_JOINED" });
        await assert.rejects(room.join(), { code: "CLOSED" });
      }
      pond.close();
      pond.close();
    }
  }
});

it("25: the position comes only from the server, and recovery needs no event", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  history.top = 40;
  history.epoch = "k3";
  const { room, peer } = await world.joined();
  const outcomes = [];
  room.onJoin((outcome) => outcomes.push(outcome));
  assert.deepEqual(peer.sent("JOIN_CHANNEL")[0].want, ["diff", "recover"]);
  assert.equal(peer.sent("JOIN_CHANNEL")[0].from, undefined);
  peer.reset();
  history.publish("said", { n: 1, offset: 999, epoch: "application" });
  await clock.advance(5 * second);
  assert.deepEqual(history.froms.at(-1), { epoch: "k3", offset: 40, id: peer.id });
  assert.deepEqual(outcomes, [{ status: "recovered" }]);
});

it("26: every join reports fresh, recovered or gap with its reason", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const pond = world.pond();
  const room = pond.channel("/room/1");
  const outcomes = [];
  const gaps = [];
  room.onJoin(({ status, reason }) => outcomes.push(reason ? `${status} ${reason}` : status));
  room.onGap(({ reason }) => gaps.push(reason));
  const lose = async (change = () => {}) => {
    server.last.reset();
    change();
    await clock.advance(minute);
  };
  await clock.advance(10);
  history.publish("a");
  await lose();
  await lose(() => history.publish("b"));
  await lose(() => { history.publish("c"); history.trimmed = history.top; });
  await lose(() => history.restart("e2"));
  await lose(() => { history.reason = "limit"; });
  await lose(() => { history.reason = "unavailable"; });
  await lose(() => { history.reason = undefined; });
  await lose(() => { server.features = undefined; server.join = Object.getPrototypeOf(server).join; });
  await lose();
  assert.deepEqual(outcomes, ["fresh", "recovered", "recovered", "gap expired", "gap epoch", "gap limit", "gap unavailable", "recovered", "gap unavailable", "fresh"]);
  assert.deepEqual(gaps, ["expired", "epoch", "limit", "unavailable", "unavailable"]);
  assert.deepEqual(room.getSnapshot().outcome, { status: "fresh", reason: undefined });
  assert.equal(room.status, "joined");
});

it("27: recovery survives ten overlapping losses, and all messages arrive once and in order", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room } = await world.joined();
  const got = [];
  room.on("n", ({ n }, { offset, replayed }) => got.push({ n, offset, replayed }));
  let n = 0;
  const publish = (count) => { for (let i = 0; i < count; i++) history.publish("n", { n: ++n }); };
  publish(3);
  for (let i = 0; i < 10; i++) {
    server.last.reset();
    publish(5);
    history.replay = (peer, missed) => {
      for (const entry of missed.slice(0, 2)) peer.send(history.frame(entry)); // and then it breaks
    };
    await clock.advance(minute);
  }
  delete history.replay;
  server.last.reset();
  publish(2);
  await clock.advance(minute);
  publish(1);
  assert.deepEqual(got.map((message) => message.n), Array.from({ length: n }, (_, i) => i + 1));
  assert.deepEqual([got[0].replayed, got[3].replayed, got.at(-1).replayed], [false, true, false]);
  assert.equal(history.froms.length, 12);
  assert.deepEqual(new Set(history.froms.slice(1).map(({ id }) => id)), new Set(["user-1"]), "until a replay ends, it is for the user that missed it");
});

it("27: the user id of a position is that of the connection after a complete replay", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  await world.joined();
  server.last.reset();
  await clock.advance(minute);
  server.last.reset();
  await clock.advance(minute);
  assert.deepEqual(history.froms.map((from) => from?.id), [undefined, "user-1", "user-2"]);
});

it("28: a join always contains a position, even if no message arrived, and hidden messages move the position", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  peer.system(room.name, "POSITION", { epoch: "e1", offset: 64 });
  for (let i = 0; i < 3; i++) {
    server.last.reset();
    history.top = 64 + i;
    await clock.advance(5 * second);
  }
  assert.deepEqual(history.froms.slice(1).map(({ offset }) => offset), [64, 64, 65]);
});

it("29: leaving stops a replay, and there is one recovery per channel at a time", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  let rest;
  history.replay = (p, missed, done) => { rest = () => { for (const entry of missed) p.send(history.frame(entry)); done(); }; };
  peer.reset();
  history.publish("n");
  const got = [];
  room.on("n", () => got.push(1));
  await clock.advance(5 * second);
  room.leave();
  await clock.advance(1);
  rest();
  assert.deepEqual(got, []);
  assert.equal(server.last.sent("JOIN_CHANNEL").length, 1);
  room.join(); // left on purpose, so it does not ask for messages
  await clock.advance(5);
  assert.equal(history.froms.at(-1), undefined);
});

it("C-X1: the first join can ask for past messages, which are marked as replayed", async (world) => {
  const { server, clock } = world;
  const history = new History(server);
  for (let i = 1; i <= 5; i++) history.publish("n", { n: i });
  const pond = world.pond();
  const room = pond.channel("/room/1", { last: 2 });
  const got = [];
  room.on("n", ({ n }, { replayed }) => got.push([n, replayed]));
  await clock.advance(10);
  history.publish("n", { n: 6 });
  assert.deepEqual(history.froms, [{ last: 2 }]);
  assert.deepEqual(got, [[4, true], [5, true], [6, false]]);
  assert.deepEqual(room.getSnapshot().outcome.status, "fresh");
  server.last.reset();
  history.publish("n", { n: 7 });
  await clock.advance(5 * second);
  assert.equal(history.froms.at(-1).offset, 6);
  assert.deepEqual(got.at(-1), [7, true]);
});

it("C-X1: the client requests extensions only if the server announces them, and does not use them if the server does not grant them", async (world) => {
  const { server } = world;
  const { room, peer } = await world.joined({ channel: { last: 10 } });
  assert.deepEqual(Object.keys(peer.sent("JOIN_CHANNEL")[0]).sort(), ["action", "channelName", "event", "payload", "requestId"]);
  const events = [];
  room.onMessage(({ event }) => events.push(event));
  for (const event of ["GAP", "RECOVERED", "POSITION", "PRESENCE_STATE", "PRESENCE_DIFF"]) peer.system(room.name, event, {}); // replies of the application
  assert.equal(events.length, 5);
  server.features = ["url", "new"];
  const other = await world.joined({ name: "/room/2" });
  assert.equal(other.peer.sent("JOIN_CHANNEL")[0].want, undefined);
});

it("C-X2: a numbered message that is not above the position is reported, and leads to another join from there", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  const errors = [];
  const got = [];
  room.onError(({ code }) => errors.push(code));
  room.on("n", ({ n }) => got.push(n));
  history.publish("n", { n: 1 });
  history.publish("n", { n: 2 });
  peer.send(history.frame(history.log[0]));
  history.publish("n", { n: 3 }); // still for the previous membership
  await clock.advance(5 * second);
  history.publish("n", { n: 4 });
  assert.deepEqual(errors, ["ORDER"]);
  assert.deepEqual(got, [1, 2, 3, 4]);
  assert.deepEqual(peer.received.map(({ action }) => action), ["JOIN_CHANNEL", "LEAVE_CHANNEL", "JOIN_CHANNEL"]);
  assert.deepEqual(history.froms.at(-1), { epoch: "e1", offset: 2, id: peer.id });
  assert.equal(room.status, "joined");
});

it("C-X2: if a server repeats messages without end, the client does not flood it with joins", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  room.onError(() => {});
  history.publish("n");
  history.replay = (p, missed, done) => { p.send(history.frame(history.log[0])); p.send(history.frame(history.log[0])); done(); };
  peer.send(history.frame(history.log[0]));
  await clock.advance(5 * minute);
  assert.ok(peer.sent("JOIN_CHANNEL").length < 40, `${peer.sent("JOIN_CHANNEL").length} joins`);
});

it("C-X2: missing offsets are not losses", async (world) => {
  const { server } = world;
  const history = new History(server);
  const { room } = await world.joined();
  const got = [];
  room.onError(() => got.push("error"));
  room.on("n", ({ n }) => got.push(n));
  history.publish("n", { n: 1 });
  history.publish("n", { n: 2 }, { hidden: true });
  history.publish("n", { n: 3 });
  assert.deepEqual(got, [1, 3]);
});

it("C-X3: without a listener, a gap is an error on the console", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer, pond } = await world.joined();
  const gaps = [];
  const off = room.onGap(({ reason }) => gaps.push(reason));
  peer.system(room.name, "GAP", { epoch: "e7", offset: 20, reason: "expired" });
  assert.deepEqual(gaps, ["expired"]);
  assert.deepEqual(world.errors, []);
  peer.reset();
  await clock.advance(5 * second);
  assert.deepEqual(history.froms.at(-1), { epoch: "e7", offset: 20, id: peer.id });
  off();
  server.last.system(room.name, "GAP", { epoch: "e7", offset: 30, reason: "expired" });
  assert.match(String(world.errors.at(-1)[1]), /messages of \/room\/1 were lost \(expired\)/);
  const errors = [];
  pond.onError(({ code }) => errors.push(code));
  server.last.system(room.name, "GAP", { epoch: "e7", offset: 40, reason: "expired" });
  assert.deepEqual(errors, ["GAP"]);
});

it("C-X5: messages sent while offline are sent in order after the next join, once", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined();
  await room.send("0");
  peer.reset();
  const sent = ["1", "2", "3"].map((event) => room.send(event));
  await clock.advance(5 * second);
  await Promise.all(sent);
  server.last.reset();
  await clock.advance(5 * second);
  assert.deepEqual(server.peers.flatMap((p) => p.sent("BROADCAST").map(({ event }) => event)), ["0", "1", "2", "3"]);
});

it("C-X5: a message that a closing socket would drop is sent again", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined();
  peer.socket.readyState = 2; // the close event comes later
  const sent = room.send("1");
  await clock.advance(1);
  assert.deepEqual(peer.sent("BROADCAST"), []);
  peer.close(1001);
  await clock.advance(5 * second);
  await sent;
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["1"]);
});

it("X-12: after a gap in the middle of a replay, messages of the new epoch do not count as replayed", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  for (let n = 1; n <= 5; n++) history.publish("n", { n });
  history.replay = (p, missed) => {
    p.send(history.frame(missed[0]));
    p.system(room.name, "GAP", { epoch: "e2", offset: 0, reason: "expired" });
    p.broadcast(room.name, "n", { n: 9 }, { offset: 1 });
  };
  const got = [];
  room.on("n", ({ n }, { replayed }) => got.push([n, replayed]));
  room.onGap(() => got.push("gap"));
  peer.reset();
  for (let n = 6; n <= 8; n++) history.publish("n", { n });
  await clock.advance(5 * second);
  assert.deepEqual(got, [[6, true], "gap", [9, false]]);
});
