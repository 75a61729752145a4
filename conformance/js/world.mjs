// The environment of a scenario: clients, members that record their messages, and a server
// to stop and start. It runs in Node and in a page, so it has no imports.

const patience = 30_000; // ms

/** equal fails unless both are the same JSON; the order of members is free. */
export function equal(got, want, what) {
  if (canonical(got) !== canonical(want)) {
    throw new Error(`${what}: got ${clipped(got)}, want ${clipped(want)}`);
  }
}

/** becomes waits until get() equals want. */
export async function becomes(get, want, what) {
  const deadline = Date.now() + patience;
  while (canonical(get()) !== canonical(want) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  equal(get(), want, what);
}

function canonical(value) {
  const sorted = (_, v) =>
    v && typeof v === 'object' && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v;
  return JSON.stringify(value, sorted);
}

function clipped(value) {
  const text = canonical(value) ?? 'nothing';
  return text.length > 500 ? `${text.slice(0, 500)}… (${text.length})` : text;
}

/** A World is one scenario's server and the clients on it. */
export class World {
  #clients = [];

  /**
   * Client is the official class under test, url the endpoint in its scheme,
   * origin the server over HTTP, and server has stop() and start().
   */
  constructor({ Client, url, origin, server }) {
    Object.assign(this, { Client, url, origin, server });
  }

  /** client returns an official client that is not connected yet. */
  client(params = {}) {
    const client = new this.Client(this.url, params);
    const states = [];
    client.onConnectionChange((state) => states.push(state));
    this.#clients.push(client);
    return { client, states };
  }

  /** connected returns an official client that is connected. */
  async connected(params) {
    const { client } = this.client(params);
    client.connect();
    await becomes(() => client.getState(), 'connected', 'connection');
    return client;
  }

  /** member connects a client and joins it to a channel. */
  async member(name, params = {}, channel = '/chat/1') {
    const member = new Member(await this.connected(), channel, { name, ...params });
    await member.join();
    return member;
  }

  close() {
    for (const client of this.#clients) client.disconnect();
  }
}

/** A Member remembers everything that an official channel object reports. */
export class Member {
  states = [];
  messages = []; // [event, payload]
  presence = []; // [event, user]
  lists = []; // the list of users after each of them

  constructor(client, name, params) {
    this.client = client;
    this.channel = client.createChannel(name, params);
    this.channel.onChannelStateChange((state) => this.states.push(state));
    this.channel.onMessage((event, payload) => this.messages.push([event, payload]));
    this.channel.onJoin((user) => this.presence.push(['join', user]));
    this.channel.onLeave((user) => this.presence.push(['leave', user]));
    this.channel.onPresenceChange(({ changed }) => this.presence.push(['update', changed]));
    this.channel.onUsersChange((users) => this.lists.push(users));
  }

  /** join joins, and returns when the server has told the member its id. */
  async join() {
    this.channel.join();
    await becomes(() => this.got('welcome').length, 1, 'welcomes');
    this.id = this.got('welcome')[0].id;
  }

  /** declined joins, and returns when the client knows that it was refused. */
  async declined() {
    this.channel.join();
    await becomes(() => this.states, ['IDLE', 'JOINING', 'DECLINED'], 'states of a refused channel');
  }

  send(event, payload = {}) {
    this.channel.sendMessage(event, payload);
  }

  ask(event, payload = {}) {
    return this.channel.sendForResponse(event, payload);
  }

  /** got returns the payloads of all events of that name, in order. */
  got(event) {
    return this.messages.filter(([name]) => name === event).map(([, payload]) => payload);
  }

  /**
   * caughtUp returns when the member has received all that the server sent to
   * it before: an answer never overtakes messages that were sent earlier.
   */
  async caughtUp() {
    await this.ask('echo');
  }
}
