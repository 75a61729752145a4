// The state of the connection: a word in the corner, and a bar with a button if the page is disconnected.

const NAMES = { websocket: "WebSocket", stream: "SSE" };
const BAR_AFTER = 700; // milliseconds; for shorter interruptions, the bar is not shown

const $ = (id) => document.getElementById(id);

export class Status {
  #state = { status: "idle", transport: "websocket", retryAt: null };
  #connectedOnce = false;
  #troubleSince = 0;
  #announced = "";

  /** retry is called when the user does not want to wait for the next attempt. */
  constructor(retry) {
    $("retry").addEventListener("click", retry);
    setInterval(() => this.#draw(), 250);
  }

  /** Shows the snapshot of a Pond. */
  show(snapshot) {
    this.#state = { ...snapshot, transport: snapshot.transport ?? this.#state.transport };
    if (snapshot.status === "connected") this.#connectedOnce = true;
    this.#draw();
  }

  #draw() {
    const { status, transport, retryAt } = this.#state;
    const connected = status === "connected";
    if (connected) this.#troubleSince = 0;
    else this.#troubleSince ||= Date.now();

    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const again = status === "waiting" && seconds > 1 ? `Reconnecting in ${seconds} s` : "Reconnecting…";
    const word = connected ? "Connected" : navigator.onLine ? (this.#connectedOnce ? again : "Connecting…") : "Offline";

    $("status").dataset.state = connected ? "connected" : navigator.onLine ? "connecting" : "offline";
    $("status").lastElementChild.textContent = word;
    $("foot").textContent = connected ? `Connected over ${NAMES[transport]}` : `Not connected over ${NAMES[transport]}`;
    for (const radio of $("transport").querySelectorAll("input")) radio.checked = radio.value === transport;

    const hidden = !this.#troubleSince || Date.now() - this.#troubleSince < BAR_AFTER;
    $("trouble").hidden = hidden;
    $("trouble").firstElementChild.textContent =
      word === "Offline" ? `You are offline. ${again}` : this.#connectedOnce ? `The connection was lost. ${again}` : `The server does not answer. ${again}`;
    $("retry").disabled = status !== "waiting";
    if (!hidden || connected) this.#announce(connected ? `Connected over ${NAMES[transport]}` : "The connection was lost. Reconnecting.");
  }

  // A screen reader announces changes, but not the countdown.
  #announce(text) {
    if (text === this.#announced) return;
    this.#announced = text;
    $("announce").textContent = text;
  }
}
