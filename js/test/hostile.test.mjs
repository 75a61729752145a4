// Servers and networks that break the rules: a bad message costs its reporting and nothing else.

import assert from "node:assert/strict";
import { it } from "./world.mjs";

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
