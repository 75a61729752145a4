import type { TokenSource } from "../pond.js";
import { mark, since, type Mark } from "./time.js";

/** The minimum time between two refreshes in ms, for any lifetime of a token. */
const MIN_INTERVAL = 10_000;

/** The number of rejected tokens in a row after which the client stops. */
const MAX_REJECTED = 3;

/** The tokens of one source, and the refresh in flight, if there is one. */
export class Tokens {
  #source: TokenSource | undefined;
  #value: string | undefined;
  #life = 0; // lifetime of the value from #at, in ms
  #at: Mark | null = null; // of the last refresh
  #rejected = 0; // in a row
  #lastRejected: string | undefined;
  #pending: Promise<string | undefined> | null = null;

  constructor(source: TokenSource | undefined) {
    this.#source = source;
    if (typeof source !== "function") this.#value = source;
  }

  get #fresh(): boolean {
    return typeof this.#source !== "function" || (this.#at !== null && since(this.#at) < this.#life);
  }

  /** Returns the token, after a refresh if it expired. */
  async get(): Promise<string | undefined> {
    return this.#fresh ? this.#value : (this.#pending ??= this.#refresh());
  }

  /** Milliseconds until get may ask for a new token. */
  get delay(): number {
    return this.#fresh || !this.#at ? 0 : Math.max(0, MIN_INTERVAL - since(this.#at));
  }

  /** Records that the server rejected a token, and returns whether the next attempt can have a different one. */
  rejected(token: string | undefined): boolean {
    if (token !== this.#value) return true; // it was replaced already
    if (typeof this.#source !== "function") return false;
    if (!this.#life) return true; // recorded before
    this.#life = 0;
    const again = token === this.#lastRejected;
    this.#lastRejected = token;
    return !again && ++this.#rejected < MAX_REJECTED;
  }

  /** Lets the next get ask for a new token if this one is older than a minute. */
  suspect(): void {
    if (this.#at && since(this.#at) > 60_000) this.#life = 0;
  }

  /** Records that the server accepted the token. */
  healthy(): void {
    this.#rejected = 0;
    this.#lastRejected = undefined;
  }

  async #refresh(): Promise<string | undefined> {
    try {
      const token = await (this.#source as Exclude<TokenSource, string>)();
      const { value, expiresIn = Infinity } = typeof token === "object" ? token : { value: token };
      this.#value = value;
      this.#life = Math.max(MIN_INTERVAL, expiresIn * 900); // a tenth before its end
      return value;
    } finally {
      this.#at = mark();
      this.#pending = null;
    }
  }
}
