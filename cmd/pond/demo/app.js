// The chat page: rooms, names and messages, with the client in pond.js.

import { connect } from "./pond.js";
import { findName, keepName, keepUserId, paintAvatar, roomNameOf, roomProblem } from "./identity.js";
import { Log } from "./log.js";
import { People } from "./people.js";
import { Status } from "./status.js";

const HOME = "lounge";
const TYPING_ENDS = 3_000; // milliseconds after the last key

const $ = (id) => document.getElementById(id);

const me = { name: await findName() };
const pond = connect("/socket", { transport: sessionStorage.getItem("transport") ?? "websocket" });
const log = new Log();
const people = new People((text) => log.notice(text));
new Status(pond);

let room = null; // the open channel, or null after the server closed it
let roomName = "";
let focusMessage = false; // after the next room is opened

// --- the connection ---------------------------------------------------------------------------------------

pond.onState(({ name, userId }) => {
  if (userId) keepUserId(userId);
  document.body.classList.toggle("away", name !== "connected");
  drawBlank();
  log.explainPending(name === "connected" ? "Sending…" : "Waiting for the connection");
});

$("transport").addEventListener("change", ({ target }) => {
  sessionStorage.setItem("transport", target.value);
  pond.use(target.value);
});

// --- rooms ------------------------------------------------------------------------------------------------

let rooms = [];
pond.join("/rooms").on("rooms", (payload) => {
  rooms = payload.rooms;
  drawRooms();
});

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
  const channel = pond.join(`/chat/${roomName}`, { name: me.name });
  room = channel;
  channel.onState((state, error) => {
    if (channel !== room) return;
    if (state === "declined" || state === "removed") close(state, error);
    drawBlank();
  });
  channel.onPresence((change) => {
    people.announce(change);
    people.show(change.presence, pond.state.userId);
  });
  channel.on("history", (history) => {
    log.addHistory(history);
    drawBlank();
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
  $("empty").hidden = !log.empty || room?.state !== "joined";
  $("waiting").hidden = !log.empty || room?.state !== "joining"; // see style.css: only if there is trouble
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
  log.explainPending(pond.state.name === "connected" ? "Sending…" : "Waiting for the connection");
  drawBlank();
  try {
    await room.request("message", { id: message.id, text: message.text }, { retry: true });
  } catch (error) {
    log.fail(message.id, error.message, () => room && say(message));
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
  if (room?.state === "joined") room.send("typing", { typing });
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
  room.params = { name: me.name }; // for the next join
  try {
    await room.request("rename", { name: me.name }, { retry: true });
    keepName(me.name);
  } catch (error) {
    log.notice(error.message);
    me.name = room.params.name = before;
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
enter(roomOfAddress());
if (!narrow.matches) $("compose").elements.text.focus();
