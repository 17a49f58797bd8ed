"""The router's rules: a YAML text becomes a value, or every problem it has, each with its line.

The text is read as YAML nodes, not as Python values, because a node knows its line and column.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Literal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from heddle.errors import Problem, RulesError
from heddle.messages import PRIORITIES, Priority, is_name
from heddle.router.buckets import kept_back

Scope = Literal["replica", "cluster"]

DEFAULT_RESERVE: Final[Mapping[str, float]] = MappingProxyType({"low": 0.5, "normal": 0.25, "high": 0.1})
DEFAULT_MAX_PAYLOAD: Final = 256 * 1024
DEFAULT_MAX_HOPS: Final = 8


@dataclass(frozen=True, slots=True)
class Tier:
    """Where tasks run, and how fast they may get there.

    Attributes:
        rate: tokens per second; None for no limit.
        burst: tokens at most.
        max_wait: seconds a task may wait for a token before it is dead-lettered as `rate_limited`.
        kept: per priority, the tokens that a task of that priority must leave in the bucket.
    """

    name: str
    rate: float | None
    burst: int
    max_wait: float
    scope: Scope
    kept: Mapping[str, int]
    line: int


@dataclass(frozen=True, slots=True)
class WorkerType:
    """A worker type that may be routed; `tier` overrides the tier that a task names."""

    name: str
    tier: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Route:
    """An ordered rule; every condition must hold. Globs as in fnmatch; a metadata value of "*" only asks for the key."""

    number: int
    tier: str
    line: int
    worker_type: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    def fits(self, worker_type: str, priority: str, asked: str) -> bool:
        """Do the conditions hold that do not look into metadata?"""
        return (
            (not self.priority or priority in self.priority)
            and (not self.asked or asked in self.asked)
            and (not self.worker_type or any(fnmatchcase(worker_type, glob) for glob in self.worker_type))
        )

    def fits_metadata(self, metadata: Mapping[str, Any]) -> bool:
        """Do the conditions on metadata hold?"""
        return all(key in metadata and (glob == "*" or fnmatchcase(_as_text(metadata[key]), glob)) for key, glob in self.metadata)


@dataclass(frozen=True, slots=True)
class Limits:
    """What no task may exceed: bytes of the whole body, and passes through `heddle.tasks.incoming`."""

    max_payload: int = DEFAULT_MAX_PAYLOAD
    max_hops: int = DEFAULT_MAX_HOPS


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules; `digest` names the exact text they were read from."""

    tiers: Mapping[str, Tier]
    worker_types: Mapping[str, WorkerType]
    routes: tuple[Route, ...]
    limits: Limits
    digest: str
    _candidates: dict[tuple[str, str, str], tuple[Route, ...]] = field(default_factory=dict, compare=False, repr=False)

    def candidates(self, worker_type: str, priority: str, asked: str) -> tuple[Route, ...]:
        """The routes that a task may take, depending on nothing but its metadata; in order, none after one that asks for none.

        Remembered for declared types and tiers, whose number is bounded by the rules themselves.
        """
        key = (worker_type, priority, asked)
        known = self._candidates.get(key)
        if known is None:
            known = tuple(_until_unconditional(route for route in self.routes if route.fits(*key)))
            if asked in self.tiers and worker_type in self.worker_types:
                self._candidates[key] = known
        return known


def _until_unconditional(routes: Iterable[Route]) -> Iterator[Route]:
    for route in routes:
        yield route
        if not route.metadata:
            return


