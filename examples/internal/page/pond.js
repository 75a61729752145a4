// A client of about a hundred lines over WebSocket: it reconnects, and joins its channels again.
//
//     const pond = connect("/socket", { onState: (state, reason) => ... });
//     const room = pond.join("/chat/1");
//     room.on("message", ({ text }) => ...);
//     room.send("message", { text: "hi" });
//     await room.call("sum", { a: 1, b: 2 });
//
// Every message is { action, event, channelName, requestId, payload }. An answer has the requestId of its request.

/** The error of a request: an HTTP `status`, a `message` to show, and the handler's `details`. */
export class Refusal extends Error {
  constructor({ status = 0, message = "refused", details }) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

/**
 * Connects, and reconnects when the connection is lost. onState is called with "connecting", "connected", "waiting"
 * (for the next attempt), or "refused" and the reason; after "refused", call retry() to connect again. onBytes is
 * called with the size of every message.
 */
export function connect(path, { onState = () => {}, onBytes = () => {} } = {}) {
  const rooms = new Map();
  let socket;
  let attempt = 0;
  let timer;

  const write = (message) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };

  function open() {
    clearTimeout(timer);
    onState("connecting");
    const current = new WebSocket(path);
    socket = current;
    current.onmessage = ({ data }) => {
      onBytes(data.length);
      const message = JSON.parse(data);
      if (message.action !== "CONNECT") return rooms.get(message.channelName)?.receive(message);
      attempt = 0;
      onState("connected");
      for (const room of rooms.values()) room.enter();
    };
    current.onclose = async () => {
      if (socket !== current) return;
      for (const room of rooms.values()) room.lost();
      const reason = await whyNot(path);
      if (socket !== current) return;
      if (reason) return onState("refused", reason);
      // With jitter, so that not all clients reconnect at once when a server restarts.
      const wait = (0.5 + Math.random() / 2) * Math.min(10_000, 250 * 2 ** attempt++);
      onState("waiting");
      timer = setTimeout(open, wait);
    };
  }

  open();
  return {
    join(name, params = {}) {
      if (!rooms.has(name)) rooms.set(name, new Room(name, params, write, () => rooms.delete(name)));
      const room = rooms.get(name);
      room.enter();
      return room;
    },
    retry() {
      const old = socket;
      attempt = 0;
      open(); // from now on, the old connection is ignored
      old.close();
    },
  };
}

// A browser hides the response to a declined handshake. A request for an event stream gets the same response, and the
// page can read it.
async function whyNot(path) {
  const controller = new AbortController();
  try {
    const answer = await fetch(path, { headers: { Accept: "text/event-stream" }, signal: controller.signal });
    const refused = answer.status === 401 || answer.status === 403;
    return refused ? await answer.text() : "";
  } catch {
    return ""; // no response: try again
  } finally {
    controller.abort();
  }
}

class Room {
  #name;
  #params;
  #write;
  #forget;
  #handlers = new Map();
  #requests = new Map();
  #joining = "";

  constructor(name, params, write, forget) {
    this.#name = name;
    this.#params = params;
    this.#write = write;
    this.#forget = forget;
  }

  /** Calls fn(payload, event) for an event; "*" stands for all events without a handler. */
  on(event, fn) {
    this.#handlers.set(event, fn);
    return this;
  }

  send(event, payload = {}, action = "BROADCAST") {
    const requestId = crypto.randomUUID();
    this.#write({ action, event, channelName: this.#name, requestId, payload });
    return requestId;
  }

  /** Sends a request and returns a promise of the answer. It rejects with a Refusal, or after the timeout. */
  call(event, payload = {}, timeout = 5000) {
    return new Promise((resolve, reject) => {
      const requestId = this.send(event, payload);
      const timer = setTimeout(() => this.#settle(requestId, { status: 408, message: "no answer within the timeout" }), timeout);
      this.#requests.set(requestId, { resolve, reject, timer });
    });
  }

  leave() {
    this.send("LEAVE_CHANNEL", {}, "LEAVE_CHANNEL");
    this.#forget();
  }

  enter() {
    this.#joining = this.send("JOIN_CHANNEL", this.#params, "JOIN_CHANNEL");
  }

  lost() {
    for (const id of [...this.#requests.keys()]) this.#settle(id, { status: 503, message: "the connection was lost" });
  }

  receive({ action, event, requestId, payload }) {
    if (requestId === this.#joining && event === "ACKNOWLEDGE") return this.#tell("joined", payload);
    if (requestId === this.#joining && event === "UNAUTHORIZED") return this.#tell("declined", new Refusal(payload));
    if (action !== "PRESENCE" && this.#requests.has(requestId)) {
      return action === "ERROR" ? this.#settle(requestId, payload) : this.#settle(requestId, null, payload);
    }
    if (action === "PRESENCE") return this.#tell("presence", payload);
    if (action === "ERROR") return this.#tell("error", new Refusal(payload));
    this.#tell(event, payload);
  }

  #settle(requestId, error, answer) {
    const request = this.#requests.get(requestId);
    if (!request) return;
    this.#requests.delete(requestId);
    clearTimeout(request.timer);
    if (error) request.reject(new Refusal(error));
    else request.resolve(answer);
  }

  #tell(event, payload) {
    const handler = this.#handlers.get(event) ?? this.#handlers.get("*");
    handler?.(payload, event);
  }
}

/** Shows the state as text in an element. */
export function showState(element) {
  const words = {
    connecting: "Connecting…",
    connected: "Connected",
    waiting: "Connection lost. Reconnecting…",
    refused: "Declined",
  };
  return (state, reason) => {
    element.dataset.state = state;
    element.textContent = words[state] + (reason ? `: ${reason.trim()}` : "");
  };
}

/** Creates an element: el("li", { className: "mine" }, "text", child). Text is never parsed as HTML. */
export function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
