"""A server, its clients, and the transcript of their messages."""

import json
import os
import re
import signal
import subprocess
import sys

from client import PATIENCE, EventStream, Refused, WebSocket, call
from websockets.exceptions import ConnectionClosed

TRANSPORTS = {"websocket": WebSocket, "sse": EventStream}
SERVERS = {
    "pondsocket-asgi": [sys.executable, "-B", "serve.py"],
    "pond": [os.environ["CONFORMANCE_TWIN"]],
}
TOKENS = {"Ann": "token-of-ann", "Bob": "token-of-bob", "Gus": "token-of-gus"}
TEAM = "/team/1"


class World:
    """One server with one transport, and everything that happens in it.

    The transcript has a line for each thing that a client could notice. Names
    stand for ids, and a relation for the id of a request, so that the lines of
    two servers can be compared.
    """

    def __init__(self, server, transport):
        self.transport = transport
        self.lines = []
        self.now = ""  # the step
        self.names = {}  # by user id
        self.requests = {}  # the name of the client that sent it, by id
        self.clients = {}  # by name
        self.conns = []  # of all clients
        # The server ends with its standard input, so that no orphan remains.
        self.process = subprocess.Popen(SERVERS[server], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addr = self.process.stdout.readline().decode().strip()

    def close(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.hang_up()
        self.process.stdin.close()
        self.process.stdout.close()

    def hang_up(self):
        for conn in self.conns:
            conn.close()
        self.conns = []

    def ended_well(self):
        """Fail unless the server exited by itself with status 0."""
        self.hang_up()
        status = self.process.wait(PATIENCE)
        if status != 0:
            raise AssertionError(f"the server ended with status {status}")

    def terminate(self):
        """Stop the server with SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def step(self, title):
        self.now = title

    def note(self, who, text):
        text = re.sub(r"[0-9a-f-]{32,36}", lambda m: self.names.get(m[0], "another id"), text)
        self.lines.append(f"{self.now} | {who} | {text}".strip())

    def connect(self, name, query=None, headers=None, kind=None):
        """Connect a client and register its name."""
        kind = kind or TRANSPORTS[self.transport]
        path = "/api/socket" + (query or f"?token={TOKENS[name]}")
        try:
            conn = kind(self.addr, path, headers or {})
        except Refused as e:
            self.note(name, f"refused with {e}")
            return None
        self.conns.append(conn)
        client = Client(self, name, conn)
        client.welcome()
        self.clients[name] = client
        return client

    def http(self, who, method, path, headers=None, body=None):
        status, body = call(self.addr, method, path, headers, body)
        self.note(who, f"{method} {status} {body}".strip())

    def settle(self, *actors):
        """Record all messages that clients received because of the actors.

        It does not wait for messages that may arrive, but for an answer that must
        arrive after them: the server handles the messages of one client in order, and
        Ann's answer comes after everything that was sent in her channel before it.
        """
        for actor in actors:
            actor.fence()
        ann = self.clients["Ann"]
        ann.until(ann.ask("BROADCAST", "count", TEAM, {}))
        for client in self.clients.values():
            client.fence()
            client.flush()


class Client:
    """One client. It keeps received messages until they are recorded."""

    def __init__(self, world, name, conn):
        self.world, self.name, self.conn = world, name, conn
        self.kept = []

    def welcome(self):
        frame = self.conn.receive()
        self.id = frame["payload"]["id"]
        self.world.names[self.id] = self.name
        self.keep(frame)
        self.flush()

    def ask(self, action, event, channel, payload):
        """Send a message and return its request id."""
        request = f"{self.name}-{len(self.world.requests)}"
        self.world.requests[request] = self.name
        message = {"action": action, "event": event, "channelName": channel, "requestId": request, "payload": payload}
        self.conn.send(json.dumps(message))
        return request

    def join(self, channel=TEAM, **params):
        self.ask("JOIN_CHANNEL", "JOIN_CHANNEL", channel, params)

    def leave(self, channel=TEAM):
        self.ask("LEAVE_CHANNEL", "LEAVE_CHANNEL", channel, {})

    def send(self, event, channel=TEAM, **payload):
        self.ask("BROADCAST", event, channel, payload)

    def fence(self):
        """Receive everything that was sent to this client before.

        Any server refuses to join a channel that matches no pattern, and the
        refusal does not overtake anything.
        """
        self.until(self.ask("JOIN_CHANNEL", "JOIN_CHANNEL", "/nowhere", {}))

    def until(self, request):
        """Receive until the answer to a request, which is not recorded."""
        while (frame := self.conn.receive()) and frame["requestId"] != request:
            self.keep(frame)
        if not frame:
            raise AssertionError(f"{self.world.now}: {self.name} was disconnected")

    def until_event(self, event):
        """Receive until an event, which is recorded.

        A leave handler runs by itself, so there is nothing else to wait for.
        """
        while frame := self.conn.receive():
            self.keep(frame)
            if frame["event"] == event:
                return
        raise AssertionError(f"{self.world.now}: {self.name} was disconnected")

    def keep(self, frame):
        maker = self.world.requests.get(frame["requestId"])
        request = {self.name: "own request", None: "no request"}.get(maker, f"request of {maker}")
        if frame.get("name", frame["event"]) != frame["event"]:
            request += f", named {frame['name'] or 'nothing'}"
        payload = dict(frame["payload"])
        if "connectionId" in payload:
            payload["connectionId"] = "the same" if payload["connectionId"] == payload["id"] else "another"
        payload = json.dumps(payload, sort_keys=True, ensure_ascii=False)
        self.kept.append(f"{frame['action']} {frame['event']} {frame['channelName']} ({request}) {payload}")

    def keep_nothing(self):
        self.kept.append("nothing")

    def flush(self):
        for text in self.kept:
            self.world.note(self.name, text)
        self.kept = []

    def ping(self):
        """Record whether the client is still connected."""
        try:
            self.fence()
            self.world.note(self.name, "is connected")
        except (AssertionError, ConnectionClosed):
            self.world.note(self.name, "is not connected any more")

    def end(self):
        """Receive until the server closes the connection, and record how."""
        while frame := self.conn.receive():
            self.keep(frame)
        self.flush()
        self.world.note(self.name, self.conn.ended)

    def gone(self):
        """Disconnect."""
        self.conn.close()
        del self.world.clients[self.name]
