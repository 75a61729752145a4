import type { TokenSource } from "../pond.js";
import { stopwatch, type Clock } from "./time.js";

/** The minimum time between two refreshes in ms, for any lifetime of a token. */
const MIN_INTERVAL = 10_000;

/** After this time, in ms, a refresh without a result does not prevent the next one. */
const MAX_REFRESH = 30_000;

/** The number of rejected tokens in a row after which the client stops. */
const MAX_REJECTED = 3;

/** The tokens of one source, and the refresh in flight, if there is one. */
export class Tokens {
  #source: TokenSource | undefined;
  #value: string | undefined;
  #age: Clock = () => Infinity; // time since the start of the last refresh
  #life = 0; // the age at which the value is too old
  #rejected = 0; // in a row
  #lastRejected: string | undefined;
  #pending: Promise<string | undefined> | null = null;

  constructor(source: TokenSource | undefined) {
    this.#source = source;
    if (typeof source !== "function") this.#value = source;
  }

  get #fresh(): boolean {
    return typeof this.#source !== "function" || this.#age() < this.#life;
  }

  /** Returns the token, after a refresh if it expired. */
  async get(): Promise<string | undefined> {
    if (this.#fresh) return this.#value;
    if (!this.#pending || this.#age() > MAX_REFRESH) {
      this.#pending = this.#refresh().finally(() => (this.#pending = null));
    }
    return this.#pending;
  }

  /** Milliseconds until get may ask for a new token. */
  get delay(): number {
    return this.#fresh ? 0 : Math.max(0, MIN_INTERVAL - this.#age());
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
    if (this.#age() > 60_000) this.#life = 0;
  }

  /** Records that the server accepted the token. */
  healthy(): void {
    this.#rejected = 0;
    this.#lastRejected = undefined;
  }

  async #refresh(): Promise<string | undefined> {
    this.#age = stopwatch();
    const token = await (this.#source as Exclude<TokenSource, string>)();
    const { value, expiresIn = Infinity } = typeof token === "object" ? token : { value: token };
    this.#value = value;
    this.#life = Math.max(MIN_INTERVAL, expiresIn * 900 || 0); // a tenth before its end
    return value;
  }
}
