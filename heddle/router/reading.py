"""Reads a rules text: YAML becomes `Rules`, or every problem it has, each with its line.

The text is read as YAML nodes, not as Python values, because a node knows its line and column.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from heddle.errors import Problem, RulesError
from heddle.messages import PRIORITIES, is_name
from heddle.router.buckets import kept_back
from heddle.router.rules import DEFAULT_MAX_HOPS, DEFAULT_MAX_PAYLOAD, DEFAULT_RESERVE, Limits, Route, Rules, Tier, WorkerType, digest_of
from heddle.router.windows import SHORTEST, windows_of
from heddle.units import parse_duration, parse_rate, parse_size, positive_int, share_of


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
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise RulesError(source, (Problem(*place, "", f"not YAML: the character {chr(error.character)!r} is not allowed"),)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise RulesError(
            source, (Problem(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", f"not YAML: {told}"),)
        ) from None
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise RulesError(source, (Problem(1, 1, "", f"not YAML: {error}"),)) from None
    reader = _Reader()
    rules = replace(reader.rules(root, digest_of(text)), text=text)
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
        burst = self.value(parts, "burst", path, positive_int, max(1, int(rate or 1)))
        scope = self.word(parts.get("scope"), f"{path}.scope", ("replica", "cluster")) or "replica"
        reserve = dict(DEFAULT_RESERVE)
        for priority, share in self.mapping(parts.get("reserve"), f"{path}.reserve", ("low", "normal", "high")).items():
            reserve[priority] = self.scalar(share, f"{path}.reserve.{priority}", share_of, reserve[priority])
        kept: dict[str, int] = {priority: kept_back(reserve.get(priority, 0.0), burst) for priority in PRIORITIES}
        windows = windows_of(rate, burst) if rate and scope == "cluster" else None
        if shut := [priority for priority in PRIORITIES if windows and not windows.ever_open(kept[priority])]:
            told = f"with `scope: cluster` and `burst: {burst}` no window is ever open to {', '.join(shut)}"
            self.problem(parts["scope"], f"{path}.scope", f"{told}: raise `burst` to 2 or more, or lower `reserve`")
        if windows and windows.length < SHORTEST:
            told = f"with `burst: {burst}` a window of {windows.quota} would be shorter than a microsecond"
            self.problem(parts["rate"], f"{path}.rate", f"{told}: raise `burst`, or lower `rate`")
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
            max_hops=self.value(parts, "max_hops", "limits", positive_int, DEFAULT_MAX_HOPS),
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
