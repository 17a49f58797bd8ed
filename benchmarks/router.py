"""The router beside the bare raw-window relay, on the same streams, storage and ids, in the same minutes: `make bench-router`.

A machine that others use is noisy: every contestant has its turn in every round, figures are medians, and what is measured
inside one process is told as a multiple of `json.loads` of the same bytes too (3.6 µs on a quiet machine, NATS.md).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from benchmarks._run import RULES, middle
from benchmarks._stage import ROUTED, TASK, Stage, cpu_seconds, ratio, resident, stage, until
from heddle import events, subjects
from heddle.broker.connect import connected, js_api
from heddle.broker.streams import make_streams
from heddle.envelope import decode_envelope
from heddle.messages import TaskMessage, decode
from heddle.router.buckets import Bucket
from heddle.router.decide import Dispatch, decide
from heddle.router.reading import parse_rules
from heddle.router.rules import Rules
from heddle.router.serving import routing
from heddle.settings import RouterSettings, StreamSettings
from heddle.splice import routed_body
from heddle.telemetry.observer import Observer

NUMBER = re.compile(rb'"task_id":"goal-01-(\d+)"')
DEFERRED_RULES = RULES.replace("{local: {}}", "{local: {}, slow: {rate: 1/h, burst: 1, max_wait: 1h}}") + "  waiter: {tier: slow}\n"


# --- a: decode, decide, and the outgoing bytes, in this process


def rules_of(types: int = 50, override: str = "", routes: Sequence[str] = ()) -> Rules:
    """Rules with so many worker types, `noop` among them, and these routes."""
    names = "".join(f"  type_{number}: {{}}\n" for number in range(types - 1))
    text = "version: 1\ntiers:\n  local: {rate: 1000000/s, burst: 1000000}\n  standard: {rate: 1000000/s, burst: 1000000}\n  frontier: {}\n"
    text += f"worker_types:\n{names}  noop: {{{override}}}\n"
    return parse_rules(text + ("routes:\n" + "".join(f"  - {{when: {{{when}}}, tier: local}}\n" for when in routes) if routes else ""))


def conditions(count: int, *, metadata: bool) -> list[str]:
    """So many conditions, of which only the last holds: mixed, or every one of them about metadata."""
    mixed = [
        'worker_type: "type_1*"',
        "priority: critical",
        "tier: frontier, priority: [low, high]",
        'worker_type: ["type_2", "type_3?"], metadata: {team: weaving}',
        'worker_type: "no*", metadata: {team: "other-%d*"}',
    ]
    kinds = ['metadata: {team: "other-%d*"}'] if metadata else mixed
    return [kinds[n % len(kinds)].replace("%d", str(n)) for n in range(count - 1)] + ['worker_type: noop, metadata: {team: "weav*"}']


def routed_by(rules: Rules, tier: str, read: Callable[[bytes], Any]) -> Callable[[bytes], bytes]:
    """What the router does with one task between taking it and publishing it."""
    buckets: dict[str, Bucket] = {}
    lines: dict[tuple[str, str], float] = {}

    def route(body: bytes) -> bytes:
        task = read(body)
        decision = decide(task, rules, buckets, time.time(), size=len(body), lines=lines)
        assert type(decision) is Dispatch  # noqa: S101  # the benchmark's own rules
        if decision.bucket is not None:
            buckets[decision.tier] = decision.bucket
        return routed_body(body, task, task.task_id or "made", decision.tier)

    assert json.loads(route(TASK % 0))["model_tier"] == tier  # noqa: S101
    return route


def in_process(repeats: int) -> None:
    """Print µs per task and the ratio to json.loads."""
    bodies = [TASK % number for number in range(500)]

    def fully(body: bytes) -> TaskMessage:
        return decode(TaskMessage, body)

    lean: Callable[[bytes], Any] = decode_envelope
    many = rules_of(5000)
    contestants: dict[str, Callable[[bytes], Any]] = {
        "json.loads": json.loads,
        "decode, full": fully,
        "decode, lean": lean,
        "pass-through, 50 types": routed_by(rules_of(), "local", lean),
        "tier override, 50 types": routed_by(rules_of(override="tier: standard"), "standard", lean),
        "pass-through, 50 types, full decode": routed_by(rules_of(), "local", fully),
        "pass-through, 5,000 types": routed_by(many, "local", lean),
        "5 routes, mixed": routed_by(rules_of(routes=conditions(5, metadata=False)), "local", lean),
        "200 routes, mixed": routed_by(rules_of(routes=conditions(200, metadata=False)), "local", lean),
        "5 routes, all on metadata": routed_by(rules_of(routes=conditions(5, metadata=True)), "local", lean),
        "200 routes, all on metadata": routed_by(rules_of(routes=conditions(200, metadata=True)), "local", lean),
    }
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, work in contestants.items():
            took = timeit.timeit(lambda work=work: [work(body) for body in bodies], number=1) / len(bodies) * 1e6  # type: ignore[misc]
            if turn:  # the first is the warm-up
                figures[name].append(took)
    ruler = figures["json.loads"]
    print(
        f"a. decode + decide + outgoing bytes, µs per task of {len(bodies[0])} bytes; {repeats} repeats of {len(bodies)}: least / median; x json.loads"
    )
    for name, values in figures.items():
        print(f"   {name:<38} {min(values):6.2f} / {statistics.median(values):6.2f}   x {ratio(values, ruler):.2f}")
    for told, one, other in (
        ("5,000 types : 50 types", "pass-through, 5,000 types", "pass-through, 50 types"),
        ("200 routes : 5 routes, mixed", "200 routes, mixed", "5 routes, mixed"),
        ("200 routes : 5 routes, all on metadata", "200 routes, all on metadata", "5 routes, all on metadata"),
    ):
        print(f"   ratio {told:<40} {ratio(figures[one], figures[other]):.2f}")


# --- b: the rate


class Rate(NamedTuple):
    """How fast a role was, and how much work it had."""

    per_second: float
    cpu_us: float


async def relay_rate(role: str, count: int) -> Rate:
    """How a role moves tasks from a filled HEDDLE_INCOMING to HEDDLE_TASKS; the first tenth is the warm-up."""
    async with stage() as on:
        await on.fill(count)
        pid = on.start(role, 2 * count)  # it is stopped, and does not end by itself
        await until(lambda: _at_least(on, count // 10))
        began, worked, at_first = time.perf_counter(), cpu_seconds(pid), await on.stored(subjects.TASKS)
        await until(lambda: _at_least(on, count))
        moved = count - at_first
        return Rate(moved / (time.perf_counter() - began), (cpu_seconds(pid) - worked) / moved * 1e6)


async def _at_least(on: Stage, count: int) -> bool:
    return await on.stored(subjects.TASKS) >= count


def rates(rounds: int, count: int) -> None:
    """Print both rates, the CPU time behind them, and their ratios."""
    bare: list[Rate] = []
    ours: list[Rate] = []
    for turn in range(rounds):
        for role, figures in (("bare relay", bare), ("router", ours)) if turn % 2 == 0 else (("router", ours), ("bare relay", bare)):
            figures.append(asyncio.run(relay_rate(role, count)))
    print(
        f"b. one replica, tasks/s over {rounds} rounds of {count} waiting tasks: least / median / greatest; its own CPU µs per task, median"
    )
    for name, seen in (("bare relay", bare), ("router", ours)):
        print(f"   {name:<24} {middle([one.per_second for one in seen]):<24} {statistics.median([one.cpu_us for one in seen]):.1f}")
    print(
        f"   ratio router : bare relay          {ratio([o.per_second for o in ours], [o.per_second for o in bare]):.2f}   (to reach: 0.80)"
    )
    print(f"   ratio of CPU, bare relay : router  {ratio([o.cpu_us for o in bare], [o.cpu_us for o in ours]):.2f}")


# --- c: the latency


async def latencies(on: Stage, count: int, first: int, rate: float = 200.0) -> list[float]:
    """Milliseconds from a publish on heddle.tasks.incoming to the arrival on `ROUTED`, task by task at this rate."""
    sent: dict[int, float] = {}
    took: dict[int, float] = {}
    complete = asyncio.Event()

    async def on_arrival(message: Msg) -> None:
        now = time.perf_counter()
        found = NUMBER.search(message.data)
        number = int(found[1]) if found else -1
        if number in sent and number not in took:
            took[number] = (now - sent[number]) * 1e3
            if len(took) == count:
                complete.set()

    subscription = await on.client.subscribe(ROUTED, cb=on_arrival)
    await on.client.flush()
    began = time.perf_counter()
    for turn in range(count):
        await asyncio.sleep(max(0.0, began + turn / rate - time.perf_counter()))
        sent[first + turn] = time.perf_counter()
        await on.client.publish(subjects.TASKS_INCOMING, TASK % (first + turn))
    async with asyncio.timeout(60):
        await complete.wait()
    await subscription.unsubscribe()
    return sorted(took.values())


async def latency_of(role: str, count: int) -> list[float]:
    """The same with a role on a fresh server, warmed up."""
    async with stage() as on:
        on.start(role)
        await latencies(on, 200, 10**7)
        return await latencies(on, count, 0)


def spread(values: Sequence[float]) -> str:
    """Median and 99th percentile."""
    return f"{statistics.median(values):.2f} / {sorted(values)[int(len(values) * 0.99)]:.2f}"


def added_latency(rounds: int, count: int) -> None:
    """Print both latencies, and what the router adds."""
    bare: list[list[float]] = []
    ours: list[list[float]] = []
    for turn in range(rounds):
        for role, figures in (("bare relay", bare), ("router", ours)) if turn % 2 == 0 else (("router", ours), ("bare relay", bare)):
            figures.append(asyncio.run(latency_of(role, count)))
    added = [statistics.median(one) - statistics.median(other) for one, other in zip(ours, bare, strict=True)]
    print(f"c. publish to arrival at 200 tasks/s, ms, {rounds} rounds of {count}: median / p99")
    print(f"   {'bare relay':<24} {spread([value for figures in bare for value in figures])}")
    print(f"   {'router':<24} {spread([value for figures in ours for value in figures])}")
    print(f"   added, median of rounds            {statistics.median(added):.2f} ms   (to reach: 0.30)")


# --- d: a hundred thousand waiting for another tier


@dataclass(frozen=True, slots=True)
class Waited:
    """What was seen of one round."""

    none_waiting: list[float]
    many_waiting: list[float]
    router_before: float
    router_after: float
    server_before: float
    server_after: float
    deferred: int
    took: float
    missing: int


async def waiting(count: int, samples: int) -> Waited:
    """Latency of one tier before and while `count` tasks wait for another, and the memory that they cost."""
    async with stage(DEFERRED_RULES) as on:
        router = on.start("router")
        await latencies(on, 300, 10**7)
        none_waiting = await latencies(on, samples, 0)
        memory = resident(router), resident(on.server_pid)
        began = time.perf_counter()
        await on.fill(count, body=TASK.replace(b'"noop"', b'"waiter"'), message_id="w%d")

        async def all_taken() -> bool:
            return await on.stored(subjects.INCOMING) == 0

        await until(all_taken, 300)
        took = time.perf_counter() - began
        many_waiting = await latencies(on, samples, 10**6)
        deferred = await on.stored(subjects.DEFER)
        passed = (await js_api(on.client, f"STREAM.INFO.{subjects.TASKS}", {"subjects_filter": "heddle.tasks.waiter.slow"}))["state"]
        missing = count - deferred - (passed.get("subjects") or {}).get("heddle.tasks.waiter.slow", 0)
        return Waited(none_waiting, many_waiting, memory[0], resident(router), memory[1], resident(on.server_pid), deferred, took, missing)


def many_waiting(rounds: int, count: int, samples: int) -> None:
    """Print what the waiting ones cost the others."""
    seen = [asyncio.run(waiting(count, samples)) for _ in range(rounds)]
    added = [statistics.median(one.many_waiting) - statistics.median(one.none_waiting) for one in seen]
    print(f"d. {count} tasks waiting for one tier, another tier at 200 tasks/s, ms, {rounds} rounds of {samples}: median / p99")
    print(f"   {'none waiting':<24} {spread([value for one in seen for value in one.none_waiting])}")
    print(f"   {'all waiting':<24} {spread([value for one in seen for value in one.many_waiting])}")
    print(f"   added, median of rounds            {statistics.median(added):.2f} ms   (to reach: below 1)")
    for one in seen:
        print(
            f"   deferred {one.deferred} in {one.took:.1f} s, {one.missing} missing; router {one.router_before:.0f} -> {one.router_after:.0f} MB, "
            f"server {one.server_before:.0f} -> {one.server_after:.0f} MB"
        )


# --- e: what a duplicate window costs the server


async def remembering(stream: str, into: str, window: float, count: int) -> tuple[float, float]:
    """Ids per second that a stream took, and the server's memory afterwards in MB; the messages themselves are purged on the way."""
    async with stage() as on:
        config = (await js_api(on.client, f"STREAM.INFO.{stream}"))["config"]
        await js_api(on.client, f"STREAM.UPDATE.{stream}", config | {"duplicate_window": int(window * 1e9)})
        began = time.perf_counter()
        for part in range(0, count, 25_000):
            await on.fill(
                min(25_000, count - part), into=into, body=b"%d", message_id=f"HEDDLE_INCOMING.1795000000000000.{part + 10**6}%d.route"
            )
            await js_api(on.client, f"STREAM.PURGE.{stream}")
        took = time.perf_counter() - began
        await asyncio.sleep(3)
        return count / took, resident(on.server_pid)


