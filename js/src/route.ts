import type { Transport } from "../pond.js";
import { PondError } from "./errors.js";
import { stopwatch, zero } from "./time.js";

/** The time for which the fallback is used before the preferred transport is tried again, in ms and before jitter. */
export const PERIOD = 300_000;

/** Whether a response to the request for an event stream does not show that a WebSocket would fail as well. */
const tellsNothing = (status: number): boolean => (status > 403 && status < 429) || status === 501;

/** The number of failed attempts in a row after which a transport that worked before counts as blocked. */
const PATIENCE = 3;

/** Chooses the transport of the next attempt: the preferred one, or the fallback while the preferred one does not open. */
export class Route {
  #available: () => readonly Transport[];
  #fallback = false; // is next
  #failures = 0; // attempts of the preferred transport in a row that never opened
  #worked = false; // whether one ever did
  #lasted = zero; // time since a connection opened
  #rejection: PondError | null = null; // of the event stream, to be believed if a WebSocket does not open either

  constructor(available: () => readonly Transport[]) {
    this.#available = available;
  }

  get preferred(): Transport | undefined {
    return this.#available()[0];
  }

  next(): Transport | undefined {
    return (this.#fallback && this.#available()[1]) || this.preferred;
  }

  /** The preferred transport opens again. */
  reset(): void {
    this.#fallback = false;
  }

  /** A connection opened. Returns whether the preferred transport should be tried again later. */
  opened(transport: Transport | null): boolean {
    this.#rejection = null;
    this.#lasted = stopwatch();
    if (transport !== this.preferred) return true;
    this.#worked = true;
    this.#failures = 0;
    return false;
  }

  /** An attempt failed, or a connection ended. Returns the error that determines the reaction. */
  lost(transport: Transport | null, connected: boolean, error: PondError): PondError {
    if (this.#available().length < 2) return error;
    if (transport !== this.preferred) {
      this.#fallback = connected && this.#lasted() < PERIOD;
    } else if (!connected) {
      this.#fallback = ++this.#failures >= (this.#worked ? PATIENCE : 1);
    }
    if (connected) return error;
    if (transport === "stream" && tellsNothing(error.status)) {
      this.#rejection = error;
      return new PondError("NO_STREAM", error.message);
    }
    const rejection = transport === "websocket" && this.#rejection;
    this.#rejection = null;
    return rejection || error;
  }
}
