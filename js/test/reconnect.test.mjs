// Requirements 1 to 13: reconnecting.

import assert from "node:assert/strict";
import { Pond, PondError, reactions } from "../pond.js";
import { it } from "./world.mjs";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

/** spreadOf fails unless times fill the window evenly enough: no tenth of it has more than three tenths of the times. */
function assertSpread(times, from, to) {
  assert.ok(Math.min(...times) >= from, `earliest ${Math.min(...times)}`);
  assert.ok(Math.max(...times) <= to, `latest ${Math.max(...times)}`);
  const tenths = Array(10).fill(0);
  for (const time of times) tenths[Math.min(9, Math.floor(((time - from) / (to - from)) * 10))]++;
  for (const count of tenths) assert.ok(count > times.length / 30 && count < times.length / 3, `uneven: ${tenths}`);
}

async function crowd(world, size) {
  const { clock, server } = world;
  for (let i = 0; i < size; i++) world.pond().connect();
  await clock.advance(10);
  assert.equal(server.live.length, size);
}

it("1: 1,000 clients of a server that restarts reconnect spread over time, from the first attempt on", async (world) => {
  const { clock, server } = world;
  await crowd(world, 1000);
  const lost = clock.now;
  const times = [];
  const before = server.peers.length;
  for (const peer of [...server.peers]) peer.reset();
  for (let i = 0; i < 120; i++) {
    const count = server.peers.length;
    await clock.advance(10);
    for (let n = count; n < server.peers.length; n++) times.push(clock.now - lost);
  }
  assert.equal(server.peers.length - before, 1000);
  assertSpread(times, 0, 1010);
});

it("1: 1,000 clients with the same advice reconnect after it, spread over time", async (world) => {
  const { clock, server } = world;
  await crowd(world, 1000);
  for (const peer of server.peers) peer.system("ENDPOINT", "RECONNECT", { after: 2000, reason: "shutdown" });
  for (const peer of [...server.peers]) peer.close(1001);
  const lost = clock.now;
  const times = [];
  for (let i = 0; i < 350; i++) {
    const count = server.peers.length;
    await clock.advance(10);
    for (let n = count; n < server.peers.length; n++) times.push(clock.now - lost);
  }
  assert.equal(times.length, 1000);
  assertSpread(times, 2000, 3010);
});


it("2: the delay grows with connections that end at once, and is short again after a healthy one", async (world) => {
  const { clock, server } = world;
  const { pond } = await world.connected({ backoff: [1000, 32_000] });
  world.global("Math", Object.assign(Object.create(Math), { random: () => 0.999 }));
  const delays = [];
  const end = async () => {
    server.last.close(1011);
    delays.push(Math.round((pond.getSnapshot().retryAt - clock.wall) / 1000));
    await clock.advance(40 * second);
  };
  for (let i = 0; i < 6; i++) {
    server.greets = true;
    server.last.close(1011);
    delays.push(Math.round((pond.getSnapshot().retryAt - clock.wall) / 1000));
    await clock.advance(pond.getSnapshot().retryAt - clock.wall + 5); // it opens, and ends before it was healthy
    assert.equal(pond.status, "connected");
  }
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 32]);
  delays.length = 0;
  await clock.advance(11 * second);
  await end();
  assert.deepEqual(delays, [1]);
});

it("3: twenty losses in a row and an hour without a server do not stop the client", async (world) => {
  const { clock, server } = world;
  const { pond } = await world.connected();
  for (let i = 0; i < 20; i++) {
    server.last.reset();
    await clock.advance(minute);
    assert.equal(pond.status, "connected");
  }
  server.up = false;
  server.last.reset();
  await clock.advance(hour);
  assert.ok(server.peers.length > 80, `${server.peers.length} attempts`);
  server.up = true;
  await clock.advance(minute);
  assert.equal(pond.status, "connected");
});

