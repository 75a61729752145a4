import type { PondOptions, WebSocketClass } from "../pond.js";
import { Hub, type Environment, type Tab } from "./hub.js";

const hubs = new Map<string, Hub>();

/** Serves one tab over a port. */
export function serve(port: MessagePort, environment: Environment = {}): void {
  let hub: Hub | undefined;
  let tab: Tab | undefined;
  const end = () => {
    if (tab) hub!.remove(tab);
    port.close();
  };
  port.onmessage = ({ data: [kind, value, lock] }) => {
    if (kind === "open") {
      const { origin, pathname } = new URL(value);
      const key = origin + pathname;
      if (!hubs.has(key)) hubs.set(key, new Hub(environment));
      hub = hubs.get(key)!;
      tab = {
        url: value,
        open: () => port.postMessage(["open"]),
        text: (line) => port.postMessage(["text", line]),
        close: (code, reason) => port.postMessage(["close", code, reason]),
      };
      hub.add(tab);
      // A tab that ends without a message releases its lock.
      void globalThis.navigator?.locks?.request(lock, end);
    } else if (kind === "send") {
      hub!.take(tab!, value);
    } else {
      end();
    }
  };
}

/**
 * Options for a Pond that shares one connection with the other tabs of the origin. If the
 * browser has no shared workers, they have no effect.
 */
export function shared(script: string | URL | { toString(): string } = import.meta.url): Pick<PondOptions, "WebSocket" | "transports"> {
  if (!globalThis.SharedWorker) return {};

  class SharedSocket {
    readyState = 0;
    readonly bufferedAmount = 0;
    onopen: (() => void) | null = null;
    onmessage: ((event: { data: string }) => void) | null = null;
    onclose: ((event: { code: number; reason: string }) => void) | null = null;
    onerror: (() => void) | null = null;
    #port: MessagePort;
    #unlock = () => {};

    constructor(url: string) {
      const lock = `pond.js ${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
      // The number is the version of the messages between tab and worker. Tabs of another
      // version use another worker.
      const worker = new SharedWorker(script as string, { name: "pond.js 1", type: "module" });
      worker.onerror = () => this.#end(1006, "the shared worker failed");
      this.#port = worker.port;
      this.#port.onmessage = ({ data: [kind, value, reason] }) => {
        if (kind === "open") {
          this.readyState = 1;
          this.onopen?.();
        } else if (kind === "text") {
          this.onmessage?.({ data: value });
        } else {
          this.#end(value, reason);
        }
      };
      const open = () => this.#port.postMessage(["open", url, lock]);
      const held = new Promise<void>((resolve) => (this.#unlock = resolve));
      const locks = globalThis.navigator?.locks;
      void locks?.request(lock, () => (open(), held));
      if (!locks) open();
    }

    send(text: string): void {
      this.#port.postMessage(["send", text]);
    }

    close(): void {
      this.#port.postMessage(["close"]);
      this.#end(1000, "");
    }

    #end(code: number, reason: string): void {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.#unlock();
      this.onclose?.({ code, reason });
    }
  }

  return { WebSocket: SharedSocket as WebSocketClass, transports: ["websocket"] };
}

// As the script of a shared worker, the module serves the tabs that connect.
const scope = globalThis as unknown as { SharedWorkerGlobalScope?: Function; onconnect: (event: MessageEvent) => void };
if (scope.SharedWorkerGlobalScope) scope.onconnect = ({ ports }) => serve(ports[0]!);
