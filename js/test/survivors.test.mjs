// Small promises, each of which a change of one line would break without another test noticing.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const second = 1000;
const minute = 60 * second;
const name = "/room/1";

it("C-X2: the same message twice is reported and not delivered again", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  const got = [];
  const errors = [];
  room.on("n", (_, { offset }) => got.push(offset));
  room.onError(({ code }) => errors.push(code));
  history.publish("n");
  peer.send(history.frame(history.log[0]));
  await clock.advance(5 * second);
  assert.deepEqual(got, [1]);
  assert.deepEqual(errors, ["ORDER"]);
  assert.equal(room.status, "joined");
});

it("25: a message without a number does not move the position, and what is early is delivered only if it has none", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  const got = [];
  room.onMessage(({ event }) => got.push(event));
  history.publish("n");
  peer.broadcast(name, "reply");
  const join = history.join.bind(history);
  history.join = (next, message) => {
    next.broadcast(name, "early");
    next.send(history.frame({ offset: 1, event: "earlier", payload: {} }));
    join(next, message);
  };
  peer.reset();
  await clock.advance(2 * second);
  assert.equal(history.froms.at(-1).offset, 1);
  assert.deepEqual(got, ["n", "reply", "early"]);
});

it("20: a second answer to a join changes nothing, and is not an event", async (world) => {
  const { clock } = world;
  const { room, peer } = await world.joined();
  const calls = [];
  room.onMessage(({ event }) => calls.push(event));
  room.onJoin(() => calls.push("join"));
  const [{ requestId }] = peer.sent("JOIN_CHANNEL");
  for (let i = 0; i < 2; i++) peer.system(name, "ACKNOWLEDGE", {}, requestId);
  peer.system(name, "EXIT_ACKNOWLEDGE", {}, requestId);
  await clock.advance(10);
  assert.deepEqual(calls, []);
  assert.equal(room.status, "joined");
});

it("20: a refused join is repeated once per delay, and not by its time limit as well", async (world) => {
  const { clock, server } = world;
  let refused = 1;
  const answer = server.join;
  server.join = (peer, message) => {
    if (refused-- > 0) peer.system(name, "UNAUTHORIZED", { code: "FULL", message: "full", status: 503 }, message.requestId);
    else answer(peer, message);
  };
  const { room, peer } = await world.joined({ backoff: [20_000, 20_000] });
  room.onError(() => {});
  await clock.advance(minute);
  assert.equal(room.status, "joined");
  assert.equal(peer.sent("JOIN_CHANNEL").length, 2);
});

it("16: a handle that joined keeps the channel when its listeners are removed", async (world) => {
  const { clock } = world;
  const { room, peer } = await world.joined();
  room.on("say", () => {})();
  await clock.advance(10);
  assert.equal(room.status, "joined");
  assert.deepEqual(peer.sent("LEAVE_CHANNEL"), []);
});

it("21: a signal that is aborted after the join does nothing", async (world) => {
  const { clock } = world;
  const { pond, peer } = await world.connected();
  const room = pond.channel(name);
  const abort = new AbortController();
  await Promise.all([room.join({ signal: abort.signal }), clock.advance(10)]);
  abort.abort();
  await clock.advance(10);
  assert.equal(room.status, "joined");
  assert.deepEqual(peer.sent("LEAVE_CHANNEL"), []);
});

it("8: welcomeAfter replaces the time limit and the first message of old servers", async (world) => {
  const { clock, server } = world;
  server.greets = false;
  const pond = world.pond({ transports: ["websocket"], welcomeAfter: 500 });
  const room = pond.channel(name);
  room.join();
  await clock.advance(400);
  assert.equal(pond.status, "connecting");
  await clock.advance(200);
  assert.equal(pond.status, "connected");
  assert.equal(room.status, "joined");
  await clock.advance(minute);
  assert.equal(server.peers.length, 1);
});

it("11: a WebSocket that does not open may have rejected an old token", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { peer } = await world.connected({ transports: ["websocket"], token: () => `t${++n}` });
  await clock.advance(2 * minute);
  server.up = false;
  peer.reset();
  await clock.advance(3 * second);
  server.up = true;
  await clock.advance(30 * second);
  assert.equal(n, 2);
  assert.equal(server.last.url.searchParams.get("token"), "t2");
});

it("20: a channel that was declined or removed sends no leave, takes no message, and begins anew", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  const { room, peer } = await world.joined();
  history.publish("n");
  const errors = [];
  const got = [];
  room.onError(({ code }) => errors.push(code));
  room.onMessage(({ event }) => got.push(event));
  peer.system(name, "kicked_out", {});
  peer.send({ action: "ERROR", event: "late", channelName: name });
  peer.broadcast(name, "late");
  assert.equal(errors.length, 1);
  assert.deepEqual(got, []);
  room.leave();
  await clock.advance(10);
  assert.deepEqual(peer.sent("LEAVE_CHANNEL"), []);

  room.join();
  await clock.advance(10);
  peer.system(name, "kicked_out", {});
  room.join();
  await clock.advance(10);
  assert.equal(history.froms.at(-1), undefined);
  assert.equal(room.getSnapshot().outcome.status, "fresh");
});

it("X-21: a connection ends the advice that came before it", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected();
  peer.system("ENDPOINT", "RECONNECT", { after: minute });
  peer.close(1001);
  pond.connect(); // the user does not wait
  await clock.advance(10);
  assert.equal(pond.status, "connected");
  server.last.close(1001);
  assert.ok(pond.getSnapshot().retryAt - clock.wall <= second);
});

it("C-X4: POSTs that are put off now and then do not end the stream, and what was taken back is not sent", async (world) => {
  const { clock, server } = world;
  const { room } = await world.joined({ transports: ["stream"] });
  let posts = 0;
  server.postStatus = () => (posts++ % 2 ? 204 : 503);
  for (let i = 0; i < 10; i++) {
    const sent = room.send(`${i}`);
    await clock.advance(2 * second);
    await sent;
  }
  assert.equal(server.peers.length, 1);

  server.postStatus = () => 204;
  const abort = new AbortController();
  const first = room.send("first");
  const second_ = room.send("second", {}, { signal: abort.signal });
  abort.abort();
  await assert.rejects(second_, { name: "AbortError" });
  await Promise.all([first, clock.advance(second)]);
  assert.equal(server.last.sent("BROADCAST").at(-1).event, "first");
});

it("24: when the server removes a member, the response to a POST in flight decides about its message", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined({ transports: ["stream"] });
  room.onError(() => {});
  const sent = room.send("x");
  const asked = assert.rejects(room.request("silence"), { code: "kicked_out" });
  const queued = assert.rejects(room.send("queued"), { code: "kicked_out" });
  peer.system(name, "kicked_out", {});
  await clock.advance(second);
  await Promise.all([sent, asked, queued]);
  assert.equal(server.peers.length, 1);
});
