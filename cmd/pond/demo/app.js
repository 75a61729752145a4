// The chat page: rooms, names and messages. pond.js is the client of the project; see docs/javascript.md.

import { Pond } from "./pond.js";
import { findName, keepName, keepUserId, paintAvatar, roomNameOf, roomProblem } from "./identity.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { Status } from "./status.js";

const HOME = "lounge";
const SHOWN = 50; // messages from before the page was opened
const TYPING_ENDS = 3_000; // milliseconds after the last key
const PATIENCE = 600_000; // milliseconds that a message waits for the connection and its answer

const $ = (id) => document.getElementById(id);

const me = { name: await findName() };
const log = new Log();
const people = new People((text) => log.notice(text));
const status = new Status(() => pond.connect());

let pond; // the connection
let room = null; // the open channel, or null after the server closed it
let roomName = "";
let focusMessage = false; // after the next room is opened

// --- the connection ---------------------------------------------------------------------------------------

const preferred = () => (sessionStorage.getItem("transport") === "stream" ? "stream" : "websocket");

function connect() {
  pond?.close();
  pond = new Pond("/socket", { transports: preferred() === "stream" ? ["stream"] : ["websocket", "stream"] });
  pond.onError(() => {}); // the page shows the status instead
  const current = pond;
  pond.subscribe((snapshot) => current === pond && showConnection(snapshot));
  pond.channel("/rooms").on("rooms", (payload) => {
    rooms = payload.rooms;
    drawRooms();
  });
}

function showConnection(snapshot) {
  if (snapshot.userId) keepUserId(snapshot.userId);
  document.body.classList.toggle("away", snapshot.status !== "connected");
  status.show(snapshot);
  drawBlank();
  log.explainPending(pendingReason());
}

const pendingReason = () => (pond.status === "connected" ? "Sending…" : "Waiting for the connection");

// Another transport needs another connection. For the other windows, it looks like a short
// absence.
$("transport").addEventListener("change", ({ target }) => {
  sessionStorage.setItem("transport", target.value);
  connect();
  if (room) join();
});

// --- rooms ------------------------------------------------------------------------------------------------

let rooms = [];

function enter(name) {
  const unsent = log.waiting;
  room?.leave();
  log.clear();
  people.clear();
  if (unsent > 0) log.notice(`${unsent} unsent to #${roomName} ${unsent === 1 ? "was" : "were"} dropped`);

  roomName = name;
  $("room").textContent = name;
  for (const element of document.querySelectorAll("[data-room]")) element.textContent = `#${name}`;
  $("compose").elements.text.placeholder = `Message #${name}`;
  document.title = `#${name} · pond demo`;
  join();
  drawRooms();
  showSide(false);
  if (focusMessage) $("compose").elements.text.focus();
  focusMessage = false;
}

function join() {
  const channel = pond.channel(`/chat/${roomName}`, { params: () => ({ name: me.name }), last: SHOWN });
  room = channel;
  channel.subscribe(({ status, error }) => {
    if (channel !== room) return;
    if (status === "declined" || status === "removed") close(status, error);
    drawBlank();
  });
  channel.onPresence((list) => {
    const presence = list.map((entry) => entry.presence);
    people.announce(presence);
    people.show(presence, pond.userId);
  });
  // The position in the history is lost, for example after a restart of the server: load the
  // latest messages.
  channel.onGap(async () => {
    if (!log.empty) log.notice("Some messages may be missing here");
    const { messages } = await channel.request("latest", {}, { idempotent: true });
    for (const message of messages) log.add(message);
  });
  channel.on("message", (message) => {
    log.add(message);
    drawBlank();
    countUnread();
  });
  $("closed").hidden = true;
  $("compose").inert = false;
}

function close(state, error) {
  room = null;
  $("closed").querySelector("h2").textContent = state === "removed" ? "You were removed" : "This room cannot be opened";
  $("closed").querySelector(".reason").textContent = error.message;
  $("again").hidden = state === "declined" && !mayHelp(error.status);
  $("closed").hidden = false;
  $("compose").inert = true;
  people.clear();
  drawRooms();
}

// Reports whether a declined join may succeed later: after a timeout, a limit, or an error of the server.
function mayHelp(status) {
  return status === 408 || status === 429 || status >= 500;
}

function drawBlank() {
  $("empty").hidden = !log.empty || room?.status !== "joined";
  $("waiting").hidden = !log.empty || room?.status !== "joining"; // see style.css: only if there is trouble
}

function drawRooms() {
  const missing = room && !rooms.some(({ name }) => name === roomName);
  const listed = missing ? [...rooms, { name: roomName, people: 0 }] : rooms;
  $("rooms").replaceChildren(
    ...listed.map(({ name, people }) => {
      const item = $("room-template").content.cloneNode(true).firstElementChild;
      const [link, label, count] = [item.firstElementChild, ...item.firstElementChild.children];
      link.href = `#${encodeURIComponent(name)}`;
      if (name === roomName) link.ariaCurrent = "page";
      label.textContent = label.title = name;
      count.textContent = people || "";
      count.ariaLabel = people ? `${people} here` : "";
      return item;
    }),
  );
}

function roomOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || HOME;
  } catch {
    return location.hash.slice(1);
  }
}

addEventListener("hashchange", () => enter(roomOfAddress()));

$("new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.room;
  const name = roomNameOf(field.value);
  const problem = name && roomProblem(name);
  showRoomProblem(problem);
  if (!name || problem) return field.focus();
  field.value = "";
  focusMessage = true;
  if (name === roomName) enter(name);
  else location.hash = encodeURIComponent(name);
});

$("new-room").addEventListener("input", () => showRoomProblem(""));

function showRoomProblem(problem) {
  $("new-room-error").textContent = problem;
  $("new-room").elements.room.ariaInvalid = problem ? "true" : null;
}

$("again").addEventListener("click", () => enter(roomName));

// --- messages ---------------------------------------------------------------------------------------------

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.text;
  const text = field.value.trim();
  if (!text || !room) return;
  field.value = "";
  field.focus();
  stopTyping();
  say({ id: newMessageId(), name: me.name, text, at: Date.now() });
});

$("compose").elements.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("compose").requestSubmit();
});

// The page chooses the id, so it can send the message again after the connection broke: the server and the other
// windows recognize the id.
async function say(message) {
  log.addPending(message);
  log.explainPending(pendingReason());
  drawBlank();
  for (;;) {
    try {
      await room.request("message", { id: message.id, text: message.text }, { idempotent: true, timeout: PATIENCE });
      return;
    } catch (error) {
      if (error.code === "CLOSED" && room) continue; // the transport changed: send it over the next connection
      log.fail(message.id, error.message, () => room && say(message));
      return;
    }
  }
}

function newMessageId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

let unread = 0;
function countUnread() {
  if (!document.hidden) return;
  unread++;
  document.title = `(${unread}) #${roomName} · pond demo`;
}

document.addEventListener("visibilitychange", () => {
  unread = 0;
  document.title = `#${roomName} · pond demo`;
});

// --- typing -----------------------------------------------------------------------------------------------

let typingTimer = 0;

$("compose").elements.text.addEventListener("input", ({ target }) => {
  if (!target.value.trim()) return stopTyping();
  if (!typingTimer) sendTyping(true);
  clearTimeout(typingTimer);
  typingTimer = setTimeout(stopTyping, TYPING_ENDS);
});

function stopTyping() {
  if (!typingTimer) return;
  clearTimeout(typingTimer);
  typingTimer = 0;
  sendTyping(false);
}

// Typing is not queued while the page is disconnected.
function sendTyping(typing) {
  if (room?.status === "joined") room.send("typing", { typing }).catch(() => {});
}

// --- name -------------------------------------------------------------------------------------------------

function drawName() {
  paintAvatar($("me").firstElementChild, me.name);
  $("me").elements.name.value = me.name;
}

$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  $("me").elements.name.blur(); // causes the change event
});

$("me").elements.name.addEventListener("change", async ({ target }) => {
  const before = me.name;
  me.name = target.value.trim() || before;
  drawName();
  if (me.name === before || !room) return;
  try {
    await room.request("rename", { name: me.name }, { idempotent: true, timeout: PATIENCE });
    keepName(me.name);
  } catch (error) {
    log.notice(error.message);
    me.name = before;
    drawName();
  }
});

// --- the rest of the page ---------------------------------------------------------------------------------

const narrow = matchMedia("(max-width: 760px)");

// On a narrow screen, rooms and people are in a drawer.
function showSide(open) {
  const drawer = narrow.matches;
  document.body.classList.toggle("side-open", drawer && open);
  $("side").inert = drawer && !open;
  $("main").inert = drawer && open;
  $("veil").hidden = !(drawer && open);
  $("open-side").ariaExpanded = String(drawer && open);
}

function closeSide() {
  showSide(false);
  if (narrow.matches) $("open-side").focus();
}

$("open-side").addEventListener("click", () => {
  showSide(true);
  $("close-side").focus();
});
$("close-side").addEventListener("click", closeSide);
$("veil").addEventListener("click", closeSide);
addEventListener("keydown", ({ key }) => key === "Escape" && document.body.classList.contains("side-open") && closeSide());
narrow.addEventListener("change", () => showSide(false));

$("skip").addEventListener("click", () => $("compose").elements.text.focus());
$("second").addEventListener("click", () => open(location.href, "_blank", "popup,noopener,width=460,height=760"));
$("copy").addEventListener("click", async ({ target }) => {
  await navigator.clipboard.writeText(location.href);
  target.textContent = "Copied";
  setTimeout(() => (target.textContent = "Copy the link"), 2_000);
});

drawName();
connect();
enter(roomOfAddress());
if (!narrow.matches) $("compose").elements.text.focus();