it("4: online makes one attempt, and offline neither blocks nor closes", async (world) => {
  const { clock, server } = world;
  const { fire } = world.page();
  world.global("navigator", { onLine: false });
  const { pond, peer } = await world.connected();
  fire("offline");
  await clock.advance(second);
  assert.equal(peer.lostBy, undefined);

  server.up = false;
  peer.reset();
  await clock.advance(5 * minute); // the delays are long now
  const attempts = server.peers.length;
  server.up = true;
  while (pond.status !== "waiting") await clock.advance(1);
  const tried = server.peers.length;
  fire("online");
  fire("online");
  await clock.advance(2);
  assert.equal(server.peers.length, tried + 1);
  assert.ok(tried >= attempts);
  assert.equal(pond.status, "connected");
});

it("4: online does not override the advice of the server", async (world) => {
  const { clock, server } = world;
  const { fire } = world.page();
  const { pond, peer } = await world.connected();
  peer.system("ENDPOINT", "RECONNECT", { after: 20_000, reason: "overload" });
  peer.close(1013);
  fire("online");
  await clock.advance(19 * second);
  assert.equal(pond.status, "waiting");
  assert.equal(server.peers.length, 1);
  await clock.advance(12 * second);
  assert.equal(pond.status, "connected");
});

it("5: a connection without data is abandoned without waiting for its close event", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected({ heartbeat: 30_000 });
  await clock.advance(10 * minute);
  assert.equal(server.peers.length, 1, "an idle server answers");
  assert.ok(peer.sent("LEAVE_CHANNEL").length >= 19, "probes");
  assert.deepEqual(world.errors, []);

  server.silent = true; // half-open: the fake never sends a close event by itself
  await clock.advance(41 * second);
  assert.equal(peer.socket.readyState, 2, "closed by the client");
  assert.equal(pond.getSnapshot().error?.code ?? "SILENT", "SILENT");
  server.silent = false;
  await clock.advance(2 * second);
  assert.equal(pond.status, "connected");
  assert.equal(server.peers.length, 2);
});

it("5: any data shows that the connection works, so a busy connection is not probed", async (world) => {
  const { clock } = world;
  const { room, peer } = await world.joined({ heartbeat: 30_000 });
  for (let i = 0; i < 60; i++) {
    peer.broadcast(room.name, "tick");
    await clock.advance(10 * second);
  }
  assert.equal(peer.sent("LEAVE_CHANNEL").length, 0);
});

it("5: the limit follows the interval that the server announces", async (world) => {
  const { clock, server } = world;
  server.heartbeatInterval = 4000;
  const { peer } = await world.connected();
  await clock.advance(7 * second);
  assert.equal(peer.sent("LEAVE_CHANNEL").length, 1);
});

it("5: servers that call themselves GATEWAY get a probe that they answer, and its error is not reported", async (world) => {
  const { clock, server } = world;
  server.gateway = true;
  const { pond, peer } = await world.connected();
  await clock.advance(5 * minute);
  assert.ok(peer.received.length >= 6);
  assert.ok(peer.received.every(({ action }) => action === "ping"));
  assert.equal(pond.status, "connected");
  assert.deepEqual(world.errors, []);
  assert.equal(server.peers.length, 1);
});

it("6: resuming, becoming visible and late timers cause a probe immediately", async (world) => {
  const { clock } = world;
  const page = world.page();
  const { pond, peer } = await world.connected({ heartbeat: 60_000 });
  const probes = () => peer.sent("LEAVE_CHANNEL").length;

  page.fire("resume");
  assert.equal(probes(), 1);
  await clock.advance(second);
  page.document.visibilityState = "hidden";
  page.fire("visibilitychange");
  assert.equal(probes(), 1);
  page.document.visibilityState = "visible";
  page.fire("visibilitychange");
  assert.equal(probes(), 2);

  await clock.advance(second);
  await clock.freeze(10 * minute); // the timers fire late
  await clock.advance(0);
  assert.equal(probes(), 3, "after a gap");
  await clock.advance(1);
  await clock.suspend(hour); // the machine slept: only the wall clock advanced
  await clock.advance(70 * second);
  assert.ok(probes() >= 4, "after sleep");
  assert.equal(pond.status, "connected");
});

