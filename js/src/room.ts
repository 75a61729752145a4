import type { ChannelOptions, ChannelSnapshot, JoinOutcome, RequestOptions } from "../pond.js";
import type { Connection } from "./connection.js";
import { PondError, reactionTo, serverError, toPondError } from "./errors.js";
import { Listeners } from "./listeners.js";
import { Outbox } from "./outbox.js";
import { PresenceList } from "./presence.js";
import { backoff, HEALTHY, later, stopwatch, zero } from "./time.js";
import { encode, encodeLeave, evaluate, newId, REFUSALS, REMOVALS, type Message, type Outgoing } from "./wire.js";

export const IDLE: ChannelSnapshot = { status: "idle", presence: [], error: null, outcome: null };

/** The position of the client in the log of a channel. It always comes from the server. */
interface Position {
  epoch: string;
  offset: number;
  id: string | undefined; // the user ID at this position
}

/** One channel of a connection, shared by its handles. It exists while at least one of them uses it. */
export class Room {
  readonly listeners = new Listeners();
  readonly outbox: Outbox;
  snapshot = IDLE;
  options: ChannelOptions = {};

  #name: string;
  #connection: Connection;
  #references = 0;

  #attempts = new Set<string>(); // the joins without an answer
  #attempt: Partial<Outgoing> = {}; // the latest of them; a new object cancels it
  #token: string | undefined; // the token of the latest join
  #tries = 0; // joins in a row without a healthy membership
  #lasted = zero; // time since it was joined
  #timer: ReturnType<typeof setTimeout> | undefined; // of the next join
  #held: Message[] = []; // events that arrived before the answer

  #position: Position | null = null;
  #replayEnd = 0; // messages up to this offset are replayed
  #presence = new PresenceList();

  constructor(name: string, connection: Connection) {
    this.#name = name;
    this.#connection = connection;
    this.outbox = new Outbox(name, connection);
  }

  /** Whether it is joining or joined. */
  get active(): boolean {
    return this.snapshot.status.startsWith("join");
  }

  /** Whether a change of the connection loses no messages. */
  get recovers(): boolean {
    return this.snapshot.status !== "joined" || this.#position !== null;
  }

