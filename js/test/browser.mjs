// Chromium, with pages that this file serves, with a strict Content-Security-Policy.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { WebSocket } from "ws";

const js = join(import.meta.dirname, "..");

/** Allows only scripts and connections of the page's own origin. */
const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; require-trusted-types-for 'script'";

const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";

const args = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  "--no-sandbox",
];

export const launch = () => chromium.launch({ executablePath, ignoreDefaultArgs: ["--disable-back-forward-cache"], args });

/** A page without Playwright: Playwright keeps all of its pages visible, so Chromium would not freeze them. */
export class FreezablePage {
  #process;
  #socket;
  #folder = mkdtempSync(join(tmpdir(), "pond-chromium-"));
  #next = 0;
  #answers = new Map();
  #session;
  #loaded;

  async open(url) {
    const flags = [...args, "--headless=new", "--remote-debugging-port=0", `--user-data-dir=${this.#folder}`, "about:blank"];
    this.#process = spawn(executablePath, flags, { stdio: ["ignore", "ignore", "pipe"] });
    const endpoint = await new Promise((resolve) => {
      let text = "";
      this.#process.stderr.on("data", (data) => {
        text += data;
        const match = text.match(/ws:\/\/\S+/);
        if (match) resolve(match[0]);
      });
    });
    this.#socket = new WebSocket(endpoint);
    this.#socket.on("message", (data) => {
      const { id, method, result, error } = JSON.parse(data);
      if (method === "Page.loadEventFired") this.#loaded?.();
      this.#answers.get(id)?.(error ? Promise.reject(new Error(error.message)) : result);
    });
    await once(this.#socket, "open");
    const { targetId } = await this.#send("Target.createTarget", { url: "about:blank" });
    this.#session = (await this.#send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    await this.#send("Page.enable");
    const loaded = new Promise((resolve) => { this.#loaded = resolve; });
    await this.#send("Page.navigate", { url });
    await loaded;
    return this;
  }

  #send(method, params) {
    const id = ++this.#next;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    return new Promise((resolve) => this.#answers.set(id, resolve));
  }

  /** Evaluates an expression, and waits if it is a promise. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  setState(state) {
    return this.#send("Page.setWebLifecycleState", { state });
  }

  async close() {
    const exit = once(this.#process, "exit");
    void this.#send("Browser.close");
    await exit;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 30 }); // its helpers may end later
  }
}

/** serve gives the proxy a page with pond.js at its place, and with script as its own module. */
export function serve(proxy, script = "", files = {}) {
  const modules = {
    "/pond.js": readFileSync(join(js, "pond.js"), "utf8"),
    "/test/main.js": `import * as exported from "/pond.js"; Object.assign(globalThis, exported);\n${script}\nglobalThis.ready = true;`,
    ...files,
  };
  for (const [path, body] of Object.entries(modules)) {
    proxy.files[path] = { body, headers: { "content-type": "text/javascript" } };
  }
  for (const [name, content] of [["page", '<script type="module" src="/test/main.js"></script>'], ["other", ""]]) {
    proxy.files[`/test/${name}`] = {
      body: `<!doctype html><title>${name}</title><div id="root"></div>${content}`,
      headers: { "content-type": "text/html", "content-security-policy": policy },
    };
  }
}

/** open opens such a page, whose origin is that of the server behind the proxy. page.mistakes contains its errors. */
export async function open(context, proxy, script, files) {
  serve(proxy, script, files);
  const page = await context.newPage();
  page.setDefaultTimeout(45_000);
  page.mistakes = [];
  page.texts = []; // on the console
  page.on("console", (message) => page.texts.push(message.text()));
  page.on("pageerror", (error) => page.mistakes.push(error.stack));
  page.on("console", (message) => message.type() === "error" && page.mistakes.push(message.text()));
  await page.goto(`http://${proxy.host}/test/page`);
  await page.waitForFunction(() => globalThis.ready).catch((error) => {
    throw new Error(`${error.message}: ${page.mistakes.slice(0, 3)}`);
  });
  return page;
}
