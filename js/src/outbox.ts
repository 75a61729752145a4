import type { RequestOptions } from "../pond.js";
import type { Connection } from "./connection.js";
import { PondError } from "./errors.js";
import { later } from "./time.js";
import { encode, newId, type Outgoing } from "./wire.js";

/** A message of the application, from the call of send or request until its promise is settled. */
export interface Item extends Outgoing {
  size: number; // in bytes
  idempotent: boolean;
  reply: boolean; // it is a request
  linked: boolean; // the link or the server has it
  settle(error: unknown, value?: unknown): void;
}

/** The unsettled messages of one channel, in the order of the calls. */
export class Outbox {
  #channel: string;
  #connection: Connection;
  #items = new Map<string, Item>();

  constructor(channel: string, connection: Connection) {
    this.#channel = channel;
    this.#connection = connection;
  }

  get(requestId: string): Item | undefined {
    return this.#items.get(requestId);
  }

  /** Sends an event now if the channel is joined, and otherwise after the join. */
  submit(joined: boolean, event: string, payload: unknown, options: RequestOptions, reply: boolean): Promise<any> {
    const { signal, timeout, idempotent = false } = options;
    const { queued, unsettled, waiting, options: { queue: limits, requestTimeout } } = this.#connection;
    const promise = new Promise<unknown>((resolve, reject) => {
      payload ??= {};
      if (typeof payload !== "object" || Array.isArray(payload)) throw new TypeError("a payload must be an object");
      const id = newId();
      const text = encode("BROADCAST", this.#channel, id, payload, event);
      const size = new TextEncoder().encode(text).length;
      // The limits do not apply to a message that can be sent immediately.
      if (queued.messages >= limits.messages || queued.bytes + (joined ? waiting : size) > limits.bytes) {
        throw new PondError("QUEUE_FULL", "the queue is full", 429);
      }

      const settle = (error: unknown, value?: unknown) => {
        item.done = true;
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#items.delete(id);
        unsettled.delete(item);
        if (!error) return resolve(value);
        // The application itself ended it, so this should not cause an unhandled rejection.
        if (["LEFT", "CLOSED", "CLEARED"].includes((error as PondError).code)) promise.catch(() => {});
        reject(error);
      };
      const abort = () => settle(signal!.reason);
      signal?.addEventListener("abort", abort);
      const timer = later(
        () => {
          if (reply) settle(new PondError("TIMEOUT", `no answer to ${event}`, 408));
          else if (!item.sent) settle(new PondError("EXPIRED", "queued for too long"));
        },
        reply ? (timeout ?? requestTimeout) : limits.age,
      );
      const item: Item = { text, size, idempotent, reply, linked: false, settle, failed: settle, taken: () => reply || settle(null) };
      this.#items.set(id, item);
      unsettled.add(item);
      if (joined) this.flush();
    });
    return promise;
  }

  /** The channel is joined: sends the queued messages. */
  flush(): void {
    for (const item of this.#items.values()) {
      if (item.linked) continue;
      item.linked = true;
      this.#connection.send(item);
    }
  }

  /** The connection was lost: keeps the messages that may be sent again. */
  lost(): void {
    for (const item of this.#items.values()) {
      if (item.sent && !item.idempotent) item.settle(new PondError("OUTCOME_UNKNOWN", "the connection was lost before the answer"));
      item.linked = item.sent = false;
    }
  }

  /** Rejects all messages, or all except those whose result the link will report. */
  rejectAll(error: PondError, all = true): void {
    for (const item of this.#items.values()) if (all || !item.sent || item.reply) item.settle(error);
  }
}
