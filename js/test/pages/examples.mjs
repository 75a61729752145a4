// The pages of the examples in Chromium. Each example listens on port 8000, so the tests run in
// their own network namespace: see the Makefile.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { launch } from "../browser.mjs";

const binaries = process.env.EXAMPLES;
const url = "http://127.0.0.1:8000/";
let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

/** page runs an example, and calls run with a function that opens it in a browser of its own, or in another tab. */
function example(name, run) {
  test(`Chromium: examples/${name}`, { timeout: 60_000 }, async () => {
    const start = async () => {
      const server = spawn(join(binaries, name), { stdio: ["ignore", "ignore", "pipe"] });
      await once(server.stderr, "data"); // it prints its address shortly before it listens
      for (;;) {
        const answered = await fetch(url).then(() => true, () => false);
        if (answered) return server;
      }
    };
    const stop = async (server) => {
      const exit = once(server, "exit");
      server.kill("SIGTERM");
      await exit;
    };
    let server = await start();
    const mistakes = [];
    const contexts = [];
    const open = async (beside) => {
      const context = beside?.context() ?? (await browser.newContext());
      if (!beside) contexts.push(context);
      const page = await context.newPage();
      page.setDefaultTimeout(15_000);
      page.on("pageerror", (error) => mistakes.push(error.stack));
      page.on("console", (message) => message.type() === "error" && mistakes.push(message.text()));
      await page.goto(url);
      return page;
    };
    const restart = async () => {
      await stop(server);
      server = await start();
    };
    try {
      await run(open, restart);
      // A server that ends or rejects requests is not an error of the page.
      assert.deepEqual(mistakes.filter((text) => !/net::ERR_|WebSocket connection|Failed to load resource/.test(text)), []);
    } finally {
      for (const context of contexts) await context.close();
      await stop(server);
    }
  });
}

const connected = (page) => page.locator('#status[data-state="connected"]').waitFor();
const text = (page, selector, hasText) => page.locator(selector, { hasText }).first().waitFor();

example("cursors", async (open, restart) => {
  const [ann, bob] = [await open(), await open()];
  for (const page of [ann, bob]) await page.locator("#people li").nth(1).waitFor();
  await text(ann, "#people li", "(you)");
  await ann.locator("#board").focus();
  await ann.keyboard.press("ArrowRight");
  await bob.locator(".cursor").waitFor();
  await ann.locator("#mode input[value=presence]").check();
  await bob.locator("#mode input[value=presence]").check();
  for (const page of [ann, bob]) await page.locator("#people li").nth(1).waitFor();
  await ann.locator("#board").focus();
  await ann.keyboard.press("ArrowDown");
  await bob.locator(".cursor").waitFor();
  await restart();
  for (const page of [ann, bob]) await connected(page);
  for (const page of [ann, bob]) await page.locator("#people li").nth(1).waitFor();
});

example("dashboard", async (open, restart) => {
  const page = await open();
  await page.locator("polyline[points*=',']").nth(3).waitFor();
  await page.locator("#cards input").first().uncheck();
  await page.locator(".off").waitFor();
  await page.locator("#cards input").first().check();
  await restart();
  await connected(page);
  await page.locator("polyline[points*=',']").nth(3).waitFor();
});

example("jwt", async (open) => {
  const page = await open();
  await text(page, '#status[data-state="stopped"]', "Declined: missing token");
  await page.locator("#login button").first().click();
  await connected(page);
  await text(page, "#where", "You joined");
  await page.locator("#compose input").fill("hello");
  await page.keyboard.press("Enter");
  await text(page, "#log li", "hello");
  await page.locator("#compose input").fill("");
  await page.locator("#compose input").evaluate((field) => field.removeAttribute("required"));
  await page.keyboard.press("Enter");
  await text(page, "#log .bad", "the message is empty");
});

example("notifications", async (open) => {
  const page = await open();
  await page.locator("#login button").first().click();
  await page.locator("#app").waitFor();
  await connected(page);
  const tab = await open(page);
  await connected(tab);
  const name = (await page.locator("#title").textContent()).replace("For ", "");
  await page.locator("#notify [name=to]").evaluate((field, name) => { field.value = name; }, name);
  await page.locator("#notify [name=text]").fill("tea is ready");
  await page.locator("#notify button").click();
  for (const each of [page, tab]) await text(each, "#inbox li", "tea is ready");
  await page.getByRole("button", { name: "Mark as read" }).click();
  await tab.locator("#inbox li:not(.unread)").waitFor();
  await page.locator("#logout").click();
  for (const each of [page, tab]) await each.locator("#login").waitFor();
});

example("quickstart", async (open, restart) => {
  const tabs = [await open(), await open()];
  for (const tab of tabs) await text(tab, "#log li", "You joined.");
  await tabs[0].locator("#text").fill("hi");
  await tabs[0].keyboard.press("Enter");
  for (const tab of tabs) await text(tab, "#log li", "hi");
  await tabs[0].keyboard.press("Enter");
  await text(tabs[0], "#log li", "Error: the message is empty");
  await restart();
  await tabs[0].locator("#text").fill("again");
  await tabs[0].keyboard.press("Enter");
  for (const tab of tabs) await tab.locator("#log li", { hasText: "You joined." }).nth(1).waitFor();
});
