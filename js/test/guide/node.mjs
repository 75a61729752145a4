import { Pond } from "@pondsocket/pond";

const pond = new Pond(process.argv[2]); // with the host, such as https://example.com/socket
const room = pond.channel("/chat/1", { params: { name: "bot" } });

room.on("say", ({ text }) => console.log("someone said", text));
const answer = await room.request("say", { text: "hello" });
console.log("the server answered", answer);
pond.close(); // without it the program does not end
