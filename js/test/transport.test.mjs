// Requirements 30 to 36 and C-X4: transports, event streams and pages.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const second = 1000;
const minute = 60 * second;
const transports = ({ peers }) => peers.map(({ transport }) => transport);

it("30: an event stream is used only when a WebSocket never opened", async (world) => {
  const { clock, server } = world;
  server.websocket = false; // it hangs
  const { pond } = await world.connected();
  await clock.advance(12 * second);
  assert.deepEqual(transports(server), ["websocket", "stream"]);
  assert.equal(pond.getSnapshot().transport, "stream");
  assert.equal(server.live.length, 1);
});

it("30: a WebSocket that opens without a first message counts as one that never opened", async (world) => {
  const { clock, server } = world;
  server.greets = false;
  const pond = world.pond();
  pond.connect();
  await clock.advance(9 * second);
  server.greets = true;
  await clock.advance(3 * second);
  assert.deepEqual(transports(server), ["websocket", "stream"]);
  assert.equal(pond.status, "connected");
});

it("30: a WebSocket that was healthy is tried again, and after three failures both transports are tried", async (world) => {
  const { clock, server } = world;
  const { pond } = await world.connected();
  await clock.advance(minute);
  for (let i = 0; i < 3; i++) { // a restart that takes two attempts
    server.up = false;
    const count = server.peers.length;
    server.last.reset();
    while (server.peers.length < count + 2) await clock.advance(10);
    server.up = true;
    await clock.advance(minute);
    assert.equal(pond.getSnapshot().transport, "websocket");
  }
  assert.ok(transports(server).every((name) => name === "websocket"));

  server.websocket = false; // the laptop moves to a network that blocks it
  server.last.reset();
  await clock.advance(2 * minute);
  assert.deepEqual(transports(server).slice(-4), ["websocket", "websocket", "websocket", "stream"]);
  assert.equal(pond.status, "connected");
});

it("31: the client changes from the fallback to a WebSocket when one opens again, without a loss", async (world) => {
  const { clock, server } = world;
  const history = new History(server);
  server.websocket = false;
  const pond = world.pond();
  const room = pond.channel("/room/1");
  const got = [];
  const outcomes = [];
  room.on("n", ({ n }) => got.push(n));
  room.onJoin(({ status }) => outcomes.push(status));
  await clock.advance(15 * second);
  assert.equal(pond.getSnapshot().transport, "stream");
  await clock.advance(20 * minute);
  const probes = server.peers.filter(({ transport }) => transport === "websocket").length;
  assert.ok(probes >= 3, `${probes} WebSockets`);
  assert.equal(pond.status, "connected", "the probes do not disturb the stream");
  assert.equal(transports(server).filter((name) => name === "stream").length, 1);

  server.websocket = true;
  for (let n = 1; n <= 600; n++) {
    history.publish("n", { n });
    await clock.advance(second);
  }
  assert.equal(pond.getSnapshot().transport, "websocket");
  assert.deepEqual(got, Array.from({ length: 600 }, (_, i) => i + 1));
  assert.deepEqual(outcomes, ["fresh", "recovered"]);
  assert.equal(server.live.length, 1);
});

it("31: a channel without history is not interrupted to change the transport", async (world) => {
  const { clock, server } = world;
  server.websocket = false;
  const { pond, room } = await world.joined();
  await clock.advance(15 * second);
  server.websocket = true;
  await clock.advance(30 * minute);
  assert.equal(pond.getSnapshot().transport, "stream");
  room.leave();
  await clock.advance(10 * minute);
  assert.equal(pond.getSnapshot().transport, "websocket");
});

it("31: the fallback also expires with the next loss", async (world) => {
  const { clock, server } = world;
  server.websocket = false;
  const { pond } = await world.joined();
  await clock.advance(15 * second);
  server.last.reset();
  await clock.advance(5 * second);
  assert.equal(pond.getSnapshot().transport, "stream", "not yet");
  await clock.advance(10 * minute);
  server.websocket = true;
  server.last.reset();
  await clock.advance(5 * second);
  assert.equal(pond.getSnapshot().transport, "websocket");
});

