import type { PondOptions, PondSnapshot, Transport, WebSocketClass } from "../pond.js";
import { PondError, reactionTo, serverError, toPondError } from "./errors.js";
import { Listeners } from "./listeners.js";
import type { Item } from "./outbox.js";
import { Pulse } from "./pulse.js";
import { Room } from "./room.js";
import { PERIOD, Route } from "./route.js";
import { openStream } from "./stream.js";
import { backoff, HEALTHY, later, spread, stopwatch, zero } from "./time.js";
import { Tokens } from "./token.js";
import { openWebSocket } from "./websocket.js";
import { evaluate, PROBE, probeFor, type Link, type LinkEvents, type Message, type Outgoing } from "./wire.js";

/** The longest advised delay that the client accepts, in ms and before jitter. */
const MAX_ADVICE = 3_600_000;

type Timer = ReturnType<typeof setTimeout> | undefined;

/** The connection to an endpoint: at most one link at a time, and the channels that use it. */
export class Connection {
  readonly rooms = new Map<string, Room>();
  readonly listeners = new Listeners();
  readonly unsettled = new Set<Item>(); // the messages of all channels
  readonly options;
  tokens: Tokens;
  features: string[] = [];
  userId: string | undefined;
  snapshot: PondSnapshot = { status: "idle", transport: null, userId: null, retryAt: null, error: null };

  #url: string | URL;
  #ticket: object | null = null; // of the current attempt or connection; events of others are ignored
  #link: Link | null = null;
  #token: string | undefined; // the one that the attempt used
  #timer: Timer; // the deadline of the attempt, or the next attempt
  #attempt = 0; // attempts in a row that did not lead to a healthy connection, without those that the server delayed
  #lasted = zero; // time since it connected
  #advised = zero; // time left until the reconnect, if the server advised it

  #route: Route;
  #upgrade: Timer; // starts an attempt with the preferred transport, or aborts it
  #probeTicket: object | null = null; // of that attempt
  #probeLink: Link | null = null;

