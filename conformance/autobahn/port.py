"""Translates the installed Autobahn test suite from Python 2 to Python 3, in place.

    python port.py SITE_PACKAGES

The rules change syntax, the repairs change semantics. Each repair must match exactly the
given number of times, so that another version of the suite is an error. What the cases
send and expect is not changed.
"""

import re
import sys
from pathlib import Path

SUITE = "autobahntestsuite"

# The modules of the fuzzing client.
MODULES = ["__init__.py", "_version.py", "caseset.py", "fuzzing.py", "report.py", "case/*.py"]

# The text from which on a module needs other modules: it and the rest is removed.
CUTS = {
    f"{SUITE}/__init__.py": "import warnings\n",
    f"{SUITE}/report.py": "REPORT_DIR_PERMISSIONS",
}

RULES = [
    (r"^( *)print(?: +(.*))?$", r"\1print(\2)"),
    (r"(\w\S*)\.has_key\((\w+|\"\S+\")\)", r"(\2 in \1)"),
    (r"\bxrange\b", "range"),
    # Modules next to each other, as in "from case1_1_1 import *".
    (r"^from (_version|case\w*|report) import", r"from .\1 import"),
    # A class cannot come after its base.
    (r"\(object, Case, \)", "(Case, )"),
    (r"\bbinascii\b", "octets"),
]

REPAIRS = {
    f"{SUITE}/report.py": [(1, "import jinja2\n", "")],
    f"{SUITE}/fuzzing.py": [
        # Reports are text.
        (1, "self.Case.DESCRIPTION,\n", "octets.raw(self.Case.DESCRIPTION).decode('utf8'),\n"),
        (1, "self.http_request_data if", "octets.text(self.http_request_data) if"),
        (1, "self.http_response_data if", "octets.text(self.http_response_data) if"),
        (1, "return dd.decode('utf8',", "return octets.raw(dd).decode('utf8',"),
        (4, "report_filename), 'w')", "report_filename), 'w', encoding = 'utf8')"),
        (1, ').encode("utf-8"))\n', "))\n"),
        (1, "ll.encode('utf8'))", "ll)"),
        # Without TLS, OpenSSL is not needed.
        (1, "import reactor, ssl", "import reactor"),
        (1, "self.contextFactory = ssl.ClientContextFactory()", "self.contextFactory = None"),
    ],
    f"{SUITE}/case/__init__.py": [
        # A case that is not in the list and needs an old version of Twisted.
        (1, "from .case9_9_1 import *\n", ""),
    ],
    f"{SUITE}/case/case.py": [
        # In Python 3, the result of pickle also depends on the identity of equal strings.
        (1, "pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2"),
    ],
    f"{SUITE}/case/case6_x_x.py": [
        (1, "v.validate(vss[:i])", "v.validate(octets.raw(vss[:i]))"),
    ],
    f"{SUITE}/case/case10_1_1.py": [
        (1, "len(self.payload) / self.p", "len(self.payload) // self.p"),
    ],
    f"{SUITE}/case/case12_x_x.py": [
        # These cases send and compare bytes.
        (1, "def onMessage(self, msg, binary):\n", "def onMessage(self, msg, binary):\n   msg = octets.raw(msg)\n"),
    ],
    "autobahn/websocket/protocol.py": [
        (1, "range(payload_len / len(payload))", "range(payload_len // len(payload))"),
    ],
}


def translate(path, fits):
    # One character per octet, like a literal in Python 2.
    text = path.read_text(encoding="latin-1").replace("\r\n", "\n")
    for i, (pattern, new) in enumerate(RULES):
        text, n = re.subn(pattern, new, text, flags=re.MULTILINE)
        fits[i] += n
    path.write_text(text, encoding="utf-8")


def repair(path, times, old, new):
    text = path.read_text(encoding="utf-8")
    if text.count(old) != times:
        sys.exit(f"port: {path} contains {old!r} {text.count(old)} times, want {times}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def cut(path, mark):
    text, found, _ = path.read_text(encoding="utf-8").partition(mark)
    if not found:
        sys.exit(f"port: {path} does not contain {mark!r}")
    path.write_text(text, encoding="utf-8")


def main(site):
    fits = [0] * len(RULES)
    for modules in MODULES:
        for path in (site / SUITE).glob(modules):
            translate(path, fits)
    if 0 in fits:
        sys.exit(f"port: no match for {RULES[fits.index(0)]}")
    for name, mark in CUTS.items():
        cut(site / name, mark)
    for name, repairs in REPAIRS.items():
        for times, old, new in repairs:
            repair(site / name, times, old, new)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
