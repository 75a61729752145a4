"""A server made with pondsocket-asgi, for the Go client. It has a handler for each behaviour that a client can observe."""

import os
import signal
import socket
import sys
import threading

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, PondError, PondSocket
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.routing import Mount


async def connect(ctx: ConnectionContext) -> None:
    if ctx.query.get("token") == "bad":
        ctx.decline(401, "unknown token")
        return
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    name = ctx.join_params.get("name", "")
    if name == "mallory":
        await ctx.decline(403, "not you")
        return
    await ctx.accept()
    if ctx.join_params.get("track"):
        await ctx.track({"id": ctx.transport.get_id(), "name": name})
    if ctx.join_params.get("welcome"):
        await ctx.reply("welcome", {"name": name})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def others(ctx: EventContext) -> None:
    await ctx.broadcast_from("said", ctx.get_payload())


async def ask(ctx: EventContext) -> None:
    await ctx.reply("answer", ctx.get_payload())


async def fail(ctx: EventContext) -> None:
    raise PondError("busy", 409)


async def update(ctx: EventContext) -> None:
    await ctx.update_presence({"id": ctx.user.id, **ctx.get_payload()})


async def evict(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.evict("spam", payload["id"])


pond = PondSocket()
chat = pond.create_endpoint("/socket", connect).create_channel("/chat/:room", join)
for name, handler in {
    "say": say, "others": others, "ask": ask, "fail": fail, "update": update, "evict": evict,
}.items():
    chat.on_message(name, handler)

app = Starlette(routes=[Mount("/", PondASGIApp(pond))])


def follow() -> None:
    """Ends with the test, however the test ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


threading.Thread(target=follow, daemon=True).start()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("{}:{}".format(*listener.getsockname()), flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