it("31: a server without event streams does not stop the client with its 404", async (world) => {
  const { clock, server } = world;
  Object.assign(server, { up: false, stream: 404 });
  const pond = world.pond();
  pond.connect();
  await clock.advance(3); // the WebSocket failed
  server.up = true;
  await clock.advance(minute);
  assert.equal(pond.status, "connected");
  assert.equal(pond.getSnapshot().transport, "websocket");
  pond.close();

  server.up = true;
  server.websocket = false; // no such endpoint: neither opens
  const other = world.pond({ timeout: second });
  other.connect();
  await clock.advance(minute);
  assert.equal(other.status, "stopped");
  assert.equal(other.getSnapshot().error.status, 404);
});

it("31: without a WebSocket class, the client uses event streams, and without either, it reports an error", async (world) => {
  const { server } = world;
  world.global("WebSocket", undefined);
  const { pond } = await world.connected({ WebSocket: undefined });
  assert.equal(pond.getSnapshot().transport, "stream");
  assert.deepEqual(transports(server), ["stream"]);
  const none = await world.connected({ WebSocket: undefined, transports: ["websocket"] });
  assert.equal(none.pond.getSnapshot().error.code, "NO_TRANSPORT");
  assert.equal(none.pond.status, "stopped");
});

it("32: one event stream serves all channels, and one that does not open causes a warning about the limit of six", async (world) => {
  const { clock, server } = world;
  const options = { transports: ["stream"] };
  const { pond } = await world.connected(options);
  for (const name of ["/a", "/b", "/c"]) pond.channel(name).join();
  await clock.advance(5 * second);
  assert.equal(server.peers.length, 1);
  assert.deepEqual(server.last.sent("JOIN_CHANNEL").map(({ channelName }) => channelName), ["/a", "/b", "/c"]);
  assert.deepEqual(world.errors, []);
  pond.close();

  server.stream = "hangs";
  const other = await world.connected(options);
  await clock.advance(10 * second);
  assert.match(String(world.errors), /six connections/);
  assert.equal(other.pond.getSnapshot().error.code, "TIMEOUT");
});

it("33: each attempt has fresh headers and parameters, and closing aborts it", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { pond } = await world.connected({
    transports: ["stream"],
    token: "t",
    headers: ({ token }) => ({ authorization: `Bearer ${token}${++n}` }),
    params: async () => ({ n, list: [1, 2], none: undefined }),
  });
  const [peer] = server.peers;
  assert.equal(peer.headers.authorization, "Bearer t1");
  assert.equal(peer.headers.accept, "text/event-stream");
  assert.equal(peer.cache, "no-store");
  assert.equal(peer.url.search, "?n=0&list=1%2C2");
  pond.channel("/a").join();
  await clock.advance(5);
  assert.equal(server.posts[0].headers.authorization, "Bearer t1");
  peer.close();
  await clock.advance(5 * second);
  assert.equal(server.last.headers.authorization, "Bearer t2");
  pond.close();
  await clock.advance(1);
  assert.equal(server.last.lostBy, "abort");
});

it("33: the query of the URL is kept, and the token is added to it", async (world) => {
  const { server, clock } = world;
  const pond = world.pond({ token: "a b" }, "https://example.com/socket?room=7");
  pond.connect();
  await clock.advance(5);
  assert.equal(server.last.url.href, "wss://example.com/socket?room=7&token=a+b");
});

