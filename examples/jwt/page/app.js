import { Pond } from "./pond.js";
import { el, showStatus } from "./page.js";

const $ = (id) => document.getElementById(id);
let pond;
let room;
let expires = 0;

// The token is a cookie, so a new one needs a new connection.
function connect() {
  pond?.close();
  pond = new Pond("/socket");
  pond.onError(() => {}); // the page shows the state
  showStatus(pond, $("status"));
  enter();
}

function enter() {
  room?.leave();
  const name = $("enter").elements.room.value;
  where(`Joining ${name}…`);
  room = pond.channel(`/chat/${name}`);
  room.subscribe(({ status, error }) => {
    if (status === "joined") where(`You joined ${name}.`);
    if (status === "declined") where(`Declined: ${error.message}`, true);
    if (status === "removed") where(`Evicted: ${error.message}. Log in again.`, true);
  });
  room.on("said", ({ from, text }) => note(el("b", {}, `${from}: `), text));
  room.onError(({ message }) => room.status === "joined" && note(el("span", { className: "bad" }, message)));
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
  connect();
});

$("enter").addEventListener("change", () => {
  $("log").replaceChildren();
  enter();
});

$("enter").addEventListener("submit", (event) => event.preventDefault());

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  room.send("say", { text: event.target.elements.text.value }).catch(({ message }) => note(el("span", { className: "bad" }, message)));
  event.target.reset();
});

setInterval(() => {
  const left = Math.ceil((expires - Date.now()) / 1000);
  $("expiry").textContent = expires ? (left > 0 ? `Your token is valid for ${left} s.` : "Your token is expired.") : "";
}, 250);

connect();
