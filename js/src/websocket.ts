import type { WebSocketClass } from "../pond.js";
import { PondError } from "./errors.js";
import type { Link, LinkEvents, Outgoing } from "./wire.js";

/** Opens a WebSocket. */
export function openWebSocket(url: URL, Constructor: WebSocketClass, events: LinkEvents): Link {
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new Constructor(url.href);
  socket.onopen = () => events.opened();
  socket.onmessage = ({ data }) => {
    events.heard();
    events.text(data);
  };
  socket.onclose = ({ code, reason }) => events.lost(new PondError("DISCONNECTED", reason || `close code ${code}`, code));
  socket.onerror = () => {}; // a close event follows
  return {
    get waiting() {
      return socket.bufferedAmount;
    },
    welcome() {},
    send(message: Outgoing) {
      // A socket that is closing drops messages silently. They stay unsent, and the close event follows.
      if (socket.readyState !== 1) return;
      socket.send(message.text);
      message.sent = true;
      message.taken?.();
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}
