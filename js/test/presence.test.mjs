// The presence list: full lists and differences.

import assert from "node:assert/strict";
import { it } from "./world.mjs";

const second = 1000;
const differences = (server) => {
  server.features = ["diff"];
  server.join = (peer, { channelName, requestId, want }) =>
    queueMicrotask(() => peer.system(channelName, "ACKNOWLEDGE", want?.includes("diff") ? { diff: {} } : {}, requestId));
};
const state = (peer, users, more = false) => peer.system("/room/1", "PRESENCE_STATE", { users, total: users.length, more });
const diff = (peer, change) => peer.system("/room/1", "PRESENCE_DIFF", change);
const ids = (room) => room.presence.map(({ id, presence }) => id + (presence.s ?? ""));
const user = (id, s) => ({ id, presence: s === undefined ? {} : { s } });

it("full lists: the list is the state, and the change is a notification", async (world) => {
  const { clock } = world;
  const { room, peer } = await world.joined();
  const changes = [];
  room.onPresence((list, change) => changes.push([list.map(({ presence }) => presence.n).join(""), change]));
  const presence = (event, changed, list) => peer.send({ action: "PRESENCE", event, channelName: room.name, payload: { changed, presence: list } });
  presence("JOIN", { n: "a" }, [{ n: "a" }]);
  presence("JOIN", { n: "b" }, [{ n: "a" }, { n: "b" }]);
  presence("UPDATE", { n: "B" }, [{ n: "a" }, { n: "B" }]);
  presence("LEAVE", { n: "a" }, [{ n: "B" }]);
  const one = (n) => [{ id: null, presence: { n } }];
  assert.deepEqual(changes, [
    ["a", { joins: one("a"), updates: [], leaves: [] }],
    ["ab", { joins: one("b"), updates: [], leaves: [] }],
    ["aB", { joins: [], updates: one("B"), leaves: [] }],
    ["B", { joins: [], updates: [], leaves: one("a") }],
  ]);
  const snapshot = room.getSnapshot();
  assert.equal(snapshot, room.getSnapshot(), "the same object until the list changes");
  assert.equal(snapshot.presence, room.presence);
  presence("LEAVE", { n: "B" }); // some servers omit the list
  assert.deepEqual(room.presence, snapshot.presence);
  peer.reset();
  await clock.advance(5 * second);
  assert.equal(room.status, "joined");
});

it("21: differences wait for the state, and the old list stays until the whole new one arrived", async (world) => {
  const { clock, server } = world;
  differences(server);
  const { room, peer } = await world.joined();
  const lists = [];
  room.onPresence((list, change) => lists.push([list.map(({ id }) => id).join(""), change]));
  diff(peer, { joins: [user("c")], leaves: [{ id: "a" }], total: 2 });
  assert.deepEqual(room.presence, []);
  state(peer, [user("a", 1)], true);
  assert.deepEqual(room.presence, []);
  state(peer, [user("b", 2)]);
  assert.deepEqual(ids(room), ["b2", "c"]);
  diff(peer, { joins: [user("d")], updates: [user("b", 3)], leaves: [{ id: "c" }, { id: "unknown" }], total: 2 });
  assert.deepEqual(ids(room), ["b3", "d"]);
  assert.deepEqual(lists, [["bc", null], ["bd", {
    joins: [{ id: "d", presence: {} }],
    updates: [{ id: "b", presence: { s: 3 } }],
    leaves: [{ id: "c", presence: {} }],
  }]]);

  peer.reset();
  await clock.advance(5 * second);
  const again = server.last;
  assert.equal(room.status, "joined");
  assert.deepEqual(ids(room), ["b3", "d"], "unchanged");
  diff(again, { joins: [user("z")] });
  state(again, [user("x")], true);
  assert.deepEqual(ids(room), ["b3", "d"]);
  state(again, [user("y")]);
  assert.deepEqual(ids(room), ["x", "y", "z"]);
});

it("X-19: entries contain the identity if the server publishes it", async (world) => {
  const { server } = world;
  differences(server);
  const { room, peer } = await world.joined();
  state(peer, [{ id: "u1", user: "ann", presence: { s: 1 } }]);
  assert.deepEqual(room.presence, [{ id: "u1", user: "ann", presence: { s: 1 } }]);
});

it("X-19: the list equals the server's for every order of changes", async (world) => {
  const { server } = world;
  differences(server);
  const { room, peer } = await world.joined();
  const model = new Map();
  let seed = 7;
  const random = (n) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
  state(peer, []);
  for (let round = 0; round < 500; round++) {
    const change = { joins: [], updates: [], leaves: [] };
    const touched = new Set();
    for (let i = 0; i < random(4); i++) {
      const id = `u${random(12)}`;
      if (touched.has(id)) continue;
      touched.add(id);
      const s = random(100);
      if (!model.has(id)) change.joins.push(user(id, s));
      else if (random(2)) change.updates.push(user(id, s));
      else change.leaves.push({ id });
      if (change.leaves.some((gone) => gone.id === id)) model.delete(id);
      else model.set(id, s);
    }
    diff(peer, change);
    assert.deepEqual(ids(room).sort(), [...model].map(([id, s]) => id + s).sort());
  }
});
