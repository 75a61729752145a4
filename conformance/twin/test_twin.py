"""One application in two languages, with one client: all differences are in the list."""

import difflib
import pathlib
import re
import unittest

from differences import DIFFERENCES
from scenario import play
from world import SERVERS, World

MIGRATION = pathlib.Path(__file__).parents[2] / "docs" / "migration.md"


def transcript(server, transport):
    """Play the scenario, and return the transcript."""
    world = World(server, transport)
    try:
        play(world)
        if server == "pond":  # built with the race detector
            world.ended_well()
    finally:
        world.close()
    return world.lines


class Twins(unittest.TestCase):
    longMessage = False

    def compare(self, transport):
        python, pond = (transcript(server, transport) for server in SERVERS)
        used = set()
        for difference in DIFFERENCES:
            if transport not in difference.transports:
                continue
            pond, times = difference.apply(pond)
            if times == 0:
                self.fail(f"{difference.name}: there is no such difference any more")
            used.add(difference.name)
        unlisted = "\n".join(difflib.unified_diff(python, pond, "pondsocket-asgi", "pond, as it would be", n=2, lineterm=""))
        self.assertEqual("", unlisted, "a difference that is not listed:\n" + unlisted)
        print(f"{transport}: {len(python)} lines, the same but for {len(used)} differences", end=" ... ", flush=True)

    def test_websocket(self):
        self.compare("websocket")

    def test_sse(self):
        self.compare("sse")

    def test_each_difference_is_explained(self):
        _, _, after = MIGRATION.read_text().partition("\n## What clients notice\n")
        section, _, _ = after.partition("\n## ")
        rows = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)[1:]  # without the head
        self.assertEqual([difference.name for difference in DIFFERENCES], rows)


if __name__ == "__main__":
    unittest.main()
