import { connect, el, showState } from "./pond.js";

const $ = (id) => document.getElementById(id);
const show = showState($("status"));
let room;
let roomName = "";
let expires = 0;

const pond = connect("/socket", { onState: show });

function enter() {
  room?.leave();
  roomName = $("enter").elements.room.value;
  where(`Joining ${roomName}…`);
  room = pond.join(`/chat/${roomName}`);
  room.on("joined", () => where(`You joined ${roomName}.`));
  room.on("declined", ({ message }) => where(`Declined: ${message}`, true));
  room.on("kicked_out", ({ message }) => where(`Evicted: ${message}. Log in again.`, true));
  room.on("said", ({ from, text }) => note(el("b", {}, `${from}: `), text));
  room.on("error", ({ message }) => note(el("span", { className: "bad" }, message)));
}

function where(text, bad = false) {
  $("where").textContent = text;
  $("where").className = bad ? "bad" : "hint";
}

function note(...children) {
  $("log").append(el("li", {}, ...children));
  $("log").lastChild.scrollIntoView({ block: "nearest" });
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
  if (!answer.ok) return;
  expires = Date.now() + (await answer.json()).expiresIn * 1000;
  pond.retry(); // with the new cookie
});

$("enter").addEventListener("change", () => {
  $("log").replaceChildren();
  enter();
});

$("enter").addEventListener("submit", (event) => event.preventDefault());

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  room.send("say", { text: event.target.elements.text.value });
  event.target.reset();
});

setInterval(() => {
  const left = Math.ceil((expires - Date.now()) / 1000);
  $("expiry").textContent = expires ? (left > 0 ? `Your token is valid for ${left} s.` : "Your token is expired.") : "";
}, 250);

enter();
