// The behaviour that an application observes with an official client, one entry per scenario.
// This table is used for all combinations of client, host and transport.

import { Member, becomes, equal } from './world.mjs';

const text = 'hello';
const online = (name) => ({ name, status: 'online' });

export const scenarios = {
  async connect(world) {
    const { client, states } = world.client();
    client.connect();
    await becomes(() => states, ['disconnected', 'connecting', 'connected'], 'states');
    client.disconnect();
    await becomes(() => client.getState(), 'disconnected', 'state');
  },

  async 'declined connect'(world) {
    for (const [token, status] of [['deny', 403], ['silent', 401]]) {
      const { client, states } = world.client({ token });
      client.connect();
      await becomes(() => states.slice(0, 3), ['disconnected', 'connecting', 'disconnected'], 'states');
      client.disconnect();

      const answer = await fetch(`${world.origin}/socket?token=${token}`, { headers: { accept: 'text/event-stream' } });
      equal(answer.status, status, 'status');
    }
  },

  async join(world) {
    const alice = await world.member('alice');
    equal(alice.states, ['IDLE', 'JOINING', 'JOINED'], 'states');
    equal(alice.got('welcome'), [{ id: alice.id, name: 'alice', room: '1' }], 'welcome');
    equal(alice.messages[0], ['ACKNOWLEDGE', {}], 'first message');
    if (alice.client.getConnectionId) { // SSE: it must be secret, because it authorizes messages as alice
      equal(alice.client.getConnectionId() === alice.id, false, 'the connection id is public');
    }
  },

  async 'declined join'(world) {
    const client = await world.connected();
    await new Member(client, '/chat/1', { decline: true }).declined();
    await new Member(client, '/chat/2', { silent: true }).declined();
    await new Member(client, '/chat/3', {}).join(); // the connection still works
  },

  async 'unknown channel'(world) {
    const client = await world.connected();
    await new Member(client, '/nowhere/1', {}).declined();
    await new Member(client, '/chat/1', {}).join();
  },

  async broadcast(world) {
    const alice = await world.member('alice');
    const bob = await world.member('bob');
    const stranger = await world.member('stranger', {}, '/chat/2');

    alice.send('say', { text });
    await becomes(() => alice.got('say'), [{ text }], "alice's messages");
    await becomes(() => bob.got('say'), [{ text }], "bob's messages");
    await stranger.caughtUp();
    equal(stranger.got('say'), [], 'messages in another channel');
  },

  async 'broadcast of difficult text'(world) {
    const alice = await world.member('alice');
    const bob = await world.member('bob');
    const difficult = '"\\\n\r\t\u0000\u2028 <&> naïve – 日本語 🎉 '.repeat(1000); // also: many reads

    alice.send('say', { text: difficult });
    await becomes(() => bob.got('say'), [{ text: difficult }], "bob's messages");
  },

  async 'broadcast in order'(world) {
    const members = [await world.member('alice'), await world.member('bob'), await world.member('carol')];
    const ticks = Array.from({ length: 500 }, (_, i) => ({ i }));

    members[0].send('count', { to: ticks.length });
    for (const member of members) {
      await becomes(() => member.got('tick'), ticks, 'ticks');
    }
  },

  // The SSE client sends each message as a request, in any order, and ignores the responses.
  async 'burst to a slow handler'(world) {
    const alice = await world.member('alice');
    const sent = Array.from({ length: 500 }, (_, i) => ({ i }));
    for (const { i } of sent) alice.send('slow', { i });

    await becomes(() => alice.got('slow').sort((a, b) => a.i - b.i), sent, 'answers');
    equal(alice.got('INVALID_MESSAGE'), [], 'errors');
  },

  async 'broadcast to others'(world) {
    const alice = await world.member('alice');
    const bob = await world.member('bob');

    alice.send('say-others', { text });
    await becomes(() => bob.got('say-others'), [{ text }], "bob's messages");
    await alice.caughtUp();
    equal(alice.got('say-others'), [], "the sender's messages");
  },

  async 'broadcast to some'(world) {
    const alice = await world.member('alice');
    const bob = await world.member('bob');
    const carol = await world.member('carol');

    alice.send('say-some', { to: [alice.id, carol.id, 'nobody'], text });
    await becomes(() => carol.got('say-some'), [{ text }], "carol's messages");
    await becomes(() => alice.got('say-some'), [{ text }], "alice's messages");
    await bob.caughtUp();
    equal(bob.got('say-some'), [], "bob's messages");
  },

  async reply(world) {
    const alice = await world.member('alice');
    const bob = await world.member('bob');

    const questions = Array.from({ length: 20 }, (_, i) => ({ i, text }));
    equal(await Promise.all(questions.map((q) => alice.ask('echo', q))), questions, 'answers');
    await bob.caughtUp();
    equal(bob.got('echo'), [{}], "bob's echoes: only his own");
  },

  async 'event with a parameter'(world) {
    const alice = await world.member('alice');
    alice.send('move/white%20king', { to: 'e2' });
    await becomes(() => alice.got('moved'), [{ piece: 'white king', to: 'e2' }], "alice's messages");
  },

  async 'failed event'(world) {
    const alice = await world.member('alice');
    for (const [event, code, message] of [
      ['fail', 409, 'not now'],
      ['crash', 500],
      ['panic', 500],
      ['unheard-of', 500],
    ]) {
      const answer = await alice.ask(event);
      equal(answer.code, code, `code of ${event}`);
      if (message) equal(answer.message, message, 'message');
      equal(JSON.stringify(answer).includes('secret'), false, `a secret in the answer to ${event}`);
    }
    equal(alice.states.at(-1), 'JOINED', 'state');
  },

  async 'message before the join'(world) {
    const alice = new Member(await world.connected(), '/chat/1', { name: 'alice' });
    const joined = alice.join();
    alice.send('say', { text });
    await joined;
    await becomes(() => alice.got('say'), [{ text }], "alice's messages");
  },

  async presence(world) {
    const alice = await world.member('alice', { track: true });
    const bob = await world.member('bob', { track: true });
    const carol = await world.member('carol', { track: true });
    const ghost = await world.member('ghost');
    const everybody = [alice, bob, carol];
    const away = { name: 'alice', status: 'away' };

    const users = async (members, want) => {
      for (const member of members) {
        await becomes(() => member.channel.presence, want, 'presence');
        equal(member.lists.at(-1), want, 'list of users');
      }
    };

    await users(everybody, ['alice', 'bob', 'carol'].map(online));
    alice.send('status', { status: 'away' });
    await users(everybody, [away, online('bob'), online('carol')]);
    bob.send('hide');
    await users([alice, carol], [away, online('carol')]);
    carol.channel.leave();
    await users([alice], [away]);

    equal(alice.presence, [
      ['join', online('alice')],
      ['join', online('bob')],
      ['join', online('carol')],
      ['update', away],
      ['leave', online('bob')],
      ['leave', online('carol')],
    ], "alice's presence events");
    await bob.caughtUp();
    equal(bob.presence, [['join', online('bob')], ['join', online('carol')], ['update', away]], "bob's presence events");
    await ghost.caughtUp();
    equal(ghost.lists, [], 'lists of a member that is not tracked');
  },

  async leave(world) {
    const alice = await world.member('alice', { track: true });
    const bob = await world.member('bob', { track: true });
    const carol = await world.member('carol', { track: true });

    bob.channel.leave();
    equal(bob.states.at(-1), 'CLOSED', 'state');
    await becomes(() => alice.got('left'), [{ name: 'bob', reason: 'explicit_leave' }], 'left events');
    carol.client.disconnect();
    await becomes(() => alice.got('left').at(1), { name: 'carol', reason: 'connection_closed' }, 'second left event');
    equal(alice.channel.presence, [online('alice')], 'presence');
    equal(bob.got('left'), [], 'left events for bob after he left');

    const again = new Member(bob.client, '/chat/1', { name: 'bob' });
    await again.join();
    equal(again.id, bob.id, 'id after another join on the same connection');
  },

  async evict(world) {
    const alice = await world.member('alice', { track: true });
    const bob = await world.member('bob', { track: true });

    alice.send('kick', { id: bob.id, reason: 'spam' });
    await becomes(() => bob.got('kicked_out'), [{ message: 'spam', code: 403, reason: 'spam' }], 'notice to bob');
    await becomes(() => bob.got('EVICTED'), [{ reason: 'spam' }], 'second notice to bob');
    await becomes(() => alice.got('left'), [{ name: 'bob', reason: 'evicted' }], 'left events');
    equal(alice.got('kicked'), [{ userId: bob.id, reason: 'spam' }], 'notice to alice');
    equal(alice.channel.presence, [online('alice')], 'presence');

    equal((await bob.ask('say', { text })).code, 'CHANNEL_NOT_FOUND', 'answer to a client that is not a member');
    await new Member(bob.client, '/chat/2', { name: 'bob' }).join(); // the connection is still open
    await alice.caughtUp();
    equal(alice.got('say'), [], 'messages of a client that is not a member');
  },

  async 'restart of the server'(world) {
    const alice = await world.member('alice', { track: true });
    const bob = await world.member('bob', { track: true });
    const before = [alice.id, bob.id];

    await world.server.stop();
    await becomes(() => [alice, bob].map((m) => m.states.at(-1)), ['STALLED', 'STALLED'], 'states');
    alice.send('say', { text: 'is anybody here?' });
    await world.server.start();

    const rejoined = ['IDLE', 'JOINING', 'JOINED', 'STALLED', 'JOINED'];
    for (const member of [alice, bob]) {
      await becomes(() => member.states, rejoined, 'states');
      await becomes(() => member.channel.presence.map((u) => u.name).sort(), ['alice', 'bob'], 'presence');
    }
    await becomes(() => alice.got('say').at(0), { text: 'is anybody here?' }, 'message that alice sent while the server was down');
    bob.send('say', { text });
    for (const member of [alice, bob]) {
      await becomes(() => member.got('say').at(-1), { text }, "bob's message");
      equal(before.includes(member.got('welcome')[1].id), false, 'an id from before the restart');
    }
  },
};
