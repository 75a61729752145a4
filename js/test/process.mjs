// Real servers: processes that print their address, end with the test, and are stopped by their id.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const js = join(import.meta.dirname, "..");
const root = join(js, "..");
const servers = join(import.meta.dirname, "servers");

/** goServer builds the server of the conformance tests, once. */
let program;
export function goServer() {
  if (!program) {
    program = process.env.CONFORMANCE_SERVER || join(root, "artifacts", "js-server");
    mkdirSync(join(root, "artifacts"), { recursive: true });
    if (!process.env.CONFORMANCE_SERVER) execFileSync("go", ["build", "-o", program, "./conformance/server"], { cwd: root, stdio: "inherit" });
  }
  return new Process(program, (addr) => ["-addr", addr], (line) => JSON.parse(line).addr);
}

export const pythonServer = () => new Process(join(js, ".venv", "bin", "python"), (addr) => ["-B", join(servers, "chat.py"), addr]);

export const npmServer = () => new Process(process.execPath, (addr) => [join(servers, "chat.cjs"), addr]);

export class Process {
  host = "127.0.0.1:0"; // any port at first, later the same
  #command;
  #arguments;
  #address;
  #process;

  constructor(command, args, address = (line) => line) {
    this.#command = command;
    this.#arguments = args;
    this.#address = address;
  }

  async start() {
    this.#process = spawn(this.#command, this.#arguments(this.host), { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface({ input: this.#process.stdout }), "line");
    this.host = this.#address(line);
    return this;
  }

  async stop(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill(signal);
    await exit;
  }
}