it("6: a dead connection is found soon after waking up, and a live one survives ten minutes in a hidden tab", async (world) => {
  const { clock, server } = world;
  const page = world.page();
  const { pond, peer } = await world.connected();
  for (let i = 0; i < 10; i++) {
    await clock.freeze(minute - 1); // a hidden tab runs its timers once a minute
    await clock.advance(1);
  }
  assert.equal(pond.status, "connected");
  assert.equal(server.peers.length, 1);

  server.silent = true;
  page.fire("visibilitychange");
  await clock.advance(10 * second);
  assert.notEqual(pond.status, "connected");
  assert.notEqual(peer.lostBy, undefined);
});

it("7: sends do not wait for a timer", async (world) => {
  const { room, peer } = await world.joined();
  const sent = room.send("say", { text: "now" });
  assert.equal(peer.sent("BROADCAST").length, 1); // before any time or microtask has passed
  await sent;
});

it("8: one deadline covers the token, dialling and the first message", async (world) => {
  const { clock, server } = world;
  for (const hang of ["token", "dial", "welcome"]) {
    const options = { transports: ["websocket"], timeout: 10_000, backoff: [1, 1] };
    if (hang === "token") options.token = () => new Promise(() => {});
    server.websocket = hang !== "dial";
    server.greets = hang !== "welcome";
    const pond = world.pond(options);
    pond.connect();
    await clock.advance(9_999);
    assert.equal(pond.status, "connecting", hang);
    const errors = [];
    pond.subscribe(({ error }) => error && errors.push(error.code));
    await clock.advance(1);
    assert.deepEqual(errors, ["TIMEOUT"], hang);
    pond.close();
  }
});

it("9: the table has the reactions to close codes, and can be overridden", async (world) => {
  const { clock, server } = world;
  const expected = (code) => reactions[code] ?? (code >= 4400 && code <= 4599 && reactions[code - 4000] || "retry");
  const after = async (code, options) => {
    const { pond } = await world.connected(options);
    server.last.close(code, "because");
    await clock.advance(0);
    const { status, error } = pond.getSnapshot();
    pond.close();
    return { status, error };
  };
  for (const code of [1000, 1001, 1002, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4000, 4204, 4400, 4401, 4403, 4404, 4429, 4500, 4503, 4599, 4999]) {
    const { status, error } = await after(code);
    assert.equal(status, expected(code) === "retry" ? "waiting" : "stopped", code); // without a token, refresh stops
    assert.ok(error instanceof PondError);
    assert.deepEqual([error.code, error.status, error.message], ["DISCONNECTED", code, "because"]);
  }
  assert.equal((await after(1000, { reactions: { 1000: "retry" } })).status, "waiting");
  assert.equal((await after(4999, { reactions: { 4999: "stop" } })).status, "stopped");
  assert.equal((await after(4503, { reactions: { 503: "stop" } })).status, "stopped");
  assert.equal((await after(4204)).status, "waiting"); // not a status: as in pondclient
  assert.equal((await after(4700, { reactions: { 700: "stop" } })).status, "waiting");
});

it("9: the table has the reactions to HTTP statuses, and Retry-After is obeyed with jitter", async (world) => {
  const { clock, server } = world;
  for (const [status, headers, want] of [[400, {}, "stopped"], [401, {}, "stopped"], [403, {}, "stopped"], [404, {}, "stopped"], [204, {}, "stopped"], [500, {}, "waiting"], [503, { "retry-after": "30" }, "waiting"]]) {
    Object.assign(server, { stream: status, headers });
    const pond = world.pond({ transports: ["stream"], backoff: [1e6, 1e6] });
    pond.connect();
    await clock.advance(5);
    const { status: state, error, retryAt } = pond.getSnapshot();
    assert.equal(state, want, status);
    assert.equal(error.status, status);
    if (status === 503) assert.ok(retryAt - clock.wall > 29_990 && retryAt - clock.wall < 45_000, `${retryAt - clock.wall}`);
    pond.close();
  }
});

it("9: a client that stopped can be started again", async (world) => {
  const { clock, server } = world;
  const { pond } = await world.connected();
  server.last.close(4403);
  await clock.advance(hour);
  assert.equal(server.peers.length, 1);
  pond.connect();
  await clock.advance(10);
  assert.equal(pond.status, "connected");
});

