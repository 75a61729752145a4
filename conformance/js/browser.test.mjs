// The official clients in Chromium, on a page of the server under test.

import assert from 'node:assert/strict';
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
