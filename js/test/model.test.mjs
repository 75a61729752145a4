// A model of a channel with history: after any failure of links and logs, each message arrives
// once and in order, or a gap reports that it is missing.

import assert from "node:assert/strict";
import { History } from "./history.mjs";
import { it } from "./world.mjs";

const name = "/room/1";

/** Numbers that are the same in each run. */
function random(seed) {
  let state = seed * 7919 + 1;
  return (n) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % n;
  };
}

/** A server that feeds replays in pieces, between which links break and messages are published. */
class Log extends History {
  feeding = new Map(); // peer -> offset up to which it was fed

  replay(peer, missed) {
    const start = missed[0] ? missed[0].offset - 1 : this.top;
    this.feeding.set(peer, start);
    const feed = () => {
      if (!peer.open || !this.members.has(peer)) return void this.feeding.delete(peer);
      const next = this.log.filter(({ offset }) => offset > this.feeding.get(peer)).slice(0, 3);
      const lost = this.feeding.get(peer) < this.trimmed;
      if (lost) {
        peer.system(name, "GAP", { epoch: this.epoch, offset: this.trimmed, reason: "expired" });
        this.feeding.set(peer, this.trimmed);
      }
      for (const entry of next.filter(({ offset }) => offset > this.feeding.get(peer))) {
        peer.send(this.frame(entry));
        this.feeding.set(peer, entry.offset);
      }
      if (this.feeding.get(peer) < this.top) return void setTimeout(feed, 3);
      this.feeding.delete(peer);
      peer.system(name, "RECOVERED", { epoch: this.epoch, offset: this.top });
    };
    feed();
  }

  say() {
    const entry = { offset: ++this.top, event: "n", payload: { epoch: this.epoch, n: this.top } };
    this.log.push(entry);
    for (const peer of this.members.keys()) if (peer.open && !this.feeding.has(peer)) peer.send(this.frame(entry));
  }

  trim() {
    this.trimmed = this.top;
    this.log = [];
  }

  begin(epoch) {
    for (const peer of this.server.peers) if (peer.open) peer.reset();
    this.feeding.clear();
    this.restart(epoch);
  }
}

for (const transport of ["websocket", "stream"]) {
  it(`model: each message once and in order, or a gap, over ${transport}`, async (world) => {
    const { clock, server } = world;
    let recovered = 0;
    let gaps = 0;
    for (let seed = 0; seed < 60; seed++) {
      const next = random(seed);
      const history = new Log(server);
      history.server = server;
      let epochs = 1;
      const pond = world.pond({ transports: [transport], backoff: [5, 20], heartbeat: 0 });
      const room = pond.channel(name);
      const seen = []; // [epoch, n], or "gap"
      const mark = () => seen.push("gap");
      room.onMessage(({ payload: { epoch, n } }) => seen.push([epoch, n]));
      room.onGap(mark);
      room.onError((error) => assert.fail(`seed ${seed}: ${error.code}: ${error.message}`));
      room.onJoin(({ status }) => {
        if (status === "fresh") mark();
        if (status === "recovered") recovered++;
      });
      await clock.advance(10);
      for (let step = 0; step < 100; step++) {
        const what = next(40);
        if (what < 20) history.say();
        else if (what < 27) server.last.reset?.();
        else if (what === 27) history.trim();
        else if (what === 28) history.begin(`e${++epochs}`);
        else if (what === 29) history.reason = ["limit", "unavailable", undefined, undefined][next(4)];
        else if (what === 30) {
          server.last.reset?.(); // and lose the log while missed messages are in transit
          for (let i = 0; i < 20; i++) history.say();
          await clock.advance(10 + next(20));
          history.trim();
        } else await clock.advance(next(30));
        if (next(3) === 0) await clock.advance(next(6));
      }
      history.reason = undefined;
      await clock.advance(200);
      history.say();
      await clock.advance(200);

      const { top, epoch } = history;
      let before = null;
      for (const entry of seen) {
        if (entry === "gap") {
          before = null;
          gaps++;
        } else {
          if (before) assert.deepEqual(entry, [before[0], before[1] + 1], `seed ${seed}: after ${before}`);
          before = entry;
        }
      }
      assert.deepEqual(before, [epoch, top], `seed ${seed}: the last message`);
      pond.close();
    }
    assert.ok(recovered > 300 && gaps > 150, `${recovered} recoveries, ${gaps} gaps`);
  });
}
