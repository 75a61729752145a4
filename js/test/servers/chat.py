"""A chat with pondsocket-asgi. It prints its address, and ends with its standard input."""

import os
import signal
import socket
import sys
import threading

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp


async def connect(ctx: ConnectionContext) -> None:
    if ctx.query.get("token") == "deny":
        ctx.decline(403, "Forbidden")
    else:
        ctx.accept()


async def join(ctx: JoinContext) -> None:
    if ctx.join_params.get("decline"):
        await ctx.decline(403, "Nope")
        return
    await ctx.accept()
    if ctx.join_params.get("track"):
        await ctx.track({"name": ctx.join_params["name"], "status": "online"})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("say", ctx.get_payload())


async def echo(ctx: EventContext) -> None:
    await ctx.reply("echo", ctx.get_payload())


async def status(ctx: EventContext) -> None:
    await ctx.update_presence({"name": ctx.get_payload()["name"], "status": ctx.get_payload()["status"]})


async def kick(ctx: EventContext) -> None:
    await ctx.evict("spam")


pond = PondSocket()
lobby = pond.create_endpoint("/socket", connect).create_channel("/chat/:room", join)
for handler in (say, echo, status, kick):
    lobby.on_message(handler.__name__, handler)


def follow() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


threading.Thread(target=follow, daemon=True).start()
host, port = sys.argv[1].split(":")
listener = socket.create_server((host, int(port)))
print("{}:{}".format(*listener.getsockname()), flush=True)
config = uvicorn.Config(PondASGIApp(pond), log_level="critical", timeout_graceful_shutdown=1)
uvicorn.Server(config).run(sockets=[listener])
