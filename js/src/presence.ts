import type { Member, PresenceChange } from "../pond.js";

/**
 * The tracked users of a channel. The list is never a mixture of old and new: during a
 * reconnect, it stays the same until the whole new list has arrived.
 */
export class PresenceList {
  list: readonly Member[] = [];
  /** Whether the server sends differences. */
  diff = false;
  #users = new Map<string, Member>();
  #complete = true; // or pages of the state did not arrive yet
  #early: any[] = []; // differences that arrived before the last page

  /** Starts a membership. */
  reset(diff: boolean): void {
    this.diff = diff;
    this.#complete = false;
    this.#users = new Map();
    this.#early = [];
  }

  /** Handles a page of the state, and returns whether it was the last one. */
  state({ users, more }: any): boolean {
    this.#apply({ joins: users });
    if (more) return false;
    for (const diff of this.#early.splice(0)) this.#apply(diff);
    this.list = [...this.#users.values()];
    return (this.#complete = true);
  }

  /** Handles a difference, and returns the changes, if the state is complete. */
  change(diff: any): PresenceChange | undefined {
    if (!this.#complete) {
      this.#early.push(diff);
      return;
    }
    const change = this.#apply(diff);
    this.list = [...this.#users.values()];
    return change;
  }

  #apply({ joins = [], updates = [], leaves = [] }: any): PresenceChange {
    const users = this.#users;
    const gone = leaves.flatMap(({ id }: Member) => users.get(id!) ?? []);
    for (const { id } of leaves) users.delete(id);
    for (const user of [...joins, ...updates]) users.set(user.id, user);
    return { joins, updates, leaves: gone };
  }

  /** Handles a PRESENCE message. It contains the whole list. If a server omits the list, it stays the same. */
  full(event: string, { presence, changed }: any): PresenceChange {
    this.list = presence?.map(anonymous) ?? this.list;
    return { joins: [], updates: [], leaves: [], [`${event.toLowerCase()}s`]: [anonymous(changed)] };
  }
}

const anonymous = (presence: unknown): Member => ({ id: null, presence });
