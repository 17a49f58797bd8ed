"""The tools of the made-up company whose sessions the corpora hold: what each method takes and gives, by sorts of values."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Shape = Any
"""What a method gives: a sort's name, {field: shape}, [shape] for a list of some, or None."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a tool, such as `Forge.latest`: the sorts of its arguments, and the shape of its result."""

    name: str
    takes: Mapping[str, str]
    gives: Shape


def _methods(table: Mapping[str, tuple[Mapping[str, str], Shape]]) -> dict[str, Method]:
    return {name: Method(name, takes, gives) for name, (takes, gives) in table.items()}


METHODS: Final = _methods(
    {
        "Forge.latest": ({"repository": "repository", "count": "count"}, [{"id": "change", "title": "title", "author": "person"}]),
        "Forge.between": ({"repository": "repository", "since": "ref", "until": "ref"}, [{"id": "change", "title": "title"}]),
        "Forge.annotate": ({"repository": "repository", "change": "change", "note": "text"}, None),
        "Forge.open_request": ({"repository": "repository", "branch": "branch", "title": "text"}, {"number": "number", "url": "url"}),
        "Forge.merge": ({"repository": "repository", "number": "number"}, {"change": "change", "merged": "flag"}),
        "Forge.file": ({"repository": "repository", "path": "path", "ref": "ref"}, {"path": "path", "text": "text", "size": "size"}),
        "Tickets.find": ({"query": "text", "state": "state"}, [{"key": "ticket", "title": "title", "assignee": "person"}]),
        "Tickets.get": ({"key": "ticket"}, {"key": "ticket", "title": "title", "state": "state", "reporter": "email"}),
        "Tickets.create": ({"project": "project", "title": "text", "body": "text"}, {"key": "ticket", "url": "url"}),
        "Tickets.move": ({"key": "ticket", "state": "state"}, {"key": "ticket", "state": "state"}),
        "Tickets.comment": ({"key": "ticket", "body": "text"}, {"id": "number"}),
        "Mail.search": ({"sender": "email", "subject": "text"}, [{"id": "mail", "subject": "title", "sender": "email"}]),
        "Mail.read": ({"id": "mail"}, {"id": "mail", "subject": "title", "sender": "email", "body": "text"}),
        "Mail.send": ({"to": "email", "subject": "text", "body": "text"}, {"id": "mail"}),
        "Chat.post": ({"channel": "channel", "text": "text"}, {"ts": "stamp"}),
        "Chat.history": ({"channel": "channel", "count": "count"}, [{"ts": "stamp", "author": "person", "text": "text"}]),
        "Chat.react": ({"channel": "channel", "ts": "stamp", "emoji": "emoji"}, {"ok": "flag"}),
        "Builds.start": ({"repository": "repository", "branch": "branch"}, {"build": "build", "url": "url"}),
        "Builds.status": ({"build": "build"}, {"build": "build", "state": "outcome", "commit": "change"}),
        "Builds.artifacts": ({"build": "build"}, [{"name": "title", "path": "path", "size": "size"}]),
        "Files.list": ({"folder": "path"}, ["path"]),
        "Files.read": ({"path": "path"}, {"path": "path", "text": "text"}),
        "Files.write": ({"path": "path", "text": "text"}, {"path": "path", "bytes": "size"}),
        "Files.copy": ({"source": "path", "target": "path"}, {"path": "path"}),
        "Store.query": ({"table": "table", "where": "text", "limit": "count"}, [{"row": "row", "value": "amount"}]),
        "Store.insert": ({"table": "table", "value": "text"}, {"row": "row"}),
        "Store.update": ({"table": "table", "row": "row", "value": "text"}, None),
        "Calendar.free": ({"person": "email", "day": "day"}, [{"start": "moment", "end": "moment"}]),
        "Calendar.book": ({"person": "email", "start": "moment", "title": "text"}, {"event": "event", "url": "url"}),
        "Deploys.plan": ({"service": "service", "version": "version"}, {"plan": "plan", "steps": "count"}),
        "Deploys.apply": ({"plan": "plan", "environment": "environment"}, {"deploy": "deploy", "url": "url"}),
        "Deploys.watch": ({"deploy": "deploy"}, {"deploy": "deploy", "state": "outcome", "minutes": "count"}),
        "Metrics.read": ({"service": "service", "name": "metric", "window": "window"}, {"value": "amount", "unit": "unit"}),
        "Alerts.list": ({"service": "service"}, [{"alert": "alert", "severity": "severity", "title": "title"}]),
        "Alerts.silence": ({"alert": "alert", "hours": "count"}, {"until": "moment"}),
        "Sheets.append": ({"sheet": "sheet", "row": "text"}, {"range": "range"}),
        "Sheets.read": ({"sheet": "sheet", "range": "range"}, [{"cell": "range", "value": "amount"}]),
        "People.lookup": ({"name": "person"}, {"email": "email", "team": "team"}),
        "Invoices.get": ({"number": "invoice"}, {"number": "invoice", "customer": "customer", "total": "amount"}),
        "Invoices.remind": ({"number": "invoice", "to": "email"}, {"id": "mail"}),
        "Customers.find": ({"name": "customer"}, {"id": "row", "email": "email", "name": "customer"}),
    }
)

NOISE: Final = _methods(
    {
        "Web.search": ({"query": "text"}, [{"url": "url", "title": "title"}]),
        "Web.read": ({"url": "url"}, {"text": "text"}),
        "Shell.run": ({"command": "text"}, {"output": "text", "code": "count"}),
        "Notes.think": ({"text": "text"}, None),
        "Clock.now": ({}, {"now": "moment"}),
        "Memory.recall": ({"topic": "title"}, ["text"]),
    }
)

