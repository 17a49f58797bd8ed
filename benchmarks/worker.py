"""The worker beside the bare pipeline in the same minutes: `make bench-worker`.

a: no-op tasks through one worker process, outcomes stored, beside bare nats-py doing the same. b: a thousand handlers of one second
at once. c: the worker's memory over a million no-op tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nats.aio.msg import Msg

from benchmarks._run import BODY, MACRO, middle, produce, rate
from benchmarks._stage import resident
from heddle import children
from heddle.broker.connect import connected
from heddle.broker.outbox import Outbox
from heddle.broker.server import embedded
from heddle.broker.streams import make_streams
from heddle.control.fleet import workers
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

ROUTED = "heddle.tasks.noop.local"
SLOW = (
    MACRO
    + '''
import asyncio

@macro(tier="local")
async def second(request: Nothing) -> Ok:
    """Take a second."""
    await asyncio.sleep(1)
    return Ok()
'''
)


def no_ops(rounds: int, count: int) -> None:
    """Print both rates and their ratio."""
    bare: list[float] = []
    ours: list[float] = []
    for turn in range(rounds):
        for role, figures in (("bare worker", bare), ("worker", ours)) if turn % 2 == 0 else (("worker", ours), ("bare worker", bare)):
            figures.append(rate([role], count, into=ROUTED))
    print(f"a. no-op tasks/s through one worker process over {rounds} rounds of {count}: least / median / greatest")
    print(f"   {'bare pipeline':<24} {middle(bare)}")
    print(f"   {'worker':<24} {middle(ours)}")
    print(f"   ratio worker : bare pipeline   {statistics.median(o / b for o, b in zip(ours, bare, strict=True)):.2f}   (to reach: 0.60)")


async def with_worker(count: int, body: bytes, subject: str, every: int) -> tuple[float, list[float]]:
    """Seconds from the first publish to the last of `count` outcomes, and the worker's memory in MB after each `every` of them."""
    with tempfile.TemporaryDirectory() as name, embedded() as server:
        folder = Path(name)
        (folder / "macros.py").write_text(SLOW)
        observer = Observer()
        async with connected(server.url, "benchmark", observer) as client:
            await make_streams(client, StreamSettings(outcomes_max_age=5, backlog_per_subject=2 * count), observer)
            argv = [sys.executable, "-m", "heddle", "run", "worker", "--child", "--macros", str(folder / "macros.py")]
            same = {"HEDDLE_STREAMS__OUTCOMES_MAX_AGE": "5", "HEDDLE_STREAMS__BACKLOG_PER_SUBJECT": str(2 * count)}
            child = children.start(
                [*argv, "--server", server.url, "--tiers", "local", "--log-level", "warning"], env={**os.environ, **same}
            )
            try:
                while not await workers(client):  # noqa: ASYNC110  # a bucket has no event to wait for
                    await asyncio.sleep(0.05)
                seen, memory, last = 0, [], asyncio.Event()

                async def on_seen(_: Msg) -> None:
                    nonlocal seen
                    seen += 1
                    if seen % every == 0:
                        memory.append(resident(child.pid))
                    if seen == count:
                        last.set()

                await client.subscribe("heddle.results.default", cb=on_seen, pending_msgs_limit=-1, pending_bytes_limit=-1)
                await client.flush()
                began = time.perf_counter()
                await produce(Outbox(client, observer), subject, count, body=body)
                await last.wait()
                return time.perf_counter() - began, memory
            finally:
                children.stop(child)


def concurrent(count: int) -> None:
    """Print how long a thousand handlers of a second take together."""
    body = BODY.replace(b'"worker_type":"noop"', b'"worker_type":"second"')
    took = [asyncio.run(with_worker(count, body, "heddle.tasks.second.local", count))[0] for _ in range(3)]
    print(f"b. {count} handlers of 1 s at once, s from the first publish to the last outcome: {' / '.join(f'{one:.2f}' for one in took)}")
    print("   (to reach: 1.5)")


def memory(count: int) -> None:
    """Print the worker's memory along the way."""
    took, seen = asyncio.run(with_worker(count, BODY, ROUTED, count // 10))
    print(
        f"c. worker's memory, MB, after each tenth of {count} no-op tasks ({count / took:.0f}/s): {' '.join(f'{one:.1f}' for one in seen)}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small version of everything")
    parser.add_argument("--only", default="abc", help="letters of the parts to run")
    given = parser.parse_args()
    quick: bool = given.quick
    parts: Mapping[str, Callable[[], None]] = {
        "a": lambda: no_ops(2 if quick else 7, 5_000 if quick else 20_000),
        "b": lambda: concurrent(1000),
        "c": lambda: memory(50_000 if quick else 1_000_000),
    }
    for letter, part in parts.items():
        if letter in given.only:
            part()


if __name__ == "__main__":
    main()
