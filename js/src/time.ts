/** A point in time on both clocks: one stops while the machine sleeps, the other may be set by the user. */
export type Mark = [monotonic: number, wall: number];

export const mark = (): Mark => [performance.now(), Date.now()];

/** Milliseconds since a mark. Time asleep counts; a wall clock that is set back does not. */
export const since = ([monotonic, wall]: Mark): number => Math.max(performance.now() - monotonic, Date.now() - wall);

/** A connection or membership that lasted this long, in ms, was healthy: the next delays are short again. */
export const HEALTHY = 10_000;

/** A random delay below a limit that doubles with each attempt. */
export const backoff = (attempt: number, [first, limit]: readonly [number, number]): number =>
  Math.random() * Math.min(limit, first * 2 ** attempt);

/** A delay that was advised. All clients may have the same advice, so it gets a random part on top. */
export const spread = (delay: number): number => delay + Math.random() * Math.max(1000, delay / 2);
