"""A scenario of the team chat, as its members observe it."""

from client import EventStream
from world import TEAM

STREAM = {"Accept": "text/event-stream"}
FRAME = '{"action":"%s","event":"count","channelName":"%s","requestId":"x","payload":%s}'


def play(world):
    strangers(world)
    ann, bob, gus = (world.connect(name) for name in ("Ann", "Bob", "Gus"))

    world.step("Ann joins")
    ann.join()
    world.settle(ann)
    world.step("Bob joins")
    bob.join()
    world.settle(bob)
    world.step("Gus joins")
    gus.join()
    world.settle(gus)
    world.step("Gus joins again")
    gus.join()
    world.settle(gus)

    world.step("Bob joins the board")
    bob.join("/team/board")
    world.settle(bob)
    world.step("Bob joins a channel without a lobby")
    bob.join("/club/1")
    world.settle(bob)

    messages(world, ann, bob, gus)
    errors(world, ann, bob)
    presence(world, bob)
    privileges(world, ann, bob, gus)
    departures(world, ann, bob)
    strangers_again(world, ann)

    world.step("the server stops")
    world.terminate()
    bob.end()


def strangers(world):
    world.step("a guessed token")
    world.connect("a stranger", "?token=guess")
    world.step("a page of another origin")
    if page := world.connect("a page", "?token=token-of-gus", {"Origin": "https://evil.example"}):
        page.gone()
    world.step("no such endpoint")
    world.http("a stranger", "GET", "/api/nowhere", STREAM)
    world.step("a plain GET")
    world.http("a stranger", "GET", "/api/socket?token=token-of-gus")
    world.step("no connection id")
    world.http("a stranger", "POST", "/api/socket", body="{}")
    world.http("a stranger", "DELETE", "/api/socket")
    world.step("an unknown connection id")
    world.http("a stranger", "POST", "/api/socket", {"X-Connection-ID": "guess"}, "{}")
    world.http("a stranger", "DELETE", "/api/socket", {"X-Connection-ID": "guess"})
    world.step("another method")
    for method in ("PUT", "PATCH", "OPTIONS", "HEAD"):
        world.http("a stranger", method, "/api/socket")
    world.step("a cookie")
    world.http("a stranger", "GET", "/api/session", {**STREAM, "Cookie": "a=b; session=s3cret"})
    world.http("a stranger", "GET", "/api/session", {**STREAM, "Cookie": "a=b"})
    world.step("a quoted cookie")
    world.http("a stranger", "GET", "/api/session", {**STREAM, "Cookie": 'session="s3cret"'})
    world.step("an escaped cookie")
    world.http("a stranger", "GET", "/api/session", {**STREAM, "Cookie": "session=s%33cret"})
    world.step("a cookie after an invalid one")
    world.http("a stranger", "GET", "/api/session", {**STREAM, "Cookie": "a[b]=c; session=s3cret"})
    world.step("an announcement to an empty room")
    world.http("the office", "POST", "/announce/1", body="lunch")


def messages(world, ann, bob, gus):
    world.step("Bob says something")
    bob.send("say", text="hi \u2028 <&> 🎉")
    world.settle(bob)
    world.step("Bob types")
    bob.send("typing")
    world.settle(bob)
    world.step("Bob whispers to Gus and to an unknown id")
    bob.send("whisper", to=[gus.id, "nobody"], text="psst")
    world.settle(bob)
    world.step("Bob counts")
    bob.send("count")
    bob.send("count")
    world.settle(bob)
    world.step("Gus reports")
    gus.send("report", text="spam")
    world.settle(gus)
    world.step("an announcement")
    world.http("the office", "POST", "/announce/1", body="lunch")
    world.settle()


