import { Pond } from "./pond.js";
import { el, showStatus } from "./page.js";

const $ = (id) => document.getElementById(id);
const name = `${location.port || "guest"}-${Math.floor(Math.random() * 900 + 100)}`;

const pond = new Pond("/socket");
showStatus(pond, $("status"));
const room = pond.channel("/log/lounge", { params: { name, track: true }, last: 50 });

function show(text, className = "") {
  $("log").prepend(el("li", { className }, text));
}

room.on("say", ({ name, text }) => show(`${name}: ${text}`));
room.onGap(() => show("Messages may be missing here.", "bad"));
room.onError(({ message }) => show(`Error: ${message}`, "bad"));
room.onPresence((list) => {
  $("people").replaceChildren(
    ...list.map(({ id, presence }) => el("li", {}, id === pond.userId ? `${presence.name} (you)` : presence.name)),
  );
});

$("form").onsubmit = (submit) => {
  submit.preventDefault();
  room.send("say", { name, text: $("text").value }); // waits for the connection, if necessary
  $("text").value = "";
};
