// A proxy in front of a server that simulates networks: it blocks, breaks, stalls and rejects.

import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";

export class Proxy {
  /** What happens to WebSocket handshakes: "pass", "hang" or "reject". */
  upgrades = "pass";
  /** Files that it serves itself: path -> { body, headers }. */
  files = {};
  /** Answers a request instead of the server: (url) => { status, headers } or undefined. */
  answer = () => undefined;
  /** The handshakes and GET requests that arrived: { url, at, upgrade }. */
  attempts = [];
  #target;
  #server = createServer((req, res) => this.#pass(req, res));
  #sockets = new Set();
  #waiting = []; // resolved with the next attempt

  constructor(target) {
    this.#target = target;
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket)).on("error", () => {});
    });
    this.#server.on("upgrade", (req, socket, head) => this.#upgrade(req, socket, head));
  }

  get host() {
    return `127.0.0.1:${this.#server.address().port}`;
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  /** Resolves after this number of attempts. */
  async attempted(count) {
    while (this.attempts.length < count) await new Promise((resolve) => this.#waiting.push(resolve));
  }

  target(host) {
    this.#target = host;
  }

  /** Breaks all connections. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Passes no more data over the existing connections. Neither side gets an error. */
  stall() {
    for (const socket of this.#sockets) {
      socket.stalled = true;
      socket.peer?.unpipe(socket);
      socket.unpipe(socket.peer);
      socket.pause();
    }
  }

  async stop() {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #note(req, upgrade) {
    this.attempts.push({ url: req.url, at: performance.now(), upgrade });
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #pass(req, res) {
    const file = this.files[req.url];
    if (file) return res.writeHead(200, { "cache-control": "no-cache", ...file.headers }).end(file.body);
    if (req.method === "GET") this.#note(req, false);
    const answer = this.answer(req.url, false);
    if (answer) return res.writeHead(answer.status, answer.headers).end();
    const [host, port] = this.#target.split(":");
    const upstream = request({ host, port, method: req.method, path: req.url, headers: req.headers }, (response) => {
      res.writeHead(response.statusCode, response.headers);
      res.flushHeaders();
      response.on("error", () => res.destroy()).pipe(res);
    });
    upstream.on("error", () => (res.headersSent ? res.destroy() : res.writeHead(502).end()));
    res.on("close", () => upstream.destroy());
    req.pipe(upstream);
  }

  #upgrade(req, socket, head) {
    this.#note(req, true);
    if (this.upgrades === "hang") return;
    const answer = this.upgrades === "reject" ? { status: 403 } : this.answer(req.url, true);
    if (answer) return socket.end(`HTTP/1.1 ${answer.status} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    const [host, port] = this.#target.split(":");
    const upstream = connect(Number(port), host, () => {
      const headers = req.rawHeaders.reduce((text, value, i) => text + value + (i % 2 ? "\r\n" : ": "), "");
      upstream.write(`${req.method} ${req.url} HTTP/1.1\r\n${headers}\r\n`);
      upstream.write(head);
      socket.peer = upstream;
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on("error", () => socket.destroy()).on("close", () => socket.stalled || socket.destroy());
    socket.on("close", () => upstream.destroy());
  }
}