def errors(world, ann, bob):
    world.step("Bob sends an empty text")
    bob.send("say", text="")
    world.settle(bob)
    world.step("an event without a handler")
    bob.send("sing")
    world.settle(bob)
    world.step("an event in a channel that Bob did not join")
    ann.join("/team/board")
    world.settle(ann)
    bob.send("say", "/team/board", text="hello?")
    world.settle(bob)
    world.step("an event in a channel without members")
    bob.send("say", "/team/7", text="hello?")
    world.settle(bob)
    world.step("a frame that is not JSON")
    bob.conn.send("hello")
    world.settle(bob)
    world.step("an action that does not exist")
    bob.conn.send(FRAME % ("DANCE", TEAM, "{}"))
    world.settle(bob)
    world.step("a payload that is null")
    bob.conn.send(FRAME % ("BROADCAST", TEAM, "null"))
    world.settle(bob)
    world.step("the heartbeat of an old client")
    bob.conn.send('{"action":"ping"}')
    bob.fence()
    if not bob.kept:
        bob.keep_nothing()
    world.settle(bob)
    if world.transport == "sse":
        world.step("two messages in one request")
        bob.conn.send("[" + ",".join([FRAME % ("BROADCAST", TEAM, "{}")] * 2) + "]")
        world.settle(bob)
    world.step("a number that is not JSON")
    bob.conn.send(
        '{"action":"BROADCAST","event":"say","channelName":"%s","requestId":"x","payload":{"text":NaN}}' % TEAM
    )
    world.settle(bob)


def presence(world, bob):
    world.step("Bob is away")
    bob.send("status", status="away")
    world.settle(bob)
    world.step("Bob hides")
    bob.send("hide")
    world.settle(bob)
    world.step("Bob hides again")
    bob.send("hide")
    world.settle(bob)


def privileges(world, ann, bob, gus):
    world.step("Bob tries to kick Gus")
    bob.send("kick", id=gus.id, reason="me")
    world.settle(bob)
    world.step("Bob is the host of a room")
    bob.join("/team/2", key="host")
    world.settle(bob)
    world.step("the host joins another room")
    bob.join("/team/3")
    bob.send("mute", "/team/3", id=bob.id)
    world.settle(bob)
    world.step("Ann mutes Bob")
    ann.send("mute", id=bob.id)
    world.settle(ann)
    gus.send("report", text="him too")
    world.settle(gus)
    world.step("Ann kicks Gus")
    ann.send("kick", id=gus.id, reason="spam")
    ann.until_event("left")
    world.settle(ann)
    world.step("Gus sends after the eviction")
    gus.send("say", text="why?")
    world.settle(gus)
    world.step("Gus joins again after the eviction")
    gus.join()
    world.settle(gus)


def departures(world, ann, bob):
    world.step("Bob leaves")
    bob.leave()
    ann.until_event("left")
    world.settle(bob)
    world.step("Bob leaves again")
    bob.leave()
    world.settle(bob)
    world.step("Gus disconnects")
    world.clients["Gus"].gone()
    ann.until_event("left")
    world.settle()


def strangers_again(world, ann):
    """Requests of a client that knows the id of another client."""
    world.step("a stream, as a browser opens it")
    stream = world.connect("Gus", headers={"Cache-Control": "no-cache"}, kind=EventStream)
    world.step("a message with the user id of another client")
    join = '{"action":"JOIN_CHANNEL","event":"x","channelName":"/team/9","requestId":"x","payload":{}}'
    world.http("a stranger", "POST", "/api/socket", {"X-Connection-ID": stream.id}, join)
    stream.fence()
    stream.flush()
    if world.transport == "websocket":
        world.step("a message with the id of a WebSocket")
        world.http("a stranger", "POST", "/api/socket", {"X-Connection-ID": ann.id}, join)
    world.step("a DELETE with the user id of another client")
    world.http("a stranger", "DELETE", "/api/socket", {"X-Connection-ID": ann.id})
    ann.ping()
    world.step("another path")
    own = {"X-Connection-ID": stream.conn.secret}
    world.http("Gus", "POST", "/api/nowhere", own, FRAME % ("LEAVE_CHANNEL", "/team/7", "{}"))
    world.http("Gus", "DELETE", "/api/nowhere", own)
    stream.ping()
