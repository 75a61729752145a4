// pond.js, made from js/src/pond.ts by "npm run build". MIT License, Copyright (c) 2026 The pond authors.

// src/errors.ts
var PondError = class extends Error {
  name = "PondError";
  code;
  status;
  retryAfter;
  constructor(code, message, status = 0, options) {
    super(message, options), this.code = code, this.status = status;
  }
};
function serverError({ event, payload }) {
  let { code, message, reason, status, error } = payload ?? {};
  return new PondError(
    typeof code == "string" ? code : event,
    message ?? error?.message ?? reason ?? (typeof error == "string" ? error : "rejected by the server"),
    Number(status ?? code) || 0
  );
}
var reactions = {
  204: "stop",
  400: "stop",
  401: "refresh",
  403: "stop",
  404: "stop",
  405: "stop",
  406: "stop",
  410: "stop",
  413: "stop",
  426: "stop",
  1e3: "stop",
  1002: "stop",
  1003: "stop",
  1007: "stop",
  1008: "stop",
  1009: "stop"
};
function reactionTo({ status }, custom) {
  let table = { ...reactions, ...custom };
  return table[status] ?? (status > 4399 && status < 4600 && table[status - 4e3] || "retry");
}
var toPondError = (error, code) => error instanceof PondError ? error : new PondError(code, error?.message, 0, { cause: error });

// src/listeners.ts
var Listeners = class {
  /** No listener is called any more, and errors count as reported. */
  o = !1;
  #sets = /* @__PURE__ */ new Map();
  add(key, listener) {
    let entry = { I: listener }, set = this.#sets.get(key) ?? /* @__PURE__ */ new Set();
    return this.#sets.set(key, set.add(entry)), () => {
      set.delete(entry);
    };
  }
  /** Calls the listeners in the order of their registration, and returns whether there was one. */
  d(key, ...args) {
    let set = this.#sets.get(key), entries = [...set ?? []];
    for (let entry of entries)
      if (!(this.o || !set.has(entry)))
        try {
          entry.I(...args);
        } catch (error) {
          (globalThis.reportError ?? console.error)(error);
        }
    return this.o || entries.length > 0;
  }
};

// src/time.ts
var stopwatch = () => {
  let monotonic = performance.now(), wall = Date.now();
  return () => Math.max(performance.now() - monotonic, Date.now() - wall);
}, zero = () => 0;
var later = (run, delay) => setTimeout(run, Math.min(delay, 2147483647)), backoff = (attempt, [first, limit]) => Math.random() * Math.min(limit, first * 2 ** attempt), spread = (delay) => delay + Math.random() * Math.max(1e3, delay / 2);

// src/wire.ts
var encode = (action, channelName, requestId, payload, event = action, extra) => JSON.stringify({ action, event, channelName, requestId, payload, ...extra }), newId = () => crypto.getRandomValues(new Uint32Array(4)).join("-"), REFUSALS = ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"], REMOVALS = ["kicked_out", "EVICTED", "evicted", "destroyed"], PROBE = "pond.js/probe", encodeLeave = (channelName) => encode("LEAVE_CHANNEL", channelName, newId(), {}), probeFor = (sender) => sender === "GATEWAY" ? '{"action":"ping"}' : encodeLeave(PROBE), evaluate = async (value, token) => typeof value == "function" ? value({ token }) : value;

