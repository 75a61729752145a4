"""Minimal clients: they return exactly what the server sends, over either transport."""

import contextlib
import http.client
import json

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

PATIENCE = 30  # timeout in seconds


class Refused(Exception):
    """The server did not accept the connection."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def call(addr, method, path, headers=None, body=None):
    """Make one HTTP request and return the status and the body of its answer."""
    conn = http.client.HTTPConnection(addr, timeout=PATIENCE)
    try:
        conn.request(method, path, body, headers or {})
        response = conn.getresponse()
        return response.status, response.read().decode().strip()
    finally:
        conn.close()


class WebSocket:
    """The connection of one client."""

    def __init__(self, addr, path, headers):
        self.stack = contextlib.ExitStack()
        try:
            opened = connect(f"ws://{addr}{path}", additional_headers=headers, compression=None, proxy=None)
            self.conn = self.stack.enter_context(opened)
        except InvalidStatus as e:
            raise Refused(e.response.status_code, e.response.body.decode().strip()) from None

    def send(self, text):
        self.conn.send(text)

    def receive(self):
        """Return the next frame, or None at the end."""
        try:
            return json.loads(self.conn.recv(PATIENCE))
        except ConnectionClosed as e:
            self.ended = f"closed with {e.rcvd.code if e.rcvd else 1006}"
            return None

    def close(self):
        self.stack.close()


class EventStream:
    """The event stream of one client, and the requests that it sends with."""

    def __init__(self, addr, path, headers):
        self.addr, self.path = addr, path
        self.conn = http.client.HTTPConnection(addr, timeout=PATIENCE)
        self.conn.request("GET", path, headers={"Accept": "text/event-stream", **headers})
        self.stream = self.conn.getresponse()
        if self.stream.status != 200:
            body = self.stream.read().decode().strip()
            self.conn.close()
            raise Refused(self.stream.status, body)
        self.secret = self.stream.getheader("X-Connection-ID")

    def send(self, text):
        status, body = call(self.addr, "POST", self.path, {"X-Connection-ID": self.secret}, text)
        if status != 204:
            raise AssertionError(f"POST: {status} {body}")

    def receive(self):
        """Return the next frame, with the name of its event as "name", or None at the end."""
        name = ""
        try:
            while line := self.stream.readline():
                field, _, value = line.decode().strip().partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    return {**json.loads(value), "name": name}
            self.ended = "ended"
        except (http.client.HTTPException, ConnectionError) as e:
            self.ended = f"cut off: {type(e).__name__}"
        return None

    def close(self):
        """Close the connection as the official client does."""
        with contextlib.suppress(ConnectionError):  # if the server closed it before
            call(self.addr, "DELETE", self.path, {"X-Connection-ID": self.secret})
        self.stream.close()
        self.conn.close()
