"""The picture of the flow: where its boxes and lines are, and what stands in them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from heddle import subjects
from heddle.control.flow import Flow, Queue, Rates
from heddle.web.crew import Crew
from heddle.web.words import UNKNOWN, count, counted, rate

Tone = Literal["calm", "busy", "warn", "bad"]
Pace = Literal["still", "slow", "steady", "fast"]
MOST_QUEUES: Final = 5
"""Queues that the picture has room for; the table below it has all."""


@dataclass(frozen=True, slots=True)
class Box:
    """A station. `figure` is its number, `lines` what stands below it; `rows` are the queues in it."""

    key: str
    title: str
    href: str
    x: int
    y: int
    width: int
    height: int
    figure: str
    lines: tuple[str, ...] = ()
    tone: Tone = "calm"
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A queue in the box of queues; `share` is its part of the longest, from 0 to 1."""

    name: str
    tier: str
    waiting: str
    share: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class Line:
    """What goes from one station to another, with its rate beside it at (x, y)."""

    key: str
    path: str
    label: str
    x: int
    y: int
    anchor: Literal["start", "middle"]
    pace: Pace
    tone: Tone = "calm"


@dataclass(frozen=True, slots=True)
class Picture:
    """The whole, in a view box of `width` by `height`."""

    name: Literal["wide", "tall"]
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


_WIDE: Final = {
    "goals": (0, 24, 132, 96),
    "orchestrator": (204, 24, 150, 96),
    "router": (426, 24, 150, 96),
    "queues": (648, 8, 210, 180),
    "workers": (916, 24, 144, 96),
    "waiting": (426, 186, 150, 80),
    "dead": (648, 214, 210, 60),
    "outcomes": (916, 186, 144, 80),
}
_TALL: Final = {
    "goals": (0, 0, 156, 92),
    "orchestrator": (184, 0, 156, 92),
    "router": (184, 132, 156, 92),
    "waiting": (0, 132, 152, 92),
    "queues": (0, 264, 340, 170),
    "workers": (0, 474, 156, 80),
    "outcomes": (184, 474, 156, 80),
    "dead": (0, 586, 340, 60),
}


def pictures(flow: Flow, rates: Rates | None, crew: Crew | None) -> tuple[Picture, Picture]:
    """The picture for a wide page, and for a narrow one."""
    return _wide(flow, rates, crew), _tall(flow, rates, crew)


def _wide(flow: Flow, rates: Rates | None, crew: Crew | None) -> Picture:
    held: Pace = "slow" if flow[subjects.DEFER].messages else "still"
    lines = (
        _line("planned", "M132 72 H204", _per(rates, "goals"), 168, 62),
        _line("sent", "M354 72 H426", _per(rates, "incoming"), 390, 62),
        _line("routed", "M576 72 H648", _per(rates, "routed"), 612, 62),
        _line("taken", "M858 72 H916", _taken(rates), 887, 62),
        _line("ended", "M988 120 V186", _per(rates, "ended"), 998, 158, anchor="start"),
        _line("deferred", "M476 120 V186", pace=held),
        _line("due", "M526 186 V120", pace=held),
        _line("died", "M916 244 H858", _per(rates, "dead"), 887, 234, tone="bad"),
        _line("followed", "M988 266 V296 H279 V120", pace=_pace(rates.ended if rates else None)),
    )
    return Picture("wide", 1060, 304, _boxes(_WIDE, flow, crew), lines)


def _tall(flow: Flow, rates: Rates | None, crew: Crew | None) -> Picture:
    held: Pace = "slow" if flow[subjects.DEFER].messages else "still"
    lines = (
        _line("planned", "M156 46 H184", pace=_pace(rates.goals if rates else None)),
        _line("sent", "M262 92 V132", _per(rates, "incoming"), 272, 116, anchor="start"),
        _line("deferred", "M184 164 H152", pace=held),
        _line("due", "M152 192 H184", pace=held),
        _line("routed", "M262 224 V264", _per(rates, "routed"), 272, 248, anchor="start"),
        _line("taken", "M78 434 V474", _taken(rates), 88, 458, anchor="start"),
        _line("ended", "M156 514 H184", pace=_pace(rates.ended if rates else None)),
        _line("died", "M262 554 V586", _per(rates, "dead"), 272, 574, anchor="start", tone="bad"),
    )
    return Picture("tall", 340, 648, _boxes(_TALL, flow, crew), lines)


