import type { Channel as PublicChannel, ChannelOptions, ChannelSnapshot, JoinOutcome, Member, RequestOptions, SendOptions } from "../pond.js";
import type { Connection } from "./connection.js";
import { PondError } from "./errors.js";
import { IDLE, type Room } from "./room.js";

/**
 * A handle for a channel. It uses the channel while it has a listener or after join. The channel is joined while a
 * handle uses it, and left when the last one released it.
 */
export class Channel implements PublicChannel {
  readonly name: string;
  #connection: Connection;
  #options: ChannelOptions;
  #room: Room | null = null; // while this handle uses it
  #joined = false; // until leave
  #disposers = new Set<() => void>();

  constructor(name: string, options: ChannelOptions, connection: Connection) {
    this.name = name;
    this.#connection = connection;
    this.#options = options;
  }

  #use(): Room {
    if (this.#room) return this.#room;
    const room = (this.#room = this.#connection.room(this.name));
    Object.assign(room.options, this.#options);
    room.acquire();
    if (this.#connection.snapshot.status === "idle") this.#connection.connect();
    return room; // a listener may have called leave
  }

  #release(): void {
    if (this.#joined || this.#disposers.size) return;
    this.#room?.release();
    this.#room = null;
  }

  #listen(key: string, listener: (...args: any[]) => void): () => void {
    const remove = this.#use().listeners.add(key, listener);
    const dispose = () => {
      if (!this.#disposers.delete(dispose)) return;
      remove();
      this.#release();
    };
    this.#disposers.add(dispose);
    return dispose;
  }

  on(event: string, listener: (payload: any, message: any) => void): () => void {
    return this.#listen(`on:${event}`, listener);
  }

  onMessage(listener: (message: any) => void): () => void {
    return this.#listen("message", listener);
  }

  onPresence(listener: (presence: readonly Member<any>[], change: any) => void): () => void {
    return this.#listen("presence", listener);
  }

  onJoin(listener: (outcome: JoinOutcome) => void): () => void {
    return this.#listen("join", listener);
  }

  onGap(listener: (gap: { reason: string }) => void): () => void {
    return this.#listen("gap", listener);
  }

  onError(listener: (error: PondError) => void): () => void {
    return this.#listen("error", listener);
  }

  readonly subscribe = (listener: (snapshot: ChannelSnapshot<any>) => void): (() => void) => this.#listen("change", listener);

  readonly getSnapshot = (): ChannelSnapshot<any> => this.#room?.snapshot ?? IDLE;

  get status() {
    return this.getSnapshot().status;
  }

  get presence() {
    return this.getSnapshot().presence;
  }

  join({ signal }: { signal?: AbortSignal } = {}): Promise<JoinOutcome> {
    const promise = new Promise<JoinOutcome>((resolve, reject) => {
      signal?.throwIfAborted();
      const room = this.#hold();
      const connection = this.#connection;
      if (!room.active) void room.join();
      const check = () => {
        const { status, outcome, error } = room.snapshot;
        if (signal?.aborted) {
          this.#joined = false;
          this.#release();
          reject(signal.reason);
        } else if (status !== "joining") {
          if (status === "joined") resolve(outcome!);
          else reject(error ?? new PondError("LEFT", "left the channel"));
        } else if (connection.snapshot.status === "stopped") {
          reject(connection.snapshot.error);
        } else {
          return;
        }
        for (const remove of removers) remove();
      };
      signal?.addEventListener("abort", check);
      const removers = [
        room.listeners.add("change", check),
        connection.listeners.add("change", check),
        () => signal?.removeEventListener("abort", check),
      ];
      check();
    });
    promise.catch(() => {}); // onError and the snapshot report the same
    return promise;
  }

  #hold(): Room {
    this.#joined = true;
    return this.#use();
  }

  send(event: string, payload?: unknown, options?: SendOptions): Promise<void> {
    return this.#submit(event, payload, options, false);
  }

  request(event: string, payload?: unknown, options?: RequestOptions): Promise<any> {
    return this.#submit(event, payload, options, true);
  }

  #submit(event: string, payload: unknown, options: RequestOptions | undefined, reply: boolean): Promise<any> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    const room = this.#room ?? this.#hold(); // a handle with listeners is released with them
    return room.submit(event, payload, options, reply);
  }

  leave(): void {
    this.#joined = false;
    for (const dispose of [...this.#disposers]) dispose();
    this.#release();
  }
}