it("33: the parser accepts every form of an event stream", async (world) => {
  const { clock, server } = world;
  const { pond, room, peer } = await world.joined({ transports: ["stream"] });
  const got = [];
  room.on("n", ({ n, text }) => got.push(text ?? n));
  const frame = (n, text) => JSON.stringify({ action: "BROADCAST", event: "n", channelName: room.name, requestId: "", payload: { n, text } });
  peer.raw(`: keepalive\n\nevent: n\nid: e.1\ndata: ${frame(1)}\n\n`);
  peer.raw(`event: n\r\ndata:${frame(2)}\r\n\r\n`);
  peer.raw(`data: ${frame(3)}\r\rretry: 5\n\n`);
  const long = new TextEncoder().encode(`data: ${frame(4, "日本語 🎉")}\n\n`);
  await clock.advance(1);
  for (const byte of long) peer.bytes(Uint8Array.of(byte));
  peer.raw(`data: ${frame(5).slice(0, 20)}`);
  await clock.advance(1);
  peer.raw(`${frame(5).slice(20)}\n`);
  peer.raw("\n");
  peer.raw(`data: ${frame(6)}\ndata: ${frame(7)}\n\n`); // two lines of data
  await clock.advance(1);
  assert.deepEqual(got, [1, 2, 3, "日本語 🎉", 5, 6, 7]);
  assert.equal(pond.status, "connected");
});

it("33: a response that is not an event stream is an error", async (world) => {
  const { clock, server } = world;
  server.contentType = "text/html";
  const pond = world.pond({ transports: ["stream"] });
  pond.connect();
  await clock.advance(5);
  assert.equal(pond.getSnapshot().error.code, "NO_STREAM");
  assert.equal(pond.status, "stopped");
});

it("33: a stream that ends or breaks is opened again, and keepalives count as data", async (world) => {
  const { clock, server } = world;
  const { pond, room } = await world.joined({ transports: ["stream"] });
  for (const end of ["close", "reset"]) {
    server.last[end]();
    await clock.advance(5 * second);
    assert.equal(pond.status, "connected", end);
    assert.equal(room.status, "joined");
  }
  const posts = server.posts.length;
  for (let i = 0; i < 20; i++) {
    server.last.raw(": keepalive\n\n");
    await clock.advance(30 * second);
  }
  assert.equal(server.posts.length, posts, "no probe was needed");
});

it("34: POSTs are strictly in order, one at a time, and of no other method than GET and POST", async (world) => {
  const { clock, server } = world;
  let busy = 0;
  server.postStatus = async () => {
    assert.equal(++busy, 1, "two POSTs at a time");
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    busy--;
    return 204;
  };
  const methods = new Set();
  const fetch = (url, init) => {
    methods.add(init.method ?? "GET");
    assert.equal(new Request(url, { credentials: init.credentials }).credentials, "same-origin");
    return server.fetch(url, init);
  };
  const { room, pond } = await world.joined({ transports: ["stream"], fetch });
  await clock.advance(second);
  const sent = Array.from({ length: 20 }, (_, n) => room.send(`${n}`));
  await clock.advance(5 * second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), Array.from({ length: 20 }, (_, n) => `${n}`));
  assert.equal(server.posts.length, 21, "one message each: the server announced nothing");
  for (const { body } of server.posts) assert.equal(JSON.parse(body).action === undefined, false, "a message, not a list");
  pond.close();
  await clock.advance(second);
  assert.deepEqual([...methods], ["GET", "POST"]);
});

it("34: credentials are opt-in", async (world) => {
  const { server } = world;
  await world.connected({ transports: ["stream"], credentials: "include" });
  assert.equal(server.last.credentials, "include");
});

it("C-X4: queued messages are sent in one POST if the server announces extensions", async (world) => {
  const { clock, server } = world;
  server.features = ["recover"];
  const { room } = await world.joined({ transports: ["stream"] });
  const sent = Array.from({ length: 250 }, (_, n) => room.send("n", { n }));
  await clock.advance(second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ payload }) => payload.n), Array.from({ length: 250 }, (_, n) => n));
  const sizes = server.posts.map(({ body }) => [JSON.parse(body)].flat().length);
  assert.deepEqual(sizes.slice(0, 2), [1, 1], "a join, and the message that was not queued");
  assert.ok(sizes.length <= 4 && server.posts.every(({ body }) => body.length <= 32_768 + 500), String(sizes));
  server.posts.length = 0;
  const large = Array.from({ length: 6 }, () => room.send("n", { text: "x".repeat(15_000) }));
  await clock.advance(second);
  await Promise.all(large);
  assert.deepEqual(server.posts.map(({ body }) => [JSON.parse(body)].flat().length), [1, 2, 2, 1]);
});

