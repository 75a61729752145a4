// Virtual time: timers fire in order when a test advances the clock.

const real = { setTimeout, clearTimeout, setImmediate, now: performance.now, wall: Date.now };

/** settle runs everything that needs no time. */
export async function settle() {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => real.setImmediate(resolve));
}

export class Clock {
  now = 1_000_000; // ms on the monotonic clock
  wall = Date.UTC(2026, 0, 1);
  #timers = []; // in their order
  #next = 1;

  install() {
    globalThis.setTimeout = (fn, delay = 0, ...args) => {
      if (!(delay <= 0x7fffffff)) delay = 1; // as everywhere
      const id = this.#next++;
      const at = this.now + Math.max(0, delay);
      let [low, high] = [0, this.#timers.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.#timers[middle].at <= at) low = middle + 1;
        else high = middle;
      }
      this.#timers.splice(low, 0, { id, at, run: () => fn(...args) });
      return id;
    };
    globalThis.clearTimeout = (id) => {
      const index = this.#timers.findIndex((timer) => timer.id === id);
      if (index >= 0) this.#timers.splice(index, 1);
    };
    performance.now = () => this.now;
    Date.now = () => this.wall;
    return this;
  }

  uninstall() {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
    performance.now = real.now;
    Date.now = real.wall;
  }

  /** The number of timers that are set. */
  get pending() {
    return this.#timers.length;
  }

  /** advance advances the time. */
  async advance(ms) {
    const end = this.now + ms;
    await settle();
    while (this.#timers[0]?.at <= end) {
      // Timers of the same time run together, like those of a real clock.
      const { at } = this.#timers[0];
      this.#step(Math.max(0, at - this.now));
      while (this.#timers[0]?.at <= this.now) this.#timers.shift().run();
      await settle();
    }
    this.#step(Math.max(0, end - this.now));
  }

  /** freeze advances the time without running timers, as for a frozen page. */
  async freeze(ms) {
    await settle();
    this.#step(ms);
  }

  /** suspend advances only the wall clock, as for a machine that sleeps. */
  async suspend(ms) {
    await settle();
    this.wall += ms;
  }

  #step(ms) {
    this.now += ms;
    this.wall += ms;
  }
}
