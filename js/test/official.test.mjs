// Tests the statements of docs/javascript.md about the official client with the published
// package.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import test from "node:test";
import { promisify } from "node:util";
import { PondClient } from "@eleven-am/pondsocket-client";
import { WebSocketServer } from "ws";
import { goServer } from "./process.mjs";

const welcome = { action: "CONNECT", event: "CONNECTION", channelName: "ENDPOINT", requestId: "1", payload: {} };

/** A server that records the URLs of handshakes, and calls accept for each. */
async function recorder(accept) {
  const urls = [];
  const messages = [];
  const server = createServer();
  const sockets = new WebSocketServer({ noServer: true });
  let changed = () => {};
  server.on("upgrade", (req, socket, head) => {
    urls.push(req.url);
    changed();
    if (accept === 403) return socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    sockets.handleUpgrade(req, socket, head, (ws) => {
      ws.on("message", (data) => (messages.push(JSON.parse(data)), changed()));
      ws.send(JSON.stringify(welcome));
      accept?.(ws);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    urls,
    messages,
    url: `ws://127.0.0.1:${server.address().port}/socket`,
    async until(condition) {
      while (!condition()) await new Promise((resolve) => { changed = resolve; });
    },
    close() {
      for (const ws of sockets.clients) ws.terminate();
      server.closeAllConnections();
      server.close();
    },
  };
}

async function against(accept, url, run, ...rest) {
  const server = await recorder(accept);
  const client = new PondClient(server.url + url, ...rest);
  try {
    client.connect();
    await run(server, client);
  } finally {
    client.disconnect();
    server.close();
  }
}

const limit = { timeout: 60_000 };

test("official client: parameters replace the query of the URL, and without any the query is dropped", limit, async () => {
  await against(undefined, "?a=1", async ({ urls, until }) => {
    await until(() => urls.length);
    assert.deepEqual(urls, ["/socket?b=2"]);
  }, { b: 2 });
  await against(undefined, "?a=1", async ({ urls, until }) => {
    await until(() => urls.length);
    assert.deepEqual(urls.map((url) => new URL(url, "http://x").search), [""]);
  });
});

test("official client: parameters are fixed at construction", limit, async () => {
  const params = { token: "old" };
  await against((ws) => ws.close(1001), "", async ({ urls, until }) => {
    params.token = "new";
    await until(() => urls.length >= 2);
    assert.deepEqual([...new Set(urls)], ["/socket?token=old"]);
  }, params);
});

test("official client: a rejected connection is tried again, and so is one that was closed with any code", limit, async () => {
  await against(403, "", async ({ urls, until }) => until(() => urls.length >= 3));
  await against((ws) => ws.close(4403, "banned"), "", async ({ urls, until }) => until(() => urls.length >= 3));
});

test("official client: the code of the guide, in which sendForResponse resolves with an error", limit, async () => {
  const server = await goServer().start();
  try {
    const guide = join(import.meta.dirname, "guide", "official.mjs");
    const { stdout } = await promisify(execFile)(process.execPath, [guide, `ws://${server.host}/socket?query=lost`]);
    assert.equal(stdout, "hello\nrejected: not now\n");
  } finally {
    await server.stop();
  }
});

test("official client: what pingInterval does", limit, async () => {
  await against(undefined, "", async ({ messages, until }) => {
    await until(() => messages.length >= 3);
    assert.deepEqual(messages[0], { action: "ping" });
  }, {}, { pingInterval: 50 });
});

test("official client: its licence", () => {
  const require = createRequire(import.meta.url);
  const { license } = JSON.parse(readFileSync(require.resolve("@eleven-am/pondsocket-client/package.json"), "utf8"));
  assert.equal(license, "GPL-3.0");
});
