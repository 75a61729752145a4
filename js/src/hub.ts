import type { WebSocketClass } from "../pond.js";
import { PondError } from "./errors.js";
import { Pulse } from "./pulse.js";
import { openStream } from "./stream.js";
import { openWebSocket } from "./websocket.js";
import { encode, encodeLeave, newId, PROBE, probeFor, REFUSALS, REMOVALS, type Link, type LinkEvents, type Message } from "./wire.js";

/** Limits of the numbered messages of a channel that the hub keeps for tabs that join later. */
const KEPT = 500;
const KEPT_CHARACTERS = 1 << 18;

/** The number of requests whose tabs the hub stores. Answers to older requests go to all tabs. */
const MAX_REQUESTS = 1000;

const DIAL_TIMEOUT = 4_000;
const FALLBACK = 300_000;
const HEARTBEAT = 40_000;

/** One connection of a tab. */
export interface Tab {
  url: string;
  open(): void;
  text(line: string): void;
  close(code: number, reason: string): void;
}

export interface Environment {
  WebSocket?: WebSocketClass | undefined;
  fetch?: typeof fetch | undefined;
}

/** A channel that at least one tab joined or wants to join. */
class Shared {
  readonly members = new Set<Tab>();
  waiting: { tab: Tab | undefined; message: Message & { want?: string[]; from?: any } }[] = []; // the first one was sent to the server
  joined = false;

  epoch = "";
  recovers = false;
  offset = 0; // of the newest numbered message
  start = 0; // all messages after it up to offset are kept
  kept: { offset: number; line: string }[] = [];
  characters = 0;

  diff = false;
  readonly users = new Map<string, any>();
  presence = ""; // the latest full list

  reset({ recover, diff }: any): void {
    this.joined = true;
    this.recovers = Boolean(recover);
    if (recover) this.jump(recover.epoch, recover.offset);
    this.diff = diff !== undefined;
    this.users.clear();
    this.presence = "";
  }

  /** Continues after an offset, without the earlier messages. */
  jump(epoch: string, offset: number): void {
    this.epoch = epoch;
    this.offset = this.start = offset;
    this.kept = [];
    this.characters = 0;
  }

  keep(offset: number, line: string): void {
    this.offset = offset;
    this.kept.push({ offset, line });
    this.characters += line.length;
    while (this.kept.length > KEPT || this.characters > KEPT_CHARACTERS) {
      const dropped = this.kept.shift()!;
      this.start = dropped.offset;
      this.characters -= dropped.line.length;
    }
  }
}

/**
 * One connection to an endpoint for all tabs of a browser. For the server, the tabs are one
 * client. For a tab, the hub is a server: it answers joins of channels that another tab already
 * joined.
 */