it("C-X4: a POST with a bad message is split, so that only the bad one fails", async (world) => {
  const { clock, server } = world;
  server.features = ["recover"];
  server.postStatus = ({ body }) => (body.includes("bad") ? 400 : 204);
  const { room, pond } = await world.joined({ transports: ["stream"] });
  const sent = [room.send("1"), room.send("2"), assert.rejects(room.send("bad"), { code: "REJECTED", status: 400 }), room.send("3")];
  await clock.advance(second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["1", "2", "3"]);
  assert.equal(pond.status, "connected");
});

it("C-X4: a POST that the server cannot take now is sent again later, in its place", async (world) => {
  const { clock, server } = world;
  let busy = 3;
  server.postHeaders = { "retry-after": "2" };
  server.postStatus = ({ body }) => (body.includes("BROADCAST") && busy-- > 0 ? 503 : 204);
  const { room } = await world.joined({ transports: ["stream"] });
  const sent = [room.send("1"), room.send("2")];
  await clock.advance(5 * second);
  assert.deepEqual(server.last.sent("BROADCAST"), []);
  await clock.advance(5 * second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["1", "2"]);
});

it("C-X4: a POST whose outcome is unknown is not repeated, unless its message is idempotent", async (world) => {
  const { clock, server } = world;
  for (const failure of ["network", 502, "hangs"]) {
    const { room, pond } = await world.joined({ transports: ["stream"] });
    let failed = 0;
    server.postStatus = ({ body }) => {
      if (!body.includes("BROADCAST") || failed++ > 1) return 204;
      return failure === "hangs" ? new Promise(() => {}) : failure;
    };
    const once = assert.rejects(room.send("once"), { code: "OUTCOME_UNKNOWN" }, failure);
    await clock.advance(32 * second);
    await once;
    const again = room.send("again", {}, { idempotent: true });
    const next = room.send("next");
    await clock.advance(minute);
    await Promise.all([again, next]);
    assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["again", "next"], failure);
    pond.close();
    server.postStatus = () => 204;
  }
});

it("C-X4: messages for a stream that the server has forgotten are sent over the next one", async (world) => {
  const { clock, server } = world;
  const { room, peer } = await world.joined({ transports: ["stream"] });
  peer.open = false; // the server lost it, and the client gets no error
  const sent = [room.send("1"), room.send("2")];
  await clock.advance(5 * second);
  await Promise.all(sent);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["1", "2"]);
  assert.equal(server.peers.length, 2);
});

it("C-X4: a server that rejects every POST ends the join and not the client's patience", async (world) => {
  const { clock, server } = world;
  server.postStatus = () => 403;
  const { room, pond } = await world.joined({ transports: ["stream"] });
  await clock.advance(second);
  assert.equal(room.status, "declined");
  assert.equal(room.getSnapshot().error.status, 403);
  assert.equal(pond.status, "connected");
});

it("35: a page from the back/forward cache connects at once, whatever its socket says", async (world) => {
  const { clock, server } = world;
  const page = world.page();
  const { pond, room, peer } = await world.joined();
  await clock.freeze(10 * minute);
  assert.equal(peer.socket.readyState, 1);
  page.fire("pageshow", { persisted: true });
  await clock.advance(5);
  assert.notEqual(peer.lostBy, undefined);
  assert.equal(server.live.length, 1);
  assert.equal(pond.status, "connected");
  assert.equal(room.status, "joined");

  server.up = false;
  server.last.reset();
  await clock.advance(10 * minute);
  server.up = true;
  const count = server.peers.length;
  page.fire("pageshow", { persisted: true });
  await clock.advance(5);
  assert.equal(server.peers.length, count + 1);
  assert.equal(pond.status, "connected");
  page.fire("pageshow", { persisted: false });
  await clock.advance(5);
  assert.equal(server.peers.length, count + 1);
});

