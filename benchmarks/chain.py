"""The whole way, router and worker, beside the bare floors in the same minutes: `make bench-chain`.

Roles are processes of their own; a round measures each contestant once, in turn, so that a noisy machine troubles all alike.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks._run import middle, rate

CONTESTANTS = {
    "bare pipeline (producer, worker)": (["bare worker"], "heddle.tasks.noop.local"),
    "bare chain (producer, relay, worker)": (["bare relay", "bare worker"], "heddle.tasks.incoming"),
    "heddle worker (producer, worker)": (["worker"], "heddle.tasks.noop.local"),
    "heddle chain (producer, router, worker)": (["router", "worker"], "heddle.tasks.incoming"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(given.rounds):
        for name, (roles, into) in CONTESTANTS.items():
            figures[name].append(rate(roles, given.tasks, into=into, seen_on="heddle.results.default"))
    print(f"tasks/s over {given.rounds} rounds of {given.tasks} tasks of 478 bytes: least / median / greatest")
    for name, values in figures.items():
        print(f"  {name:<42} {middle(values)}")
    pipeline, chain, worker, whole = figures.values()
    for what, ours, floor in (
        ("chain : bare pipeline", whole, pipeline),
        ("chain : bare chain", whole, chain),
        ("worker : bare pipeline", worker, pipeline),
    ):
        print(f"  ratio {what:<36} {statistics.median([one / other for one, other in zip(ours, floor, strict=True)]):.2f}")


if __name__ == "__main__":
    main()
