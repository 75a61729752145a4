"""A server to stop and start, and members that record their messages."""

import asyncio
import json
import os
import signal
import subprocess
import time

from pondsocket_client import ClientOptions, PondClient

PATIENCE = 30  # seconds


async def becomes(get, want, what):
    """Wait until get() equals want."""
    deadline = time.monotonic() + PATIENCE
    while get() != want and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    equal(get(), want, what)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r:.500}, want {want!r:.500}")


class Server:
    """The server under test: a process that the tests start and stop."""

    addr = "127.0.0.1:0"  # any port at first, later the same

    def start(self):
        # The server ends with its standard input, so that no orphan remains.
        self.process = subprocess.Popen(
            [os.environ["CONFORMANCE_SERVER"], "-addr", self.addr],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addr = json.loads(self.process.stdout.readline())["addr"]

    def stop(self):
        """Stop the server, and fail unless its exit status is 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()
        equal(status, 0, "status of the server")


class World:
    """One scenario's server and the clients on it."""

    def __init__(self):
        self.server = Server()
        self.server.start()
        self.clients = []

    def client(self, **params):
        """Return an official client that is not connected yet."""
        # It tries to reconnect only once, so this must be after the restart.
        options = ClientOptions(base_reconnect_delay=2)
        client = PondClient(f"ws://{self.server.addr}/socket", params, options)
        self.clients.append(client)
        return client

    async def connected(self):
        client = self.client()
        await client.connect()
        await becomes(client.get_state, "connected", "connection")
        return client

    async def member(self, name, channel="/chat/1", **params):
        """Connect a client and join it to a channel."""
        member = Member(await self.connected(), channel, name=name, **params)
        await member.join()
        return member

    async def close(self):
        for client in self.clients:
            await client.disconnect()
        await asyncio.to_thread(self.server.stop)


class Member:
    """Records everything that an official channel object reports."""

    def __init__(self, client, channel, **params):
        self.client = client
        self.channel = client.create_channel(channel, params)
        self.states = []
        self.messages = []  # (event, payload)
        self.presence = []  # (event, user)
        self.lists = []  # the list of users after each of them
        self.channel.on_channel_state_change(lambda state: self.states.append(str(state)))
        self.channel.on_message(lambda m: self.messages.append((m.event, m.payload)))
        self.channel.on_join(lambda user: self.presence.append(("join", user)))
        self.channel.on_leave(lambda user: self.presence.append(("leave", user)))
        self.channel.on_presence_change(lambda p: self.presence.append(("update", p.changed)))
        self.channel.on_users_change(self.lists.append)

    async def join(self):
        """Join, and return when the member received its id."""
        self.channel.join()
        await becomes(lambda: len(self.got("welcome")), 1, "welcomes")
        self.id = self.got("welcome")[0]["id"]

    async def declined(self):
        """Join, and return when the client was declined."""
        self.channel.join()
        await becomes(lambda: self.states, ["IDLE", "JOINING", "DECLINED"], "states of a refused channel")

    def send(self, event, **payload):
        self.channel.send_message(event, payload)

    async def ask(self, event, **payload):
        return await self.channel.send_for_response(event, payload)

    def got(self, event):
        """Return the payloads of all events of that name, in order."""
        return [payload for name, payload in self.messages if name == event]

    async def caught_up(self):
        """Return when the member received everything that was sent to it before.

        An answer never overtakes messages that the server sent earlier.
        """
        await self.ask("echo")
