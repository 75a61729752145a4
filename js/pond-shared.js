// pond-shared.js, made from js/src/pond-shared.ts by "npm run build". MIT License, Copyright (c) 2026 The pond authors.

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
var toPondError = (error, code) => error instanceof PondError ? error : new PondError(code, error?.message, 0, { cause: error });

// src/time.ts
var stopwatch = () => {
  let monotonic = performance.now(), wall = Date.now();
  return () => Math.max(performance.now() - monotonic, Date.now() - wall);
}, zero = () => 0;
var later = (run, delay) => setTimeout(run, Math.min(delay, 2147483647));

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
  b(silence) {
    this.#silence = silence, this.#probing = !0, this.c();
  }
  e() {
    clearTimeout(this.#timer);
  }
  c() {
    this.#quiet = stopwatch(), this.#probing && (this.#probing = !1, this.#wait());
  }
  /** Sends a probe now, unless one has no answer yet: repeated calls must not extend the time limit. */
  i() {
    this.#probing || (this.#probing = !0, this.#probe(), this.#wait());
  }
  #wait() {
    if (this.e(), !this.#silence) return;
    let delay = this.#probing ? TIMEOUT : Math.max(0, this.#silence - this.#quiet()), passed = stopwatch();
    this.#timer = later(() => {
      let late = passed() > delay + LATE;
      this.#probing && !late ? this.#dead() : late || this.#quiet() >= this.#silence ? (this.#probing = !1, this.i()) : this.#wait();
    }, delay);
  }
};

