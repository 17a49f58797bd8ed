"""What a goal states and no argument of its plan uses: values that a planner passed over, and tasks that it dropped.

A literal is what nobody writes without meaning it: a number, a quoted string, a path, a URL, a date, an identifier. Ordinary words
are none, so that a goal can be put in any words.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from heddle.macros.marks import WORDS
from heddle.macros.schema import parts_of
from heddle.planning.offer import Offer
from heddle.planning.words import (
    SPELLED,
    bare,
    counts,
    digits,
    holds,
    loosely,
    normal,
    number_of,
    number_said,
    numbers,
    scaled,
    tightly,
    unfolded,
)

_QUOTED: Final = re.compile(r"\"([^\"]*)\"|(?<![\w'])'(?=[^\s'])((?:[^']|(?<=\w)'(?=\w))*)'(?!\w)")
_LIST_MARK: Final = re.compile(r"^[^\S\n]*\(?\d{1,3}[.)](?=\s)", re.MULTILINE)
_BREAK: Final = re.compile(r"\s+|[\u2013\u2014]|\.{3,}|(?<=\w)\.\.(?=\w)|\(e?s\)")
_PLAIN: Final = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_UNREAD: Final = frozenset({"Mn", "Mc", "Me", "Cf", "So", "Sk"})
_ABBREVIATED: Final = re.compile(
    r"(?:[^\W\d_]\.)+[^\W\d_]?|and/or|w/o?|n/a|[^\W\d_]{1,5}/(?:s|sec|min|h|hr|hour|day|week|month|year)(?:\^?2|²)?", re.IGNORECASE
)
_INNER_CAPITAL: Final = re.compile(r"[^\W\d_][^\W\d_]*[A-Z]")
_SEPARATORS: Final = re.compile(r"[/#@:=,;?&|()\[\]{}<>\"]+")
_SCHEME: Final = re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://")  # looked for once in a word, however long
_HOST: Final = re.compile(r"(?:[\w-]+\.)*([\w-]+)\.(?:com|dev|io|net|org)")
_CLIMBS: Final = re.compile(r"(?:^|/)\.\.(?:/|$)")
_AROUND_NUMBERS: Final = "$€£¥%~<>≤≥±+"
_DATE: Final = re.compile(r"\d{4}-\d{1,2}(?:-\d{1,2})?")
_WORD: Final = re.compile(r"[^\W\d_]\w*")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_SLOT: Final = re.compile(r"\{[^{}]*\}")
_EMPHASIS: Final = (
    "all also always am and any asap at both but by do done each every first for from fyi if important in is it just last must never next no "
    "not note now of ok on once one only or please pm really so that the them then this to too two urgent very warning with without you"
)
_SHOUTED: Final = frozenset(_EMPHASIS.split())
"""Words that are put in capitals to be heard; any other word in capitals is a name."""


def uncovered(text: str, used: Sequence[Any], words: Sequence[str], macros: Sequence[Offer], calls: int) -> tuple[str, ...]:
    """The literals of a goal that nothing in its plan uses, as the goal states them.

    Args:
        text: the goal's instruction.
        used: the plan's arguments as the planner wrote them, and the defaults that hold beside them, as JSON values.
        words: how else a goal can state them, in normal form.
        macros: those that the plan calls: a name that they use themselves ("PRs", "GitHub") need not be an argument.
        calls: how many calls there are: "the two repositories" states no more than that.
    """
    plan = _Plan(used, words, macros, calls)
    return tuple(dict.fromkeys(literal.shown for literal in dict.fromkeys(literals(text)) if not plan.covers(literal)))


@dataclass(frozen=True, slots=True)
class Literal:
    """Something that a goal states literally: as it stands there, and in normal form."""

    shown: str
    normal: str
    quoted: bool = False


def literals(text: str) -> Iterator[Literal]:
    """The literals of a goal, quoted strings first."""
    text = _LIST_MARK.sub(" ", unfolded(text))
    for found in _QUOTED.finditer(text):
        quoted: str = found[1] if found[1] is not None else found[2]
        if any(map(str.isalnum, quoted)):
            yield Literal(found[0], normal(quoted), quoted=True)
    text = _QUOTED.sub(" ", text)
    capitals_mean_something = any(map(str.islower, text))
    spelled: dict[str, str] = {}

    def in_digits(found: re.Match[str]) -> str:
        """A number in words in digits, where it counts: not in "one of them", not in "two-factor"."""
        number = digits(found[0])
        if number in {"0", "1"} or "-" in {text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]}:
            return found[0]
        spelled[number] = found[0]
        return number

    if counts(text):
        text = scaled(SPELLED.sub(in_digits, text), spelled)
    for piece in _BREAK.split(text):
        token = bare(piece)
        if _is_literal(token, capitals_mean_something):
            yield Literal(spelled.get(token, token), normal(token))


def _is_literal(token: str, capitals_mean_something: bool) -> bool:
    word = token if token.isascii() else "".join(letter for letter in token if unicodedata.category(letter) not in _UNREAD)
    if _PLAIN.fullmatch(word):
        return capitals_mean_something and any(map(_is_name, word.split("-")))
    return any(map(str.isalnum, word)) and not _ABBREVIATED.fullmatch(word)


def _is_name(word: str) -> bool:
    return _INNER_CAPITAL.match(word) is not None and not (word.isupper() and word.casefold() in _SHOUTED)


@dataclass(frozen=True)
class _Plan:
    """What a plan uses."""

    used: Sequence[Any]
    words: Sequence[str]
    macros: Sequence[Offer]
    calls: int

    def covers(self, literal: Literal) -> bool:
        """Whether the plan uses a literal, as a whole or in parts."""
        whole = literal.normal
        if self._has(whole) or (whole[:1] == "-" and holds(self._words, loosely(whole))):
            return True
        if literal.quoted or whole[:1] in {"/", "~"} or "\\" in whole or _CLIMBS.search(whole):
            return False
        parts = {part for part in self._parts(literal) if any(map(str.isalnum, part))}
        return all(
            self._has(part) or self._has(part.removesuffix(".git")) or (f"={part}" not in whole and self._is_own(part)) for part in parts
        )

    @staticmethod
    def _parts(literal: Literal) -> list[str]:
        if _DATE.fullmatch(literal.normal):
            return literal.normal.split("-")
        if _PLAIN.fullmatch(literal.normal):
            return [normal(part) for part in literal.shown.split("-") if _is_name(part)]
        return _SEPARATORS.split(_SCHEME.sub("", literal.normal, count=1))

    def _has(self, part: str) -> bool:
        return (
            number_said(part.strip(_AROUND_NUMBERS)) in self._numbers
            or holds(self._texts, part)
            or holds(self._tight, tightly(part))
            or holds(self._words, loosely(part))
        )

    def _is_own(self, part: str) -> bool:
        """Whether the macros use the word themselves; a number is never theirs."""
        if host := _HOST.fullmatch(part):
            part = host[1]
        return _WORD.fullmatch(part) is not None and bool({part, f"{part}s", part.removesuffix("s")} & self._vocabulary)

    @cached_property
    def _scalars(self) -> list[Any]:
        return list(_scalars(self.used))

    @cached_property
    def _texts(self) -> str:
        return "\n".join(normal(value) for value in self._scalars if isinstance(value, str))

    @cached_property
    def _tight(self) -> str:
        return tightly(self._texts)

    @cached_property
    def _words(self) -> str:
        return "\n".join(self.words)

    @cached_property
    def _numbers(self) -> frozenset[Decimal]:
        lists = (one for value in self.used for one in _lists(value))
        counts = {Decimal(count) for count in (self.calls, *map(len, lists)) if count > 1}
        stated = {number for value in self._scalars if (number := number_of(value)) is not None}
        return frozenset({*counts, *stated, *numbers(self._texts)})

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(word for macro in self.macros for word in _vocabulary(macro))


def _scalars(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for key, inner in value.items():
                yield key
                yield from _scalars(inner)
        case list() | tuple():
            for inner in value:
                yield from _scalars(inner)
        case bool():
            yield json.dumps(value)
        case _:
            yield value


def _lists(value: Any) -> Iterator[list[Any]]:
    match value:
        case dict():
            for inner in value.values():
                yield from _lists(inner)
        case list():
            yield value
            for inner in value:
                yield from _lists(inner)


def _vocabulary(macro: Offer) -> Iterator[str]:
    """The words that a macro uses for what it does: those of its names, with digits too ("S3"), and letters of its descriptions and examples.

    A word for a choice is not among the latter: "as JSON" is to be used. Of an example's goal those are that are none of its values:
    its author shows that they need not be.
    """
    names = [macro.name, macro.intent, *(_SLOT.sub(" ", phrase) for phrase in macro.phrases)]
    prose: list[str] = []
    choices: list[str] = []
    for path, part in parts_of(macro.schema, ""):
        if isinstance(part, dict):
            names.append(path)
            prose += [str(part.get("title", "")), str(part.get("description", ""))]
            choices += [word for word in (*part.get("enum", ()), part.get("const")) if isinstance(word, str)]
            choices += [word for words in part.get(WORDS, {}).values() for word in words]
    for text in names:
        for word in _WORD.findall(text.casefold()):
            yield from {word, *word.split("_")}
    told = _letters(prose)
    for goal, arguments in macro.examples:
        told |= _letters([goal]) - _letters(str(value) for value in _scalars(dict(arguments)))
    yield from told - _letters(choices)


def _letters(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _LETTERS.findall(text.casefold())}
