"""The gate's scan of 100,000 events in 1,000 sessions: `make bench-gate`.

The log is made as the tests make theirs (tests/gate/corpus.py), from twenty workflows, and written to a file; the scan is
`heddle gate scan` in a process of its own, reading and all. Told are the seconds from its start to its end, those of CPU, and its greatest memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from tests.gate.corpus import Shape, made

MOST: Mapping[Shape, int] = {"chains": 59, "fans": 46}
"""Workflows that a session goes through at most: 1,000 sessions then have about 100,000 events."""
GOAL_LETTERS = 160
"""A session's goal is cut to this: one of twenty workflows in a row would have a page."""


def write_log(file: Path, shape: Shape, sessions: int, events: int) -> int:
    """Write a log of so many events; the number that it has."""
    count = 0
    with file.open("wb") as log:
        for session in made(shape, 1, sessions=sessions, most=MOST[shape]).sessions:
            for event in session:
                if count < events:
                    log.write(json.dumps({**event, "goal": event["goal"][:GOAL_LETTERS]}, ensure_ascii=False).encode() + b"\n")
                    count += 1
    return count


def measured(file: Path, folder: Path) -> tuple[float, float, str]:
    """The seconds that a scan takes, those of CPU, and what it looked at."""
    began, used_before = time.perf_counter(), _cpu()
    argv = [sys.executable, "-m", "heddle", "gate", "scan", str(file), "-o", "json"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    took, used = time.perf_counter() - began, _cpu() - used_before
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    report = json.loads(done.stdout)
    return took, used, f"{len(report['sequences'])} sequences in {report['events']} events of {report['sessions']} sessions"


def _cpu() -> float:
    """Seconds of CPU that all scans took so far."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _spread(seconds: list[float]) -> str:
    return f"least / median / greatest: {min(seconds):.1f} / {statistics.median(seconds):.1f} / {max(seconds):.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    part = 10 if given.quick else 1
    for shape in get_args(Shape):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            count = write_log(folder / "log.jsonl", shape, 1000 // part, 100_000 // part)
            size = (folder / "log.jsonl").stat().st_size / 1e6
            rounds = [measured(folder / "log.jsonl", folder) for _ in range(given.rounds)]
            print(f"{shape}: {count} events, {size:.0f} MB; {rounds[0][2]}")
            print(f"   s, {_spread([one[0] for one in rounds])}   (to reach: 10)")
            print(f"   s of CPU, {_spread([one[1] for one in rounds])}")
    print(f"   greatest memory of all scans: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB   (to reach: 500)")


if __name__ == "__main__":
    main()
