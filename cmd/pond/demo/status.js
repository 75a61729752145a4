// The state of the connection: a word in the corner, and a bar with a button when there is trouble.

const NAMES = { websocket: "WebSocket", sse: "SSE" };
const PATIENCE = 700; // a reconnect that takes less goes without a bar

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
    const { name, transport, userId, retryAt } = this.#state;
    const connected = name === "connected";
    if (connected) this.#troubleSince = 0;
    else this.#troubleSince ||= Date.now();

    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const again = name === "waiting" && seconds > 1 ? `Reconnecting in ${seconds} s` : "Reconnecting…";
    const word = connected ? "Connected" : navigator.onLine ? (this.#connectedOnce ? again : "Connecting…") : "Offline";

    $("status").dataset.state = connected ? "connected" : navigator.onLine ? "connecting" : "offline";
    $("status").lastElementChild.textContent = word;
    $("foot").textContent = connected ? `${NAMES[transport]} · you are user ${userId}` : `${NAMES[transport]} · not connected`;
    for (const radio of $("transport").querySelectorAll("input")) radio.checked = radio.value === transport;

    const patient = !this.#troubleSince || Date.now() - this.#troubleSince < PATIENCE;
    $("trouble").hidden = patient;
    $("trouble").firstElementChild.textContent =
      word === "Offline" ? `You are offline. ${again}.` : this.#connectedOnce ? `The connection is gone. ${again}` : `The server does not answer. ${again}`;
    $("retry").disabled = name !== "waiting";
    if (!patient || connected) this.#announce(connected ? `Connected over ${NAMES[transport]}` : "The connection is gone. Reconnecting.");
  }

  // A screen reader should hear of a change, and not of each second.
  #announce(text) {
    if (text === this.#announced) return;
    this.#announced = text;
    $("announce").textContent = text;
  }
}
