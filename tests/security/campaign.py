"""Runs the cases of a part of the campaign, two at a time, and tells how they ended: `make campaign`.

The tests run a sample of each part, which changes with the date.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import random
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.security import bad_inputs, hostile_bases, hostile_configs, hostile_files, hostile_sources
from tests.security.sandbox import Outcome, watched

Cases = dict[str, tuple[str, Any]]
PARTS: dict[str, Any] = {
    "configs": hostile_configs,
    "files": hostile_files,
    "bases": hostile_bases,
    "sources": hostile_sources,
    "inputs": bad_inputs,
}


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def run_case(part: Any, case: Any, seconds: float = 60.0) -> Outcome:
    """Lay a case out in a folder of its own and run it for so long at most."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as name:
        folder = Path(name)
        for room in ("room", "canaries"):
            (folder / room).mkdir()
        args = part.lay_out(case, folder / "room", folder / "canaries", free_port())
        return watched(args, folder, seconds)


def sample(names: Iterable[str], number: int) -> list[str]:
    """Return some of the names, others on another day."""
    found = sorted(names)
    return random.Random(str(datetime.date.today())).sample(found, min(number, len(found)))


def harm_of(part: Any, outcome: Outcome, case: Any) -> str:
    """Return what a case did that it must not; empty if nothing. A part may expect more than this."""
    if hasattr(part, "harm_of"):
        return str(part.harm_of(outcome, case))
    if hasattr(part, "harm"):
        return str(part.harm(outcome))
    if outcome.seen:
        return "; ".join(outcome.seen[:3])
    return {"hang": "it hangs", "traceback": "a traceback"}.get(outcome.kind, "")


def run(name: str, wanted: str, verbose: bool, say: Callable[[str], None]) -> int:
    """Run the cases of a part whose names match, print them by kind and outcome, and return how many did harm."""
    part = PARTS[name]
    chosen = {case: of for case, of in part.cases().items() if re.search(wanted, case)}
    table: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    bad, slowest, largest = 0, 0.0, 0
    with ThreadPoolExecutor(2) as pool:
        ends = tqdm(pool.map(lambda of: run_case(part, of[1]), chosen.values()), name, len(chosen), delay=5)
        for (case, (kind, of)), end in zip(chosen.items(), ends, strict=True):
            found = harm_of(part, end, of)
            table[kind][f"HARM ({end.kind})" if found else end.kind] += 1
            slowest, largest = max(slowest, end.seconds), max(largest, end.memory)
            if found:
                bad += 1
                say(f"HARM {case}: {found}\n    {end.said[-600:] if end.kind == 'traceback' else end.error[:300]}")
            elif verbose:
                say(f"{end.kind} {case}: {' '.join(end.error.split())[:300]}")
    for kind, counts in table.items():
        say(f"{name} | {kind:40} | {dict(counts)}")
    say(f"{name}: {len(chosen)} cases of {len(table)} kinds, {bad} did harm; slowest {slowest:.1f} s, most memory "
        f"{largest / 2**30:.2f} GiB")  # fmt: skip
    return bad


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--only", default="", help="pattern of the names of cases")
    parser.add_argument("--verbose", action="store_true", help="print how each case ended")
    given = parser.parse_args()
    sys.exit(int(sum(run(part, given.only, given.verbose, print) for part in given.parts) > 0))


if __name__ == "__main__":
    main()
