// Shows the people in a room, who is typing, and who joined or left. All of it comes from presence.

import { paintAvatar } from "./identity.js";

const RETURN_WITHIN = 5_000; // a person who returns within this time, after a reload for example, did not leave

const $ = (id) => document.getElementById(id);

export class People {
  #known = null; // user id -> name, from the last list; null before the first
  #leaving = new Map(); // name -> timer of the notice
  #notice;

  /** notice is called with a line of text when a person joins, leaves or changes their name. */
  constructor(notice) {
    this.#notice = notice;
  }

  clear() {
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
    this.#known = null;
    this.show([], null);
  }

  /** Draws the people in a room. myId is the user id of this window. */
  show(presence, myId) {
    const people = presence.toSorted((a, b) => (b.id === myId) - (a.id === myId) || a.name.localeCompare(b.name));
    $("people").replaceChildren(...people.map((person) => drawPerson(person, person.id === myId)));
    $("count").textContent = people.length ? `${people.length} here` : "";
    const typing = people.filter(({ id, typing }) => typing && id !== myId).map(({ name }) => name);
    $("typing").classList.toggle("shown", typing.length > 0);
    if (typing.length > 0) $("typing").lastElementChild.textContent = sayTyping(typing);
  }

  /**
   * Announces who joined, left, or changed their name since the last list. Otherwise it compares names, because a
   * person has a new id after each reconnect.
   */
  announce(presence) {
    const before = this.#known;
    const now = (this.#known = new Map(presence.map(({ id, name }) => [id, name])));
    if (!before) return;
    const [old, names] = [new Set(before.values()), new Set(now.values())];
    for (const [id, name] of now) {
      const earlier = before.get(id);
      if (!earlier || earlier === name) continue;
      this.#notice(`${earlier} is now ${name}`);
      old.delete(earlier);
      names.delete(name);
    }
    for (const name of names.difference(old)) if (!this.#cancelLeaving(name)) this.#notice(`${name} joined`);
    for (const name of old.difference(names)) this.#leaving.set(name, setTimeout(() => this.#left(name), RETURN_WITHIN));
  }

  #cancelLeaving(name) {
    clearTimeout(this.#leaving.get(name));
    return this.#leaving.delete(name);
  }

  #left(name) {
    this.#leaving.delete(name);
    this.#notice(`${name} left`);
  }
}

function drawPerson({ id, name, typing }, me) {
  const item = $("person-template").content.cloneNode(true).firstElementChild;
  paintAvatar(item.querySelector(".avatar"), name);
  item.querySelector("bdi").textContent = name;
  item.title = `${name}, user ${id}`;
  item.classList.toggle("me", me);
  item.classList.toggle("typing", typing);
  return item;
}

function sayTyping(names) {
  if (names.length === 1) return `${names[0]} is typing`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing`;
  return `${names.length} people are typing`;
}