// src/stream.ts
var BATCH = 32768, POST_TIMEOUT = 3e4, MAX_RETURNS = 5;
function openStream(request, events) {
  let abort = new AbortController(), { signal } = abort, id = "", batch = !1, busy = !1, returns = 0, backlog = [], lost = (error) => {
    abort.abort(), events.f(toPondError(error, "NETWORK"));
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
      events.c();
      let lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop();
      for (let line of lines)
        line.startsWith("data:") ? data += `${line.slice(5)}
` : !line && data && (events.text(data), data = "");
    }
  }, post = async (messages) => {
    let texts = messages.map(({ text }) => text);
    for (let message of messages) message.g = !0;
    let timer = setTimeout(() => lost(new PondError("TIMEOUT", "no answer to a POST", 408)), POST_TIMEOUT), error = await request({
      method: "POST",
      headers: { "content-type": "application/json", "x-connection-id": id },
      body: texts.length > 1 ? `[${texts}]` : texts[0],
      signal
    }).then((response) => response.ok ? null : rejection(response)).finally(() => clearTimeout(timer));
    if (!error) {
      returns = 0;
      for (let message of messages) message.j?.();
      return;
    }
    let { status, retryAfter = 1e3 } = error, alone = messages.length === 1;
    if (status < 500 && ![401, 404, 429].includes(status) && alone) return messages[0].k?.(error);
    if (status >= 500 && status !== 503) throw error;
    for (let message of messages) message.g = !1;
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
    a: 0,
    // the backlog counts as queued
    h(secret, several) {
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

// src/websocket.ts
function openWebSocket(url, Constructor, events) {
  url.protocol = url.protocol.replace("http", "ws");
  let socket = new Constructor(url.href);
  return socket.onopen = () => events.l(), socket.onmessage = ({ data }) => {
    events.c(), events.text(data);
  }, socket.onclose = ({ code, reason }) => events.f(new PondError("DISCONNECTED", reason || `close code ${code}`, code)), socket.onerror = () => {
  }, {
    get a() {
      return socket.bufferedAmount;
    },
    h() {
    },
    send(message) {
      socket.readyState === 1 && (socket.send(message.text), message.g = !0, message.j?.());
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null, socket.close(1e3);
    }
  };
}

// src/wire.ts
var encode = (action, channelName, requestId, payload, event = action, extra) => JSON.stringify({ action, event, channelName, requestId, payload, ...extra }), newId = () => crypto.getRandomValues(new Uint32Array(4)).join("-"), REFUSALS = ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"], REMOVALS = ["kicked_out", "EVICTED", "evicted", "destroyed"], PROBE = "pond.js/probe", encodeLeave = (channelName) => encode("LEAVE_CHANNEL", channelName, newId(), {}), probeFor = (sender) => sender === "GATEWAY" ? '{"action":"ping"}' : encodeLeave(PROBE);

// src/hub.ts
var KEPT = 500, KEPT_CHARACTERS = 1 << 18, MAX_REQUESTS = 1e3, DIAL_TIMEOUT = 4e3, FALLBACK = 3e5, HEARTBEAT = 4e4, Shared = class {
  members = /* @__PURE__ */ new Set();
  a = [];
  // the first one was sent to the server
  joined = !1;
  epoch = "";
  d = !1;
  offset = 0;
  // of the newest numbered message
  b = 0;
  // all messages after it up to offset are kept
  kept = [];
  characters = 0;
  diff = !1;
  users = /* @__PURE__ */ new Map();
  presence = "";
  // the latest full list
  m({ recover, diff }) {
    this.joined = !0, this.d = !!recover, recover && this.jump(recover.epoch, recover.offset), this.diff = diff !== void 0, this.users.clear(), this.presence = "";
  }
  /** Continues after an offset, without the earlier messages. */
  jump(epoch, offset) {
    this.epoch = epoch, this.offset = this.b = offset, this.kept = [], this.characters = 0;
  }
  keep(offset, line) {
    for (this.offset = offset, this.kept.push({ offset, line }), this.characters += line.length; this.kept.length > KEPT || this.characters > KEPT_CHARACTERS; ) {
      let dropped = this.kept.shift();
      this.b = dropped.offset, this.characters -= dropped.line.length;
    }
  }
}, Hub = class {
  #environment;
  #tabs = /* @__PURE__ */ new Set();
  #channels = /* @__PURE__ */ new Map();
  #requests = /* @__PURE__ */ new Map();
  // request ID -> the tab that waits for the answer
  #link = null;
  #ticket = null;
  // of the link; events of others are ignored
  #welcome = "";
  // the server's first message, while connected
  #timer;
  #fallbackUntil = 0;
  #probeText = "";
  #probes = 0;
  #pulse = new Pulse(
    () => {
      this.#probes++, this.#send(this.#probeText);
    },
    () => this.#lost(new PondError("SILENT", "no answer to a probe"))
  );
  constructor(environment) {
    this.#environment = environment;
  }
  add(tab) {
    this.#tabs.add(tab), this.#welcome ? (tab.open(), tab.text(this.#welcome)) : this.#link || this.#dial(tab.url);
  }
  remove(tab) {
    if (this.#tabs.delete(tab)) {
      for (let [name, channel] of this.#channels) this.#leave(tab, name, channel);
      for (let [id, owner] of this.#requests) owner === tab && this.#requests.delete(id);
      this.#tabs.size || this.#drop();
    }
  }
  // The connection
  #dial(address) {
    let url = new URL(address), Constructor = this.#environment.WebSocket ?? globalThis.WebSocket, stream = !Constructor || Date.now() < this.#fallbackUntil, ticket = this.#ticket = {}, current = () => ticket === this.#ticket, failed = (error) => {
      if (current()) {
        if (stream || this.#welcome) return this.#lost(error);
        this.#fallbackUntil = Date.now() + FALLBACK, this.#drop(), this.#dial(address);
      }
    }, events = {
      l: () => {
      },
      c: () => current() && this.#pulse.c(),
      f: failed,
      text: (data) => {
        for (let line of String(data).split(`
`))
          if (!(!line || !current()))
            try {
              this.#receive(line);
            } catch {
              this.#tell(this.#tabs, line);
            }
      }
    };
    url.protocol = url.protocol.replace("ws", "http");
    let request = (init) => (this.#environment.fetch ?? fetch)(url.href, { cache: "no-store", ...init });
    this.#timer = setTimeout(() => failed(new PondError("TIMEOUT", "no connection in time", 408)), DIAL_TIMEOUT), this.#link = stream ? openStream(request, events) : openWebSocket(url, Constructor, events);
  }
  /** Sends a message. If it is of a tab and the server rejects its POST, that is like a message of the server. */
  #send(text, tab) {
    this.#link?.send({ text, k: (error) => tab && this.#receive(rejection2(text, error)) });
  }
  #lost(error) {
    let tabs = [...this.#tabs], { status, retryAfter } = error;
    this.#tabs.clear(), this.#drop(), retryAfter && this.#tell(tabs, encode("SYSTEM", "ENDPOINT", newId(), { after: retryAfter }, "RECONNECT"));
    for (let tab of tabs) tab.close(status >= 1e3 ? status : status >= 400 ? 4e3 + status : 1006, error.message);
  }
  #drop() {
    this.#ticket = null, this.#link?.close(), this.#link = null, this.#welcome = "", this.#pulse.e(), clearTimeout(this.#timer), this.#channels.clear(), this.#requests.clear();
  }
  // From the server
  #receive(line) {
    let message = JSON.parse(line), { action, event, channelName, requestId, payload, offset } = message, channel = this.#channels.get(channelName);
    if (action === "CONNECT") return this.#connected(line, message);
    if (!channel) {
      if (this.#probes && (action === "ERROR" || channelName === PROBE)) return void this.#probes--;
      let owner2 = this.#requests.get(requestId);
      return this.#tell(owner2 ? [owner2] : this.#tabs, line);
    }
    let join = channel.a.findIndex((entry) => entry.message.requestId === requestId);
    if (join >= 0) {
      if (event === "ACKNOWLEDGE") return this.#answered(channel, channelName, join, payload ?? {}, line);
      if (action === "ERROR" || REFUSALS.includes(event)) return this.#answered(channel, channelName, join, null, line);
    }
    offset !== void 0 && channel.d && channel.keep(offset, line), action === "SYSTEM" && channel.d && ["GAP", "POSITION", "RECOVERED"].includes(event) && (event === "GAP" ? channel.jump(payload.epoch, payload.offset) : channel.offset = payload.offset), action === "SYSTEM" && channel.diff && fold(channel.users, event, payload), action === "PRESENCE" && (channel.presence = line);
    let owner = action === "BROADCAST" || action === "PRESENCE" ? void 0 : this.#requests.get(requestId);
    this.#tell(owner && channel.members.has(owner) ? [owner] : channel.members, line), (action === "SYSTEM" || action === "ERROR") && REMOVALS.includes(event) && this.#channels.delete(channelName);
  }
  #tell(tabs, line) {
    for (let tab of [...tabs]) tab.text(line);
  }
  #connected(line, { channelName, payload }) {
    let { connectionId, features } = payload ?? {};
    clearTimeout(this.#timer), this.#welcome = line, this.#link.h(connectionId, Array.isArray(features)), this.#probeText = probeFor(channelName), this.#probes = 0, this.#pulse.b(HEARTBEAT);
    for (let tab of [...this.#tabs])
      tab.open(), tab.text(line);
  }
  /** Handles the server's answer to the join of a waiting tab, which may have left. */
  #answered(channel, name, join, acknowledged, line) {
    let [answered] = channel.a.splice(join, 1), { tab } = answered;
    if (acknowledged) {
      channel.m(acknowledged), tab && channel.members.add(tab), tab?.text(line);
      for (let { tab: other, message } of channel.a.splice(0)) other && this.#join(other, message);
      channel.members.size || this.#end(name);
    } else {
      tab?.text(line);
      let [next] = channel.a;
      next ? join || this.#send(JSON.stringify(next.message), next.tab) : this.#channels.delete(name);
    }
  }
  #end(name) {
    this.#channels.delete(name), this.#send(encodeLeave(name));
  }
  // From the tabs
  take(tab, text) {
    let message = JSON.parse(text), { action, channelName, requestId } = message, channel = this.#channels.get(channelName);
    if (action === "JOIN_CHANNEL")
      this.#join(tab, message);
    else if (action === "BROADCAST") {
      if (!channel?.members.has(tab))
        return tab.text(rejection2(text, new PondError("CHANNEL_NOT_FOUND", "not a member of this channel", 404)));
      this.#requests.size >= MAX_REQUESTS && this.#requests.delete(this.#requests.keys().next().value), this.#requests.set(requestId, tab), this.#send(text, tab);
    } else
      channel && this.#leave(tab, channelName, channel), tab.text(encode("SYSTEM", channelName ?? PROBE, requestId ?? "", {}, "EXIT_ACKNOWLEDGE"));
  }
  #join(tab, message) {
    let { channelName, requestId, want = [], from } = message, channel = this.#channels.get(channelName);
    if (channel || this.#channels.set(channelName, channel = new Shared()), !channel.joined) {
      let again = channel.a.find((entry) => entry.tab === tab);
      again && (again.message = message), (again || channel.a.push({ tab, message }) === 1) && this.#send(JSON.stringify(message), tab);
      return;
    }
    let payload = {}, { epoch, offset: to } = channel, replay = [];
    if (channel.d && want.includes("recover")) {
      let offset = from?.last === void 0 ? from?.offset : channel.kept.at(-from.last - 1)?.offset ?? channel.b, reason = from?.epoch !== void 0 && from.epoch !== epoch ? "epoch" : offset < channel.b || offset > to ? "expired" : void 0;
      from ? reason ? payload.recover = { epoch, offset: to, recovered: !1, reason } : (payload.recover = { epoch, offset, to, recovered: !0 }, replay = channel.kept.filter((entry) => entry.offset > offset)) : payload.recover = { epoch, offset: to };
    }
    let diff = channel.diff && want.includes("diff");
    diff && (payload.diff = {}), channel.members.add(tab);
    let system = (event, content) => tab.text(encode("SYSTEM", channelName, requestId, content, event));
    system("ACKNOWLEDGE", payload);
    for (let { line } of replay) tab.text(line);
    payload.recover?.recovered && system("RECOVERED", { epoch, offset: to }), diff ? system("PRESENCE_STATE", { users: [...channel.users.values()], total: channel.users.size, more: !1 }) : channel.presence && tab.text(channel.presence);
  }
  #leave(tab, name, channel) {
    channel.members.delete(tab);
    let [sent] = channel.a;
    channel.a = channel.a.filter((entry) => entry === sent || entry.tab !== tab), sent && sent.tab === tab && (sent.tab = void 0), channel.joined && !channel.members.size && this.#end(name);
  }
};
function rejection2(text, { code, message, status }) {
  let { channelName, requestId } = JSON.parse(text);
  return encode("ERROR", channelName, requestId, { code, message, status }, code);
}
function fold(users, event, payload) {
  if (event === "PRESENCE_STATE") for (let user of payload.users) users.set(user.id, user);
  if (event === "PRESENCE_DIFF") {
    for (let { id } of payload.leaves ?? []) users.delete(id);
    for (let user of [...payload.joins ?? [], ...payload.updates ?? []]) users.set(user.id, user);
  }
}

