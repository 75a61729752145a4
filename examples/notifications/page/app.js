import { Pond } from "./pond.js";
import { el, showStatus } from "./page.js";

const $ = (id) => document.getElementById(id);
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
let notifications = [];
let pond;
let room;

const post = (path, form) => fetch(path, { method: "POST", body: form && new URLSearchParams(new FormData(form)) });

// The session cookie is shared by all tabs.
async function start() {
  const { name } = await (await fetch("/me")).json();
  $("login").hidden = name !== "";
  $("app").hidden = name === "";
  if (!name) return;
  $("title").textContent = `For ${name}`;
  pond?.close(); // it has the old cookie
  pond = new Pond("/socket");
  pond.onError(() => {}); // the page shows the state
  pond.subscribe(onStatus);
  showStatus(pond, $("status"));
  room = pond.channel(`/users/${encodeURIComponent(name)}`);
  room.on("inbox", (inbox) => draw(inbox.notifications ?? []));
  room.on("notification", (n) => draw([...notifications, n]));
  room.on("read", ({ id }) => draw(notifications.map((n) => (n.id === id ? { ...n, read: true } : n))));
}

// When a session ends, the server closes the connections of its tabs.
function onStatus({ status }) {
  if (status !== "stopped") return;
  $("login").hidden = false;
  $("app").hidden = true;
  document.title = "Notifications · pond";
}

function draw(latest) {
  notifications = latest.slice(-20);
  const unread = notifications.filter((n) => !n.read).length;
  $("unread").textContent = unread ? `${unread} unread` : "";
  document.title = unread ? `(${unread}) Notifications` : "Notifications · pond";
  $("empty").hidden = notifications.length > 0;
  $("inbox").replaceChildren(...notifications.toReversed().map(item));
}

function item({ id, from, text, at, read }) {
  const li = el("li", { className: read ? "" : "unread" }, el("p", {}, el("b", {}, `${from}: `), text));
  li.append(el("time", { dateTime: new Date(at).toISOString() }, time.format(at)));
  if (!read) li.append(el("button", { onclick: () => room.send("read", { id }).catch(() => {}) }, "Mark as read"));
  return li;
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ((await post("/login", event.target)).ok) start();
});

$("logout").addEventListener("click", () => post("/logout"));

$("notify").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const answer = await post("/notify", form);
  if (!answer.ok) return ($("told").textContent = await answer.text());
  const { tabs } = await answer.json();
  const to = form.elements.to.value;
  $("told").textContent = tabs ? `Shown in ${tabs} of ${to}'s tabs.` : `${to} has no open tab, and will see it later.`;
  form.elements.text.value = "";
});

start();
