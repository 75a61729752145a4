/** Milliseconds that have passed, or are left. */
export type Clock = () => number;

/**
 * Measures the time since the call on two clocks: one stops while the machine sleeps, and the user may set the other.
 * The result includes time asleep, and does not depend on a wall clock that is set back.
 */
export const stopwatch = (): Clock => {
  const monotonic = performance.now();
  const wall = Date.now();
  return () => Math.max(performance.now() - monotonic, Date.now() - wall);
};

export const zero: Clock = () => 0;

/** A connection or membership that lasted this long, in ms, was healthy: after it, delays are short again. */
export const HEALTHY = 10_000;

/** Calls a function later. The timers of the platform fire at once if a delay is longer than 2^31 - 1 ms. */
export const later = (run: () => void, delay: number): ReturnType<typeof setTimeout> => setTimeout(run, Math.min(delay, 2 ** 31 - 1));

/** A random delay below a limit that doubles with each attempt. */
export const backoff = (attempt: number, [first, limit]: readonly [number, number]): number =>
  Math.random() * Math.min(limit, first * 2 ** attempt);

/** An advised delay and an additional random time, because many clients may get the same advice. */
export const spread = (delay: number): number => delay + Math.random() * Math.max(1000, delay / 2);