  acquire(): void {
    if (!this.#references++ && !this.active) this.join();
  }

  /**
   * Leaves one macrotask after the last release, so that a component that is unmounted and mounted again
   * immediately causes no traffic.
   */
  release(): void {
    if (!--this.#references) setTimeout(() => this.#references || this.end(new PondError("LEFT", "left the channel")));
  }

  // Joining

  /** Joins if the connection is up. A later call replaces an earlier one. */
  async join(): Promise<void> {
    const connection = this.#connection;
    const { connected, features, options, tokens } = connection;
    const attempt = this.#cancel();
    if (connection.snapshot.status === "closed") return this.end(new PondError("CLOSED", "the connection was closed"));
    this.#change({ status: "joining" });
    if (!connected || this.#attempt !== attempt) return; // a listener may have done anything

    this.#timer = later(() => this.#retry(new PondError("JOIN_TIMEOUT", "no answer to the join", 408)), options.timeout);
    const id = newId();
    const want = ["diff", "recover"].filter((feature) => features.includes(feature));
    const { params, last } = this.options;
    let payload: unknown = params;
    let text;
    try {
      if (typeof params === "function") {
        const token = await tokens.get();
        payload = await evaluate(params, token);
        if (this.#attempt !== attempt) return;
        this.#token = token;
      }
      text = encode("JOIN_CHANNEL", this.#name, id, payload ?? {}, undefined, {
        want: want.length ? want : undefined,
        from: want.includes("recover") ? (this.#position ?? (last ? { last } : undefined)) : undefined,
      });
    } catch (error) {
      if (this.#attempt === attempt) this.#refused(toPondError(error, "SETUP"));
      return;
    }
    this.#attempts.add(id);
    connection.send(Object.assign(attempt, { text, failed: (error: PondError) => this.#attempt === attempt && this.#refused(error) } satisfies Outgoing));
  }

  /** Cancels the latest attempt. If it was already sent, its answer still counts. */
  #cancel(): Partial<Outgoing> {
    clearTimeout(this.#timer);
    this.#attempt.done = true;
    return (this.#attempt = {});
  }

  /** Cancels all attempts: their answers do not count any more. */
  #reset(): void {
    this.#cancel();
    this.#attempts.clear();
    this.#held = [];
    if (this.#lasted() > HEALTHY) this.#tries = 0;
    this.#lasted = zero;
  }

  #retry(error: PondError): void {
    const { options, tokens } = this.#connection;
    this.#cancel();
    this.#timer = later(() => this.join(), Math.max(backoff(this.#tries++, options.backoff), tokens.delay));
    this.#change({ status: "joining", error });
    this.#report(error);
  }

  /** Leaves, and joins again from the last position, because the state of the membership is not consistent. */
  #rejoin(error: PondError): void {
    this.#sendLeave();
    this.#reset();
    this.#retry(error);
  }

  #sendLeave(): void {
    this.#connection.send({ text: encodeLeave(this.#name) });
  }

  #refused(error: PondError): void {
    const { options, tokens } = this.#connection;
    this.#attempts.clear();
    const reaction = reactionTo(error, options.reactions);
    const refresh = reaction === "refresh" && typeof this.options.params === "function" && tokens.rejected(this.#token);
    if (refresh || reaction === "retry") this.#retry(error);
    else this.#stop("declined", error);
  }

  #acknowledged({ recover, diff }: any): void {
    const before = this.#position;
    const early = this.#held;
    const recovered = recover?.recovered === true;
    this.#reset();
    this.#lasted = stopwatch();
    this.#presence.reset(diff !== undefined);
    this.#replayEnd = recovered ? recover.to : 0;
    // During the replay, messages that excluded the earlier user ID are not for this client
    // either.
    const id = recovered && before ? before.id : this.#connection.userId;
    this.#position = recover ? { epoch: recover.epoch, offset: recover.offset, id } : null;

    const outcome: JoinOutcome = recovered && before ? { status: "recovered" }
      : before ? { status: "gap", reason: recover?.reason ?? "unavailable" }
      : { status: "fresh", reason: recover?.reason };
    this.outbox.flush(); // queued messages precede those that a listener sends
    this.#change({ status: "joined", error: null, outcome });
    this.listeners.emit("join", outcome);
    if (outcome.status === "gap") this.#gap(outcome.reason!);

    // Numbered messages among the early ones belong to the previous membership: the replay or
    // the gap covers them.
    for (const message of early) if (!recover || message.offset === undefined) this.receive(message);
  }

  /** Ends the membership or the attempts to join, until the application joins again. */
  #stop(status: "declined" | "removed", error: PondError): void {
    this.#reset();
    this.#position = null;
    this.#change({ status, error });
    this.#report(error);
    this.outbox.rejectAll(error, false);
  }

  /** There is a new token: joins again if the old one may be the reason why the channel is not joined. */
  renew(): void {
    const { status, error } = this.snapshot;
    if ((status === "joining" && !this.#attempts.size) || (status === "declined" && error?.status === 401)) void this.join();
  }

  connected(): void {
    if (this.snapshot.status === "joining") void this.join();
  }

  lost(): void {
    if (!this.active) return;
    this.#reset();
    this.outbox.lost();
    this.#change({ status: "joining" });
  }

  /** Leaves and frees the name. */
  end(error: PondError): void {
    const connection = this.#connection;
    if (connection.rooms.get(this.#name) !== this) return; // it already ended
    if (connection.connected && (this.snapshot.status === "joined" || this.#attempts.size)) this.#sendLeave();
    this.#reset();
    connection.rooms.delete(this.#name);
    this.#change({ ...IDLE, error: error.code === "LEFT" ? null : error });
    this.listeners.ended = true;
    this.outbox.rejectAll(error);
  }

  // Receiving

  receive(message: Message): void {
    const { action, event, requestId, payload } = message;
    const { status } = this.snapshot;
    if (status === "joined") return this.#deliver(message);
    if (status !== "joining") return;
    // Old servers send no request ID.
    const answer = requestId ? this.#attempts.has(requestId) : this.#attempts.size > 0;
    if (answer && event === "ACKNOWLEDGE") this.#acknowledged(payload ?? {});
    else if (answer && (action === "ERROR" || REFUSALS.includes(event))) this.#refused(serverError(message));
    else if (action === "SYSTEM" && event === "EXIT_ACKNOWLEDGE") this.#held = []; // of the previous membership
    else if (!this.#answered(message)) this.#held.push(message);
  }

  /** Settles the request that a message answers, and returns whether listeners must not receive the message. */
  #answered(message: Message): boolean {
    const { action, event, requestId, payload } = message;
    const item = this.outbox.get(requestId);
    const failed = action === "ERROR" || (item && action === "SYSTEM" && REFUSALS.includes(event));
    if (!failed) {
      if (action !== "PRESENCE") item?.settle(null, payload);
      return false;
    }
    const error = serverError(message);
    if (item) item.settle(error);
    else this.#report(error);
    return true;
  }

  #deliver(message: Message): void {
    const { action, event, payload, offset } = message;
    const position = this.#position;
    if (action === "PRESENCE") return this.#present(this.#presence.full(event, payload ?? {}));
    if (action === "SYSTEM" && this.#notice(event, payload ?? {}, position)) return;
    if (action === "ERROR" && REMOVALS.includes(event)) return this.#stop("removed", serverError(message));

    if (position && offset !== undefined) {
      if (offset <= position.offset) {
        return this.#rejoin(new PondError("ORDER", `message ${offset} of ${this.#name} came after ${position.offset}`));
      }
      position.offset = offset;
    }

    if (this.#answered(message)) {
      if (event === "CHANNEL_NOT_FOUND") this.#rejoin(serverError(message)); // the server ended the membership without a notice
      return;
    }
    const received = { ...message, replayed: offset !== undefined && offset <= this.#replayEnd };
    this.listeners.emit("message", received);
    this.listeners.emit(`on:${event}`, payload, received);
  }

  /** Handles protocol messages that are not for listeners of events, and returns whether the message was one. */
  #notice(event: string, payload: any, position: Position | null): boolean {
    const { diff } = this.#presence;
    if (REMOVALS.includes(event)) {
      this.#stop("removed", serverError({ event, payload }));
    } else if (diff && event === "PRESENCE_STATE") {
      if (this.#presence.state(payload)) this.#present(null);
    } else if (diff && event === "PRESENCE_DIFF") {
      const change = this.#presence.change(payload);
      if (change) this.#present(change);
    } else if (position && ["GAP", "POSITION", "RECOVERED"].includes(event)) {
      const { epoch, offset, reason } = payload;
      this.#position = { epoch, offset, id: event === "RECOVERED" ? this.#connection.userId : position.id };
      if (event !== "POSITION") this.#replayEnd = 0;
      if (event === "GAP") this.#gap(reason);
    } else {
      return event === "ACKNOWLEDGE" || event === "EXIT_ACKNOWLEDGE";
    }
    return true;
  }

  #present(change: unknown): void {
    const presence = this.#presence.list;
    this.#change({ presence });
    this.listeners.emit("presence", presence, change);
  }

  #gap(reason: string): void {
    if (!this.listeners.emit("gap", { reason })) {
      this.#connection.report(new PondError("GAP", `messages of ${this.#name} were lost (${reason}): listen with onGap`));
    }
  }

  // Sending

  submit(event: string, payload: unknown, options: RequestOptions = {}, reply: boolean): Promise<any> {
    const { status, error } = this.snapshot;
    if (this.active) return this.outbox.submit(status === "joined", event, payload, options, reply);
    return Promise.reject(new PondError("NOT_JOINED", `${this.#name} is not joined`, error?.status));
  }

  // Reporting

  #report(error: PondError): void {
    if (!this.listeners.emit("error", error)) this.#connection.report(error);
  }

  #change(part: Partial<ChannelSnapshot>): void {
    const changed = (Object.keys(part) as (keyof ChannelSnapshot)[]).some((key) => part[key] !== this.snapshot[key]);
    if (!changed) return;
    this.snapshot = { ...this.snapshot, ...part };
    this.listeners.emit("change", this.snapshot);
  }
}
