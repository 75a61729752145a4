// The script of the page in browser.test.mjs.

import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';
import { scenarios } from './scenarios.mjs';
import { World } from './world.mjs';

const transports = {
  WebSocket: { Client: PondClient, url: `ws://${location.host}/socket` },
  SSE: { Client: SSEClient, url: `${location.origin}/socket` },
};

globalThis.runScenario = async (name, transport) => {
  const world = new World({
    ...transports[transport],
    origin: location.origin,
    server: { start: () => globalThis.server('start'), stop: () => globalThis.server('stop') },
  });
  try {
    await scenarios[name](world);
  } finally {
    world.close();
  }
};
