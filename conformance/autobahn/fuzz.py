"""Runs the fuzzing client of the Autobahn test suite against the server of this folder.

    python fuzz.py quick|full HOST:PORT OUTDIR

OUTDIR receives the reports and the log of the suite. The exit status is 0 if all results
are allowed: see verdict.py.
"""

import contextlib
import sys
import warnings
from pathlib import Path

from twisted.internet import reactor
from twisted.python import log

import verdict
from octets import raw, text

# Warnings of setuptools, and of Python 3.12 about string literals in old code.
warnings.filterwarnings("ignore", "pkg_resources is deprecated")
warnings.filterwarnings("ignore", category=SyntaxWarning)
from autobahntestsuite import fuzzing  # noqa: E402

# The transport sends all messages back as text.
BINARY = ["1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*", "12.2.*", "12.3.*", "12.5.*"]

# The paths of the server, and the cases that are not run there.
AGENTS = {"codec": [], "transport": BINARY, "general": BINARY}

# For each data set and each offer in 12 and 13, a quick run uses four sizes of messages:
# 16, 256 and 4096 bytes, and 8192 bytes in fragments of 256.
SETS = [f"12.{i}" for i in range(1, 6)] + [f"13.{i}" for i in range(1, 8)]
SLOW = [f"{s}.{i}" for s in SETS for i in range(1, 19) if i not in (1, 3, 5, 11)]


class Client(fuzzing.FuzzingClientProtocol):
    """A connection. Cases use text where autobahn uses bytes: see octets.py."""

    def sendFrame(self, opcode, payload="", **options):
        super().sendFrame(opcode, raw(payload), **options)

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(raw(payload), isBinary, **options)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(raw(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, raw(reasonUtf8), isReply)
        self.localCloseReason = text(self.localCloseReason)

    def onMessage(self, payload, isBinary):
        super().onMessage(text(payload), isBinary)

    def onPong(self, payload):
        super().onPong(text(payload))

    def logRxFrame(self, frameHeader, payload):
        super().logRxFrame(frameHeader, [text(part) for part in payload])

    def logTxFrame(self, frameHeader, payload, *options):
        super().logTxFrame(frameHeader, text(payload), *options)


fuzzing.FuzzingClientProtocol = Client


class Factory(fuzzing.FuzzingClientFactory):
    """All connections, one after the other, and their results."""

    def createReports(self):
        """Does nothing yet, because an error would leave the reactor running."""


def fuzz(spec):
    """Runs the cases. Returns the factory, and the number of unexpected exceptions."""
    errors = []
    log.addObserver(lambda event: errors.append(event) if event["isError"] else None)
    factory = Factory(spec)
    reactor.run()
    super(Factory, factory).createReports()
    return factory, len(errors)


def main(mode, address, outdir):
    spec = {
        "outdir": outdir,
        "servers": [{"agent": agent, "url": f"ws://{address}/{agent}"} for agent in AGENTS],
        "cases": ["*"],
        "exclude-cases": {"quick": SLOW, "full": []}[mode],
        "exclude-agent-cases": AGENTS,
    }
    with open(Path(outdir, "log.txt"), "w") as out, contextlib.redirect_stdout(out):
        log.startLogging(out, setStdout=False)
        factory, errors = fuzz(spec)
    return verdict.judge(factory, errors, complete=mode == "full")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
