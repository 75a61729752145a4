// The client in Chromium, against a real server and through a proxy that simulates failures.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FreezablePage, launch, open, serve } from "./browser.mjs";
import { goServer } from "./process.mjs";
import { Proxy } from "./proxy.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** A page with a pond and a room, and a log of all events. Promises wait for entries of the log. */
const script = (options = "{}") => `
  globalThis.log = [];
  const waiting = [];
  globalThis.note = (entry) => { log.push(entry); for (const check of [...waiting]) check(); };
  globalThis.until = (condition) => new Promise((resolve) => {
    const check = () => condition(log) && resolve();
    waiting.push(check);
    check();
  });
  globalThis.pond = new Pond("/socket", { backoff: [50, 500], ...${options} });
  pond.onError((error) => note("error " + error.code));
  pond.subscribe(({ status, transport, error }) => note(status + (transport ? " " + transport : "") + (error ? " " + error.code + " " + error.status : "")));
  globalThis.room = pond.channel("/chat/1", { params: { name: "ann" } });
  room.onJoin(({ status }) => note("join " + status));
  room.on("say", ({ text }) => note("say " + text));
  await room.join();
`;

const entry = (page, text, count = 1) =>
  page
    .waitForFunction(([text, count]) => globalThis.log.filter((each) => each === text).length >= count, [text, count], { timeout: 45_000 })
    .catch(async (error) => { throw new Error(`no ${text}: ${await page.evaluate(() => log.join())}`, { cause: error }); });

function scenario(name, body, options) {
  test(name, { timeout: 60_000 }, async () => {
    const server = await goServer().start();
    const proxy = await new Proxy(server.host).start();
    const context = await browser.newContext();
    const pages = [];
    const page = async (given = options) => {
      const opened = await open(context, proxy, script(given));
      pages.push(opened);
      return opened;
    };
    try {
      await body({ server, proxy, context, page });
      const mistakes = pages.flatMap((each) => each.mistakes).filter((text) => !/net::ERR_|WebSocket connection to|Failed to load resource/.test(text));
      assert.deepEqual(mistakes, []);
    } finally {
      await context.close();
      await proxy.stop();
      await server.stop();
    }
  });
}

