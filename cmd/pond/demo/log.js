// The messages of a room, and below them the unsent messages of this window.
// Text of other people is only assigned to textContent.

import { isMine, paintAvatar } from "./identity.js";

const GROUP_WITHIN = 5 * 60_000; // consecutive messages of one person share a name and an avatar
const KEEP_LINES = 500;
const NEAR = 60; // within this number of pixels from the end, the view follows new messages

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

const $ = (id) => document.getElementById(id);

export class Log {
  #received = $("log");
  #pending = $("pending");
  #scroll = $("scroll");
  #latest = $("latest");
  #ids = new Set(); // of the messages in #received
  #last = null; // the newest message, unless a notice follows it
  #day = "";
  #following = true; // the end is visible and should stay visible

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

  /** The number of own messages that the server did not send back yet. */
  get waiting() {
    return this.#pending.childElementCount;
  }

  clear() {
    this.#received.replaceChildren();
    this.#pending.replaceChildren();
    this.#ids.clear();
    this.#last = null;
    this.#day = "";
    this.#toEnd();
  }

  /** Adds a message from the server, unless it is already shown. */
  add(message) {
    this.#pending.querySelector(`[data-id="${CSS.escape(message.id)}"]`)?.remove();
    if (this.#ids.has(message.id)) return;
    this.#ids.add(message.id);
    this.#newDay(message.at);
    const mine = isMine(message);
    this.#append(this.#received, drawMessage(message, { mine, first: this.#startsGroup(message) }), mine);
    this.#last = message;
  }

  /** Shows an own message until the server sends it back. */
  addPending(message) {
    const item = drawMessage(message, { mine: true, first: this.waiting === 0 });
    item.dataset.fate = "pending";
    this.#append(this.#pending, item, true);
  }

  /** Shows a text below each unsent message. */
  explainPending(text) {
    for (const note of this.#pending.querySelectorAll("[data-fate=pending] .fate span")) note.textContent = text;
  }

  /** Marks an own message as rejected. A button calls retry. */
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

  /** Adds a line about the room. */
  notice(text) {
    this.#newDay(Date.now());
    this.#append(this.#received, drawLine("notice", text), false);
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
    this.#append(this.#received, drawLine("day", day), false);
  }

  #append(list, item, own) {
    list.append(item);
    while (this.#received.childElementCount > KEEP_LINES) {
      this.#ids.delete(this.#received.firstElementChild.dataset.id);
      this.#received.firstElementChild.remove();
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