// src/pond-shared.ts
var hubs = /* @__PURE__ */ new Map(), newName = () => `pond.js ${newId()}`, held, holdLock = () => new Promise((resolve) => {
  let name = newName();
  globalThis.navigator?.locks?.request(name, () => (resolve(name), new Promise(() => {
  })));
});
function serve(port, environment = {}) {
  let hub, tab, end = () => {
    tab && hub.remove(tab), port.close();
  };
  port.onmessage = ({ data: [kind, value, lock] }) => {
    if (kind === "open") {
      let { origin, pathname } = new URL(value), key = origin + pathname;
      hubs.has(key) || hubs.set(key, new Hub(environment)), hub = hubs.get(key), tab = {
        url: value,
        open: () => port.postMessage(["open"]),
        text: (line) => port.postMessage(["text", line]),
        close: (code, reason) => port.postMessage(["close", code, reason])
      }, hub.add(tab), globalThis.navigator?.locks?.request(lock, end), (held ??= holdLock()).then((name) => port.postMessage(["worker", name]));
    } else kind === "send" ? hub.take(tab, value) : end();
  };
}
function shared(script = import.meta.url) {
  if (!globalThis.SharedWorker) return {};
  class SharedSocket {
    readyState = 0;
    bufferedAmount = 0;
    onopen = null;
    onmessage = null;
    onclose = null;
    onerror = null;
    #port;
    #unlock = () => {
    };
    #waiting = new AbortController();
    // for the end of the worker
    constructor(url) {
      let lock = newName(), worker = new SharedWorker(script, { name: "pond.js 2", type: "module" });
      worker.onerror = () => this.#end(1006, "the shared worker failed"), this.#port = worker.port, this.#port.onmessage = ({ data: [kind, value, reason] }) => {
        kind === "open" ? (this.readyState = 1, this.onopen?.()) : kind === "text" ? this.onmessage?.({ data: value }) : kind === "worker" ? locks?.request(value, { signal: this.#waiting.signal }, () => this.#end(1006, "the shared worker ended")).catch(() => {
        }) : this.#end(value, reason);
      };
      let open = () => this.#port.postMessage(["open", url, lock]), ended = new Promise((resolve) => this.#unlock = resolve), locks = globalThis.navigator?.locks;
      locks?.request(lock, () => (open(), ended)), locks || open();
    }
    send(text) {
      this.#port.postMessage(["send", text]);
    }
    close() {
      this.#port.postMessage(["close"]), this.#end(1e3, "");
    }
    #end(code, reason) {
      this.readyState !== 3 && (this.readyState = 3, this.#unlock(), this.#waiting.abort(), this.onclose?.({ code, reason }));
    }
  }
  return { WebSocket: SharedSocket, transports: ["websocket"] };
}
var scope = globalThis;
scope.SharedWorkerGlobalScope && (scope.onconnect = ({ ports }) => serve(ports[0]));
export {
  serve,
  shared
};