describe("Chromium", { concurrency: 4 }, () => {
  scenario("a strict Content-Security-Policy, over both transports", async ({ page }) => {
    for (const transport of ["websocket", "stream"]) {
      const tab = await page(`{ transports: ["${transport}"] }`);
      await tab.evaluate(() => room.send("say", { text: "hi" }));
      await entry(tab, "say hi");
      assert.equal(await tab.evaluate(() => pond.getSnapshot().transport), transport);
      assert.deepEqual(await tab.evaluate(() => room.request("echo", { n: 1 })), { n: 1 });
    }
  });

  scenario("restart of the server", async ({ server, page }) => {
    for (const transport of ["websocket", "stream"]) {
      const tab = await page(`{ transports: ["${transport}"] }`);
      await server.stop();
      await tab.evaluate(() => until((log) => log.some((each) => each.startsWith("waiting"))));
      const sent = tab.evaluate(() => room.send("say", { text: "meanwhile" }));
      await server.start();
      await sent;
      await entry(tab, "say meanwhile");
      await entry(tab, "join fresh", 2);
      await tab.evaluate(() => pond.close());
    }
  });

  for (const upgrades of ["hang", "reject"]) {
    scenario(`a blocked WebSocket (${upgrades})`, async ({ proxy, page }) => {
      proxy.upgrades = upgrades;
      const tab = await page("{ timeout: 1000 }");
      assert.equal(await tab.evaluate(() => pond.getSnapshot().transport), "stream");
      await tab.evaluate(() => room.send("say", { text: "through" }));
      await entry(tab, "say through");
      const upgraded = proxy.attempts.filter(({ url }) => url.startsWith("/socket")).map(({ upgrade }) => upgrade);
      assert.deepEqual(upgraded, upgraded.map((_, i) => i % 2 === 0)); // both in turn, if the machine is too slow for the first stream
    });
  }

  scenario("offline and online", async ({ context, proxy, page }) => {
    const tab = await page("{ backoff: [60_000, 60_000] }"); // only the event ends the wait
    await context.setOffline(true);
    proxy.cut();
    await tab.evaluate(() => until((log) => log.some((each) => each.startsWith("waiting"))));
    const sent = tab.evaluate(() => room.send("say", { text: "queued" }));
    await context.setOffline(false);
    await sent;
    await entry(tab, "say queued");
    await entry(tab, "join fresh", 2);
  });

  scenario("a frozen page", async ({ proxy }) => {
    serve(proxy, script("{ heartbeat: 600_000 }"));
    const tab = await new FreezablePage().open(`http://${proxy.host}/test/page`);
    try {
      await tab.evaluate("new Promise((resolve) => { const check = () => globalThis.ready ? resolve() : setTimeout(check, 10); check(); })");
      await tab.evaluate('document.addEventListener("resume", () => note("resume"))');
      await tab.setState("frozen"); // which ends its connections in Chromium
      proxy.stall();
      await tab.setState("active");
      await tab.evaluate('until((log) => log.includes("resume"))');
      await tab.evaluate('until((log) => log.filter((each) => each === "join fresh").length === 2)');
      assert.deepEqual(await tab.evaluate('room.request("echo", { n: 1 })'), { n: 1 });
    } finally {
      await tab.close();
    }
  });

  scenario("a dead connection without an error is detected when the page wakes up", async ({ proxy, page }) => {
    const tab = await page("{ heartbeat: 600_000 }");
    proxy.stall();
    await tab.evaluate(() => document.dispatchEvent(new Event("resume")));
    await entry(tab, "waiting SILENT 0");
    await entry(tab, "join fresh", 2);
  });

  scenario("the back/forward cache", async ({ proxy, page }) => {
    const tab = await page("{ backoff: [60_000, 60_000] }");
    await tab.evaluate(() => {
      globalThis.mark = "the same page";
      addEventListener("pageshow", ({ persisted }) => note(`pageshow ${persisted}`));
    });
    await tab.goto(`http://${proxy.host}/test/other`);
    await tab.goBack({ waitUntil: "commit" });
    await tab.waitForFunction(() => globalThis.log?.includes("pageshow true") || globalThis.mark === undefined);
    assert.equal(await tab.evaluate(() => globalThis.mark), "the same page", "Chromium kept the page");
    await entry(tab, "connected websocket", 2);
    await entry(tab, "join fresh", 2);
    await tab.evaluate(() => room.send("say", { text: "back" }));
    await entry(tab, "say back");
  });

  scenario("an expired token", async ({ proxy, page }) => {
    const expired = new Set();
    proxy.answer = (url) => (expired.has(new URL(url, "http://x").searchParams.get("token")) ? { status: 401 } : undefined);
    const tab = await page("{ token: () => ({ value: `t${globalThis.n = (globalThis.n ?? 0) + 1}` }) }");
    expired.add("t1");
    proxy.cut();
    await entry(tab, "connected websocket", 2);
    assert.equal(await tab.evaluate(() => globalThis.n), 2);

    const other = await page('{ token: "fixed" }');
    expired.add("fixed");
    proxy.cut();
    await other.evaluate(() => until((log) => log.some((each) => /^stopped.* 401$/.test(each))));
    await other.evaluate(() => pond.setToken("new"));
    await entry(other, "connected websocket", 2);
  });

  scenario("a deploy of a server that is full of clients", async ({ server, proxy, page }) => {
    const clients = 100;
    const tab = await page("{ backoff: [1000, 30_000] }");
    await tab.evaluate(async (count) => {
      globalThis.delays = [];
      globalThis.ponds = Array.from({ length: count }, () => new Pond("/socket"));
      globalThis.rooms = ponds.map((each, i) => each.channel(`/chat/${i}`));
      await Promise.all(rooms.map((each) => each.join()));
      for (const each of ponds) each.subscribe(({ status, retryAt }) => status === "waiting" && delays.push(retryAt - Date.now()));
      globalThis.back = Promise.all(rooms.map((each) => new Promise((resolve) => {
        const off = each.onJoin(() => resolve(off()));
      })));
    }, clients);
    const next = await goServer().start();
    try {
      proxy.target(next.host);
      await server.stop(); // it drains, and closes with 1001
      const delays = await tab.evaluate(async () => {
        await back;
        return delays;
      });
      assert.ok(delays.length <= clients * 1.2, `${delays.length} attempts`);
      for (let from = 0; from < 3000; from += 100) {
        const peak = delays.filter((delay) => delay >= from && delay < from + 100).length;
        assert.ok(peak < clients / 3, `${peak} of ${clients} are due within 100 ms`);
      }
    } finally {
      await tab.evaluate(() => ponds.forEach((each) => each.close()));
      await next.stop();
    }
  });
});
