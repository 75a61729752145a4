// A client for pond in one module, without dependencies.
//
//     import { connect } from "./pond.js";
//
//     const pond = connect("/socket");
//     const room = pond.join("/chat/lounge", { name: "Ada" });
//     room.on("message", ({ text }) => console.log(text));
//     room.onPresence(({ presence }) => console.log(presence.length, "here"));
//     room.send("message", { text: "hello" });
//
// The protocol in six lines. Every message, in both directions, is one JSON object:
//
//     { action, event, channelName, requestId, payload }
//
// The server speaks first (CONNECT). A client sends JOIN_CHANNEL, LEAVE_CHANNEL and BROADCAST; a server
// sends SYSTEM (answers and notices), BROADCAST, PRESENCE and ERROR. An answer has its request's requestId.
// Over WebSocket a message is a text frame. Over SSE the server's messages are events, the client's are POSTs.
//
// What this client adds: it reconnects, joins its channels again, and keeps what you send in the meantime.

const CONNECT_TIMEOUT = 10_000; // from opening a connection to the server's first message
const JOIN_TIMEOUT = 10_000;
const REQUEST_TIMEOUT = 30_000; // from sending a request to its answer
const RETRY_FIRST = 500; // the longest wait before the first retry; it doubles with each attempt
const RETRY_LIMIT = 30_000;
const STABLE_AFTER = 5_000; // a connection that lived this long starts over with short waits
const QUEUE_LIMIT = 100; // what a channel keeps for later

/** Connects to an endpoint. `transport` is "websocket" or "sse"; `params` become the query of its URL. */
export function connect(url, { transport = "websocket", params = {} } = {}) {
  return new Client(url, transport, params);
}

/** What a request or a join failed with: a `code` to compare, a `message` to show, an HTTP `status`. */
export class PondError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    Object.assign(this, { name: "PondError", code, status });
  }

  /** Reads the payload of a refusal, in each of the forms that servers send. */
  static from({ payload = {}, event }) {
    const { code, message, status, error } = payload ?? {};
    return new PondError(
      typeof code === "string" ? code : event,
      message ?? error?.message ?? "The server refused the request.",
      status ?? (typeof code === "number" ? code : 0),
    );
  }
}

/** A Client is one connection to an endpoint at a time, and the channels that were joined over it. */
class Client {
  #url;
  #transport;
  #link = null; // the connection, from the first attempt to its end
  #timer = 0; // gives up on connecting, or tries again
  #attempt = 0; // failed attempts in a row
  #connectedAt = 0;
  #channels = new Map();
  #state = {};
  #stateChanged = new Signal();
  #retry = () => this.retry();

