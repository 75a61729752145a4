import type { Pond as PublicPond, ChannelOptions, PondOptions, PondSnapshot } from "../pond.js";
import { Channel } from "./channel.js";
import { Connection } from "./connection.js";
import { PondError } from "./errors.js";

export { PondError, reactions } from "./errors.js";

/** A connection to an endpoint. It opens when the first channel is used. */
export class Pond implements PublicPond {
  #connection: Connection;

  constructor(url: string | URL, options?: PondOptions) {
    this.#connection = new Connection(url, options);
  }

  channel(name: string, options: ChannelOptions = {}): Channel {
    return new Channel(name, options, this.#connection);
  }

  connect(): void {
    this.#connection.connect();
  }

  close(): void {
    this.#connection.close();
  }

  setToken(token: PondOptions["token"]): void {
    this.#connection.setToken(token);
  }

  on(event: string, listener: (payload: any, message: any) => void): () => void {
    return this.#connection.listeners.add(`on:${event}`, listener);
  }

  onError(listener: (error: PondError) => void): () => void {
    return this.#connection.listeners.add("error", listener);
  }

  readonly subscribe = (listener: (snapshot: PondSnapshot) => void): (() => void) =>
    this.#connection.listeners.add("change", listener);

  readonly getSnapshot = (): PondSnapshot => this.#connection.snapshot;

  get status() {
    return this.getSnapshot().status;
  }

  get userId() {
    return this.getSnapshot().userId;
  }

  get queued(): { messages: number; bytes: number } {
    return this.#connection.queued;
  }

  clearQueue(): void {
    for (const item of this.#connection.queue) item.settle(new PondError("CLEARED", "the queue was cleared"));
  }
}
