import type { PondOptions, WebSocketClass } from "../pond.js";
import { Hub, type Environment, type Tab } from "./hub.js";
import { newId } from "./wire.js";

const hubs = new Map<string, Hub>();

const newName = (): string => `pond.js ${newId()}`;

/** Resolves to the name of a lock that this worker holds until it ends, if there are locks. */
let held: Promise<string> | undefined;
const holdLock = (): Promise<string> =>
  new Promise((resolve) => {
    const name = newName();
    void globalThis.navigator?.locks?.request(name, () => (resolve(name), new Promise(() => {})));
  });

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
      // A tab that ends without a message releases its lock, and so does a worker.
      void globalThis.navigator?.locks?.request(lock, end);
      void (held ??= holdLock()).then((name) => port.postMessage(["worker", name]));
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
    #waiting = new AbortController(); // for the end of the worker

    constructor(url: string) {
      const lock = newName();
      // The number is the version of the messages between tab and worker. Tabs of another
      // version use another worker.
      const worker = new SharedWorker(script as string, { name: "pond.js 2", type: "module" });
      worker.onerror = () => this.#end(1006, "the shared worker failed");
      this.#port = worker.port;
      this.#port.onmessage = ({ data: [kind, value, reason] }) => {
        if (kind === "open") {
          this.readyState = 1;
          this.onopen?.();
        } else if (kind === "text") {
          this.onmessage?.({ data: value });
        } else if (kind === "worker") {
          locks?.request(value, { signal: this.#waiting.signal }, () => this.#end(1006, "the shared worker ended")).catch(() => {});
        } else {
          this.#end(value, reason);
        }
      };
      const open = () => this.#port.postMessage(["open", url, lock]);
      const ended = new Promise<void>((resolve) => (this.#unlock = resolve));
      const locks = globalThis.navigator?.locks;
      void locks?.request(lock, () => (open(), ended));
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
      this.#waiting.abort();
      this.onclose?.({ code, reason });
    }
  }

  return { WebSocket: SharedSocket as WebSocketClass, transports: ["websocket"] };
}

// As the script of a shared worker, the module serves the tabs that connect.
const scope = globalThis as unknown as { SharedWorkerGlobalScope?: Function; onconnect: (event: MessageEvent) => void };
if (scope.SharedWorkerGlobalScope) scope.onconnect = ({ ports }) => serve(ports[0]!);
