// The official client in Node.

import test from 'node:test';
import { PondClient } from '@eleven-am/pondsocket-client';
import { scenarios } from './scenarios.mjs';
import { Server } from './server.mjs';
import { World } from './world.mjs';

for (const [name, run] of Object.entries(scenarios)) {
  test(`node, WebSocket: ${name}`, { timeout: 60_000 }, async () => {
    const server = await new Server().start();
    const world = new World({
      Client: PondClient,
      url: `ws://${server.host}/socket`,
      origin: `http://${server.host}`,
      server,
    });
    try {
      await run(world);
    } finally {
      world.close();
      await server.stop();
    }
  });
}
