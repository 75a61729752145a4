// begin events
import { Pond } from "@pondsocket/pond";

interface RoomEvents {
  said: { name: string; text: string };
  say: { text: string };
  buy: [{ item: number }, { price: number }]; // a request and its answer
}

interface Person {
  name: string;
}

const pond = new Pond("/socket");
const room = pond.channel<RoomEvents, Person>("/room/1");

room.on("said", ({ name, text }) => console.log(name.toUpperCase(), text));
await room.send("say", { text: "hello" });
const { price } = await room.request("buy", { item: 1 });
// end events

export { price };
