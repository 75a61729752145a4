import { later, stopwatch, zero } from "./time.js";

/** The time limit for the answer to a probe, in ms. */
const TIMEOUT = 10_000;

/** If a timer is later than this, the page was frozen or the machine was suspended. */
const LATE = 5_000;

/**
 * Detects a dead connection. If no data arrives for some time, it sends a probe. If there is still no data, the
 * connection is dead.
 */
export class Pulse {
  #probe: () => void;
  #dead: () => void;
  #silence = 0; // ms after which to probe; 0 turns it off
  #quiet = zero; // time since something arrived
  #probing = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(probe: () => void, dead: () => void) {
    this.#probe = probe;
    this.#dead = dead;
  }

  start(silence: number): void {
    this.#silence = silence;
    this.#probing = true;
    this.heard();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  heard(): void {
    this.#quiet = stopwatch();
    if (!this.#probing) return;
    this.#probing = false;
    this.#wait();
  }

  /** Sends a probe now, unless one has no answer yet: repeated calls must not extend the time limit. */
  check(): void {
    if (this.#probing) return;
    this.#probing = true;
    this.#probe();
    this.#wait();
  }

  #wait(): void {
    this.stop();
    if (!this.#silence) return;
    const delay = this.#probing ? TIMEOUT : Math.max(0, this.#silence - this.#quiet());
    const passed = stopwatch();
    this.#timer = later(() => {
      const late = passed() > delay + LATE;
      if (this.#probing && !late) this.#dead();
      else if (late || this.#quiet() >= this.#silence) {
        this.#probing = false;
        this.check();
      } else this.#wait();
    }, delay);
  }
}
