"""The quick start of pondsocket-asgi under uvicorn, with a reply for echoes and
presence on request. uvicorn has its standard extras (uvloop, httptools,
websockets), and its default options except for the log."""

import argparse
import ctypes
import gc
import os
import resource
import socket
import sys
import threading

import uvicorn
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

parser = argparse.ArgumentParser()
parser.add_argument("-compress", action="store_true", help="no effect: uvicorn always compresses for clients that request it")
parser.add_argument("-lifetime", type=float, default=600, help="exit after this number of seconds")
args = parser.parse_args()


async def auth(ctx: ConnectionContext) -> None:
    ctx.accept()


async def on_join(ctx: JoinContext) -> None:
    await ctx.accept()
    if "track" in ctx.join_params:  # the presence of the member
        await ctx.track(ctx.join_params["track"])


async def on_message(ctx: EventContext) -> None:
    await ctx.broadcast(ctx.event_name, ctx.get_payload())


async def on_echo(ctx: EventContext) -> None:
    await ctx.reply(ctx.event_name, ctx.get_payload())


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", auth)
lobby = endpoint.create_channel("/chat/:room_id", on_join)
lobby.on_message("message", on_message)
lobby.on_message("echo", on_echo)


def obey() -> None:
    """Runs the commands on standard input, and exits at its end."""
    for line in sys.stdin:
        if line.strip() == "gc":
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # returns memory to the system
            print("collected", flush=True)
    os._exit(0)


threading.Thread(target=obey, daemon=True).start()
end = threading.Timer(args.lifetime, os._exit, [0])
end.daemon = True
end.start()

# Allow more than 1,024 clients.
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

listener = socket.create_server(("127.0.0.1", 0), backlog=2048)  # uvicorn's default
print("listening {}:{}".format(*listener.getsockname()), flush=True)
config = uvicorn.Config(PondASGIApp(pond), log_level="critical")
uvicorn.Server(config).run(sockets=[listener])
