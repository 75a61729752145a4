// A channel with history for the scripted server: positions, recovery and losses, as in the
// extensions of the protocol.

export class History {
  epoch = "e1";
  log = []; // { offset, event, payload, requestId, except }
  top = 0;
  trimmed = 0; // messages up to this offset were dropped
  reason; // why replays are rejected
  froms = []; // the requests of joins
  members = new Map(); // peer -> held messages while it is fed, or null

  constructor(server, name = "/room/1") {
    this.name = name;
    server.features = ["diff", "recover", "url"];
    server.join = (peer, message) => queueMicrotask(() => this.join(peer, message));
  }

  frame({ offset, event, payload }) {
    return { action: "BROADCAST", event, channelName: this.name, requestId: `r${offset}`, payload, offset };
  }

  join(peer, { channelName, requestId, want, from }) {
    this.froms.push(from);
    const { epoch, top } = this;
    const acknowledge = (recover) => peer.system(channelName, "ACKNOWLEDGE", want?.includes("recover") ? { recover } : {}, requestId);
    this.members.set(peer, true);
    if (!from) return acknowledge({ epoch, offset: top });
    const start = from.last === undefined ? from.offset : Math.max(this.trimmed, top - from.last);
    const reason = this.reason ?? (from.epoch !== undefined && from.epoch !== epoch ? "epoch" : start < this.trimmed ? "expired" : undefined);
    if (reason) return acknowledge({ epoch, offset: top, recovered: false, reason });
    acknowledge({ epoch, offset: start, to: top, recovered: true });
    const missed = this.log.filter(({ offset }) => offset > start);
    this.replay(peer, missed, () => peer.system(channelName, "RECOVERED", { epoch, offset: top }));
  }

  /** Sends the missed messages; tests replace it to stop in the middle. */
  replay(peer, missed, done) {
    for (const entry of missed) peer.send(this.frame(entry));
    done();
  }

  publish(event, payload = {}, { hidden = false } = {}) {
    const entry = { offset: ++this.top, event, payload };
    this.log.push(entry);
    for (const peer of this.members.keys()) if (peer.open && !hidden) peer.send(this.frame(entry));
    return entry.offset;
  }

  restart(epoch) {
    Object.assign(this, { epoch, log: [], top: 0, trimmed: 0 });
    this.members.clear();
  }
}
