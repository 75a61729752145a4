// The code of docs/javascript.md runs: in Chromium, against a real server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { promisify } from "node:util";
import { build } from "esbuild";
import { launch, open } from "./browser.mjs";
import { goServer } from "./process.mjs";
import { Proxy } from "./proxy.mjs";

const guide = join(import.meta.dirname, "guide");
let browser;
let server;
let proxy;

before(async () => {
  browser = await launch();
  server = await goServer().start();
  proxy = await new Proxy(server.host).start();
});

after(async () => {
  await browser?.close();
  await proxy?.stop();
  await server?.stop();
});

test("the code of the guide", { timeout: 60_000 }, async () => {
  const context = await browser.newContext();
  proxy.files["/test/token"] = { body: '{"token":"t","expires_in":60}', headers: { "content-type": "application/json" } };
  const page = await open(context, proxy, 'import("/test/first.js");', { "/test/first.js": readFileSync(join(guide, "first.js"), "utf8") });
  await page.getByText("done").waitFor();
  const text = await page.locator("body").textContent();
  for (const part of ["said hello", "here Ann"]) assert.ok(text.includes(part), `${part}: ${text}`);
  assert.ok(page.texts.includes("AbortError"), page.texts.join());
  assert.ok(page.texts.some((line) => line.startsWith("the server answered")), page.texts.join());
  assert.ok(proxy.attempts.some(({ url }) => url === "/socket?token=t"), "with the token");
  assert.deepEqual(page.mistakes, []);
  await context.close();
});

test("16: React: components share a channel, and StrictMode causes no traffic", { timeout: 60_000 }, async () => {
  const main = `
    import { createRoot } from "react-dom/client";
    import { StrictMode, createElement as h, useState } from "react";
    import { Pond } from "/pond.js";
    import { Chat } from "./chat.jsx";

    const sent = (globalThis.sent = []);
    class Recorder extends WebSocket {
      send(text) { sent.push(JSON.parse(text)); super.send(text); }
    }
    const pond = new Pond("/socket", { WebSocket: Recorder });

    function App() {
      const [shown, setShown] = useState([true, true]);
      globalThis.show = (...next) => setShown(next);
      return h("main", null, shown.map((each, i) => each && h(Chat, { key: i, pond, name: "/chat/1" })));
    }
    createRoot(document.getElementById("root")).render(h(StrictMode, null, h(App)));
  `;
  const { outputFiles } = await build({
    stdin: { contents: main, resolveDir: guide, loader: "jsx" },
    bundle: true,
    define: { "process.env.NODE_ENV": '"development"' }, // in which StrictMode mounts everything twice
    external: ["/pond.js"],
    format: "esm",
    jsx: "automatic",
    write: false,
  });
  const context = await browser.newContext();
  const page = await open(context, proxy, 'import("/test/react.js");', { "/test/react.js": outputFiles[0].text });
  await page.getByText("joined, 0 here").nth(1).waitFor();
  await page.getByRole("button").first().click();
  await page.locator("li", { hasText: "hello" }).nth(1).waitFor(); // in both
  const actions = () => page.evaluate(() => globalThis.sent.map(({ action }) => action));
  assert.deepEqual(await actions(), ["JOIN_CHANNEL", "BROADCAST"]);

  await page.evaluate(() => globalThis.show(true, false));
  await page.getByRole("button").first().click();
  await page.locator("li", { hasText: "hello" }).nth(1).waitFor();
  assert.deepEqual(await actions(), ["JOIN_CHANNEL", "BROADCAST", "BROADCAST"]);
  await page.evaluate(() => globalThis.show(false, false));
  await page.waitForFunction(() => globalThis.sent.at(-1).action === "LEAVE_CHANNEL");
  await page.evaluate(() => globalThis.show(true, true));
  await page.getByText("joined, 0 here").nth(1).waitFor();
  assert.deepEqual(await actions(), ["JOIN_CHANNEL", "BROADCAST", "BROADCAST", "LEAVE_CHANNEL", "JOIN_CHANNEL"]);
  assert.deepEqual(page.mistakes, []);
  await context.close();
});

test("the code of the guide for Node, over an event stream and over a WebSocket", { timeout: 60_000 }, async () => {
  const url = `http://${server.host}/socket`;
  const run = async (...flags) => (await promisify(execFile)(process.execPath, [...flags, join(guide, "node.mjs"), url])).stdout;
  const want = /^someone said hello\nthe server answered \{.*text: 'hello'.*\}\n$/s;
  assert.match(await run(), want);
  const ws = `data:text/javascript,import{WebSocket}from"${import.meta.resolve("ws")}";globalThis.WebSocket=WebSocket`;
  assert.match(await run("--import", ws), want);
});

test("the table of reactions is the one of the guide", async () => {
  const { reactions } = await import("../pond.js");
  const text = readFileSync(join(import.meta.dirname, "..", "..", "docs", "javascript.md"), "utf8");
  const rows = [...text.matchAll(/^\| ([\d, ]+) \| `(\w+)` \|$/gm)].flatMap(([, codes, reaction]) => codes.split(", ").map((code) => [code, reaction]));
  assert.deepEqual(Object.fromEntries(rows), reactions);
});

test("the defaults of the options are those of the guide", () => {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "docs", "javascript.md"), "utf8");
  const types = readFileSync(join(import.meta.dirname, "..", "pond.d.ts"), "utf8");
  const options = types.slice(types.indexOf("interface PondOptions"), types.indexOf("interface PondSnapshot"));
  for (const [, name] of options.matchAll(/^ {2}(\w+)\?:/gm)) assert.match(text, new RegExp(`^\\| .*\`${name}\``, "m"), name);
});

test("the code of the guide for several tabs", { timeout: 60_000 }, async () => {
  const context = await browser.newContext();
  const js = (name) => readFileSync(join(guide, name), "utf8");
  const files = { "/test/shared.js": js("shared.js"), "/pond-shared.js": js("../../pond-shared.js") };
  const page = await open(context, proxy, 'trustedTypes.createPolicy("default", { createScriptURL: (url) => url }); import("/test/shared.js");', files);
  await page.getByText("shared").waitFor();
  assert.deepEqual(page.mistakes, []);
  await context.close();
});
