// begin first
import { Pond } from "/pond.js";

const pond = new Pond("/socket");
const room = pond.channel("/chat/1", { params: { name: "Ann", track: true } });

room.onGap(() => loadMessages()); // messages were lost: load the state again
room.on("say", ({ text }) => showMessage(text));
room.onPresence((list) => showPeople(list.map(({ presence }) => presence.name)));

await room.join();
await room.send("say", { text: "hello" });
// end first

function loadMessages() {}

function showMessage(text) {
  document.body.append(`said ${text}; `);
}

function showPeople(names) {
  document.body.append(`here ${names.join()}; `);
}

// begin outcome
room.onJoin(({ status, reason }) => {
  if (status !== "recovered") loadMessages();
  console.log(status, reason ?? "");
});
// end outcome

// begin request
import { PondError } from "/pond.js";

try {
  const answer = await room.request("echo", { item: 1 }, { timeout: 5000 });
  console.log("the server answered", answer);
} catch (error) {
  if (!(error instanceof PondError)) throw error;
  if (error.code === "OUTCOME_UNKNOWN") console.log("perhaps it was handled");
  else console.log(error.status, error.message);
}
// end request

// begin signal
const abort = new AbortController();
const upload = room.request("slow", { part: 1 }, { signal: abort.signal, idempotent: true });
abort.abort();
await upload.catch((error) => console.log(error.name)); // AbortError
// end signal

// begin status
pond.subscribe(({ status, retryAt, error }) => {
  if (status === "waiting") console.log("reconnecting at", new Date(retryAt), error.message);
  if (status === "stopped") console.log("the server does not want this client:", error.status);
});
// end status

// begin token
const signedIn = new Pond("/socket", {
  async token() {
    const response = await fetch("/test/token");
    const { token, expires_in } = await response.json();
    return { value: token, expiresIn: expires_in };
  },
});
// end token

// begin leave
const stop = room.on("say", ({ text }) => console.log(text));
stop(); // removes this listener
room.leave(); // removes all listeners of this handle, and leaves unless another handle uses the channel
pond.close(); // ends everything
// end leave

await signedIn.channel("/chat/2").join();
signedIn.close();
document.body.append("done");