it("10: token refreshes do not overlap, and results of earlier attempts are dropped", async (world) => {
  const { clock, server } = world;
  const calls = [];
  const token = () => new Promise((resolve) => calls.push(resolve));
  const pond = world.pond({ token });
  const room = pond.channel("/room/1", { params: ({ token }) => ({ token }) });
  room.join();
  pond.connect();
  pond.connect();
  await clock.advance(11 * second + 5); // the deadline of the first attempt, and the second attempt
  assert.equal(calls.length, 1);
  pond.setToken("from the application");
  await clock.advance(20 * second);
  calls[0]("late");
  await clock.advance(minute);
  assert.equal(pond.status, "connected");
  assert.ok(server.peers.every(({ url }) => url.searchParams.get("token") === "from the application"));
  assert.deepEqual(server.last.sent("JOIN_CHANNEL").map(({ payload }) => payload), [{ token: "from the application" }]);
  assert.equal(server.live.length, 1);
});

it("11: a token that is stale is refreshed before connecting and joining", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { peer, room } = await world.joined({
    token: () => ({ value: `t${++n}`, expiresIn: 600 }),
    channel: { params: ({ token }) => ({ token }) },
  });
  assert.equal(peer.url.searchParams.get("token"), "t1");
  assert.equal(n, 1);
  await clock.advance(5 * minute);
  peer.reset();
  await clock.advance(2 * second);
  assert.equal(server.last.url.searchParams.get("token"), "t1", "still fresh");
  await clock.advance(10 * minute);
  assert.equal(n, 1, "no refresh without need");
  server.last.reset();
  await clock.advance(2 * second);
  assert.equal(server.last.url.searchParams.get("token"), "t2");
  assert.deepEqual(server.last.sent("JOIN_CHANNEL").map(({ payload }) => payload), [{ token: "t2" }]);
  assert.equal(room.status, "joined");
});

it("11: a rejected token is refreshed; a static one stops the client until another is set", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { pond } = await world.connected({ token: () => `t${++n}` });
  await clock.advance(20 * second);
  server.last.close(4401);
  await clock.advance(2 * second);
  assert.equal(pond.status, "connected");
  assert.equal(server.last.url.searchParams.get("token"), "t2");
  pond.close();

  const other = (await world.connected({ token: "old" })).pond;
  const count = server.peers.length;
  server.last.close(4401);
  await clock.advance(hour);
  assert.equal(other.status, "stopped");
  assert.equal(other.getSnapshot().error.status, 4401);
  assert.equal(server.peers.length, count);
  other.setToken("new");
  await clock.advance(5);
  assert.equal(other.status, "connected");
  assert.equal(server.last.url.searchParams.get("token"), "new");
});

it("11: a join that is rejected with 401 gets another token, and with a static one a new token joins again", async (world) => {
  const { clock, server } = world;
  server.join = (peer, { channelName, requestId, payload }) =>
    payload.token === "good"
      ? peer.system(channelName, "ACKNOWLEDGE", {}, requestId)
      : peer.system(channelName, "UNAUTHORIZED", { code: "UNAUTHORIZED_JOIN_REQUEST", message: "expired", status: 401 }, requestId);
  const channel = { params: ({ token }) => ({ token }) };
  const tokens = ["bad", "good"];
  const first = await world.joined({ token: () => tokens.shift(), channel });
  first.room.onError(() => {});
  await clock.advance(12 * second);
  assert.equal(first.room.status, "joined");

  const second_ = await world.joined({ token: "bad", channel });
  assert.equal(second_.room.status, "declined");
  second_.pond.setToken("good");
  await clock.advance(5);
  assert.equal(second_.room.status, "joined");
});

it("12: a token function is called at most every ten seconds, for any server and clock", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { pond } = await world.connected({ token: () => ({ value: `t${++n}`, expiresIn: 0 }), backoff: [1, 1] });
  for (let i = 0; i < 60; i++) {
    server.last.close(1011);
    await clock.advance(second);
  }
  assert.ok(n <= 7, `${n} refreshes in a minute`);
  const before = n;
  clock.wall += hour; // the user sets the clock
  await clock.advance(minute);
  clock.wall -= 2 * hour;
  await clock.advance(10 * minute);
  assert.equal(n, before, "nothing needs a token");
  assert.equal(pond.status, "connected");
  server.last.close(1011);
  await clock.advance(20);
  assert.equal(pond.status, "connected");
});