  constructor(url, transport, params) {
    this.#url = new URL(url, location.href);
    this.#url.search = new URLSearchParams(params);
    this.#transport = transport;
    addEventListener("online", this.#retry);
    this.#open();
  }

  /**
   * Where the connection stands: { name, transport, userId, retryAt }, where name is "connecting",
   * "connected", "waiting" (until retryAt, in milliseconds since 1970) or "closed".
   */
  get state() {
    return this.#state;
  }

  /** Calls fn with the state, now and after each change. Returns a function that ends it, as all `on…` do. */
  onState(fn) {
    fn(this.#state);
    return this.#stateChanged.add(fn);
  }

  /** Joins a channel, now or as soon as there is a connection. Joining it twice returns the same Channel. */
  join(name, params = {}) {
    let channel = this.#channels.get(name);
    if (channel) return channel;
    channel = new Channel(name, params, {
      write: (message) => this.#link?.send(JSON.stringify(message)),
      ended: () => this.#channels.delete(name),
    });
    this.#channels.set(name, channel);
    if (this.#state.name === "connected") channel._connected();
    return channel;
  }

  /** Moves to another transport. Channels are joined again; to others it looks like a short absence. */
  use(transport) {
    if (transport === this.#transport || this.#state.name === "closed") return;
    this.#transport = transport;
    this.#attempt = 0;
    this.#drop();
    this.#open();
  }

  /** Ends the wait for the next attempt to connect. */
  retry() {
    if (this.#state.name === "waiting") this.#open();
  }

  /** Leaves all channels and disconnects, for good. */
  close() {
    removeEventListener("online", this.#retry);
    for (const channel of this.#channels.values()) channel.leave();
    this.#drop();
    this.#become({ name: "closed" });
  }

  #open() {
    const link = transports[this.#transport](new URL(this.#url), {
      message: (message) => link === this.#link && this.#receive(message),
      down: () => link === this.#link && this.#lost(),
    });
    this.#link = link;
    this.#become({ name: "connecting" }, () => this.#lost(), CONNECT_TIMEOUT);
  }

  #receive(message) {
    if (message.action !== "CONNECT") {
      this.#channels.get(message.channelName)?._receive(message);
      return;
    }
    this.#connectedAt = Date.now();
    for (const channel of this.#channels.values()) channel._connected();
    this.#become({ name: "connected", userId: message.payload?.id });
  }

  // Full jitter: the clients of a server that restarts come back spread over the wait, not all at its end.
  #lost() {
    if (this.#connectedAt && Date.now() - this.#connectedAt > STABLE_AFTER) this.#attempt = 0;
    const wait = Math.random() * Math.min(RETRY_LIMIT, RETRY_FIRST * 2 ** this.#attempt++);
    this.#drop();
    this.#become({ name: "waiting", retryAt: Date.now() + wait }, () => this.#open(), wait);
  }

  #drop() {
    const link = this.#link;
    this.#link = null; // from here on, whatever it still reports is old news
    this.#connectedAt = 0;
    link?.close();
  }

  // Each state has at most one timer. Listeners come last: they may call anything, close() included.
  #become(state, next, delay) {
    clearTimeout(this.#timer);
    if (next) this.#timer = setTimeout(next, delay);
    this.#state = { userId: null, retryAt: null, ...state, transport: this.#transport };
    if (state.name !== "connected") for (const channel of this.#channels.values()) channel._disconnected();
    this.#stateChanged.emit(this.#state);
  }
}

/**
 * A Channel is one room. Its methods that begin with an underscore are for the Client.
 *
 * Its state is "joining" (also while the connection is away), "joined", or one of three ends: "declined"
 * and "removed", for which onState gets a PondError, and "left". After an end, join again for a new Channel.
 */
class Channel {
  #client;
  #joinId = null; // the requestId of the join that is under way
  #joinTimer = 0;
  #queue = []; // what waits for the join
  #unanswered = new Map(); // requestId -> what was sent and expects an answer
  #events = new Map(); // event -> Signal
  #stateChanged = new Signal();
  #presenceChanged = new Signal();
  #failed = new Signal();

  constructor(name, params, client) {
    this.name = name;
    this.params = params; // sent with each join; assign to change the next one
    this.state = "joining";
    this.presence = []; // what the members that are here show of themselves
    this.#client = client;
  }

  /** Calls fn(payload, message) for each event of this name. */
  on(event, fn) {
    if (!this.#events.has(event)) this.#events.set(event, new Signal());
    return this.#events.get(event).add(fn);
  }

  /** Calls fn({ event, changed, presence }) when a member comes (JOIN), changes (UPDATE) or goes (LEAVE). */
  onPresence(fn) {
    return this.#presenceChanged.add(fn);
  }

  /** Calls fn(state, error) after each change of state. */
  onState(fn) {
    return this.#stateChanged.add(fn);
  }

  /** Calls fn(error) when the server refuses something that was sent without waiting for an answer. */
  onError(fn) {
    return this.#failed.add(fn);
  }

  /** Sends an event, now or after the next join. Throws a PondError if too much waits already. */
  send(event, payload = {}) {
    this.#submit({ event, payload });
  }

  /**
   * Sends an event and resolves to the payload of its answer, which is the first message with its
   * requestId. Rejects with a PondError. A request whose connection breaks before the answer may or may not
   * have been handled: with `retry` it is sent again, so let the server recognize what it has seen before.
   */
  request(event, payload = {}, { retry = false, timeout = REQUEST_TIMEOUT } = {}) {
    return new Promise((resolve, reject) => {
      this.#submit({ event, payload, requestId: newId(), retry, timeout, resolve, reject });
    });
  }

  /** Leaves the channel. */
  leave() {
    if (this.state === "joined" || this.#joinId) this.#write("LEAVE_CHANNEL", newId());
    this.#end("left", new PondError("LEFT", "The channel was left."));
  }

  _connected() {
    this.#joinId = newId();
    this.#joinTimer = setTimeout(() => {
      this.#write("LEAVE_CHANNEL", newId()); // in case that the server is only late
      this.#end("declined", new PondError("TIMEOUT", "The server did not answer.", 408));
    }, JOIN_TIMEOUT);
    this.#write("JOIN_CHANNEL", this.#joinId, this.params);
  }

  _disconnected() {
    clearTimeout(this.#joinTimer);
    this.#joinId = null;
    const lost = [...this.#unanswered.values()];
    this.#unanswered.clear();
    for (const item of lost) clearTimeout(item.timer);
    this.#queue.unshift(...lost.filter((item) => item.retry));
    if (this.state === "joined") {
      this.state = "joining";
      this.#stateChanged.emit("joining");
    }
    const error = new PondError("CONNECTION_LOST", "The connection broke before the answer.");
    for (const item of lost) if (!item.retry) item.reject(error);
  }

  _receive(message) {
    const { action, event, requestId, payload } = message;
    if (this.state === "joining") {
      if (requestId === this.#joinId) this.#joinAnswered(message);
    } else if (REMOVALS.has(event) && (action === "SYSTEM" || action === "ERROR")) {
      const reason = payload?.reason ?? payload?.message ?? "Removed by the server.";
      this.#end("removed", new PondError(event, reason, payload?.code));
    } else if (action === "PRESENCE") {
      this.presence = payload?.presence ?? this.presence;
      this.#presenceChanged.emit({ event, changed: payload?.changed, presence: this.presence });
    } else {
      if (action !== "ERROR") this.#events.get(event)?.emit(payload, message);
      const item = this.#unanswered.get(requestId);
      if (item) this.#answer(item, message);
      else if (action === "ERROR") this.#failed.emit(PondError.from(message));
    }
  }

  #joinAnswered(message) {
    const accepted = message.event === "ACKNOWLEDGE";
    if (!accepted && message.action !== "ERROR" && !REFUSALS.has(message.event)) return;
    clearTimeout(this.#joinTimer);
    this.#joinId = null;
    if (!accepted) return this.#end("declined", PondError.from(message));
    this.state = "joined";
    for (const item of this.#queue.splice(0)) this.#submit(item);
    this.#stateChanged.emit("joined"); // last, so that what waited goes before what a listener sends
  }

  #submit(item) {
    if (this.state === "joined") {
      if (item.resolve) this.#await(item);
      this.#write("BROADCAST", item.requestId ?? newId(), item.payload, item.event);
    } else if (this.state !== "joining") {
      throw new PondError("NOT_JOINED", "This channel has been left.");
    } else if (this.#queue.length >= QUEUE_LIMIT) {
      throw new PondError("QUEUE_FULL", "Too many messages wait for the connection.");
    } else {
      this.#queue.push(item);
    }
  }

  #await(item) {
    this.#unanswered.set(item.requestId, item);
    item.timer = setTimeout(() => {
      this.#unanswered.delete(item.requestId);
      item.reject(new PondError("TIMEOUT", "The server did not answer.", 408));
    }, item.timeout);
  }

  #answer(item, message) {
    this.#unanswered.delete(item.requestId);
    clearTimeout(item.timer);
    if (message.action === "ERROR") item.reject(PondError.from(message));
    else item.resolve(message.payload);
  }

  #write(action, requestId, payload = {}, event = action) {
    this.#client.write({ action, event, channelName: this.name, requestId, payload });
  }

  #end(state, error) {
    if (this.state !== "joining" && this.state !== "joined") return; // it has ended before
    clearTimeout(this.#joinTimer);
    this.#client.ended();
    this.state = state;
    this.#stateChanged.emit(state, error);
    for (const item of [...this.#unanswered.values(), ...this.#queue.splice(0)]) {
      clearTimeout(item.timer);
      item.reject?.(error);
    }
    this.#unanswered.clear();
  }
}

// Servers of the PondSocket family use different words for the same two things.
const REFUSALS = new Set(["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"]);
const REMOVALS = new Set(["kicked_out", "EVICTED", "evicted", "destroyed"]);

// A transport is a function that opens one connection and returns { send, close }. It reports each message
// of the server and, once, that the connection is down.
const transports = {
  websocket(url, { message, down }) {
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.onmessage = ({ data }) => decode(data).forEach(message);
    socket.onclose = down;
    return {
      send: (text) => socket.send(text),
      close: () => socket.close(),
    };
  },

  sse(url, { message, down }) {
    url.searchParams.set("sse", "unnamed"); // named events would not reach onmessage
    const source = new EventSource(url);
    let id = null; // the key to this stream: only its owner ever sees it
    let posts = Promise.resolve(); // one at a time, or the network might reorder them

    const request = (method, options) =>
      fetch(url, { method, ...options, headers: { "X-Connection-ID": id, "Content-Type": "application/json" } });

    const fail = () => {
      id = null; // nothing is left to send to, or to delete
      source.close(); // it would try again by itself, but with no backoff
      down();
    };

    const post = async (body) => {
      if (!id) return;
      const response = await request("POST", { body, signal: AbortSignal.timeout(CONNECT_TIMEOUT) });
      if (response.ok) return;
      if (response.status === 404) return fail(); // the server does not know the stream any more
      const refusal = { code: "INVALID_MESSAGE", message: await response.text(), status: response.status };
      message({ ...JSON.parse(body), action: "ERROR", event: "INVALID_MESSAGE", payload: refusal });
    };

    source.onmessage = ({ data }) => {
      for (const each of decode(data)) {
        if (each.action === "CONNECT") id = each.payload.connectionId;
        message(each);
      }
    };
    source.onerror = fail;
    return {
      send: (body) => (posts = posts.then(() => post(body)).catch(fail)),
      close() {
        posts = posts.then(() => id && request("DELETE", { keepalive: true })).then(fail, fail);
      },
    };
  },
};

// Some servers put several messages into one frame, each on a line of its own.
function decode(frame) {
  return frame.split("\n").flatMap((line) => {
    try {
      return line ? [JSON.parse(line)] : [];
    } catch {
      console.warn("pond: not a message:", line);
      return [];
    }
  });
}

// crypto.randomUUID would do, but browsers have it only on localhost and over https.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A Signal calls its listeners. One that throws is reported and harms no other.
class Signal {
  #listeners = new Set();

  add(fn) {
    this.#listeners.add(fn);
    return () => this.#listeners.delete(fn);
  }

  emit(...args) {
    for (const fn of [...this.#listeners]) {
      try {
        fn(...args);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