_WORDS: Final = [
    *("invoice", "rounding", "timeout", "cart", "totals", "retry", "login", "banner", "export", "weekly", "draft", "release", "rollback"),
    *("cache", "index", "quota", "latency", "queue", "import", "billing", "coupon", "refund", "signup", "webhook", "limit", "backup"),
    *("restore", "audit", "search", "ranking", "mobile", "layout"),
]
_PEOPLE: Final = ("Ada Lovelace", "Mei Chen", "Ravi Patel", "Tom Baker", "Ines Costa", "Olu Ade", "Kim Park", "Eva Novak", "Jan Smit")


def _hex(source: random.Random, digits: int) -> str:
    return f"{source.getrandbits(4 * digits):0{digits}x}"


def _words(source: random.Random, least: int, most: int) -> str:
    return " ".join(source.choice(_WORDS) for _ in range(source.randint(least, most)))


def _one_of(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda source: source.choice(choices)


SORTS: Final[Mapping[str, Callable[[random.Random], Any]]] = {
    "repository": _one_of(
        "acme/checkout", "acme/billing", "acme/web", "acme/infra", "acme/docs", "acme/mobile", "tools/loom", "tools/heald"
    ),
    "project": _one_of("CHK", "BIL", "WEB", "OPS"),
    "service": _one_of("checkout", "billing", "gateway", "search", "mailer"),
    "branch": lambda source: source.choice(("main", "develop", f"release-{source.randint(1, 30)}", f"fix/{_words(source, 1, 1)}")),
    "ref": lambda source: f"v{source.randint(0, 9)}.{source.randint(0, 30)}.{source.randint(0, 9)}",
    "version": lambda source: f"{source.randint(1, 9)}.{source.randint(0, 40)}.{source.randint(0, 9)}",
    "change": lambda source: _hex(source, 12),
    "ticket": lambda source: f"{source.choice(('CHK', 'BIL', 'WEB', 'OPS'))}-{source.randint(1, 4000)}",
    "mail": lambda source: f"m-{_hex(source, 10)}",
    "build": lambda source: f"b{source.randint(10_000, 99_999)}",
    "plan": lambda source: f"plan-{_hex(source, 8)}",
    "deploy": lambda source: f"d-{_hex(source, 8)}",
    "alert": lambda source: f"al-{source.randint(1000, 99_999)}",
    "event": lambda source: _hex(source, 16),
    "row": lambda source: source.randint(1, 900_000),
    "invoice": lambda source: f"INV-2026-{source.randint(1, 9999):04}",
    "customer": lambda source: f"{source.choice(_WORDS).title()} {source.choice(('Ltd', 'GmbH', 'BV', 'Inc'))}",
    "person": _one_of(*_PEOPLE),
    "email": lambda source: f"{source.choice(_PEOPLE).lower().replace(' ', '.')}@acme.example",
    "team": _one_of("payments", "platform", "growth"),
    "channel": _one_of("#releases", "#incidents", "#payments", "#platform", "#random"),
    "emoji": _one_of("eyes", "check", "rocket"),
    "state": _one_of("open", "in_progress", "review", "done"),
    "outcome": _one_of("passed", "failed", "running"),
    "severity": _one_of("low", "high", "critical"),
    "environment": _one_of("staging", "production", "canary"),
    "metric": _one_of("error_rate", "latency_p95", "saturation"),
    "window": _one_of("5m", "1h", "24h"),
    "unit": _one_of("percent", "ms"),
    "table": _one_of("orders", "refunds", "coupons", "sessions"),
    "sheet": lambda source: f"sheet_{_hex(source, 6)}",
    "range": lambda source: f"{source.choice('ABCDEF')}{source.randint(1, 400)}",
    "path": lambda source: (
        f"{source.choice(('src', 'data', 'docs', 'reports'))}/{source.choice(_WORDS)}/{source.choice(_WORDS)}.{source.choice(('csv', 'md', 'py'))}"
    ),
    "url": lambda source: f"https://{source.choice(('forge', 'tickets', 'deploy'))}.acme.example/{_hex(source, 7)}",
    "stamp": lambda source: f"{source.randint(1_700_000_000, 1_800_000_000)}.{source.randint(0, 999_999):06}",
    "moment": lambda source: f"2026-{source.randint(1, 12):02}-{source.randint(1, 28):02}T{source.randint(8, 17):02}:00:00Z",
    "day": lambda source: f"2026-{source.randint(1, 12):02}-{source.randint(1, 28):02}",
    "count": lambda source: source.randint(1, 20),
    "number": lambda source: source.randint(1, 3000),
    "size": lambda source: source.randint(1, 200_000),
    "amount": lambda source: round(source.uniform(0.5, 5000), 2),
    "flag": _one_of(True, False),
    "title": lambda source: _words(source, 2, 5).capitalize(),
    "text": lambda source: _words(source, 2, 9),
}
"""How a value of each sort is drawn. Some have a handful of values, which come up again and again by chance; others are new each time."""


def drawn(shape: Shape, source: random.Random, given: Mapping[str, Any]) -> Any:
    """A result of this shape; a field that is called like an argument of the call echoes it."""
    match shape:
        case None:
            return None
        case str():
            return SORTS[shape](source)
        case {}:
            return {name: given[name] if name in given else drawn(inner, source, {}) for name, inner in shape.items()}
        case [inner]:
            return [drawn(inner, source, {}) for _ in range(source.randint(1, 4))]
        case _:
            raise ValueError(f"no shape: {shape!r}")


def leaves(shape: Shape, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    """The paths to a result's values with their sorts; of a list the first element."""
    match shape:
        case str():
            return [(path, shape)]
        case {}:
            return [leaf for name, inner in shape.items() for leaf in leaves(inner, (*path, name))]
        case [inner]:
            return leaves(inner, (*path, 0))
        case _:
            return []
