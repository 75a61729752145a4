"""All differences that clients can observe.

docs/migration.md has a row for each of them, with the reason.
"""

import re


class Difference:
    """A difference in the behaviour of the two servers.

    A line of pond's transcript that matches is replaced with the line, the lines or
    nothing of pondsocket-asgi.
    """

    def __init__(self, name, pond, python, transports=("websocket", "sse")):
        self.name = name
        self.pond = re.compile(pond)
        self.python = python
        self.transports = transports

    def apply(self, lines):
        """Return the lines of pondsocket-asgi, and the number of changed lines."""
        changed = [self.pond.sub(self.python, line) for line in lines]
        return [part for line in changed for part in line.split("\n") if part], sum(map(str.__ne__, lines, changed))


ROOM = r"/team/1 \(no request\)"

DIFFERENCES = [
    Difference(
        "A rejected WebSocket",
        r"^(a guessed token .* refused with) 401 unknown token$",
        r"\1 403",
        transports=["websocket"],
    ),
    Difference(
        "Pages of other origins",
        r"^(a page of another origin \| a page \|) refused with 403 this origin is not allowed$",
        r'\1 CONNECT CONNECTION GATEWAY (no request) {"connectionId": "the same", "id": "a page"}',
    ),
    Difference(
        "Texts of HTTP errors",
        r"(GET 404) (no endpoint at this path|connect with a WebSocket, or ask for text/event-stream)$"
        r"|^(an unknown connection id .* DELETE 404) connection not found$",
        lambda m: m[3] or m[1] + (" endpoint not found" if "path" in m[2] else " PondSocket: not found"),
    ),
    Difference(
        "Requests without a connection ID",
        r"^(no connection id .* (POST|DELETE)) 400 X-Connection-ID is missing$",
        r"\1 404 PondSocket: not found",
    ),
    Difference(
        "Other methods",
        r"^(another method .*) 405( this method is not allowed)?$",
        lambda m: f"{m[1]} 404" + (" PondSocket: not found" if m[2] else ""),
    ),
    Difference(
        "Quoted cookies",
        r'^(a quoted cookie .*) "s3cret"$',
        r"\1 s3cret",
    ),
    Difference(
        "Escaped cookies",
        r"^(an escaped cookie .*) s3cret$",
        r"\1 s%33cret",
    ),
    Difference(
        "An invalid cookie",
        r"^(a cookie after an invalid one .*) s3cret$",
        r"\1 no cookie",
    ),
    Difference(
        "The sender outside of channels",
        r"\| (CONNECT CONNECTION|ERROR INVALID_MESSAGE) ENDPOINT ",
        r"| \1 GATEWAY ",
    ),
    Difference(
        "The connection ID",
        r'"connectionId": "another"',
        r'"connectionId": "the same"',
    ),
    Difference(
        "Streams for browsers",
        r"^(a stream, as a browser opens it .*) \(no request, named nothing\)",
        r"\1 (no request)",
    ),
    Difference(
        "The request ID of a broadcast",
        r"\| (BROADCAST \S+ \S+) \((own request|request of \w+)\)",
        r"| \1 (no request)",
    ),
    Difference(
        "A second join",
        r"^Gus joins again \| Gus \| SYSTEM ACKNOWLEDGE /team/1 \(own request\) {}$",
        "",
    ),
    Difference(
        "A rejected join",
        r'^(Bob joins the board .* UNAUTHORIZED .*) {"code": "UNAUTHORIZED_JOIN_REQUEST", "error": {.*?}, "message": "moderators only", "status": 403, "statusCode": 403}$',
        r'\1 {"code": 403, "message": "moderators only"}',
    ),
    Difference(
        "A join without a matching lobby",
        r'^(Bob joins a channel without a lobby .* SYSTEM) UNAUTHORIZED (.*) {"code": "CHANNEL_NOT_FOUND", .*}$',
        r'\1 NOT_FOUND \2 {"channel": "/club/1"}',
    ),
    Difference(
        "An error of a handler",
        r'^Bob sends an empty text \| Bob \| ERROR HANDLER_NOT_FOUND /team/1 \(own request\) {"code": 400, .*"say something".*}$',
        "",
    ),
    Difference(
        "An event without a handler",
        r'^an event without a handler \| Bob \| ERROR HANDLER_NOT_FOUND /team/1 \(own request\) {"code": 500, .*}$',
        "",
    ),
    Difference(
        "An event from a client that is not a member",
        r'^(an event in a channel that Bob did not join|Gus sends after the eviction) .* ERROR CHANNEL_NOT_FOUND \S+ \(own request\) .*"not a member.*}$',
        "",
    ),
    Difference(
        "An event in a channel without members",
        r"^(an event in a channel without members \| Bob \|) ERROR CHANNEL_NOT_FOUND (\S+) \(own request\) {.*}$",
        r'\1 SYSTEM NOT_FOUND \2 (own request) {"channel": "\2"}',
    ),
    Difference(
        "An invalid message",
        r'^(a frame that is not JSON \| Bob \| ERROR INVALID_MESSAGE GATEWAY \(no request\)) {"code": "INVALID_MESSAGE", .* "status": 400, "statusCode": 400}$',
        r'\1 {"error": "wireMessage: Invalid JSON: Expecting value"}',
    ),
    Difference(
        "An unknown action",
        r"^(an action that does not exist \| Bob \| ERROR INVALID_MESSAGE) /team/1 \(no request\) {.*DANCE.*}$",
        r"""\1 GATEWAY (no request) {"error": "action: Input should be 'JOIN_CHANNEL', 'LEAVE_CHANNEL' or 'BROADCAST'"}""",
    ),
    Difference(
        "A null payload",
        r"^(a payload that is null \| Bob \|) SYSTEM counted .*$",
        r'\1 ERROR INVALID_MESSAGE GATEWAY (no request) {"error": "payload: Expected object"}',
    ),
    Difference(
        "The heartbeat of an old client",
        r"^(the heartbeat of an old client \| Bob \|) nothing$",
        r'\1 ERROR INVALID_MESSAGE GATEWAY (no request) {"error": "event: Missing required field"}',
    ),
    Difference(
        "An array of messages",
        r'^(two messages in one request \| Bob \|) SYSTEM counted .*"said": (\d).*$',
        lambda m: f'{m[1]} ERROR INVALID_MESSAGE GATEWAY (no request) {{"error": "wireMessage: Expected object"}}' if m[2] == "4" else "",
        transports=["sse"],
    ),
    Difference(
        "NaN and Infinity",
        r'^(a number that is not JSON) \| Bob \| ERROR INVALID_MESSAGE /team/1 \(no request\) {"code": "INVALID_MESSAGE", .*}$',
        "\n".join(rf'\1 | {who} | BROADCAST said /team/1 (no request) {{"name": "Bob", "text": NaN}}' for who in ("Ann", "Bob", "Gus")),
    ),
    Difference(
        "Presence that is not tracked",
        r'^Bob hides again \| Bob \| ERROR HANDLER_NOT_FOUND /team/1 \(own request\) {"code": 409, .*}$',
        "",
    ),
    Difference(
        "Assigns of another channel",
        r"^(the host joins another room \| Bob \| SYSTEM) refused (/team/3 \(own request\)) {.*}$",
        r"\1 muted \2 {}",
    ),
    Difference(
        "Notices of an eviction",
        rf"^Ann kicks Gus \| (Gus \| SYSTEM kicked_out|(Ann|Bob) \| SYSTEM kicked) {ROOM} {{.*}}$",
        "",
    ),
    Difference(
        "A second leave",
        r"^Bob leaves again \| Bob \| SYSTEM EXIT_ACKNOWLEDGE /team/1 \(own request\) {}$",
        "",
    ),
    Difference(
        "Sending with the ID of another user",
        r"^(a message with the user id of another client) \| a stranger \| POST 404 connection not found$",
        "\n".join(
            [
                r"\1 | a stranger | POST 204",
                r"\1 | Gus | SYSTEM ACKNOWLEDGE /team/9 (no request) {}",
                r'\1 | Gus | PRESENCE JOIN /team/9 (no request) {"changed": GUS, "presence": [GUS]}',
                r'\1 | Gus | SYSTEM welcome /team/9 (no request) {"name": "Gus", "room": "9"}',
            ]
        ).replace("GUS", '{"id": "Gus", "name": "Gus", "status": "online"}'),
    ),
    Difference(
        "The ID of a WebSocket",
        r"^(a message with the id of a WebSocket \| a stranger \|) POST 404 connection not found$",
        r"\1 POST 400 connection does not accept inbound messages",
        transports=["websocket"],
    ),
    Difference(
        "Disconnecting with the ID of another user",
        r"^(a DELETE with the user id of another client) \| (a stranger \| DELETE 404 connection not found|Ann \| is connected)$",
        lambda m: f"{m[1]} | " + ("a stranger | DELETE 204" if "DELETE" in m[2] else "Ann | is not connected any more"),
    ),
    Difference(
        "Requests to another path",
        r"^(another path \| Gus \|) ((POST|DELETE) 404 no endpoint at this path|is connected)$",
        lambda m: f"{m[1]} " + (f"{m[3]} 204" if m[3] else "is not connected any more"),
    ),
    Difference(
        "The close code of a shutdown",
        r"^(the server stops \| Bob \| closed with) 1001$",
        r"\1 1012",
        transports=["websocket"],
    ),
]