def duplicate_windows(count: int, windows: Sequence[float]) -> None:
    """Print a table of windows and the server's memory."""
    print(f"e. server memory against duplicate_window: {count} message ids, as the router makes them, into one stream; the messages purged")
    print("   stream            window      ids/s   ids kept   server MB   bytes per id kept   at 15,000 tasks/s the full window costs")
    for stream, into in ((subjects.INCOMING, subjects.TASKS_INCOMING), (subjects.TASKS, ROUTED)):
        least: tuple[float, float] | None = None
        for window in windows:
            rate, memory = asyncio.run(remembering(stream, into, window, count))
            kept = min(float(count), rate * window)
            line = f"   {stream:<17} {window:>4g} s {rate:>10.0f} {kept:>10.0f} {memory:>11.0f}"
            least = least or (kept, memory)
            if kept > least[0]:
                each = (memory - least[1]) * 1e6 / (kept - least[0])
                line += f" {each:>19.0f} {each * 15_000 * window / 1e6:>24.0f} MB"
            print(line)


# --- f: what the audit costs

PHASE = 0.6
SETTLE = 0.3
"""Seconds that each way is looked at, and that are left out after a change, for the last notes to be published."""


async def audited_by_turns(count: int) -> tuple[list[Rate], list[Rate]]:
    """A router in this process that drains a full queue, with its audit and without, by turns."""
    audited: list[Rate] = []
    plain: list[Rate] = []
    async with stage() as on:
        await on.fill(count)
        rules, observer = parse_rules(RULES), Observer()
        async with connected(on.url, "router", observer) as client:
            streams = await make_streams(client, StreamSettings(), observer)
            async with routing(client, streams, rules, RouterSettings(), observer, "r1") as router:
                audit = router.audit
                for turn in itertools.count():
                    router.audit = None if turn % 2 else audit
                    await js_api(on.client, f"STREAM.PURGE.{subjects.TASKS}")
                    await asyncio.sleep(SETTLE)
                    before, worked, began = observer.total(events.TASKS_ROUTED), time.process_time(), time.perf_counter()
                    await asyncio.sleep(PHASE)
                    routed = observer.total(events.TASKS_ROUTED)
                    if routed == count:
                        break
                    took, moved = time.perf_counter() - began, routed - before
                    (plain if turn % 2 else audited).append(Rate(moved / took, (time.process_time() - worked) / moved * 1e6))
                router.audit = audit
    return audited, plain


