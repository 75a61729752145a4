// The environment of a test in virtual time: a clock, a server, and clients that end with the
// test.

import test from "node:test";
import { Pond } from "../pond.js";
import { Clock } from "./clock.mjs";
import { Server } from "./server.mjs";

export class World {
  clock = new Clock();
  server = new Server();
  errors = []; // that went to the console
  random; // of the test, if it fixes it
  #ponds = [];
  #restore = [];

  pond(options = {}, url = "https://example.com/socket") {
    const pond = new Pond(url, this.server.options(options));
    this.#ponds.push(pond);
    return pond;
  }

  /** A pond that is connected, and its peer. */
  async connected(options) {
    const pond = this.pond(options);
    pond.connect();
    await this.clock.advance(10);
    return { pond, peer: this.server.last };
  }

  /** A channel that is joined, with its pond and peer. */
  async joined({ name = "/room/1", channel = {}, ...options } = {}) {
    const pond = this.pond(options);
    const room = pond.channel(name, channel);
    room.join();
    await this.clock.advance(10);
    return { pond, room, peer: this.server.last };
  }

  /** Replaces a global for the length of the test. */
  global(name, value) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    this.#restore.push(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }

  /** A page: its window and document dispatch the events of the page's life. */
  page() {
    const window = new EventTarget();
    const document = { visibilityState: "visible" };
    this.global("addEventListener", (...args) => window.addEventListener(...args));
    this.global("document", document);
    // Events of the document bubble to the window.
    const fire = (type, more = {}) => window.dispatchEvent(Object.assign(new Event(type), more));
    return { window, document, fire };
  }

  begin() {
    this.clock.install();
    const { error, warn } = console;
    console.error = (...args) => this.errors.push(args);
    console.warn = (...args) => this.errors.push(args);
    this.#restore.push(() => Object.assign(console, { error, warn }));
    return this;
  }

  end() {
    for (const pond of this.#ponds) pond.close();
    for (const restore of this.#restore.reverse()) restore();
    this.clock.uninstall();
  }
}

/** it runs a test in virtual time. */
export function it(name, run) {
  test(name, { timeout: 30_000 }, async (t) => {
    const world = new World().begin();
    try {
      await run(world, t);
    } finally {
      world.end();
    }
  });
}