it("36: nothing happens before a page unloads, and close removes all listeners", async (world) => {
  const { clock, server } = world;
  const page = world.page();
  const { pond, peer } = await world.connected();
  for (const type of ["beforeunload", "pagehide", "unload", "blur"]) page.fire(type, { persisted: false });
  page.fire("freeze");
  await clock.advance(second);
  assert.equal(peer.lostBy, undefined);
  pond.close();
  for (const type of ["online", "pageshow"]) page.fire(type, { persisted: true });
  for (const type of ["resume", "visibilitychange"]) page.fire(type);
  await clock.advance(minute);
  assert.equal(server.peers.length, 1);
});

it("X-21: the advice of the server is kept when it closes late, and cleared by the next connection", async (world) => {
  const { clock, server } = world;
  const { pond, peer } = await world.connected();
  peer.system("ENDPOINT", "RECONNECT", { after: 30_000, reason: "shutdown" });
  await clock.advance(10 * second);
  assert.equal(pond.status, "connected", "it is the server that closes");
  peer.close(1001);
  const wait = pond.getSnapshot().retryAt - clock.wall;
  assert.ok(wait >= 20_000 && wait <= 35_000, `${wait}`);
  await clock.advance(wait + 5);
  assert.equal(pond.status, "connected");
  server.last.close(1001);
  assert.ok(pond.getSnapshot().retryAt - clock.wall <= 4000);
});

it("a message of the connection handler reaches the pond's listeners", async (world) => {
  const { pond, peer } = await world.connected();
  const got = [];
  pond.on("hello", (payload) => got.push(payload));
  peer.system("ENDPOINT", "hello", { n: 1 });
  assert.deepEqual(got, [{ n: 1 }]);
});

it("33: a URL of a WebSocket is as good for an event stream, and a relative one needs a page", async (world) => {
  const { clock, server } = world;
  const pond = world.pond({ transports: ["stream"] }, "wss://example.com/socket");
  pond.connect();
  await clock.advance(5);
  assert.equal(server.last.url.href, "https://example.com/socket");
  const lost = world.pond({}, "/socket");
  lost.connect();
  await clock.advance(5);
  assert.equal(lost.getSnapshot().error.code, "SETUP");
  world.global("location", { href: "http://page.example/app/" });
  const found = world.pond({}, "socket");
  found.connect();
  await clock.advance(5);
  assert.equal(server.last.url.href, "ws://page.example/app/socket");
});

it("11: a POST that is rejected with 401 leads to another connection with another token", async (world) => {
  const { clock, server } = world;
  let n = 0;
  const { room } = await world.joined({ transports: ["stream"], token: () => `t${++n}` });
  await clock.advance(11 * second);
  server.postStatus = ({ url }) => (url.endsWith("t1") ? 401 : 204);
  const sent = room.send("x");
  await clock.advance(5 * second);
  await sent;
  assert.equal(n, 2);
  assert.deepEqual(server.last.sent("BROADCAST").map(({ event }) => event), ["x"]);
});

it("X-21: invalid advice is ignored, and no server delays its clients for longer than an hour and a half", async (world) => {
  const { clock } = world;
  for (const after of [undefined, -5, "soon", Number.NaN]) {
    const { pond, peer } = await world.connected();
    peer.system("ENDPOINT", "RECONNECT", { after });
    peer.close(1001);
    assert.ok(pond.getSnapshot().retryAt - clock.wall <= 1000, String(after));
    pond.close();
  }
  const { pond, peer } = await world.connected();
  peer.system("ENDPOINT", "RECONNECT", { after: 1e15 });
  peer.close(1001);
  await clock.advance(91 * minute);
  assert.equal(pond.status, "connected");
});
