// The messages of a room: what was said, and below it what is still on its way.
// All text of strangers becomes textContent or nothing.

import { isMine, paintAvatar } from "./identity.js";

const GROUP_WITHIN = 5 * 60_000; // messages of one person in a row share a name and an avatar
const KEEP_LINES = 500;
const NEAR = 60; // pixels from the end that still count as reading along

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

const $ = (id) => document.getElementById(id);

export class Log {
  #said = $("log");
  #pending = $("pending");
  #scroll = $("scroll");
  #latest = $("latest");
  #ids = new Set(); // of the messages in #said
  #last = null; // the newest message, unless a notice follows it
  #day = "";
  #following = true; // the end is in sight and should stay there

  constructor() {
    const follow = () => this.#following && this.#toEnd();
    new ResizeObserver(follow).observe(this.#scroll);
    this.#scroll.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
      this.#following = scrollHeight - scrollTop - clientHeight < NEAR;
      if (this.#following) this.#latest.hidden = true;
    });
    this.#latest.addEventListener("click", () => this.#toEnd());
  }

  get empty() {
    return this.#ids.size === 0 && this.waiting === 0;
  }

  /** The number of own messages that the server has not sent back yet. */
  get waiting() {
    return this.#pending.childElementCount;
  }

  clear() {
    this.#said.replaceChildren();
    this.#pending.replaceChildren();
    this.#ids.clear();
    this.#last = null;
    this.#day = "";
    this.#toEnd();
  }

  /**
   * Adds what was said while this window was away. Screen readers do not read it aloud. more means that the
   * history does not reach back to the beginning, so if nothing of it is known, there is a gap.
   */
  addHistory({ messages, more }) {
    const gap = more && this.#ids.size > 0 && !messages.some(({ id }) => this.#ids.has(id));
    this.#said.ariaBusy = "true";
    if (gap) this.notice("Some messages are missing here");
    for (const message of messages) this.add(message);
    requestAnimationFrame(() => (this.#said.ariaBusy = "false"));
  }

  /** Adds a message that came from the server, unless it is there already. */
  add(message) {
    this.#pending.querySelector(`[data-id="${CSS.escape(message.id)}"]`)?.remove();
    if (this.#ids.has(message.id)) return;
    this.#ids.add(message.id);
    this.#newDay(message.at);
    const mine = isMine(message);
    this.#append(this.#said, drawMessage(message, { mine, first: this.#startsGroup(message) }), mine);
    this.#last = message;
  }

  /** Shows an own message until the server has sent it back. */
  addPending(message) {
    const item = drawMessage(message, { mine: true, first: this.waiting === 0 });
    item.dataset.fate = "pending";
    this.#append(this.#pending, item, true);
  }

  /** Says below each message that is on its way what it waits for. */
  explainPending(text) {
    for (const note of this.#pending.querySelectorAll("[data-fate=pending] .fate span")) note.textContent = text;
  }

  /** Marks an own message as refused. With retry, a button calls it. */
  fail(id, reason, retry) {
    const item = this.#pending.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!item) return;
    item.dataset.fate = "failed";
    item.querySelector(".fate span").textContent = reason;
    const button = item.querySelector(".fate button");
    button.hidden = false;
    button.onclick = () => {
      item.remove();
      retry();
    };
    if (this.#following) this.#toEnd();
  }

  /** Adds a quiet line about the room. */
  notice(text) {
    this.#newDay(Date.now());
    this.#append(this.#said, drawLine("notice", text), false);
    this.#last = null;
  }

  #startsGroup(message) {
    const last = this.#last;
    return !last || last.name !== message.name || isMine(last) !== isMine(message) || message.at - last.at > GROUP_WITHIN;
  }

  #newDay(at) {
    const day = dayOf(at);
    if (day === this.#day) return;
    this.#day = day;
    this.#last = null;
    this.#append(this.#said, drawLine("day", day), false);
  }

  #append(list, item, own) {
    list.append(item);
    while (this.#said.childElementCount > KEEP_LINES) {
      this.#ids.delete(this.#said.firstElementChild.dataset.id);
      this.#said.firstElementChild.remove();
    }
    if (own || this.#following) this.#toEnd();
    else if (item.dataset.id) this.#latest.hidden = false;
  }

  #toEnd() {
    this.#following = true;
    this.#latest.hidden = true;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }
}

function drawMessage(message, { mine, first }) {
  const item = $("message-template").content.cloneNode(true).firstElementChild;
  item.dataset.id = message.id;
  item.classList.toggle("first", first);
  item.classList.toggle("mine", mine);
  paintAvatar(item.querySelector(".avatar"), message.name);
  item.querySelector(".text").textContent = message.text;
  const [by, time] = item.querySelector(".by").children;
  by.textContent = message.name;
  by.style.setProperty("--hue", item.querySelector(".avatar").style.getPropertyValue("--hue"));
  time.textContent = clock.format(message.at);
  time.dateTime = new Date(message.at).toISOString();
  return item;
}

function drawLine(kind, text) {
  const item = document.createElement("li");
  const words = document.createElement("span");
  item.className = kind;
  words.textContent = text;
  item.append(words);
  return item;
}

function dayOf(at) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  return calendar.format(at);
}
