// The state of the connection: a word in the corner, and a bar with a button if the page is disconnected.

const NAMES = { websocket: "WebSocket", sse: "SSE" };
const BAR_AFTER = 700; // milliseconds; for shorter interruptions, the bar is not shown

const $ = (id) => document.getElementById(id);

export class Status {
  #state;
  #connectedOnce = false;
  #troubleSince = 0;
  #announced = "";

  constructor(client) {
    $("retry").addEventListener("click", () => client.retry());
    setInterval(() => this.#draw(), 250);
    client.onState((state) => {
      this.#state = state;
      if (state.name === "connected") this.#connectedOnce = true;
      this.#draw();
    });
  }

  #draw() {
    const { name, transport, retryAt } = this.#state;
    const connected = name === "connected";
    if (connected) this.#troubleSince = 0;
    else this.#troubleSince ||= Date.now();

    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const again = name === "waiting" && seconds > 1 ? `Reconnecting in ${seconds} s` : "Reconnecting…";
    const word = connected ? "Connected" : navigator.onLine ? (this.#connectedOnce ? again : "Connecting…") : "Offline";

    $("status").dataset.state = connected ? "connected" : navigator.onLine ? "connecting" : "offline";
    $("status").lastElementChild.textContent = word;
    $("foot").textContent = connected ? `Connected over ${NAMES[transport]}` : `Not connected over ${NAMES[transport]}`;
    for (const radio of $("transport").querySelectorAll("input")) radio.checked = radio.value === transport;

    const hidden = !this.#troubleSince || Date.now() - this.#troubleSince < BAR_AFTER;
    $("trouble").hidden = hidden;
    $("trouble").firstElementChild.textContent =
      word === "Offline" ? `You are offline. ${again}` : this.#connectedOnce ? `The connection was lost. ${again}` : `The server does not answer. ${again}`;
    $("retry").disabled = name !== "waiting";
    if (!hidden || connected) this.#announce(connected ? `Connected over ${NAMES[transport]}` : "The connection was lost. Reconnecting.");
  }

  // A screen reader announces changes, but not the countdown.
  #announce(text) {
    if (text === this.#announced) return;
    this.#announced = text;
    $("announce").textContent = text;
  }
}