// src/outbox.ts
var Outbox = class {
  #channel;
  #connection;
  #items = /* @__PURE__ */ new Map();
  constructor(channel, connection) {
    this.#channel = channel, this.#connection = connection;
  }
  get(requestId) {
    return this.#items.get(requestId);
  }
  /** Sends an event now if the channel is joined, and otherwise after the join. */
  s(joined, event, payload, options, reply) {
    let { signal, timeout, idempotent = !1 } = options, { queued, t: unsettled, p: waiting, c: { queue: limits, requestTimeout } } = this.#connection, promise = new Promise((resolve, reject) => {
      if (payload ??= {}, typeof payload != "object" || Array.isArray(payload)) throw new TypeError("a payload must be an object");
      let id = newId(), text = encode("BROADCAST", this.#channel, id, payload, event), size = new TextEncoder().encode(text).length;
      if (queued.messages >= limits.messages || queued.bytes + (joined ? waiting : size) > limits.bytes)
        throw new PondError("QUEUE_FULL", "the queue is full", 429);
      let settle = (error, value) => {
        if (item.done = !0, clearTimeout(timer), signal?.removeEventListener("abort", abort), this.#items.delete(id), unsettled.delete(item), !error) return resolve(value);
        ["LEFT", "CLOSED", "CLEARED"].includes(error.code) && promise.catch(() => {
        }), reject(error);
      }, abort = () => settle(signal.reason);
      signal?.addEventListener("abort", abort);
      let timer = later(
        () => {
          reply ? settle(new PondError("TIMEOUT", `no answer to ${event}`, 408)) : item.f || settle(new PondError("EXPIRED", "queued for too long"));
        },
        reply ? timeout ?? requestTimeout : limits.age
      ), item = { text, size, idempotent, J: reply, u: !1, k: settle, z: settle, A: () => reply || settle(null) };
      this.#items.set(id, item), unsettled.add(item), joined && this.B();
    });
    return promise;
  }
  /** The channel is joined: sends the queued messages. */
  B() {
    for (let item of this.#items.values())
      item.u || (item.u = !0, this.#connection.send(item));
  }
  /** The connection was lost: keeps the messages that may be sent again. */
  e() {
    for (let item of this.#items.values())
      item.f && !item.idempotent && item.k(new PondError("OUTCOME_UNKNOWN", "the connection was lost before the answer")), item.u = item.f = !1;
  }
  /** Rejects all messages, or all except those whose result the link will report. */
  C(error, all = !0) {
    for (let item of this.#items.values()) (all || !item.f || item.J) && item.k(error);
  }
};

// src/presence.ts
var PresenceList = class {
  l = [];
  /** Whether the server sends differences. */
  diff = !1;
  #users = /* @__PURE__ */ new Map();
  #complete = !0;
  // or pages of the state did not arrive yet
  #early = [];
  // differences that arrived before the last page
  /** Starts a membership. */
  v(diff) {
    this.diff = diff, this.#complete = !1, this.#users = /* @__PURE__ */ new Map(), this.#early = [];
  }
  /** Handles a page of the state, and returns whether it was the last one. */
  K({ users, more }) {
    if (this.#apply({ joins: users }), more) return !1;
    for (let diff of this.#early.splice(0)) this.#apply(diff);
    return this.l = [...this.#users.values()], this.#complete = !0;
  }
  /** Handles a difference, and returns the changes, if the state is complete. */
  L(diff) {
    if (!this.#complete) {
      this.#early.push(diff);
      return;
    }
    let change = this.#apply(diff);
    return this.l = [...this.#users.values()], change;
  }
  #apply({ joins = [], updates = [], leaves = [] }) {
    let users = this.#users, gone = leaves.flatMap(({ id }) => users.get(id) ?? []);
    for (let { id } of leaves) users.delete(id);
    for (let user of [...joins, ...updates]) users.set(user.id, user);
    return { joins, updates, leaves: gone };
  }
  /** Handles a PRESENCE message. It contains the whole list. If a server omits the list, it stays the same. */
  M(event, { presence, changed }) {
    return this.l = presence?.map(anonymous) ?? this.l, { joins: [], updates: [], leaves: [], [`${event.toLowerCase()}s`]: [anonymous(changed)] };
  }
}, anonymous = (presence) => ({ id: null, presence });

// src/room.ts
var IDLE = { status: "idle", presence: [], error: null, outcome: null }, Room = class {
  b = new Listeners();
  h;
  a = IDLE;
  c = {};
  #name;
  #connection;
  #references = 0;
  #attempts = /* @__PURE__ */ new Set();
  // the joins without an answer
  #attempt = {};
  // the latest of them; a new object cancels it
  #token;
  // the token of the latest join
  #tries = 0;
  // joins in a row without a healthy membership
  #lasted = zero;
  // time since it was joined
  #timer;
  // of the next join
  #held = [];
  // events that arrived before the answer
  #position = null;
  #replayEnd = 0;
  // messages up to this offset are replayed
  #presence = new PresenceList();
  constructor(name, connection) {
    this.#name = name, this.#connection = connection, this.h = new Outbox(name, connection);
  }
  /** Whether it is joining or joined. */
  get q() {
    return this.a.status.startsWith("join");
  }
  /** Whether a change of the connection loses no messages. */
  get N() {
    return this.a.status !== "joined" || this.#position !== null;
  }
  O() {
    !this.#references++ && !this.q && this.join();
  }
  /**
   * Leaves one macrotask after the last release, so that a component that is unmounted and mounted again
   * immediately causes no traffic.
   */
  P() {
    --this.#references || setTimeout(() => this.#references || this.w(new PondError("LEFT", "left the channel")));
  }
  // Joining
  /** Joins if the connection is up. A later call replaces an earlier one. */
  async join() {
    let connection = this.#connection, { i: connected, features, c: options, g: tokens } = connection, attempt = this.#cancel();
    if (connection.a.status === "closed") return this.w(new PondError("CLOSED", "the connection was closed"));
    if (this.#change({ status: "joining" }), !connected || this.#attempt !== attempt) return;
    this.#timer = later(() => this.#retry(new PondError("JOIN_TIMEOUT", "no answer to the join", 408)), options.timeout);
    let id = newId(), want = ["diff", "recover"].filter((feature) => features.includes(feature)), { params, last } = this.c, payload = params, text;
    try {
      if (typeof params == "function") {
        let token = await tokens.get();
        if (payload = await evaluate(params, token), this.#attempt !== attempt) return;
        this.#token = token;
      }
      text = encode("JOIN_CHANNEL", this.#name, id, payload ?? {}, void 0, {
        want: want.length ? want : void 0,
        from: want.includes("recover") ? this.#position ?? (last ? { last } : void 0) : void 0
      });
    } catch (error) {
      this.#attempt === attempt && this.#refused(toPondError(error, "SETUP"));
      return;
    }
    this.#attempts.add(id), connection.send(Object.assign(attempt, { text, z: (error) => this.#attempt === attempt && this.#refused(error) }));
  }
  /** Cancels the latest attempt. If it was already sent, its answer still counts. */
  #cancel() {
    return clearTimeout(this.#timer), this.#attempt.done = !0, this.#attempt = {};
  }
  /** Cancels all attempts: their answers do not count any more. */
  #reset() {
    this.#cancel(), this.#attempts.clear(), this.#held = [], this.#lasted() > 1e4 && (this.#tries = 0), this.#lasted = zero;
  }
  #retry(error) {
    let { c: options, g: tokens } = this.#connection;
    this.#cancel(), this.#timer = later(() => this.join(), Math.max(backoff(this.#tries++, options.backoff), tokens.x)), this.#change({ status: "joining", error }), this.#report(error);
  }
  /** Leaves, and joins again from the last position, because the state of the membership is not consistent. */
  #rejoin(error) {
    this.#sendLeave(), this.#reset(), this.#retry(error);
  }
  #sendLeave() {
    this.#connection.send({ text: encodeLeave(this.#name) });
  }
  #refused(error) {
    let { c: options, g: tokens } = this.#connection;
    this.#attempts.clear();
    let reaction = reactionTo(error, options.reactions);
    reaction === "refresh" && typeof this.c.params == "function" && tokens.D(this.#token) || reaction === "retry" ? this.#retry(error) : this.#stop("declined", error);
  }
  #acknowledged({ recover, diff }) {
    let before = this.#position, early = this.#held, recovered = recover?.recovered === !0;
    this.#reset(), this.#lasted = stopwatch(), this.#presence.v(diff !== void 0), this.#replayEnd = recovered ? recover.to : 0;
    let id = recovered && before ? before.id : this.#connection.userId;
    this.#position = recover ? { epoch: recover.epoch, offset: recover.offset, id } : null;
    let outcome = recovered && before ? { status: "recovered" } : before ? { status: "gap", reason: recover?.reason ?? "unavailable" } : { status: "fresh", reason: recover?.reason };
    this.h.B(), this.#change({ status: "joined", error: null, outcome }), this.b.d("join", outcome), outcome.status === "gap" && this.#gap(outcome.reason);
    for (let message of early) (!recover || message.offset === void 0) && this.E(message);
  }
  /** Ends the membership or the attempts to join, until the application joins again. */
  #stop(status, error) {
    this.#reset(), this.#position = null, this.#change({ status, error }), this.#report(error), this.h.C(error, !1);
  }
  /** There is a new token: joins again if the old one may be the reason why the channel is not joined. */
  Q() {
    let { status, error } = this.a;
    (status === "joining" && !this.#attempts.size || status === "declined" && error?.status === 401) && this.join();
  }
  i() {
    this.a.status === "joining" && this.join();
  }
  e() {
    this.q && (this.#reset(), this.h.e(), this.#change({ status: "joining" }));
  }
  /** Leaves and frees the name. */
  w(error) {
    let connection = this.#connection;
    connection.j.get(this.#name) === this && (connection.i && (this.a.status === "joined" || this.#attempts.size) && this.#sendLeave(), this.#reset(), connection.j.delete(this.#name), this.#change({ ...IDLE, error: error.code === "LEFT" ? null : error }), this.b.o = !0, this.h.C(error));
  }
  // Receiving
  E(message) {
    let { action, event, requestId, payload } = message, { status } = this.a;
    if (status === "joined") return this.#deliver(message);
    if (status !== "joining") return;
    let answer = requestId ? this.#attempts.has(requestId) : this.#attempts.size > 0;
    answer && event === "ACKNOWLEDGE" ? this.#acknowledged(payload ?? {}) : answer && (action === "ERROR" || REFUSALS.includes(event)) ? this.#refused(serverError(message)) : action === "SYSTEM" && event === "EXIT_ACKNOWLEDGE" ? this.#held = [] : this.#answered(message) || this.#held.push(message);
  }
  /** Settles the request that a message answers, and returns whether listeners must not receive the message. */
  #answered(message) {
    let { action, event, requestId, payload } = message, item = this.h.get(requestId);
    if (!(action === "ERROR" || item && action === "SYSTEM" && REFUSALS.includes(event)))
      return action !== "PRESENCE" && item?.k(null, payload), !1;
    let error = serverError(message);
    return item ? item.k(error) : this.#report(error), !0;
  }
  #deliver(message) {
    let { action, event, payload, offset } = message, position = this.#position;
    if (action === "PRESENCE") return this.#present(this.#presence.M(event, payload ?? {}));
    if (action === "SYSTEM" && this.#notice(event, payload ?? {}, position)) return;
    if (action === "ERROR" && REMOVALS.includes(event)) return this.#stop("removed", serverError(message));
    if (position && offset !== void 0) {
      if (offset <= position.offset)
        return this.#rejoin(new PondError("ORDER", `message ${offset} of ${this.#name} came after ${position.offset}`));
      position.offset = offset;
    }
    if (this.#answered(message)) {
      event === "CHANNEL_NOT_FOUND" && this.#rejoin(serverError(message));
      return;
    }
    let received = { ...message, replayed: offset !== void 0 && offset <= this.#replayEnd };
    this.b.d("message", received), this.b.d(`on:${event}`, payload, received);
  }
  /** Handles protocol messages that are not for listeners of events, and returns whether the message was one. */
  #notice(event, payload, position) {
    let { diff } = this.#presence;
    if (REMOVALS.includes(event))
      this.#stop("removed", serverError({ event, payload }));
    else if (diff && event === "PRESENCE_STATE")
      this.#presence.K(payload) && this.#present(null);
    else if (diff && event === "PRESENCE_DIFF") {
      let change = this.#presence.L(payload);
      change && this.#present(change);
    } else if (position && ["GAP", "POSITION", "RECOVERED"].includes(event)) {
      let { epoch, offset, reason } = payload;
      this.#position = { epoch, offset, id: event === "RECOVERED" ? this.#connection.userId : position.id }, event !== "POSITION" && (this.#replayEnd = 0), event === "GAP" && this.#gap(reason);
    } else
      return event === "ACKNOWLEDGE" || event === "EXIT_ACKNOWLEDGE";
    return !0;
  }
  #present(change) {
    let presence = this.#presence.l;
    this.#change({ presence }), this.b.d("presence", presence, change);
  }
  #gap(reason) {
    this.b.d("gap", { reason }) || this.#connection.m(new PondError("GAP", `messages of ${this.#name} were lost (${reason}): listen with onGap`));
  }
  // Sending
  s(event, payload, options = {}, reply) {
    let { status, error } = this.a;
    return this.q ? this.h.s(status === "joined", event, payload, options, reply) : Promise.reject(new PondError("NOT_JOINED", `${this.#name} is not joined`, error?.status));
  }
  // Reporting
  #report(error) {
    this.b.d("error", error) || this.#connection.m(error);
  }
  #change(part) {
    Object.keys(part).some((key) => part[key] !== this.a[key]) && (this.a = { ...this.a, ...part }, this.b.d("change", this.a));
  }
};