def digest_of(text: str) -> str:
    """The name of a rules text: the first 12 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_rules(text: str, source: str = "rules") -> Rules:
    """Read a rules text.

    Args:
        text: YAML as in configs/router_rules.yaml.
        source: how to name it in errors, such as its path.

    Raises:
        RulesError: it cannot be used; every problem at once, each with line, column and path.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise RulesError(
            source, (Problem(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", f"not YAML: {told}"),)
        ) from None
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise RulesError(source, (Problem(1, 1, "", f"not YAML: {error}"),)) from None
    reader = _Reader()
    rules = reader.rules(root, digest_of(text))
    if reader.problems:
        raise RulesError(source, tuple(sorted(reader.problems, key=lambda problem: (problem.line, problem.column))))
    return rules


class _Reader:
    """Walks the nodes of a rules text, collecting problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def rules(self, root: Node | None, digest: str) -> Rules:
        if root is None:
            self.problems.append(Problem(1, 1, "", "the file is empty; it needs `version: 1`, `tiers:` and `worker_types:`"))
            return Rules({}, {}, (), Limits(), digest)
        parts = self.mapping(
            root, "", ("version", "tiers", "worker_types", "routes", "limits"), required=("version", "tiers", "worker_types")
        )
        if (version := parts.get("version")) is not None and self.text(version, "version") not in ("1", None):
            self.problem(version, "version", f"{self._value(version)} is unknown to this heddle; it reads version 1")
        tiers = {name: self.tier(name, key, node) for name, (key, node) in self.named(parts.get("tiers"), "tiers").items()}
        types = {
            name: self.worker_type(name, key, node, tiers)
            for name, (key, node) in self.named(parts.get("worker_types"), "worker_types").items()
        }
        routes = tuple(
            self.route(number, node, tiers, types) for number, node in enumerate(self.sequence(parts.get("routes"), "routes"), 1)
        )
        return Rules(MappingProxyType(tiers), MappingProxyType(types), routes, self.limits(parts.get("limits")), digest)

    def tier(self, name: str, key: Node, node: Node) -> Tier:
        path = f"tiers.{name}"
        parts = self.mapping(node, path, ("rate", "burst", "max_wait", "scope", "reserve"))
        rate = self.value(parts, "rate", path, parse_rate, None)
        if "burst" in parts and "rate" not in parts:
            self.problem(parts["burst"], f"{path}.burst", "a burst needs a `rate`")
        burst = self.value(parts, "burst", path, _positive_int, max(1, int(rate or 1)))
        scope = self.word(parts.get("scope"), f"{path}.scope", ("replica", "cluster")) or "replica"
        reserve = dict(DEFAULT_RESERVE)
        for priority, share in self.mapping(parts.get("reserve"), f"{path}.reserve", ("low", "normal", "high")).items():
            reserve[priority] = self.scalar(share, f"{path}.reserve.{priority}", _share, reserve[priority])
        kept: dict[str, int] = {priority: kept_back(reserve.get(priority, 0.0), burst) for priority in PRIORITIES}
        return Tier(
            name=name,
            rate=rate,
            burst=burst,
            max_wait=self.value(parts, "max_wait", path, parse_duration, 0.0),
            scope="cluster" if scope == "cluster" else "replica",
            kept=MappingProxyType(kept),
            line=_line(key),
        )

    def worker_type(self, name: str, key: Node, node: Node, tiers: Mapping[str, Tier]) -> WorkerType:
        parts = self.mapping(node, f"worker_types.{name}", ("tier",))
        return WorkerType(name, self.word(parts.get("tier"), f"worker_types.{name}.tier", tiers), _line(key))

    def route(self, number: int, node: Node, tiers: Mapping[str, Tier], types: Mapping[str, WorkerType]) -> Route:
        path = f"routes[{number}]"
        parts = self.mapping(node, path, ("when", "tier"), required=("when", "tier"))
        when = self.mapping(parts.get("when"), f"{path}.when", ("worker_type", "priority", "metadata", "tier"))
        globs = tuple(self.texts(when.get("worker_type"), f"{path}.when.worker_type"))
        for glob in globs:
            if types and not any(fnmatchcase(name, glob) for name in types):
                self.problem(when["worker_type"], f"{path}.when.worker_type", f"{glob!r} matches no worker type{_nearest(glob, types)}")
        metadata = self.mapping(when.get("metadata"), f"{path}.when.metadata", None)
        return Route(
            number=number,
            tier=self.word(parts.get("tier"), f"{path}.tier", tiers) or "",
            line=_line(node),
            worker_type=globs,
            priority=tuple(self.words(when.get("priority"), f"{path}.when.priority", PRIORITIES)),
            asked=tuple(self.words(when.get("tier"), f"{path}.when.tier", tiers)),
            metadata=tuple((key, self.text(value, f"{path}.when.metadata.{key}") or "") for key, value in metadata.items()),
        )

    def limits(self, node: Node | None) -> Limits:
        parts = self.mapping(node, "limits", ("max_payload", "max_hops"))
        return Limits(
            max_payload=self.value(parts, "max_payload", "limits", parse_size, DEFAULT_MAX_PAYLOAD),
            max_hops=self.value(parts, "max_hops", "limits", _positive_int, DEFAULT_MAX_HOPS),
        )

    def named(self, node: Node | None, path: str) -> dict[str, tuple[Node, Node]]:
        """A mapping whose keys are names of our own making: worker types or tiers."""
        found = {}
        for name, value, key in self.pairs(node, path):
            if not is_name(name):
                self.problem(key, f"{path}.{name}", "a name has lower-case letters, digits, - and _, at most 63, and is no reserved word")
            found[name] = (key, value)
        return found

    def mapping(self, node: Node | None, path: str, known: Iterable[str] | None, required: Iterable[str] = ()) -> dict[str, Node]:
        """A mapping with known keys; unknown ones are problems that name the nearest word."""
        found = {}
        for name, value, key in self.pairs(node, path):
            if known is not None and name not in known:
                self.problem(key, f"{path}.{name}".lstrip("."), f"unknown key{_nearest(name, known)}; known are {', '.join(known)}")
            else:
                found[name] = value
        for name in required:
            if name not in found and node is not None:
                self.problem(node, f"{path}.{name}".lstrip("."), "is required")
        return found

    def pairs(self, node: Node | None, path: str) -> list[tuple[str, Node, Node]]:
        match node:
            case None:
                return []
            case MappingNode():
                seen: dict[str, int] = {}
                pairs = []
                for key, value in node.value:
                    name = key.value if isinstance(key, ScalarNode) else str(key.value)
                    if name in seen:
                        self.problem(key, f"{path}.{name}".lstrip("."), f"stands twice; first on line {seen[name]}")
                    else:
                        seen[name] = _line(key)
                        pairs.append((name, value, key))
                return pairs
            case ScalarNode(value=""):
                return []
            case _:
                self.problem(node, path, "must be a mapping of `key: value`")
                return []

    def sequence(self, node: Node | None, path: str) -> list[Node]:
        match node:
            case None | ScalarNode(value=""):
                return []
            case SequenceNode():
                return list(node.value)
            case _:
                self.problem(node, path, "must be a list, each item beginning with `- `")
                return []

    def texts(self, node: Node | None, path: str) -> list[str]:
        items = self.sequence(node, path) if isinstance(node, SequenceNode) else [] if node is None else [node]
        return [text for item in items if (text := self.text(item, path)) is not None]

    def words(self, node: Node | None, path: str, known: Iterable[str]) -> list[str]:
        items = self.sequence(node, path) if isinstance(node, SequenceNode) else [] if node is None else [node]
        return [word for item in items if (word := self.word(item, path, known)) is not None]

    def word(self, node: Node | None, path: str, known: Iterable[str]) -> str | None:
        word = None if node is None else self.text(node, path)
        if word is not None and node is not None and word not in known:
            self.problem(node, path, f"{word!r} is not one of {', '.join(known) or 'any'}{_nearest(word, known)}")
            return None
        return word

    def text(self, node: Node, path: str) -> str | None:
        if isinstance(node, ScalarNode):
            return str(node.value)
        self.problem(node, path, "must be a single value")
        return None

    def value(self, parts: Mapping[str, Node], key: str, path: str, parse: Callable[[str], Any], default: Any) -> Any:
        return self.scalar(parts[key], f"{path}.{key}", parse, default) if key in parts else default

    def scalar(self, node: Node, path: str, parse: Callable[[str], Any], default: Any) -> Any:
        text = self.text(node, path)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problem(node, path, str(error))
            return default

    def problem(self, node: Node, path: str, message: str) -> None:
        self.problems.append(Problem(_line(node), node.start_mark.column + 1, path, message))

    @staticmethod
    def _value(node: Node) -> str:
        return repr(getattr(node, "value", "?"))


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            return ""


_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB)?")
_PER: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2}


def parse_rate(text: str) -> float:
    """Tokens per second of `200/s`, `300/min` or `30/h`.

    Raises:
        ValueError: it is no such rate.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) / _PER[match[2]] < float("inf"):
        raise ValueError(f"{text!r} is not a rate; write 200/s, 300/min or 30/h, above 0")
    return float(match[1]) / _PER[match[2]]


def parse_duration(text: str) -> float:
    """Seconds of `500ms`, `30s`, `2m` or `1h`.

    Raises:
        ValueError: it is no such duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 500ms, 30s, 2m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes of `262144`, `256KiB` or `1MiB`.

    Raises:
        ValueError: it is no such size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ValueError(f"{text!r} is not a size; write 256KiB, 1MiB or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]


def _positive_int(text: str) -> int:
    if not text.isdecimal() or len(text) > 15 or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share between 0 and 1")
    return share


def uncovered(rules: Rules, worker_types: Iterable[str]) -> list[str]:
    """The worker types that the rules do not know: their tasks would end as `unknown_tier`."""
    return sorted(name for name in set(worker_types) if name not in rules.worker_types)


__all__ = [
    "Limits",
    "Priority",
    "Route",
    "Rules",
    "Scope",
    "Tier",
    "WorkerType",
    "digest_of",
    "parse_duration",
    "parse_rate",
    "parse_rules",
    "parse_size",
    "uncovered",
]
