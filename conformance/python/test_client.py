"""The behaviour that an application observes with the official Python client.

The scenarios are those of js/scenarios.mjs.
"""

import asyncio
import unittest

from world import Member, World, becomes, equal

TEXT = {"text": "hello"}


def online(name):
    return {"name": name, "status": "online"}


class OfficialClient(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.world = World()

    async def asyncTearDown(self):
        await self.world.close()

    async def test_connect(self):
        client = self.world.client()
        states = []
        client.on_connection_change(lambda state: states.append(str(state)))
        await client.connect()
        await becomes(lambda: states, ["disconnected", "connecting", "connected"], "states")
        await client.disconnect()
        equal(client.get_state(), "disconnected", "state")

    async def test_declined_connect(self):
        for token, status in ("deny", 403), ("silent", 401):
            client = self.world.client(token=token)
            errors = []
            client.on_error(errors.append)
            await client.connect()
            await becomes(lambda: [e.response.status_code for e in errors], [status], "status")
            equal(client.get_state(), "disconnected", "state")
            await client.disconnect()

    async def test_join(self):
        alice = await self.world.member("alice")
        equal(alice.states, ["IDLE", "JOINING", "JOINED"], "states")
        equal(alice.got("welcome"), [{"id": alice.id, "name": "alice", "room": "1"}], "welcome")

    async def test_declined_join(self):
        client = await self.world.connected()
        await Member(client, "/chat/1", decline=True).declined()
        await Member(client, "/chat/2", silent=True).declined()
        await Member(client, "/chat/3").join()  # the connection is none the worse

    async def test_unknown_channel(self):
        client = await self.world.connected()
        await Member(client, "/nowhere/1").declined()
        await Member(client, "/chat/1").join()

    async def test_broadcast(self):
        alice = await self.world.member("alice")
        bob = await self.world.member("bob")
        stranger = await self.world.member("stranger", "/chat/2")

        alice.send("say", **TEXT)
        await becomes(lambda: alice.got("say"), [TEXT], "alice's messages")
        await becomes(lambda: bob.got("say"), [TEXT], "bob's messages")
        await stranger.caught_up()
        equal(stranger.got("say"), [], "messages in another channel")

    async def test_broadcast_of_difficult_text(self):
        alice = await self.world.member("alice")
        bob = await self.world.member("bob")
        difficult = '"\\\n\r\t\0\u2028 <&> naïve – 日本語 🎉 ' * 1000  # also: many reads

        alice.send("say", text=difficult)
        await becomes(lambda: bob.got("say"), [{"text": difficult}], "bob's messages")

    async def test_broadcast_in_order(self):
        members = [await self.world.member(name) for name in ("alice", "bob", "carol")]
        ticks = [{"i": i} for i in range(500)]

        members[0].send("count", to=len(ticks))
        for member in members:
            await becomes(lambda m=member: m.got("tick"), ticks, "ticks")

    async def test_broadcast_to_others(self):
        alice = await self.world.member("alice")
        bob = await self.world.member("bob")

        alice.send("say-others", **TEXT)
        await becomes(lambda: bob.got("say-others"), [TEXT], "bob's messages")
        await alice.caught_up()
        equal(alice.got("say-others"), [], "the sender's messages")

    async def test_broadcast_to_some(self):
        alice = await self.world.member("alice")
        bob = await self.world.member("bob")
        carol = await self.world.member("carol")

        alice.send("say-some", to=[alice.id, carol.id, "nobody"], **TEXT)
        await becomes(lambda: carol.got("say-some"), [TEXT], "carol's messages")
        await becomes(lambda: alice.got("say-some"), [TEXT], "alice's messages")
        await bob.caught_up()
        equal(bob.got("say-some"), [], "bob's messages")

    async def test_reply(self):
        alice = await self.world.member("alice")
        bob = await self.world.member("bob")

        questions = [{"i": i, **TEXT} for i in range(20)]
        equal(await asyncio.gather(*(alice.ask("echo", **q) for q in questions)), questions, "answers")
        await bob.caught_up()
        equal(bob.got("echo"), [], "answers to bob that were not his")

    async def test_event_with_a_parameter(self):
        alice = await self.world.member("alice")
        alice.send("move/white%20king", to="e2")
        await becomes(lambda: alice.got("moved"), [{"piece": "white king", "to": "e2"}], "alice's messages")

    async def test_failed_event(self):
        alice = await self.world.member("alice")
        equal((await alice.ask("fail"))["code"], 409, "code")
        equal((await alice.ask("fail"))["message"], "not now", "message")
        for event in "crash", "panic", "unheard-of":
            answer = await alice.ask(event)
            equal(answer["code"], 500, f"code of {event}")
            equal("secret" in str(answer), False, f"a secret in the answer to {event}")
        equal(alice.states[-1], "JOINED", "state")

    async def test_message_before_the_join(self):
        alice = Member(await self.world.connected(), "/chat/1", name="alice")
        joined = asyncio.create_task(alice.join())
        alice.send("say", **TEXT)
        await joined
        await becomes(lambda: alice.got("say"), [TEXT], "alice's messages")

    async def test_presence(self):
        alice = await self.world.member("alice", track=True)
        bob = await self.world.member("bob", track=True)
        carol = await self.world.member("carol", track=True)
        ghost = await self.world.member("ghost")
        everybody = [alice, bob, carol]
        away = {"name": "alice", "status": "away"}

        async def users(members, want):
            for member in members:
                await becomes(lambda m=member: list(m.channel.presence), want, "presence")
                equal(member.lists[-1], want, "list of users")

        await users(everybody, [online("alice"), online("bob"), online("carol")])
        alice.send("status", status="away")
        await users(everybody, [away, online("bob"), online("carol")])
        bob.send("hide")
        await users([alice, carol], [away, online("carol")])
        carol.channel.leave()
        await users([alice], [away])

        joins = [("join", online(name)) for name in ("alice", "bob", "carol")]
        leaves = [("leave", online(name)) for name in ("bob", "carol")]
        equal(alice.presence, [*joins, ("update", away), *leaves], "alice's presence events")
        await bob.caught_up()
        equal(bob.presence, [*joins[1:], ("update", away)], "bob's presence events")
        await ghost.caught_up()
        equal(ghost.presence, [], "presence events of a member that is not tracked")

    async def test_leave(self):
        alice = await self.world.member("alice", track=True)
        bob = await self.world.member("bob", track=True)
        carol = await self.world.member("carol", track=True)

        bob.channel.leave()
        equal(bob.states[-1], "CLOSED", "state")
        await becomes(lambda: alice.got("left"), [{"name": "bob", "reason": "explicit_leave"}], "left events")
        await carol.client.disconnect()
        left = {"name": "carol", "reason": "connection_closed"}
        await becomes(lambda: alice.got("left")[1:], [left], "second left event")
        equal(alice.channel.presence, [online("alice")], "presence")
        equal(bob.got("left"), [], "left events for bob after he left")

        again = Member(bob.client, "/chat/1", name="bob")
        await again.join()
        equal(again.id, bob.id, "id after another join on the same connection")

    async def test_evict(self):
        alice = await self.world.member("alice", track=True)
        bob = await self.world.member("bob", track=True)

        alice.send("kick", id=bob.id, reason="spam")
        await becomes(lambda: bob.got("EVICTED"), [{"reason": "spam"}], "notice to bob")
        equal(bob.got("kicked_out"), [{"message": "spam", "code": 403, "reason": "spam"}], "first notice to bob")
        await becomes(lambda: alice.got("left"), [{"name": "bob", "reason": "evicted"}], "left events")
        equal(alice.got("kicked"), [{"userId": bob.id, "reason": "spam"}], "notice to alice")
        equal(alice.channel.presence, [online("alice")], "presence")

        equal((await bob.ask("say", **TEXT))["code"], "CHANNEL_NOT_FOUND", "answer to a client that is not a member")
        await Member(bob.client, "/chat/2", name="bob").join()  # the connection stays
        await alice.caught_up()
        equal(alice.got("say"), [], "messages of a client that is not a member")

    async def test_restart_of_the_server(self):
        alice = await self.world.member("alice", track=True)
        bob = await self.world.member("bob", track=True)
        before = [alice.id, bob.id]

        await asyncio.to_thread(self.world.server.stop)
        await becomes(lambda: [m.states[-1] for m in (alice, bob)], ["STALLED", "STALLED"], "states")
        alice.send("say", text="is anybody here?")
        await asyncio.to_thread(self.world.server.start)

        for member in alice, bob:
            rejoined = ["IDLE", "JOINING", "JOINED", "STALLED", "JOINED"]
            await becomes(lambda m=member: m.states, rejoined, "states")
            names = lambda m=member: sorted(user["name"] for user in m.channel.presence)
            await becomes(names, ["alice", "bob"], "presence")
        await becomes(lambda: alice.got("say")[:1], [{"text": "is anybody here?"}], "message that alice sent while the server was down")
        bob.send("say", **TEXT)
        for member in alice, bob:
            await becomes(lambda m=member: m.got("say")[-1:], [TEXT], "bob's message")
            equal(member.got("welcome")[1]["id"] in before, False, "an id of before")


if __name__ == "__main__":
    unittest.main()