// src/channel.ts
var Channel = class {
  name;
  #connection;
  #options;
  #room = null;
  // while this handle uses it
  #joined = !1;
  // until leave
  #disposers = /* @__PURE__ */ new Set();
  constructor(name, options, connection) {
    this.name = name, this.#connection = connection, this.#options = options;
  }
  #use() {
    if (this.#room) return this.#room;
    let room = this.#room = this.#connection.R(this.name);
    return Object.assign(room.c, this.#options), room.O(), this.#connection.a.status === "idle" && this.#connection.connect(), room;
  }
  #release() {
    this.#joined || this.#disposers.size || (this.#room?.P(), this.#room = null);
  }
  #listen(key, listener) {
    let remove = this.#use().b.add(key, listener), dispose = () => {
      this.#disposers.delete(dispose) && (remove(), this.#release());
    };
    return this.#disposers.add(dispose), dispose;
  }
  on(event, listener) {
    return this.#listen(`on:${event}`, listener);
  }
  onMessage(listener) {
    return this.#listen("message", listener);
  }
  onPresence(listener) {
    return this.#listen("presence", listener);
  }
  onJoin(listener) {
    return this.#listen("join", listener);
  }
  onGap(listener) {
    return this.#listen("gap", listener);
  }
  onError(listener) {
    return this.#listen("error", listener);
  }
  subscribe = (listener) => this.#listen("change", listener);
  getSnapshot = () => this.#room?.a ?? IDLE;
  get status() {
    return this.getSnapshot().status;
  }
  get presence() {
    return this.getSnapshot().presence;
  }
  join({ signal } = {}) {
    let promise = new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      let room = this.#hold(), connection = this.#connection;
      room.q || room.join();
      let check = () => {
        let { status, outcome, error } = room.a;
        if (signal?.aborted)
          this.#joined = !1, this.#release(), reject(signal.reason);
        else if (status !== "joining")
          status === "joined" ? resolve(outcome) : reject(error ?? new PondError("LEFT", "left the channel"));
        else if (connection.a.status === "stopped")
          reject(connection.a.error);
        else
          return;
        for (let remove of removers) remove();
      };
      signal?.addEventListener("abort", check);
      let removers = [
        room.b.add("change", check),
        connection.b.add("change", check),
        () => signal?.removeEventListener("abort", check)
      ];
      check();
    });
    return promise.catch(() => {
    }), promise;
  }
  #hold() {
    return this.#joined = !0, this.#use();
  }
  send(event, payload, options) {
    return this.#submit(event, payload, options, !1);
  }
  request(event, payload, options) {
    return this.#submit(event, payload, options, !0);
  }
  #submit(event, payload, options, reply) {
    return options?.signal?.aborted ? Promise.reject(options.signal.reason) : (this.#room ?? this.#hold()).s(event, payload, options, reply);
  }
  leave() {
    this.#joined = !1;
    for (let dispose of [...this.#disposers]) dispose();
    this.#release();
  }
};

// src/pulse.ts
var TIMEOUT = 1e4, LATE = 5e3, Pulse = class {
  #probe;
  #dead;
  #silence = 0;
  // ms after which to probe; 0 turns it off
  #quiet = zero;
  // time since something arrived
  #probing = !1;
  #timer;
  constructor(probe, dead) {
    this.#probe = probe, this.#dead = dead;
  }
  S(silence) {
    this.#silence = silence, this.#probing = !0, this.n();
  }
  F() {
    clearTimeout(this.#timer);
  }
  n() {
    this.#quiet = stopwatch(), this.#probing && (this.#probing = !1, this.#wait());
  }
  /** Sends a probe now, unless one has no answer yet: repeated calls must not extend the time limit. */
  G() {
    this.#probing || (this.#probing = !0, this.#probe(), this.#wait());
  }
  #wait() {
    if (this.F(), !this.#silence) return;
    let delay = this.#probing ? TIMEOUT : Math.max(0, this.#silence - this.#quiet()), passed = stopwatch();
    this.#timer = later(() => {
      let late = passed() > delay + LATE;
      this.#probing && !late ? this.#dead() : late || this.#quiet() >= this.#silence ? (this.#probing = !1, this.G()) : this.#wait();
    }, delay);
  }
};

