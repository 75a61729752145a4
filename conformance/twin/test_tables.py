"""The tables of docs/migration.md contain every public name of the packages from PyPI."""

import pathlib
import re
import unittest

import pondsocket
import pondsocket_asgi
from pondsocket_asgi import testing

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = ["migration.md", "testing.md"]  # the drivers of tests have their table there

# The classes that applications and their tests call. Others are one name.
CALLED = [
    *(pondsocket.PondSocket, pondsocket.Endpoint, pondsocket.Lobby, pondsocket.Channel),
    *(pondsocket.ConnectionContext, pondsocket.JoinContext, pondsocket.EventContext),
    *(pondsocket.OutgoingContext, pondsocket.LeaveContext),
    *(pondsocket.TypedLobby, pondsocket.TypedChannel, pondsocket.TypedJoinContext, pondsocket.TypedEventContext),
    *(pondsocket.Options, pondsocket.Hooks, pondsocket.MetricsCollector, pondsocket.RateLimiter),
    pondsocket_asgi.PondASGIApp,
    *(testing.ASGITestDriver, testing.WebSocketSession, testing.SSESession, testing.LifespanSession),
]

# Public names that only implement the sessions of a test.
PLUMBING = {"app_task", "inbox", "outbox", "scope"}


class Tables(unittest.TestCase):
    def test_every_public_name(self):
        names = {*pondsocket.__all__, *pondsocket_asgi.__all__}
        for cls in CALLED:
            names |= {cls.__name__, *dir(cls)}
        names = {name for name in names if not name.startswith("_")} - PLUMBING
        self.assertGreater(len(names), 200)
        known = set(re.findall(r"\w+", "".join((DOCS / page).read_text() for page in PAGES)))
        self.assertEqual([], sorted(names - known), "not in the tables")


if __name__ == "__main__":
    unittest.main()