def audit_cost(rounds: int, count: int) -> None:
    """Print the CPU per task with the audit and without."""
    audited: list[Rate] = []
    plain: list[Rate] = []
    for _ in range(rounds):
        with_it, without = asyncio.run(audited_by_turns(count))
        pairs = min(len(with_it), len(without))
        audited, plain = audited + with_it[:pairs], plain + without[:pairs]
    print(
        f"f. one router with and without its audit by turns, {len(plain)} turns of {PHASE} s: CPU µs per task: least / lower quarter / median"
    )
    for name, seen in (("with", audited), ("without", plain)):
        cpu = sorted(one.cpu_us for one in seen)
        print(f"   {name:<24} {cpu[0]:.1f} / {cpu[len(cpu) // 4]:.1f} / {statistics.median(cpu):.1f}")
    print(f"   ratio of CPU, with : without       {ratio([o.cpu_us for o in audited], [o.cpu_us for o in plain]):.2f}   (to reach: 1.05)")
    print(
        f"   ratio of the rate                  {ratio([o.per_second for o in audited], [o.per_second for o in plain]):.2f}   (to reach: 0.95)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small version of everything, in less than a minute")
    parser.add_argument("--only", default="abcdef", help="letters of the parts to run")
    given = parser.parse_args()
    quick: bool = given.quick
    parts: Mapping[str, Callable[[], None]] = {
        "a": lambda: in_process(7 if quick else 41),
        "b": lambda: rates(2 if quick else 7, 12_000 if quick else 60_000),
        "c": lambda: added_latency(1 if quick else 5, 300 if quick else 1000),
        "d": lambda: many_waiting(1 if quick else 3, 5_000 if quick else 100_000, 300 if quick else 1000),
        "e": lambda: duplicate_windows(50_000 if quick else 600_000, (0.5, 600) if quick else (0.5, 10, 120, 600)),
        "f": lambda: audit_cost(1 if quick else 12, 90_000 if quick else 200_000),
    }
    for letter, part in parts.items():
        if letter in given.only:
            part()


if __name__ == "__main__":
    main()
