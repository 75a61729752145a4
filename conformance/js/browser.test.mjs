// The official clients in Chromium, on a page of the server under test.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import test, { after, before } from 'node:test';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { scenarios } from './scenarios.mjs';
import { Server } from './server.mjs';

let browser;
let bundle;

before(async () => {
  const { outputFiles } = await build({
    entryPoints: [new URL('page.mjs', import.meta.url).pathname],
    bundle: true,
    write: false,
  });
  bundle = outputFiles[0].text;
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

for (const transport of ['WebSocket', 'SSE']) {
  for (const name of Object.keys(scenarios)) {
    test(`Chromium, ${transport}: ${name}`, { timeout: 60_000 }, async () => {
      const server = await new Server().start();
      const context = await browser.newContext();
      try {
        const page = await context.newPage();
        const errors = [];
        page.on('pageerror', (error) => errors.push(error.message));
        await page.exposeFunction('server', async (verb) => void (await server[verb]()));
        await page.goto(`http://${server.host}/`);
        await page.addScriptTag({ content: bundle });
        await page.evaluate(([n, t]) => globalThis.runScenario(n, t), [name, transport]);
        assert.deepEqual(errors, [], 'errors on the page');
      } finally {
        await context.close();
        await server.stop();
      }
    });
  }
}

// A page on another port is of the same site, but of another origin: its request has the
// cookies of the visitor, even those with SameSite=Strict, and no Origin header.
test('Chromium: a request of another origin without an Origin header', { timeout: 60_000 }, async () => {
  const server = await new Server().start();
  const other = createServer((_, response) => response.end('<!doctype html>')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    const statuses = [];
    page.on('response', (response) => response.url().includes('/socket') && statuses.push(response.status()));
    await page.goto(`http://127.0.0.1:${other.address().port}/`);
    await page.evaluate(
      (url) => fetch(url, { mode: 'no-cors', credentials: 'include', headers: { accept: 'text/event-stream' } }),
      `http://${server.host}/socket`,
    );
    assert.deepEqual(statuses, [403]);
  } finally {
    await context.close();
    other.close();
    await server.stop();
  }
});
