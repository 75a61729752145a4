// Shows the answer whose channel is in the page's address. There is no client library: the
// browser's EventSource reconnects automatically, and sends the position of the last event in
// Last-Event-ID.
const $ = (id) => document.getElementById(id);

let stream;
let user; // the ID of the current connection

// begin watch
function watch(channel) {
  stream?.close();
  $("answer").textContent = "";
  stream = new EventSource("/socket?last=10000&join=" + encodeURIComponent(channel));
  stream.onopen = () => status("Connected.");
  stream.onerror = () => {
    $("cut").disabled = true;
    status(stream.readyState === EventSource.CLOSED ? "There is no such answer." : "Reconnecting…");
  };
  stream.onmessage = ({ data }) => receive(JSON.parse(data));
}

function receive({ event, payload }) {
  switch (event) {
    case "CONNECTION":
      user = payload.id;
      $("cut").disabled = false;
      break;
    case "ACKNOWLEDGE":
      // The server could not continue from the last position, so it sends the answer from its
      // start. Without a history, there is no "recover".
      if (!payload.recover?.recovered) $("answer").textContent = "";
      break;
    case "GAP":
      $("answer").append(" […] ");
      break;
    case "token":
      $("answer").append(payload.text);
      break;
    case "done":
      stream.close();
      $("cut").disabled = true;
      status(payload.error ?? "Complete.");
  }
}
// end watch

function status(text) {
  $("status").textContent = text;
}

$("form").onsubmit = async (submit) => {
  submit.preventDefault();
  const response = await fetch("/ask", { method: "POST", body: $("question").value });
  if (!response.ok) return status(await response.text());
  location.hash = (await response.json()).channel;
};

$("cut").onclick = () => fetch("/cut", { method: "POST", body: user });

addEventListener("hashchange", show);
function show() {
  if (location.hash) watch(location.hash.slice(1));
}
show();