// src/route.ts
var PERIOD = 3e5, tellsNothing = (status) => status > 403 && status < 429 || status === 501, PATIENCE = 3, Route = class {
  #available;
  #fallback = !1;
  // is next
  #failures = 0;
  // attempts of the preferred transport in a row that never opened
  #worked = !1;
  // whether one ever did
  #lasted = zero;
  // time since a connection opened
  #rejection = null;
  // of the event stream, to be believed if a WebSocket does not open either
  constructor(available) {
    this.#available = available;
  }
  get r() {
    return this.#available()[0];
  }
  next() {
    return this.#fallback && this.#available()[1] || this.r;
  }
  /** The preferred transport opens again. */
  v() {
    this.#fallback = !1;
  }
  /** A connection opened. Returns whether the preferred transport should be tried again later. */
  y(transport) {
    return this.#rejection = null, this.#lasted = stopwatch(), transport !== this.r ? !0 : (this.#worked = !0, this.#failures = 0, !1);
  }
  /** An attempt failed, or a connection ended. Returns the error that determines the reaction. */
  e(transport, connected, error) {
    if (this.#available().length < 2 || (transport !== this.r ? this.#fallback = connected && this.#lasted() < PERIOD : connected || (this.#fallback = ++this.#failures >= (this.#worked ? PATIENCE : 1)), connected)) return error;
    if (transport === "stream" && tellsNothing(error.status))
      return this.#rejection = error, new PondError("NO_STREAM", error.message);
    let rejection2 = transport === "websocket" && this.#rejection;
    return this.#rejection = null, rejection2 || error;
  }
};

// src/stream.ts
var BATCH = 32768, POST_TIMEOUT = 3e4, MAX_RETURNS = 5;
function openStream(request, events) {
  let abort = new AbortController(), { signal } = abort, id = "", batch = !1, busy = !1, returns = 0, backlog = [], lost = (error) => {
    abort.abort(), events.e(toPondError(error, "NETWORK"));
  }, read = async () => {
    let response = await request({ headers: { accept: "text/event-stream" }, signal }), { status, headers, body } = response;
    if (status !== 200) throw await rejection(response);
    if (!body || !headers.get("content-type")?.startsWith("text/event-stream"))
      throw new PondError("NO_STREAM", "not an event stream", 406);
    let reader = body.pipeThrough(new TextDecoderStream()).getReader(), rest = "", data = "";
    for (; ; ) {
      let { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) throw new PondError("DISCONNECTED", "the event stream ended");
      events.n();
      let lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop();
      for (let line of lines)
        line.startsWith("data:") ? data += `${line.slice(5)}
` : !line && data && (events.text(data), data = "");
    }
  }, post = async (messages) => {
    let texts = messages.map(({ text }) => text);
    for (let message of messages) message.f = !0;
    let timer = setTimeout(() => lost(new PondError("TIMEOUT", "no answer to a POST", 408)), POST_TIMEOUT), error = await request({
      method: "POST",
      headers: { "content-type": "application/json", "x-connection-id": id },
      body: texts.length > 1 ? `[${texts}]` : texts[0],
      signal
    }).then((response) => response.ok ? null : rejection(response)).finally(() => clearTimeout(timer));
    if (!error) {
      returns = 0;
      for (let message of messages) message.A?.();
      return;
    }
    let { status, retryAfter = 1e3 } = error, alone = messages.length === 1;
    if (status < 500 && ![401, 404, 429].includes(status) && alone) return messages[0].z?.(error);
    if (status >= 500 && status !== 503) throw error;
    for (let message of messages) message.f = !1;
    if (backlog.unshift(...messages), status === 404) throw new PondError("NETWORK", "unknown event stream");
    if (status === 401 || status === 503 && ++returns > MAX_RETURNS) throw error;
    alone ? await new Promise((resolve) => setTimeout(resolve, Math.min(retryAfter, POST_TIMEOUT))) : batch = !1;
  }, pump = async () => {
    if (!(busy || !id)) {
      busy = !0;
      try {
        for (; !signal.aborted && (backlog = backlog.filter(({ done }) => !done), !!backlog.length); ) {
          let size = backlog[0].text.length, count = 1;
          for (; batch && count < backlog.length && (size += backlog[count].text.length) < BATCH; ) count++;
          await post(backlog.splice(0, count));
        }
      } catch (error) {
        lost(error);
      }
      busy = !1;
    }
  };
  return read().catch(lost), {
    p: 0,
    // the backlog counts as queued
    H(secret, several) {
      id = secret, batch = several, pump();
    },
    send(message) {
      backlog.push(message), pump();
    },
    close: () => abort.abort()
  };
}
async function rejection(response) {
  let { status, headers } = response, text = (await response.text().catch(() => "")).slice(0, 500).trim(), error = new PondError("REJECTED", text || `status ${status}`, status), seconds = Number(headers.get("retry-after"));
  return seconds > 0 && (error.retryAfter = seconds * 1e3), error;
}

// src/token.ts
var MIN_INTERVAL = 1e4, MAX_REFRESH = 3e4, MAX_REJECTED = 3, Tokens = class {
  #source;
  #value;
  #age = () => 1 / 0;
  // time since the start of the last refresh
  #life = 0;
  // the age at which the value is too old
  #rejected = 0;
  // in a row
  #lastRejected;
  #pending = null;
  constructor(source) {
    this.#source = source, typeof source != "function" && (this.#value = source);
  }
  get #fresh() {
    return typeof this.#source != "function" || this.#age() < this.#life;
  }
  /** Returns the token, after a refresh if it expired. */
  async get() {
    return this.#fresh ? this.#value : ((!this.#pending || this.#age() > MAX_REFRESH) && (this.#pending = this.#refresh().finally(() => this.#pending = null)), this.#pending);
  }
  /** Milliseconds until get may ask for a new token. */
  get x() {
    return this.#fresh ? 0 : Math.max(0, MIN_INTERVAL - this.#age());
  }
  /** Records that the server rejected a token, and returns whether the next attempt can have a different one. */
  D(token) {
    if (token !== this.#value) return !0;
    if (typeof this.#source != "function") return !1;
    if (!this.#life) return !0;
    this.#life = 0;
    let again = token === this.#lastRejected;
    return this.#lastRejected = token, !again && ++this.#rejected < MAX_REJECTED;
  }
  /** Lets the next get ask for a new token if this one is older than a minute. */
  T() {
    this.#age() > 6e4 && (this.#life = 0);
  }
  /** Records that the server accepted the token. */
  U() {
    this.#rejected = 0, this.#lastRejected = void 0;
  }
  async #refresh() {
    this.#age = stopwatch();
    let token = await this.#source(), { value, expiresIn = 1 / 0 } = typeof token == "object" ? token : { value: token };
    return this.#value = value, this.#life = Math.max(MIN_INTERVAL, expiresIn * 900 || 0), value;
  }
};

// src/websocket.ts
function openWebSocket(url, Constructor, events) {
  url.protocol = url.protocol.replace("http", "ws");
  let socket = new Constructor(url.href);
  return socket.onopen = () => events.y(), socket.onmessage = ({ data }) => {
    events.n(), events.text(data);
  }, socket.onclose = ({ code, reason }) => events.e(new PondError("DISCONNECTED", reason || `close code ${code}`, code)), socket.onerror = () => {
  }, {
    get p() {
      return socket.bufferedAmount;
    },
    H() {
    },
    send(message) {
      socket.readyState === 1 && (socket.send(message.text), message.f = !0, message.A?.());
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null, socket.close(1e3);
    }
  };
}

// src/connection.ts
var MAX_ADVICE = 36e5, Connection = class {
  j = /* @__PURE__ */ new Map();
  b = new Listeners();
  t = /* @__PURE__ */ new Set();
  // the messages of all channels
  c;
  g;
  features = [];
  userId;
  a = { status: "idle", transport: null, userId: null, retryAt: null, error: null };
  #url;
  #ticket = null;
  // of the current attempt or connection; events of others are ignored
  #link = null;
  #token;
  // the one that the attempt used
  #timer;
  // the deadline of the attempt, or the next attempt
  #attempt = 0;
  // attempts in a row that did not lead to a healthy connection, without those that the server delayed
  #lasted = zero;
  // time since it connected
  #advised = zero;
  // time left until the reconnect, if the server advised it
  #route;
  #upgrade;
  // starts an attempt with the preferred transport, or aborts it
  #probeTicket = null;
  // of that attempt
  #probeLink = null;
  #pulse = new Pulse(
    () => this.#probe(),
    () => this.#lost(new PondError("SILENT", "no answer to a probe"))
  );
  #sender = "";
  // the channel name of messages that belong to no channel
  #probes = 0;
  // without an answer
  #page = null;
  // removes the listeners of page events
  constructor(url, options = {}) {
    this.#url = url, this.c = withDefaults(options), this.g = new Tokens(options.token), this.#route = new Route(() => this.c.transports.filter((name) => name !== "websocket" || this.#WebSocket));
  }
  get #rooms() {
    return [...this.j.values()];
  }
  get #WebSocket() {
    return this.c.WebSocket ?? globalThis.WebSocket;
  }
  get i() {
    return this.a.status === "connected";
  }
  /** Bytes that the transport accepted, but did not send yet. */
  get p() {
    return this.#link?.p ?? 0;
  }
  /** The messages that the server cannot have yet. */
  get queue() {
    return [...this.t].filter(({ f: sent }) => !sent);
  }
  get queued() {
    let { queue } = this;
    return { messages: queue.length, bytes: queue.reduce((bytes, { size }) => bytes + size, 0) };
  }
  R(name) {
    let room = this.j.get(name);
    return room || this.j.set(name, room = new Room(name, this)), room;
  }
  /** Connects now, unless it is connected, connecting or closed. */
  connect() {
    let { status } = this.a;
    ["idle", "waiting", "stopped"].includes(status) && (this.#watchPage(), this.#open());
  }
  /** Replaces the token. Attempts that wait for another token start again. */
  setToken(token) {
    this.g = new Tokens(token), ["idle", "connected", "closed"].includes(this.a.status) || this.#open();
    for (let room of this.#rooms) room.Q();
  }
  close() {
    this.#page?.abort(), this.#drop(), this.#become({ status: "closed" });
    for (let room of this.#rooms) room.w(new PondError("CLOSED", "the connection was closed"));
    this.b.o = !0;
  }
  send(message) {
    this.#link?.send(message);
  }
  /** Reports an error that does not belong to a channel, or whose channel has no listener for it. */
  m(error) {
    this.b.d("error", error) || console.error("pond:", error);
  }
  // Opening
  #open() {
    let { i: connected } = this, transport = this.#route.next();
    this.#drop(), this.#timer = later(() => {
      let message = "no connection in time";
      transport === "stream" && console.warn("pond:", message += "; over HTTP/1.1 all tabs share six connections to a host"), this.#lost(new PondError("TIMEOUT", message, 408));
    }, this.c.timeout);
    let ticket = this.#ticket = {};
    this.#become({ status: "connecting", transport: transport ?? null }), connected && this.#loseRooms(), this.#dial(transport, ticket);
  }
  async #dial(transport, ticket) {
    let { c: options } = this, events = this.#events(ticket), valid = () => ticket === this.#ticket || ticket === this.#probeTicket;
    try {
      if (!transport) throw new PondError("NO_TRANSPORT", "there is no WebSocket", 426);
      let token = await this.g.get(), params = await evaluate(options.params ?? { token }, token), headers = await evaluate(options.headers, token);
      if (!valid()) return;
      let url = new URL(this.#url, globalThis.location?.href);
      for (let [name, value] of Object.entries(params))
        value !== void 0 && url.searchParams.set(name, String(value));
      transport === "stream" && (url.protocol = url.protocol.replace("ws", "http"));
      let link = transport === "websocket" ? openWebSocket(url, this.#WebSocket, events) : openStream((init) => (options.fetch ?? fetch)(url.href, {
        cache: "no-store",
        credentials: options.credentials,
        ...init,
        headers: { ...headers, ...init.headers }
      }), events);
      this.#token = token, ticket === this.#ticket ? this.#link = link : this.#probeLink = link;
    } catch (error) {
      valid() && events.e(toPondError(error, "SETUP"));
    }
  }
  #events(ticket) {
    let current = () => ticket === this.#ticket;
    return {
      n: () => current() && this.#pulse.n(),
      y: () => {
        let { welcomeAfter } = this.c;
        !welcomeAfter || !current() || (clearTimeout(this.#timer), this.#timer = later(() => this.#welcome({}), welcomeAfter));
      },
      text: (data) => {
        for (let line of String(data).split(`
`))
          if (line)
            try {
              let message = JSON.parse(line);
              if (current())
                this.#receive(message);
              else if (message.action === "CONNECT" && ticket === this.#probeTicket) {
                if (!this.#movable) return this.#plan();
                this.#route.v(), this.#open();
              }
            } catch (cause) {
              this.m(new PondError("INVALID_FRAME", `not a message: ${line.slice(0, 100)}`, 0, { cause }));
            }
      },
      e: (error) => {
        current() ? this.#lost(error) : ticket === this.#probeTicket && this.#plan();
      }
    };
  }
  // Receiving
  #receive(message) {
    let { action, event, channelName, payload } = message;
    if (action === "CONNECT") return this.#welcome(message);
    let failed = action === "ERROR", room = this.j.get(channelName);
    if (room) return room.E(message);
    if (this.#probes && (failed || channelName === PROBE)) this.#probes--;
    else {
      if (failed && event === "INVALID_MESSAGE" && this.features.length && this.a.transport === "stream") return;
      failed ? this.m(serverError(message)) : action === "SYSTEM" && event === "RECONNECT" ? this.#advise(payload.after) : channelName === this.#sender && this.b.d(`on:${event}`, payload, message);
    }
  }
  #welcome({ channelName = "ENDPOINT", payload }) {
    let { id, connectionId, features, heartbeatInterval } = payload ?? {};
    clearTimeout(this.#timer), this.#lasted = stopwatch(), this.#advised = zero, this.userId = id;
    let extended = Array.isArray(features);
    this.features = extended ? features : [], this.#link.H(connectionId, extended), this.#sender = channelName, this.#probes = 0, this.#pulse.S(heartbeatInterval > 0 ? Math.max(1e3, heartbeatInterval * 1.5) : this.c.heartbeat);
    let { transport } = this.a;
    this.#route.y(transport) && this.#plan(), this.#become({ status: "connected", transport, userId: id ?? null });
  }
  #probe() {
    this.#probes++, this.send({ text: probeFor(this.#sender) });
  }
  // Losing
  #lost(reason) {
    let { c: options, g: tokens, i: connected } = this, { transport } = this.a;
    this.#lasted() > 1e4 && (this.#attempt = 0, tokens.U()), this.#drop();
    let error = this.#route.e(transport, connected, reason);
    !connected && transport === "websocket" && tokens.T(), this.#advise(reason.retryAfter);
    let reaction = reactionTo(error, options.reactions), stop = reaction === "stop" || reaction === "refresh" && !tokens.D(this.#token);
    if (stop) this.#become({ status: "stopped", error });
    else {
      let delay = Math.max(this.#advised() || backoff(this.#attempt++, options.backoff), tokens.x);
      this.#timer = later(() => this.#open(), delay), this.#become({ status: "waiting", error, retryAt: Date.now() + delay });
    }
    (stop || error.code === "SETUP") && this.m(error), connected && this.#loseRooms();
  }
  #advise(delay) {
    if (!(delay > 0)) return;
    let passed = stopwatch(), wait = spread(Math.min(delay, MAX_ADVICE));
    this.#advised = () => Math.max(0, wait - passed());
  }
  /** Abandons the link without waiting for its end, and all timers. */
  #drop() {
    let link = this.#link;
    this.#ticket = this.#link = null, this.#lasted = zero, clearTimeout(this.#timer), this.#pulse.F(), this.#dropProbe(), link?.close();
  }
  #loseRooms() {
    for (let room of this.#rooms) room.e();
  }
  // Changing back to the preferred transport
  /** Whether a change of the connection loses no messages and leaves no outcome unknown. */
  get #movable() {
    return this.#rooms.every((room) => room.N) && [...this.t].every(({ f: sent, idempotent }) => !sent || idempotent);
  }
  /** Tries the preferred transport later, in addition to the existing connection. */
  #plan() {
    this.#dropProbe(), this.#upgrade = setTimeout(() => {
      if (!this.#movable) return this.#plan();
      this.#upgrade = setTimeout(() => this.#plan(), this.c.timeout), this.#dial(this.#route.r, this.#probeTicket = {});
    }, spread(PERIOD));
  }
  #dropProbe() {
    clearTimeout(this.#upgrade), this.#probeLink?.close(), this.#probeLink = this.#probeTicket = null;
  }
  // The page
  #watchPage() {
    if (this.#page || !globalThis.addEventListener) return;
    let { signal } = this.#page = new AbortController(), wake = ({ type, persisted }) => {
      let { status } = this.a;
      persisted ? status !== "stopped" && this.#open() : type !== "pageshow" && (type !== "visibilitychange" || document.visibilityState === "visible") && (status === "connected" ? this.#pulse.G() : status === "waiting" && !this.#advised() && !this.g.x && this.#open());
    };
    for (let type of ["online", "pageshow", "resume", "visibilitychange"]) addEventListener(type, wake, { capture: !0, signal });
  }
  /** Changes the status. Channels join before listeners are called, because listeners may call any method. */
  #become(snapshot) {
    if (this.a = { transport: null, userId: null, retryAt: null, error: null, ...snapshot }, this.i) for (let room of this.#rooms) room.i();
    this.b.d("change", this.a);
  }
}, withDefaults = ({
  transports = ["websocket", "stream"],
  timeout = 1e4,
  requestTimeout = 3e4,
  heartbeat = 4e4,
  backoff: backoff2 = [1e3, 3e4],
  queue: { messages = 1e3, bytes = 1 << 20, age = 3e5 } = {},
  ...rest
}) => ({ ...rest, transports, timeout, requestTimeout, heartbeat, backoff: backoff2, queue: { messages, bytes, age } });

// src/pond.ts
var Pond = class {
  #connection;
  constructor(url, options) {
    this.#connection = new Connection(url, options);
  }
  channel(name, options = {}) {
    return new Channel(name, options, this.#connection);
  }
  connect() {
    this.#connection.connect();
  }
  close() {
    this.#connection.close();
  }
  setToken(token) {
    this.#connection.setToken(token);
  }
  on(event, listener) {
    return this.#connection.b.add(`on:${event}`, listener);
  }
  onError(listener) {
    return this.#connection.b.add("error", listener);
  }
  subscribe = (listener) => this.#connection.b.add("change", listener);
  getSnapshot = () => this.#connection.a;
  get status() {
    return this.getSnapshot().status;
  }
  get userId() {
    return this.getSnapshot().userId;
  }
  get queued() {
    return this.#connection.queued;
  }
  clearQueue() {
    for (let item of this.#connection.queue) item.k(new PondError("CLEARED", "the queue was cleared"));
  }
};
export {
  Pond,
  PondError,
  reactions
};
