// Listeners and functions of the application may do anything, at any time.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const name = "/room/1";
const options = ["token", "params", "headers", "channel.params"]; // functions, not listeners

/** A client that uses every callback of the API. Each reports its name to act. */
function client(world, transport, act) {
  const calls = [];
  const call = (what) => () => {
    calls.push(what);
    act({ what, calls, pond, room });
    return what === "token" ? `t${calls.length}` : {};
  };
  const functions = Object.fromEntries(options.slice(0, 3).map((what) => [what, call(what)]));
  const pond = world.pond({ transports: [transport], backoff: [5, 20], ...functions });
  const room = pond.channel(name, { params: call("channel.params"), last: 5 });
  pond.subscribe(call("pond.subscribe"));
  pond.on("hello", call("pond.on"));
  pond.onError(call("pond.onError"));
  room.on("n", call("room.on"));
  for (const what of ["onMessage", "onPresence", "onJoin", "onGap", "onError", "subscribe"]) room[what](call(`room.${what}`));
  return { pond, room, calls };
}

/** A life in which each callback is called. */
async function live(world, { room }) {
  const { clock, server } = world;
  const history = new History(server);
  history.join = (peer, { requestId, from }) => {
    history.members.set(peer, true);
    const recover = { epoch: history.epoch, offset: history.top, recovered: from?.epoch === history.epoch };
    peer.system(name, "ACKNOWLEDGE", { recover, diff: {} }, requestId);
  };
  const system = (channel, event, payload = {}) => server.last.open && server.last.system(channel, event, payload);
  const steps = [
    () => {},
    () => history.publish("n"),
    () => system(name, "PRESENCE_STATE", { users: [{ id: "a", presence: {} }], total: 1, more: false }),
    () => system("ENDPOINT", "hello"),
    () => server.last.open && server.last.send({ action: "ERROR", event: "X", channelName: "ENDPOINT" }),
    () => server.last.open && server.last.send({ action: "ERROR", event: "X", channelName: name }),
    () => system(name, "GAP", { epoch: "e1", offset: 5, reason: "expired" }),
    () => room.request("fail").catch(() => {}),
    () => server.last.reset?.(),
    () => { history.restart("e9"); server.last.reset?.(); },
    () => system(name, "kicked_out"),
    () => room.join(),
    () => (server.last.socket ? server.last.close(4403) : Object.assign(server, { stream: 403 }) && server.last.reset?.()),
  ];
  for (const step of steps) {
    step();
    await clock.advance(60);
  }
  server.stream = 200;
}

for (const transport of ["websocket", "stream"]) {
  it(`13: close in any callback ends everything at once, over ${transport}`, async (world) => {
    const { clock, server } = world;
    const idle = clock.pending;
    const all = client(world, transport, () => {});
    await live(world, all);
    const calls = [...all.calls];
    const names = new Set(calls);
    all.pond.close();
    assert.deepEqual([...names].sort(), ["channel.params", "headers", "params", "pond.on", "pond.onError", "pond.subscribe", "room.on", "room.onError", "room.onGap", "room.onJoin", "room.onMessage", "room.onPresence", "room.subscribe", "token"]);

    for (const closing of names) {
      for (let nth = 1; nth <= calls.filter((each) => each === closing).length; nth++) {
        let seen = 0;
        let closed = Infinity;
        const each = client(world, transport, ({ what, calls, pond }) => {
          if (what !== closing || ++seen !== nth || !pond) return;
          pond.close();
          closed = calls.length;
        });
        await live(world, each);
        const text = `close in call ${nth} of ${closing}`;
        assert.notEqual(closed, Infinity, text);
        const after = each.calls.slice(closed).filter((what) => !options.includes(what) && !what.endsWith("subscribe"));
        assert.deepEqual(after, [], text);
        assert.equal(each.pond.status, "closed", text);
        assert.equal(each.room.status, "idle", text);
        assert.equal(server.live.length, 0, text);
        await clock.advance(5);
        assert.equal(clock.pending, idle, `${text}: timers are left`);
      }
    }
  });

  it(`18: listeners that throw harm nothing, over ${transport}`, async (world) => {
    const calm = client(world, transport, () => {});
    await live(world, calm);
    calm.pond.close();
    const each = client(world, transport, ({ what }) => {
      if (!options.includes(what)) throw new Error(what);
    });
    await live(world, each);
    assert.equal(each.pond.status, "stopped");
    assert.deepEqual([...new Set(each.calls)], [...new Set(calm.calls)]);
    assert.ok(world.errors.length > 20);
  });

  it(`16: after leave in any callback no listener of the channel is called, over ${transport}`, async (world) => {
    const all = client(world, transport, () => {});
    await live(world, all);
    all.pond.close();
    for (const leaving of new Set(all.calls)) {
      let left = Infinity;
      const each = client(world, transport, ({ what, calls, room }) => {
        if (what !== leaving || left < Infinity || !calls.includes("room.onJoin")) return;
        room.leave();
        left = calls.length;
      });
      await live(world, each);
      assert.deepEqual(each.calls.slice(left).filter((what) => what.startsWith("room.")), [], `leave in ${leaving}`);
      each.pond.close();
    }
  });

  it(`13: there is one connection at most, whatever callbacks do, over ${transport}`, async (world) => {
    const { clock, server } = world;
    const actions = {
      connect: ({ pond }) => pond.connect(),
      setToken: ({ pond }) => pond.setToken("x"),
      join: ({ room }) => room.join(),
      leave: ({ room }) => room.leave(),
      "leave and join": ({ room }) => { room.leave(); room.join(); },
      send: ({ room }) => room.send("x").catch(() => {}),
      "another handle": ({ pond }) => { const other = pond.channel(name); other.join(); other.leave(); },
      clearQueue: ({ pond }) => pond.clearQueue(),
    };
    for (const [what, action] of Object.entries(actions)) {
      let count = 0;
      const each = client(world, transport, ({ pond, room }) => {
        if (pond && room && count++ < 200) action({ pond, room });
        assert.ok(server.live.length <= 1, what);
      });
      await live(world, each);
      assert.ok(count > 5, what);
      each.pond.close();
      await clock.advance(100);
      assert.equal(server.live.length, 0, what);
    }
  });
}
