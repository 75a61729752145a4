// The server under test: a process that the tests start and stop.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const program = process.env.CONFORMANCE_SERVER;

export class Server {
  #process;
  #addr = '127.0.0.1:0'; // any port at first, later the same

  get host() {
    return this.#addr;
  }

  async start() {
    // The server ends with its standard input, so that no orphan remains.
    this.#process = spawn(program, ['-addr', this.#addr], { stdio: ['pipe', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: this.#process.stdout })) {
      this.#addr = JSON.parse(line).addr;
      return this;
    }
    throw new Error(`${program} did not print its address`);
  }

  /** stop asks the server to end, and fails unless it does so cleanly. */
  async stop() {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    const [code, signal] = await ended;
    if (code !== 0) throw new Error(`server ended with ${signal ?? `status ${code}`}`);
  }
}
