// begin official
import { PondClient } from "@eleven-am/pondsocket-client";

const url = process.argv[2]; // such as wss://example.com/socket
const client = new PondClient(url, { token: "secret" }); // connects to wss://example.com/socket?token=secret
const connected = new Promise((resolve) => client.onConnectionChange((state) => state === "connected" && resolve()));
client.connect();
await connected;

const room = client.createChannel("/chat/1", { name: "Ann" });
room.onMessage((event, payload) => event === "say" && console.log(payload.text));
room.join();
room.sendMessage("say", { text: "hello" });

const answer = await room.sendForResponse("fail", {});
if (answer.status >= 400) console.log("rejected:", answer.message); // no exception
client.disconnect();
// end official
process.exit();
