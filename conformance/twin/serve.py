"""Serves chat.py on a free port, which it prints, until its standard input ends."""

import os
import signal
import socket
import sys
import threading

import uvicorn
from chat import app, pond


async def session(ctx) -> None:
    """Declines with the cookie that a handler sees."""
    ctx.decline(401, ctx.cookies.get("session", "no cookie"))


pond.create_endpoint("/api/session", session)


def follow() -> None:
    """Exits when the test ends for any reason."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)


threading.Thread(target=follow, daemon=True).start()
# Without a timeout, uvicorn does not end while an event stream is open.
config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
listener = socket.create_server(("127.0.0.1", 0))
print("{}:{}".format(*listener.getsockname()), flush=True)
uvicorn.Server(config).run(sockets=[listener])