export class Hub {
  #environment: Environment;
  #tabs = new Set<Tab>();
  #channels = new Map<string, Shared>();
  #requests = new Map<string, Tab>(); // request ID -> the tab that waits for the answer
  #link: Link | null = null;
  #ticket: object | null = null; // of the link; events of others are ignored
  #welcome = ""; // the server's first message, while connected
  #timer: ReturnType<typeof setTimeout> | undefined;
  #fallbackUntil = 0;
  #probeText = "";
  #probes = 0;
  #pulse = new Pulse(
    () => {
      this.#probes++;
      this.#send(this.#probeText);
    },
    () => this.#lost(new PondError("SILENT", "no answer to a probe")),
  );

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  add(tab: Tab): void {
    this.#tabs.add(tab);
    if (this.#welcome) {
      tab.open();
      tab.text(this.#welcome);
    } else if (!this.#link) {
      this.#dial(tab.url);
    }
  }

  remove(tab: Tab): void {
    if (!this.#tabs.delete(tab)) return;
    for (const [name, channel] of this.#channels) this.#leave(tab, name, channel);
    for (const [id, owner] of this.#requests) if (owner === tab) this.#requests.delete(id);
    if (!this.#tabs.size) this.#drop();
  }

  // The connection

  #dial(address: string): void {
    const url = new URL(address);
    const Constructor = this.#environment.WebSocket ?? globalThis.WebSocket;
    const stream = !Constructor || Date.now() < this.#fallbackUntil;
    const ticket = (this.#ticket = {});
    const current = () => ticket === this.#ticket;
    const failed = (error: PondError) => {
      if (!current()) return;
      if (stream || this.#welcome) return this.#lost(error);
      this.#fallbackUntil = Date.now() + FALLBACK; // it never opened
      this.#drop();
      this.#dial(address);
    };
    const events: LinkEvents = {
      opened: () => {},
      heard: () => current() && this.#pulse.heard(),
      lost: failed,
      text: (data) => {
        for (const line of String(data).split("\n")) {
          if (!line || !current()) continue;
          try {
            this.#receive(line);
          } catch {
            this.#tell(this.#tabs, line); // each tab reports it
          }
        }
      },
    };
    url.protocol = url.protocol.replace("ws", "http");
    const request = (init: RequestInit) => (this.#environment.fetch ?? fetch)(url.href, { cache: "no-store", ...init });
    this.#timer = setTimeout(() => failed(new PondError("TIMEOUT", "no connection in time", 408)), DIAL_TIMEOUT);
    this.#link = stream ? openStream(request, events) : openWebSocket(url, Constructor, events);
  }

  /** Sends a message. If it is of a tab and the server rejects its POST, that is like a message of the server. */
  #send(text: string, tab?: Tab): void {
    this.#link?.send({ text, failed: (error) => tab && this.#receive(rejection(text, error)) });
  }

  #lost(error: PondError): void {
    const tabs = [...this.#tabs];
    const { status, retryAfter } = error;
    this.#tabs.clear();
    this.#drop();
    if (retryAfter) this.#tell(tabs, encode("SYSTEM", "ENDPOINT", newId(), { after: retryAfter }, "RECONNECT"));
    for (const tab of tabs) tab.close(status >= 1000 ? status : status >= 400 ? 4000 + status : 1006, error.message);
  }

  #drop(): void {
    this.#ticket = null;
    this.#link?.close();
    this.#link = null;
    this.#welcome = "";
    this.#pulse.stop();
    clearTimeout(this.#timer);
    this.#channels.clear();
    this.#requests.clear();
  }

  // From the server

  #receive(line: string): void {
    const message: Message = JSON.parse(line);
    const { action, event, channelName, requestId, payload, offset } = message;
    const channel = this.#channels.get(channelName);
    if (action === "CONNECT") return this.#connected(line, message);
    if (!channel) {
      if (this.#probes && (action === "ERROR" || channelName === PROBE)) return void this.#probes--;
      const owner = this.#requests.get(requestId);
      return this.#tell(owner ? [owner] : this.#tabs, line);
    }

    const join = channel.waiting.findIndex((entry) => entry.message.requestId === requestId);
    if (join >= 0) {
      if (event === "ACKNOWLEDGE") return this.#answered(channel, channelName, join, payload ?? {}, line);
      if (action === "ERROR" || REFUSALS.includes(event)) return this.#answered(channel, channelName, join, null, line);
    }
    if (offset !== undefined && channel.recovers) channel.keep(offset, line);
    if (action === "SYSTEM" && channel.recovers && ["GAP", "POSITION", "RECOVERED"].includes(event)) {
      if (event === "GAP") channel.jump(payload.epoch, payload.offset);
      else channel.offset = payload.offset;
    }
    if (action === "SYSTEM" && channel.diff) fold(channel.users, event, payload);
    if (action === "PRESENCE") channel.presence = line;

    const owner = action === "BROADCAST" || action === "PRESENCE" ? undefined : this.#requests.get(requestId);
    this.#tell(owner && channel.members.has(owner) ? [owner] : channel.members, line);
    if ((action === "SYSTEM" || action === "ERROR") && REMOVALS.includes(event)) this.#channels.delete(channelName);
  }

  #tell(tabs: Iterable<Tab>, line: string): void {
    for (const tab of [...tabs]) tab.text(line);
  }

  #connected(line: string, { channelName, payload }: Message): void {
    const { connectionId, features } = payload ?? {};
    clearTimeout(this.#timer);
    this.#welcome = line;
    this.#link!.welcome(connectionId, Array.isArray(features));
    this.#probeText = probeFor(channelName);
    this.#probes = 0;
    this.#pulse.start(HEARTBEAT);
    for (const tab of [...this.#tabs]) {
      tab.open();
      tab.text(line);
    }
  }

  /** Handles the server's answer to the join of a waiting tab, which may have left. */
  #answered(channel: Shared, name: string, join: number, acknowledged: any, line: string): void {
    const [answered] = channel.waiting.splice(join, 1);
    const { tab } = answered!;
    if (acknowledged) {
      channel.reset(acknowledged);
      if (tab) channel.members.add(tab);
      tab?.text(line);
      for (const { tab: other, message } of channel.waiting.splice(0)) if (other) this.#join(other, message);
      if (!channel.members.size) this.#end(name);
    } else {
      tab?.text(line);
      const [next] = channel.waiting;
      if (!next) this.#channels.delete(name);
      else if (!join) this.#send(JSON.stringify(next.message), next.tab);
    }
  }

  #end(name: string): void {
    this.#channels.delete(name);
    this.#send(encodeLeave(name));
  }

  // From the tabs

  take(tab: Tab, text: string): void {
    const message = JSON.parse(text);
    const { action, channelName, requestId } = message;
    const channel = this.#channels.get(channelName);
    if (action === "JOIN_CHANNEL") {
      this.#join(tab, message);
    } else if (action === "BROADCAST") {
      if (!channel?.members.has(tab)) {
        return tab.text(rejection(text, new PondError("CHANNEL_NOT_FOUND", "not a member of this channel", 404)));
      }
      if (this.#requests.size >= MAX_REQUESTS) this.#requests.delete(this.#requests.keys().next().value!);
      this.#requests.set(requestId, tab);
      this.#send(text, tab);
    } else {
      if (channel) this.#leave(tab, channelName, channel);
      tab.text(encode("SYSTEM", channelName ?? PROBE, requestId ?? "", {}, "EXIT_ACKNOWLEDGE"));
    }
  }

  #join(tab: Tab, message: any): void {
    const { channelName, requestId, want = [], from } = message;
    let channel = this.#channels.get(channelName);
    if (!channel) this.#channels.set(channelName, (channel = new Shared()));
    if (!channel.joined) {
      // A tab that asks again got no answer in time, so that the server is asked again, too.
      const again = channel.waiting.find((entry) => entry.tab === tab);
      if (again) again.message = message;
      if (again || channel.waiting.push({ tab, message }) === 1) this.#send(JSON.stringify(message), tab);
      return;
    }

    const payload: any = {};
    const { epoch, offset: to } = channel;
    let replay: { line: string }[] = [];
    if (channel.recovers && want.includes("recover")) {
      const offset = from?.last === undefined ? from?.offset : (channel.kept.at(-from.last - 1)?.offset ?? channel.start);
      const reason = from?.epoch !== undefined && from.epoch !== epoch ? "epoch" : offset < channel.start || offset > to ? "expired" : undefined;
      if (!from) payload.recover = { epoch, offset: to };
      else if (reason) payload.recover = { epoch, offset: to, recovered: false, reason };
      else {
        payload.recover = { epoch, offset, to, recovered: true };
        replay = channel.kept.filter((entry) => entry.offset > offset);
      }
    }
    const diff = channel.diff && want.includes("diff");
    if (diff) payload.diff = {};
    channel.members.add(tab);
    const system = (event: string, content: unknown) => tab.text(encode("SYSTEM", channelName, requestId, content, event));
    system("ACKNOWLEDGE", payload);
    for (const { line } of replay) tab.text(line);
    if (payload.recover?.recovered) system("RECOVERED", { epoch, offset: to });
    if (diff) system("PRESENCE_STATE", { users: [...channel.users.values()], total: channel.users.size, more: false });
    else if (channel.presence) tab.text(channel.presence);
  }

  #leave(tab: Tab, name: string, channel: Shared): void {
    channel.members.delete(tab);
    const [sent] = channel.waiting;
    channel.waiting = channel.waiting.filter((entry) => entry === sent || entry.tab !== tab);
    if (sent && sent.tab === tab) sent.tab = undefined; // it stays until its answer
    if (channel.joined && !channel.members.size) this.#end(name);
  }
}

/** The message with which a server rejects a message. */
function rejection(text: string, { code, message, status }: PondError): string {
  const { channelName, requestId } = JSON.parse(text);
  return encode("ERROR", channelName, requestId, { code, message, status }, code);
}

/** Applies a change of presence to a set of users. */
function fold(users: Map<string, any>, event: string, payload: any): void {
  if (event === "PRESENCE_STATE") for (const user of payload.users) users.set(user.id, user);
  if (event !== "PRESENCE_DIFF") return;
  for (const { id } of payload.leaves ?? []) users.delete(id);
  for (const user of [...(payload.joins ?? []), ...(payload.updates ?? [])]) users.set(user.id, user);
}

