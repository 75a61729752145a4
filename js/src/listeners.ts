type Listener = (...args: any[]) => void;

/** Listeners by key. Registrations are independent: adding a function twice results in two calls and two disposers. */
export class Listeners {
  /** No listener is called any more, and errors count as reported. */
  ended = false;
  #sets = new Map<string, Set<{ listener: Listener }>>();

  add(key: string, listener: Listener): () => void {
    const entry = { listener };
    const set = this.#sets.get(key) ?? new Set();
    this.#sets.set(key, set.add(entry));
    return () => {
      set.delete(entry);
    };
  }

  /** Calls the listeners in the order of their registration, and returns whether there was one. */
  emit(key: string, ...args: unknown[]): boolean {
    const set = this.#sets.get(key);
    const entries = [...(set ?? [])];
    for (const entry of entries) {
      if (this.ended || !set!.has(entry)) continue; // by an earlier listener
      try {
        entry.listener(...args);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error); // it must not prevent the calls of the others
      }
    }
    return this.ended || entries.length > 0;
  }
}