  #pulse = new Pulse(
    () => this.#probe(),
    () => this.#lost(new PondError("SILENT", "no answer to a probe")),
  );
  #sender = ""; // the channel name of messages that belong to no channel
  #probes = 0; // without an answer
  #page: AbortController | null = null; // removes the listeners of page events

  constructor(url: string | URL, options: PondOptions = {}) {
    this.#url = url;
    this.options = withDefaults(options);
    this.tokens = new Tokens(options.token);
    this.#route = new Route(() => this.options.transports.filter((name) => name !== "websocket" || this.#WebSocket));
  }

  get #rooms(): Room[] {
    return [...this.rooms.values()];
  }

  get #WebSocket(): WebSocketClass | undefined {
    return this.options.WebSocket ?? globalThis.WebSocket;
  }

  get connected(): boolean {
    return this.snapshot.status === "connected";
  }

  /** Bytes that the transport accepted, but did not send yet. */
  get waiting(): number {
    return this.#link?.waiting ?? 0;
  }

  /** The messages that the server cannot have yet. */
  get queue(): Item[] {
    return [...this.unsettled].filter(({ sent }) => !sent);
  }

  get queued() {
    const { queue } = this;
    return { messages: queue.length, bytes: queue.reduce((bytes, { size }) => bytes + size, 0) };
  }

  room(name: string): Room {
    let room = this.rooms.get(name);
    if (!room) this.rooms.set(name, (room = new Room(name, this)));
    return room;
  }

  /** Connects now, unless it is connected, connecting or closed. */
  connect(): void {
    const { status } = this.snapshot;
    if (!["idle", "waiting", "stopped"].includes(status)) return;
    this.#watchPage();
    this.#open();
  }

  /** Replaces the token. Attempts that wait for another token start again. */
  setToken(token: PondOptions["token"]): void {
    this.tokens = new Tokens(token);
    if (!["idle", "connected", "closed"].includes(this.snapshot.status)) this.#open();
    for (const room of this.#rooms) room.renew();
  }

  close(): void {
    this.#page?.abort();
    this.#drop();
    this.#become({ status: "closed" });
    for (const room of this.#rooms) room.end(new PondError("CLOSED", "the connection was closed"));
    this.listeners.ended = true;
  }

  send(message: Outgoing): void {
    this.#link?.send(message);
  }

  /** Reports an error that does not belong to a channel, or whose channel has no listener for it. */
  report(error: PondError): void {
    if (!this.listeners.emit("error", error)) console.error("pond:", error);
  }

  // Opening

  #open(): void {
    const { connected } = this;
    const transport = this.#route.next();
    this.#drop();
    this.#timer = later(() => {
      let message = "no connection in time";
      if (transport === "stream") console.warn("pond:", (message += "; over HTTP/1.1 all tabs share six connections to a host"));
      this.#lost(new PondError("TIMEOUT", message, 408));
    }, this.options.timeout);
    const ticket = (this.#ticket = {});
    this.#become({ status: "connecting", transport: transport ?? null });
    if (connected) this.#loseRooms();
    void this.#dial(transport, ticket);
  }

  async #dial(transport: Transport | undefined, ticket: object): Promise<void> {
    const { options } = this;
    const events = this.#events(ticket);
    const valid = () => ticket === this.#ticket || ticket === this.#probeTicket;
    try {
      if (!transport) throw new PondError("NO_TRANSPORT", "there is no WebSocket", 426);
      const token = await this.tokens.get();
      const params = await evaluate(options.params ?? { token }, token);
      const headers = await evaluate(options.headers, token);
      if (!valid()) return;
      const url = new URL(this.#url, globalThis.location?.href);
      for (const [name, value] of Object.entries(params)) {
        if (value !== undefined) url.searchParams.set(name, String(value));
      }
      if (transport === "stream") url.protocol = url.protocol.replace("ws", "http");
      const request = (init: RequestInit) =>
        (options.fetch ?? fetch)(url.href, {
          cache: "no-store",
          credentials: options.credentials,
          ...init,
          headers: { ...headers, ...(init.headers as Record<string, string>) },
        });
      const link = transport === "websocket" ? openWebSocket(url, this.#WebSocket!, events) : openStream(request, events);
      this.#token = token;
      if (ticket === this.#ticket) this.#link = link;
      else this.#probeLink = link;
    } catch (error) {
      if (valid()) events.lost(toPondError(error, "SETUP"));
    }
  }

  #events(ticket: object): LinkEvents {
    const current = () => ticket === this.#ticket;
    return {
      heard: () => current() && this.#pulse.heard(),
      opened: () => {
        const { welcomeAfter } = this.options;
        if (!welcomeAfter || !current()) return;
        clearTimeout(this.#timer);
        this.#timer = later(() => this.#welcome({}), welcomeAfter);
      },
      text: (data) => {
        // Some servers send several messages in one frame, one per line.
        for (const line of String(data).split("\n")) {
          if (!line) continue;
          try {
            const message: Message = JSON.parse(line);
            if (current()) {
              this.#receive(message);
            } else if (message.action === "CONNECT" && ticket === this.#probeTicket) {
              if (!this.#movable) return this.#plan();
              this.#route.reset();
              this.#open();
            }
          } catch (cause) {
            this.report(new PondError("INVALID_FRAME", `not a message: ${line.slice(0, 100)}`, 0, { cause }));
          }
        }
      },
      lost: (error) => {
        if (current()) this.#lost(error);
        else if (ticket === this.#probeTicket) this.#plan();
      },
    };
  }

  // Receiving

  #receive(message: Message): void {
    const { action, event, channelName, payload } = message;
    if (action === "CONNECT") return this.#welcome(message);
    const failed = action === "ERROR";
    const room = this.rooms.get(channelName);
    if (room) return room.receive(message);
    if (this.#probes && (failed || channelName === PROBE)) this.#probes--;
    // Servers with extensions reject a POST with an HTTP status, and send this only for older
    // clients.
    else if (failed && event === "INVALID_MESSAGE" && this.features.length && this.snapshot.transport === "stream") return;
    else if (failed) this.report(serverError(message));
    else if (action === "SYSTEM" && event === "RECONNECT") this.#advise(payload.after);
    // Messages of a channel that was left are not for these listeners.
    else if (channelName === this.#sender) this.listeners.emit(`on:${event}`, payload, message)
  }

  #welcome({ channelName = "ENDPOINT", payload }: Partial<Message>): void {
    const { id, connectionId, features, heartbeatInterval } = payload ?? {};
    clearTimeout(this.#timer);
    this.#lasted = stopwatch();
    this.#advised = zero;
    this.userId = id;
    // Servers that announce extensions also accept several messages in one POST.
    const extended = Array.isArray(features);
    this.features = extended ? features : [];
    this.#link!.welcome(connectionId, extended);
    this.#sender = channelName;
    this.#probes = 0;
    this.#pulse.start(heartbeatInterval > 0 ? Math.max(1000, heartbeatInterval * 1.5) : this.options.heartbeat);
    const { transport } = this.snapshot;
    if (this.#route.opened(transport)) this.#plan();
    this.#become({ status: "connected", transport, userId: id ?? null });
  }

  #probe(): void {
    this.#probes++;
    this.send({ text: probeFor(this.#sender) });
  }

  // Losing

  #lost(reason: PondError): void {
    const { options, tokens, connected } = this;
    const { transport } = this.snapshot;
    if (this.#lasted() > HEALTHY) {
      this.#attempt = 0;
      tokens.healthy();
    }
    this.#drop();
    const error = this.#route.lost(transport, connected, reason);
    if (!connected && transport === "websocket") tokens.suspect(); // a browser hides the status
    this.#advise(reason.retryAfter);

    const reaction = reactionTo(error, options.reactions);
    const stop = reaction === "stop" || (reaction === "refresh" && !tokens.rejected(this.#token));
    if (stop) this.#become({ status: "stopped", error });
    else {
      const delay = Math.max(this.#advised() || backoff(this.#attempt++, options.backoff), tokens.delay);
      this.#timer = later(() => this.#open(), delay);
      this.#become({ status: "waiting", error, retryAt: Date.now() + delay });
    }
    if (stop || error.code === "SETUP") this.report(error); // the network is not to blame
    if (connected) this.#loseRooms();
  }

  #advise(delay?: number): void {
    if (!(delay! > 0)) return;
    const passed = stopwatch();
    const wait = spread(Math.min(delay!, MAX_ADVICE));
    this.#advised = () => Math.max(0, wait - passed());
  }

  /** Abandons the link without waiting for its end, and all timers. */
  #drop(): void {
    const link = this.#link;
    this.#ticket = this.#link = null;
    this.#lasted = zero;
    clearTimeout(this.#timer);
    this.#pulse.stop();
    this.#dropProbe();
    link?.close();
  }

  #loseRooms(): void {
    for (const room of this.#rooms) room.lost();
  }

  // Changing back to the preferred transport

  /** Whether a change of the connection loses no messages and leaves no outcome unknown. */
  get #movable(): boolean {
    return this.#rooms.every((room) => room.recovers) && [...this.unsettled].every(({ sent, idempotent }) => !sent || idempotent);
  }

  /** Tries the preferred transport later, in addition to the existing connection. */
  #plan(): void {
    this.#dropProbe();
    this.#upgrade = setTimeout(() => {
      if (!this.#movable) return this.#plan();
      this.#upgrade = setTimeout(() => this.#plan(), this.options.timeout);
      void this.#dial(this.#route.preferred, (this.#probeTicket = {}));
    }, spread(PERIOD));
  }

  #dropProbe(): void {
    clearTimeout(this.#upgrade);
    this.#probeLink?.close();
    this.#probeLink = this.#probeTicket = null;
  }

  // The page

  #watchPage(): void {
    if (this.#page || !globalThis.addEventListener) return;
    const { signal } = (this.#page = new AbortController());
    const wake = ({ type, persisted }: Partial<PageTransitionEvent>) => {
      const { status } = this.snapshot;
      if (persisted) {
        // A page from the back/forward cache has no connection, even if its objects seem open.
        if (status !== "stopped") this.#open();
      } else if (type !== "pageshow" && (type !== "visibilitychange" || document.visibilityState === "visible")) {
        // The connection may be dead without an error, or a new one may be possible again.
        if (status === "connected") this.#pulse.check();
        else if (status === "waiting" && !this.#advised() && !this.tokens.delay) this.#open();
      }
    };
    // Some are events of the document that do not bubble, so capture them.
    for (const type of ["online", "pageshow", "resume", "visibilitychange"]) addEventListener(type, wake, { capture: true, signal });
  }

  /** Changes the status. Channels join before listeners are called, because listeners may call any method. */
  #become(snapshot: Partial<PondSnapshot>): void {
    this.snapshot = { transport: null, userId: null, retryAt: null, error: null, ...snapshot } as PondSnapshot;
    if (this.connected) for (const room of this.#rooms) room.connected();
    this.listeners.emit("change", this.snapshot);
  }
}

/** Options that are undefined have their defaults, too. */
const withDefaults = ({
  transports = ["websocket", "stream"],
  timeout = 10_000,
  requestTimeout = 30_000,
  heartbeat = 40_000,
  backoff = [1000, 30_000],
  queue: { messages = 1000, bytes = 1 << 20, age = 300_000 } = {},
  ...rest
}: PondOptions) => ({ ...rest, transports, timeout, requestTimeout, heartbeat, backoff, queue: { messages, bytes, age } });