it("12: a clock that is an hour wrong does not matter, and time asleep counts", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { pond } = await world.connected({ token: () => ({ value: `t${++n}`, expiresIn: 600 }) });
  clock.wall -= hour;
  await clock.advance(8 * minute);
  server.last.close(1011);
  await clock.advance(2 * second);
  assert.equal(n, 1);
  await clock.suspend(5 * minute);
  clock.wall += hour;
  server.last.close(1011);
  await clock.advance(2 * second);
  assert.equal(n, 2);
  assert.equal(pond.status, "connected");
});

it("12: three tokens in a row that are rejected stop the client, and so does the same token twice", async (world) => {
  const { clock, server } = world;
  server.stream = 401;
  for (const [token, calls] of [[(n) => `t${n}`, 3], [() => "same", 2]]) {
    let n = 0;
    const pond = world.pond({ transports: ["stream"], token: () => token(++n) });
    pond.connect();
    await clock.advance(hour);
    assert.equal(pond.status, "stopped");
    assert.equal(n, calls);
    pond.close();
  }
});

it("13: at most one socket is live, one that opens late is closed, and nothing opens after close", async (world) => {
  const { clock, server } = world;
  server.delay = 10_500; // later than the deadline
  const pond = world.pond({ transports: ["websocket"] });
  pond.connect();
  for (let i = 0; i < 60; i++) {
    await clock.advance(second);
    pond.connect();
    assert.ok(server.live.length <= 1);
  }
  assert.ok(server.peers.slice(0, -1).every(({ lostBy }) => lostBy !== undefined), "each was closed");
  server.delay = 1;
  await clock.advance(20 * second);
  assert.equal(pond.status, "connected");
  const count = server.peers.length;
  pond.close();
  pond.connect();
  pond.channel("/room/1").join();
  pond.setToken("t");
  await clock.advance(hour);
  assert.equal(server.peers.length, count);
  assert.equal(pond.status, "closed");
  assert.equal(server.live.length, 0);
});

it("13: close while connecting, waiting and fetching a token leaves no state behind", async (world) => {
  const { clock, server } = world;
  const timers = clock.pending;
  const ponds = [world.pond(), world.pond({ token: () => new Promise((resolve) => setTimeout(resolve, 50, "t")) })];
  for (const pond of ponds) pond.connect();
  server.up = false;
  const waiting = world.pond();
  waiting.connect();
  await clock.advance(5);
  assert.equal(waiting.status, "waiting");
  for (const pond of [...ponds, waiting]) pond.close();
  const count = server.peers.length;
  await clock.advance(hour);
  assert.equal(server.peers.length, count);
  assert.equal(server.live.length, 0);
  assert.equal(clock.pending, timers);
  assert.ok(new Pond("/anywhere"), "a pond that is not used needs no page");
});

it("12: joins do not refresh a token more often either, however short its life", async (world) => {
  const { clock } = world;
  let n = 0;
  const { pond } = await world.connected({ token: () => ({ value: `t${++n}`, expiresIn: 0 }) });
  for (let i = 0; i < 60; i++) {
    pond.channel(`/room/${i}`, { params: ({ token }) => ({ token }) }).join();
    await clock.advance(second);
  }
  assert.ok(n > 1 && n <= 7, `${n} refreshes`);
});

it("6: a probe whose answer the sleep delayed is asked again before the connection counts as dead", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected({ heartbeat: 30_000 });
  server.silent = true;
  await clock.advance(31 * second); // the probe is out
  await clock.freeze(minute);
  server.silent = false;
  await clock.advance(20 * second);
  assert.equal(pond.status, "connected");
  assert.equal(peer.lostBy, undefined);
  assert.equal(peer.sent("LEAVE_CHANNEL").length, 2);
});
