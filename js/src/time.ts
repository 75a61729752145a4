/** A point in time on two clocks: one stops while the machine sleeps, and the user may set the other. */
export type Mark = [monotonic: number, wall: number];

export const mark = (): Mark => [performance.now(), Date.now()];

/** Milliseconds since a mark. The result includes time asleep, and does not depend on a wall clock that is set back. */
export const since = ([monotonic, wall]: Mark): number => Math.max(performance.now() - monotonic, Date.now() - wall);

/** A connection or membership that lasted this long, in ms, was healthy: after it, delays are short again. */
export const HEALTHY = 10_000;

/** Calls a function later. Timers of the platform fire at once if the delay is longer than they can count. */
export const later = (run: () => void, delay: number): ReturnType<typeof setTimeout> => setTimeout(run, Math.min(delay, 2 ** 31 - 1));

/** A random delay below a limit that doubles with each attempt. */
export const backoff = (attempt: number, [first, limit]: readonly [number, number]): number =>
  Math.random() * Math.min(limit, first * 2 ** attempt);

/** An advised delay and an additional random time, because many clients may get the same advice. */
export const spread = (delay: number): number => delay + Math.random() * Math.max(1000, delay / 2);
