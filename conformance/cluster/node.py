"""A node of a cluster, made with pondsocket and pondsocket-asgi. It has a handler for each thing that nodes exchange."""

import os
import signal
import socket
import sys
import threading

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket.distributed import RedisPubSub
from pondsocket_asgi import PondASGIApp
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import Mount


async def connect(ctx: ConnectionContext) -> None:
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    await ctx.set_assign("role", ctx.join_params.get("role", "guest"))
    await ctx.accept()
    if "status" in ctx.join_params:
        await ctx.track({"status": ctx.join_params["status"]})


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def others(ctx: EventContext) -> None:
    await ctx.broadcast_from("said", ctx.get_payload())


async def whisper(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.broadcast_to("said", {"text": payload["text"]}, *payload["to"])


async def status(ctx: EventContext) -> None:
    await ctx.update_presence(ctx.get_payload())


async def hide(ctx: EventContext) -> None:
    await ctx.untrack()


async def assign(ctx: EventContext) -> None:
    for key, value in ctx.get_payload().items():
        await ctx.set_assign(key, value)


async def evict(ctx: EventContext) -> None:
    payload = ctx.get_payload()
    await ctx.evict(payload["reason"], payload["id"])


async def who(ctx: EventContext) -> None:
    """Says what the node knows of all members, on all nodes."""
    await ctx.reply("known", {"presence": await ctx.get_all_presence(), "assigns": await ctx.get_all_assigns()})


async def find(ctx: EventContext) -> None:
    """Asks the node of a member what it knows of it."""
    user = await ctx.channel.get_user(ctx.get_payload()["id"])
    await ctx.reply("found", {"assigns": user.assigns, "presence": user.presence})


host, port = sys.argv[1].rsplit(":", 1)
pond = PondSocket(
    options=Options(heartbeat_interval=0.5, heartbeat_timeout=float(sys.argv[2]), user_get_timeout=30.0),
    pubsub=RedisPubSub(Redis(host=host, port=int(port)), owns_client=True),
)
chat = pond.create_endpoint("/socket", connect).create_channel("/chat/:room", join)
for handler in say, others, whisper, status, hide, assign, evict, who, find:
    chat.on_message(handler.__name__, handler)
app = Starlette(routes=[Mount("/", PondASGIApp(pond))])


def follow() -> None:
    """Ends with the test, however the test ends."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


threading.Thread(target=follow, daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
print("{}:{}".format(*listener.getsockname()), flush=True)
uvicorn.Server(uvicorn.Config(app, log_level=os.environ.get("LOG_LEVEL", "critical"))).run(sockets=[listener])
