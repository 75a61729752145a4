import { Pond } from "./pond.js";
import { el, showStatus } from "./page.js";

const $ = (id) => document.getElementById(id);
const board = $("board");
const animals = ["Otter", "Heron", "Newt", "Frog", "Carp", "Teal", "Grebe", "Pike", "Swan", "Vole"];
const name = `${animals[Math.floor(Math.random() * animals.length)]} ${Math.floor(Math.random() * 90 + 10)}`;

const cursors = new Map(); // elements, by user ID
const people = new Map(); // by user ID
let room;
let bytes = 0;

/** A WebSocket that counts what it receives, for the number below the board. */
class CountingSocket extends WebSocket {
  constructor(url) {
    super(url);
    this.addEventListener("message", ({ data }) => (bytes += data.length));
  }
}

const pond = new Pond("/socket", { WebSocket: CountingSocket });
showStatus(pond, $("status"));

function enter(mode) {
  room?.leave();
  cursors.forEach((cursor) => cursor.remove());
  cursors.clear();
  room = pond.channel(`/${mode}/1`, { params: { name } });
  room.onPresence((list, change) => {
    if (!change || change.joins.length || change.leaves.length) show(list);
    for (const { id, presence } of change ? [...change.joins, ...change.updates] : list) {
      if (presence.position) place(id, presence.position);
    }
  });
  room.on("moved", ({ id, x, y }) => place(id, { x, y }));
}

function show(list) {
  const ids = new Set(list.map(({ id }) => id));
  for (const id of people.keys()) if (!ids.has(id)) forget(id);
  for (const { id, presence } of list) people.set(id, presence);
  $("people").replaceChildren(
    ...list.map(({ id, presence: { name } }) => colour(el("li", {}, id === pond.userId ? `${name} (you)` : name), id)),
  );
}

function forget(id) {
  people.delete(id);
  cursors.get(id)?.remove();
  cursors.delete(id);
}

function place(id, { x, y }) {
  if (id === pond.userId || !people.has(id)) return;
  if (!cursors.has(id)) {
    const arrow = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    arrow.setAttribute("viewBox", "0 0 18 22");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M1 1l5 18 3.5-7L17 9z");
    arrow.append(path);
    const cursor = colour(el("div", { className: "cursor", ariaHidden: "true" }, arrow), id);
    cursor.append(el("span", {}, people.get(id).name));
    cursors.set(id, cursor);
    board.append(cursor);
  }
  cursors.get(id).style.translate = `${x * board.clientWidth}px ${y * board.clientHeight}px`;
}

function colour(element, id) {
  const hue = [...id].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
  return element;
}

// A mouse reports up to a thousand moves per second. The page sends only the last one before a frame, at most 30 per
// second, and only if the position changed.
let position = { x: 0.5, y: 0.5 };
let waiting = false;
let sent = 0;

function moved(next) {
  if (next.x === position.x && next.y === position.y) return;
  position = next;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(function send(now) {
    if (now - sent < 1000 / 30 - 1) return requestAnimationFrame(send);
    waiting = false;
    sent = now;
    if (room.status === "joined") room.send("move", position).catch(() => {}); // the next one makes up for it
  });
}

const clamp = (v) => Math.min(1, Math.max(0, v));

board.addEventListener("pointermove", ({ clientX, clientY }) => {
  const box = board.getBoundingClientRect();
  moved({ x: clamp((clientX - box.left) / box.width), y: clamp((clientY - box.top) / box.height) });
});

const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

board.addEventListener("keydown", (event) => {
  if (!arrows[event.key]) return;
  event.preventDefault();
  const [dx, dy] = arrows[event.key];
  moved({ x: clamp(position.x + dx * 0.02), y: clamp(position.y + dy * 0.03) });
});

$("mode").addEventListener("change", ({ target }) => enter(target.value));

setInterval(() => {
  $("cost").textContent = `${(bytes / 1000).toFixed(1)} kB/s received`;
  bytes = 0;
}, 1000);

enter(document.querySelector("#mode input:checked").value);
