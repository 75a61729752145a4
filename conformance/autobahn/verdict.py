"""Evaluates the results of the fuzzing client.

The result of a case is the worse of two outcomes: of its messages, and of the end of the
connection. OK and INFORMATIONAL are always allowed. NON-STRICT and UNIMPLEMENTED must be
in allowed.txt, with a reason. Cases that failed or did not run are never allowed.
"""

import collections
import fnmatch
import functools
from pathlib import Path

ALLOWED = Path(__file__).with_name("allowed.txt")

OUTCOMES = ["ok", "non-strict", "informational", "unimplemented", "failed"]


def outcome(result):
    """Returns the element of OUTCOMES for a result of the suite."""
    if result["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        return "failed"
    word = result["behavior"].lower()
    return word if word in OUTCOMES else "failed"


def explain(result):
    return f"{result['behavior']}: {result['result']} / {result['behaviorClose']}: {result['resultClose']}"


def read_allowed():
    """Returns (agent, pattern of cases, outcome) of each line of allowed.txt."""
    lines = [line for line in ALLOWED.read_text().splitlines() if line and not line.startswith("#")]
    entries = []
    for line in lines:
        agent, cases, word, *reason = line.split()
        if word not in ("non-strict", "unimplemented") or not reason:
            raise SystemExit(f"{ALLOWED}: {line!r} has an invalid outcome, or no reason")
        entries.append((agent, cases, word))
    return entries


def judge(factory, errors, complete):
    """Prints all problems and a summary. Returns the exit status."""
    allowed, used, wrong = read_allowed(), set(), []
    counts = collections.Counter()
    for agent, cases in planned(factory):
        results = factory.agents.get(agent, {})
        missing = [case for case in cases if case not in results]
        if missing:
            counts["failed"] += len(missing)
            wrong.append(f"{agent}: {len(missing)} cases did not run, the first of them {missing[0]}")
        for case in cases:
            if case in missing:
                continue
            word = outcome(results[case])
            counts[word] += 1
            excuses = [e for e in allowed if e[::2] == (agent, word) and fnmatch.fnmatch(case, e[1])]
            used.update(excuses)
            if word not in ("ok", "informational") and not excuses:
                wrong.append(f"{agent} {case} {explain(results[case])}")
    if complete:
        wrong += [f"allowed.txt: unused entry {' '.join(e)}" for e in allowed if e not in used]
    if errors:
        wrong.append(f"{errors} exceptions in the suite: see log.txt")
    for line in wrong:
        print(line)
    print(f"autobahn: {counts.total()} cases: " + ", ".join(f"{counts[word]} {word}" for word in OUTCOMES))
    return 1 if wrong else 0


def planned(factory):
    """Returns each agent and its cases."""
    excluded = functools.partial(factory.CaseSet.checkAgentCaseExclude, factory.specExcludeAgentCases)
    agents = [server["agent"] for server in factory.spec["servers"]]
    return [(a, [c for c in factory.specCases if not excluded(a, c)]) for a in agents]
