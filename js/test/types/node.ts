// A program in Node: without the library "dom", and with the WebSocket of the package ws.

import { Pond, PondError, type Channel } from "@pondsocket/pond";
import { shared } from "@pondsocket/pond/shared";
import { WebSocket } from "ws";

const pond = new Pond(new URL("https://example.com/socket"), { WebSocket, fetch, credentials: "include", ...shared() });
const room: Channel<{ say: { text: string } }> = pond.channel("/chat/1");
const abort = new AbortController();

room.on("say", ({ text }) => console.log(text.length));
room.onError((error) => console.log(error instanceof PondError, error.cause));
await room.join({ signal: abort.signal });
