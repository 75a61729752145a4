// A plain EventSource in Chromium, without a client library, on a stream that joins by URL: broken connections,
// restarts of a proxy, and a restart of the server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import test, { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { Server } from './server.mjs';

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: [
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-gpu',
      '--disable-quic',
      '--disable-sync',
      '--no-first-run',
      '--no-sandbox',
    ],
  });
});

after(() => browser?.close());

/** A Proxy forwards connections to a server, and cuts them when it is told to. */
class Proxy {
  #server;
  #sockets = new Set();
  #port = 0; // any port at first, later the same

  constructor(target) {
    this.target = target;
  }

  get origin() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start() {
    this.#server = createServer((socket) => {
      const [host, port] = this.target.host.split(':');
      const upstream = connect(Number(port), host);
      for (const [from, to] of [[socket, upstream], [upstream, socket]]) {
        this.#sockets.add(from);
        from.on('close', () => (this.#sockets.delete(from), to.destroy()));
        from.on('error', () => to.destroy());
        from.pipe(to);
      }
    }).listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
    return this;
  }

  cut() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async stop() {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }
}

/** A Publisher publishes numbers to /log/1, directly at the server. */
class Publisher {
  async start(server) {
    this.url = `http://${server.host}/socket`;
    this.controller = new AbortController();
    const response = await fetch(`${this.url}?join=/log/1`, {
      headers: { accept: 'text/event-stream' },
      signal: this.controller.signal,
    });
    this.id = response.headers.get('x-connection-id');
    this.drained = response.body.pipeTo(new WritableStream()).catch(() => {});
    return this;
  }

  async publish(from, to) {
    const messages = [];
    for (let n = from; n <= to; n++) {
      const request = { action: 'BROADCAST', event: 'say', channelName: '/log/1', requestId: String(n), payload: { n } };
      messages.push(request);
    }
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-connection-id': this.id },
      body: JSON.stringify(messages),
    });
    assert.equal(response.status, 204);
  }

  async stop() {
    this.controller.abort();
    await this.drained;
  }
}

/** listen opens an EventSource on a page, and notes what it receives. */
async function listen(origin) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${origin}/`);
  await page.evaluate(() => {
    globalThis.seen = [];
    globalThis.acks = [];
    globalThis.source = new EventSource('/socket?join=/log/1&last=50');
    globalThis.source.onmessage = ({ data }) => {
      const { event, payload } = JSON.parse(data);
      if (event === 'ACKNOWLEDGE') globalThis.acks.push(payload.recover);
      if (event === 'say') globalThis.seen.push(payload.n);
    };
  });
  return {
    page,
    seen: () => page.evaluate(() => globalThis.seen),
    acks: () => page.evaluate(() => globalThis.acks),
    until: (n) => page.waitForFunction((last) => globalThis.seen.at(-1) === last, n, { timeout: 60_000, polling: 50 }),
    joined: (count) => page.waitForFunction((c) => globalThis.acks.length >= c, count, { timeout: 60_000, polling: 50 }),
    lost: () => page.waitForFunction(() => globalThis.source.readyState !== EventSource.OPEN, null, { polling: 20 }),
    close: () => context.close(),
  };
}

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('Chromium, EventSource: broken connections and restarts of a proxy lose no message', { timeout: 120_000 }, async () => {
  const server = await new Server().start();
  const proxy = await new Proxy(server).start();
  const publisher = await new Publisher().start(server);
  const listener = await listen(proxy.origin);
  try {
    await listener.joined(1);
    await publisher.publish(1, 10);
    await listener.until(10);
    let n = 10;
    for (let round = 0; round < 3; round++) {
      if (round === 1) {
        await proxy.stop();
        await listener.lost();
        await publisher.publish(n + 1, n + 20); // while no client can connect
        await proxy.start();
      } else {
        const burst = publisher.publish(n + 1, n + 20); // while the connection is broken
        proxy.cut();
        await burst;
      }
      n += 20;
      await listener.until(n);
    }
    assert.deepEqual(await listener.seen(), range(1, n));
    for (const ack of await listener.acks()) assert.equal(ack.recovered, true);
  } finally {
    await listener.close();
    await publisher.stop();
    await proxy.stop();
    await server.stop();
  }
});

test('Chromium, EventSource: after a restart of the server, a new history begins', { timeout: 120_000 }, async () => {
  const server = await new Server().start();
  let publisher = await new Publisher().start(server);
  const listener = await listen(`http://${server.host}`);
  try {
    await listener.joined(1);
    await publisher.publish(1, 3);
    await listener.until(3);
    await publisher.stop();
    await server.stop();
    await listener.lost();
    await server.start();
    publisher = await new Publisher().start(server);
    await publisher.publish(101, 103);
    await listener.joined(2);
    await publisher.publish(104, 104);
    await listener.until(104);
    const [, ack] = await listener.acks();
    assert.equal(ack.recovered, false);
    assert.equal(ack.reason, 'epoch');
    assert.deepEqual(await listener.seen(), [1, 2, 3, 101, 102, 103, 104]);
  } finally {
    await listener.close();
    await publisher.stop();
    await server.stop();
  }
});

test('Chromium, EventSource: a rejected stream stops', { timeout: 60_000 }, async () => {
  const server = await new Server().start();
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(`http://${server.host}/`);
    const state = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const source = new EventSource('/socket?join=/nothing');
          source.onerror = () => resolve(source.readyState);
        }),
    );
    assert.equal(state, 2); // CLOSED
  } finally {
    await context.close();
    await server.stop();
  }
});
