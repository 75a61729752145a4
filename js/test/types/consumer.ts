// What TypeScript makes of the published types, under both kinds of module resolution.

import { shared } from "@pondsocket/pond/shared";
import { Pond, PondError, reactions, type Channel, type ChannelSnapshot, type Member, type Reaction } from "@pondsocket/pond";

interface Said {
  text: string;
}

interface RoomEvents {
  said: Said;
  ping: {};
  buy: [{ item: number }, { price: number }];
}

interface Person {
  name: string;
}

const pond = new Pond("/socket", {
  token: async () => ({ value: "t", expiresIn: 60 }),
  params: ({ token }) => ({ token }),
  reactions: { 1000: "retry" },
  queue: { messages: 10 },
});
const room: Channel<RoomEvents, Person> = pond.channel<RoomEvents, Person>("/room/1", { params: { name: "Ann" } });

const off: () => void = room.on("said", ({ text }, { replayed, offset }) => [text.length, replayed satisfies boolean, offset satisfies number | undefined]);
off();
room.on("buy", ({ item }) => item.toFixed());
room.onPresence((list, change) => [list[0]?.presence.name.length, change?.joins.length]);
room.onGap(({ reason }) => reason.length);
room.onError((error) => error instanceof PondError && error.status);

const sent: Promise<void> = room.send("said", { text: "hi" }, { idempotent: true });
const price: Promise<{ price: number }> = room.request("buy", { item: 1 }, { signal: AbortSignal.timeout(1), timeout: 1 });
void room.send("ping");
void room.send("ping", {});
const snapshot: ChannelSnapshot<Person> = room.getSnapshot();
const members: readonly Member<Person>[] = snapshot.presence;
const reaction: Reaction | undefined = reactions[401];
const { status }: { status: "idle" | "connecting" | "connected" | "waiting" | "stopped" | "closed" } = pond.getSnapshot();

void new Pond("/socket", shared("/pond-shared.js"));

// A channel without types takes anything.
const any = pond.channel("/any");
any.on("x", (payload) => payload.y.z);
void any.send("x");
void any.request("x", { y: 1 }).then((answer) => answer.anything);

// @ts-expect-error: there is no such event
room.on("unheard", () => {});
// @ts-expect-error: the payload has another type
void room.send("said", { text: 1 });
// @ts-expect-error: the payload is missing
void room.send("said");
// @ts-expect-error: the request has another type
void room.request("buy", { item: "one" });
// @ts-expect-error: the list cannot be changed
members.push({ id: null, presence: { name: "" } });
// @ts-expect-error: there is no such reaction
new Pond("/socket", { reactions: { 1000: "panic" } });
// @ts-expect-error: there is no such transport
new Pond("/socket", { transports: ["pigeon"] });

export { price, reaction, sent, status };