def _boxes(places: dict[str, tuple[int, int, int, int]], flow: Flow, crew: Crew | None) -> tuple[Box, ...]:
    queues = busiest(flow.queues)
    waiting = sum(queue.waiting for queue in flow.queues)
    taken = sum(queue.taken for queue in flow.queues)
    held, dead = flow[subjects.DEFER].messages, flow[subjects.DEAD].messages
    routers = len(crew.routers) if crew else None
    workers = len(crew.workers) if crew else None
    planners = len(crew.orchestrators) if crew else None
    drift = crew is not None and len(crew.digests) > 1
    rules = "rules disagree" if drift else f"rules {crew.digests[0]}" if crew and crew.digests else "no rules"
    incoming = flow[subjects.INCOMING].messages
    return (
        Box("goals", "Goals", "/goals", *places["goals"], count(flow[subjects.GOALS].messages), ("waiting",)),
        Box(
            "orchestrator",
            "Orchestrator",
            "/workers#orchestrators",
            *places["orchestrator"],
            count(flow.planning),
            ("being planned", _number_of(planners, "replica")),
            _tone(planners == 0 and flow[subjects.GOALS].messages, "bad"),
        ),
        Box(
            "router",
            "Router",
            "/rules",
            *places["router"],
            count(incoming),
            (f"incoming · {_number_of(routers, 'replica')}", rules),
            "bad" if routers == 0 or drift else "calm",
        ),
        Box("waiting", "Held back", "/workers#tiers", *places["waiting"], count(held), ("for a token or a retry",), _tone(held, "warn")),
        Box(
            "queues",
            f"Queues, the {MOST_QUEUES} longest" if len(flow.queues) > MOST_QUEUES else "Queues",
            "/workers#queues",
            *places["queues"],
            count(waiting),
            rows=_rows(queues, crew),
        ),
        Box(
            "workers",
            "Workers",
            "/workers",
            *places["workers"],
            count(taken),
            (f"in hand · {_number_of(workers, 'worker')}",),
            _tone(workers == 0, "bad"),
        ),
        Box("outcomes", "Outcomes", "/goals", *places["outcomes"], count(flow[subjects.OUTCOMES].messages), ("kept",)),
        Box("dead", "Dead letters", "/dead", *places["dead"], count(dead), (), _tone(dead, "bad")),
    )


def busiest(queues: Sequence[Queue]) -> list[Queue]:
    """The queues that the picture shows: the longest first, then those in hand, then by name."""
    return sorted(queues, key=lambda queue: (-queue.waiting, -queue.taken, queue.worker_type, queue.tier))[:MOST_QUEUES]


def _rows(queues: Sequence[Queue], crew: Crew | None) -> tuple[Row, ...]:
    longest = max((queue.waiting for queue in queues), default=0) or 1
    return tuple(
        Row(
            queue.worker_type,
            queue.tier,
            count(queue.waiting),
            queue.waiting / longest,
            _tone_of(queue, crew),
        )
        for queue in queues
    )


def _tone_of(queue: Queue, crew: Crew | None) -> Tone:
    if queue.waiting and crew is not None and not crew.serving(queue.worker_type, queue.tier):
        return "bad"
    return "busy" if queue.waiting or queue.taken else "calm"


def _tone(is_so: object, tone: Tone) -> Tone:
    return tone if is_so else "calm"


def _number_of(number: int | None, noun: str) -> str:
    return f"{UNKNOWN} {noun}s" if number is None else counted(number, noun)


def _per(rates: Rates | None, name: str) -> float | None:
    return None if rates is None else float(getattr(rates, name))


def _taken(rates: Rates | None) -> float | None:
    return None if rates is None else sum(rates.taken.values())


def _pace(per_second: float | None) -> Pace:
    match per_second:
        case None | 0:
            return "still"
        case slow if slow < 5:
            return "slow"
        case steady if steady < 100:
            return "steady"
        case _:
            return "fast"


def _line(
    key: str,
    path: str,
    per_second: float | None = None,
    x: int = 0,
    y: int = 0,
    *,
    anchor: Literal["start", "middle"] = "middle",
    pace: Pace | None = None,
    tone: Tone = "calm",
) -> Line:
    label = f"{rate(per_second)}/s" if pace is None else ""
    return Line(key, path, label, x, y, anchor, _pace(per_second) if pace is None else pace, tone)


def curve(values: Sequence[float], width: int, height: int, most: int) -> str:
    """The points of a curve of up to `most` values, the newest at the right edge; its highest value touches the top."""
    top = max([*values, 1e-9])
    step = width / max(1, most - 1)
    left = width - step * (len(values) - 1)
    return " ".join(f"{left + at * step:.1f},{height - 1 - value / top * (height - 2):.1f}" for at, value in enumerate(values))
