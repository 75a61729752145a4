// A scripted server of the protocol, over fake WebSockets and a fake fetch, in virtual time.

/** One connection on the side of the server. */
class Peer {
  received = []; // all messages of the client
  open = true; // for the server
  lostBy; // how the client ended it

  constructor(server, transport, url, headers = {}) {
    Object.assign(this, { server, transport, url: new URL(url), headers, id: `user-${server.peers.length + 1}` });
    server.peers.push(this);
  }

  /** The messages of the client with an action. */
  sent(action) {
    return this.received.filter((message) => message.action === action);
  }

  send(message) {
    this.write(JSON.stringify({ requestId: "server", payload: {}, ...message }));
  }

  system(channelName, event, payload = {}, requestId = "server") {
    this.send({ action: "SYSTEM", event, channelName, requestId, payload });
  }

  broadcast(channelName, event, payload = {}, extra = {}) {
    this.send({ action: "BROADCAST", event, channelName, payload, ...extra });
  }

  welcome() {
    const { features, gateway, heartbeatInterval } = this.server;
    const payload = { id: this.id, connectionId: `secret-${this.id}`, features, heartbeatInterval };
    this.send({ action: "CONNECT", event: "CONNECTION", channelName: gateway ? "GATEWAY" : "ENDPOINT", payload });
  }

  take(message) {
    this.received.push(message);
    if (this.server.silent) return;
    const { action, event, channelName, requestId, payload } = message;
    if (action === "JOIN_CHANNEL") this.server.join(this, message);
    else if (action === "LEAVE_CHANNEL") this.system(channelName, "EXIT_ACKNOWLEDGE", {}, requestId);
    else if (action === "BROADCAST") this.server.event(this, message);
    else this.send({ action: "ERROR", event: "INVALID_MESSAGE", channelName: "ENDPOINT", payload: { message: "what?" } });
  }
}

export class Server {
  peers = [];
  features; // of CONNECTION
  up = true; // if false, connections are rejected
  websocket = true; // or they hang, as behind some proxies
  stream = 200; // or another status of the GET
  greets = true; // sends CONNECTION by itself
  silent = false; // answers nothing
  gateway = false; // calls itself as other servers do
  delay = 1; // ms until a connection is open
  headers = {}; // of a rejection
  posts = []; // bodies and headers, in their order
  postStatus = () => 204;
  buffered = 0; // bytes that a WebSocket reports as not sent yet

  /** Answers a join; tests replace it. */
  join(peer, { channelName, requestId }) {
    queueMicrotask(() => peer.system(channelName, "ACKNOWLEDGE", {}, requestId));
  }

  /** Answers an event; tests replace it. */
  event(peer, { event, channelName, requestId, payload }) {
    const failure = { action: "ERROR", event: "HANDLER_NOT_FOUND", channelName, requestId, payload: { code: 409, message: "not now" } };
    if (event === "echo") queueMicrotask(() => peer.system(channelName, event, payload, requestId));
    if (event === "fail") queueMicrotask(() => peer.send(failure));
  }

  get last() {
    return this.peers.at(-1);
  }

  /** The connections that are open on both sides. */
  get live() {
    return this.peers.filter((peer) => peer.open && peer.lostBy === undefined);
  }

  options(more = {}) {
    return { WebSocket: this.WebSocket, fetch: this.fetch, ...more };
  }

  WebSocket = (() => {
    const server = this;
    return class {
      readyState = 0;
      onopen = this.onmessage = this.onclose = this.onerror = null;

      constructor(url) {
        this.peer = new Peer(server, "websocket", url);
        this.peer.open = false;
        this.peer.socket = this;
        this.peer.write = (text) => this.readyState === 1 && this.onmessage?.({ data: text });
        this.peer.close = (code, reason = "") => this.end(code, reason);
        this.peer.reset = () => this.end(1006, "");
        this.peer.accept = () => {
          if (this.readyState !== 0) return;
          this.readyState = 1;
          this.peer.open = true;
          this.onopen?.({});
          if (server.greets) this.peer.welcome();
        };
        if (!server.up) setTimeout(() => this.end(1006, ""), server.delay);
        else if (server.websocket) setTimeout(() => this.peer.accept(), server.delay);
      }

      get bufferedAmount() {
        return server.buffered;
      }

      send(text) {
        if (this.readyState !== 1) return;
        this.peer.take(JSON.parse(text));
      }

      close(code) {
        if (this.readyState > 1) return;
        this.readyState = 2;
        this.peer.lostBy = code ?? 1005;
      }

      end(code, reason) {
        if (this.readyState === 3) return;
        this.readyState = 3;
        this.peer.open = false;
        this.onclose?.({ code, reason });
      }
    };
  })();

  fetch = async (url, { method = "GET", headers = {}, body, signal, credentials, cache } = {}) => {
    const after = (ms) => new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
    signal?.throwIfAborted();
    if (method === "POST") return this.#post(url, headers, body, after, signal);

    const peer = new Peer(this, "stream", url, headers);
    Object.assign(peer, { open: false, method, credentials, cache });
    await after(this.delay);
    if (!this.up) throw new TypeError("fetch failed");
    if (this.stream === "hangs") await after(1e9);
    if (this.stream !== 200) return new Response(this.stream === 204 ? null : "no", { status: this.stream, headers: this.headers });
    const body_ = new ReadableStream({
      start: (controller) => {
        const encoder = new TextEncoder();
        peer.bytes = (bytes) => peer.open && controller.enqueue(bytes);
        peer.raw = (text) => peer.bytes(encoder.encode(text));
        peer.write = (text) => peer.raw(`data: ${text}\n\n`);
        peer.close = () => { if (peer.open) { peer.open = false; controller.close(); } };
        peer.reset = () => { if (peer.open) { peer.open = false; controller.error(new TypeError("network error")); } };
        signal?.addEventListener("abort", () => { peer.lostBy = "abort"; if (peer.open) controller.error(signal.reason); peer.open = false; });
      },
    });
    peer.open = true;
    if (this.greets) peer.welcome();
    return new Response(body_, { headers: { "content-type": this.contentType ?? "text/event-stream; charset=utf-8" } });
  };

  async #post(url, headers, body, after, signal) {
    const record = { url, headers, body, done: false };
    this.posts.push(record);
    await after(this.delay);
    const status = await this.postStatus(record, this.posts.length - 1);
    if (status === "network") throw new TypeError("fetch failed");
    signal?.throwIfAborted();
    record.done = true;
    const peer = this.peers.find(({ id, open }) => open && headers["x-connection-id"] === `secret-${id}`);
    if (status === 204 && !peer) return new Response("connection not found", { status: 404 });
    if (status === 204) {
      const parsed = JSON.parse(body);
      for (const message of Array.isArray(parsed) ? parsed : [parsed]) peer.take(message);
    }
    return new Response(status === 204 ? null : "rejected", { status, headers: this.postHeaders });
  }
}
