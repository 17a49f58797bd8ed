"""How sure a model was of the macros that it named, from the log-probabilities of its answer."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

_MARK: Final = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"(?P<key>\s*:)?|[\[{\]}]', re.DOTALL)
_TASK: Final = 3
"""How many brackets a task's own keys are in: `{"tasks": [{`."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer.

    Attributes:
        text: as it stands in the answer.
        logprob: the natural logarithm of its probability.
        top: the likeliest tokens at its place, with theirs; it may be one of them.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


def confidence(tokens: Sequence[Token], names: Collection[str]) -> float | None:
    """The least probability among the macros named, from 0 to 1; None if the tokens do not tell.

    A name's probability is the product of its tokens', each among the tokens that go on to a name that is still possible there: what
    a model would rather have said than any name does not count, for it cannot say it. Of a macro that is named again only the first
    time counts: by then the model has seen its own answer.

    Args:
        tokens: of the whole answer, in order.
        names: all that a task may be called.
    """
    first: dict[str, int] = {}
    for place, name in _named("".join(token.text for token in tokens)):
        first.setdefault(name, place)
    if not first or not first.keys() <= set(names):
        return None
    starts = list(accumulate((len(token.text) for token in tokens), initial=0))
    quoted = sorted(f'{name}"' for name in names)
    return min(_probability(tokens, starts, place, f'{name}"', quoted) for name, place in first.items())


def _named(answer: str) -> Iterator[tuple[int, str]]:
    """Every task's macro, and where in the answer its name begins."""
    depth, key = 0, ""
    for mark in _MARK.finditer(answer):
        match mark[0]:
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
            case _ if depth == _TASK and mark["key"]:
                key = mark["text"]
            case _ if depth == _TASK and key == "macro":
                yield mark.start() + 1, mark["text"]


def _probability(tokens: Sequence[Token], starts: Sequence[int], place: int, name: str, quoted: Sequence[str]) -> float:
    """Of one name, from its first letter to the quote after it, or until no other is possible.

    Args:
        tokens: of the answer.
        starts: where in the answer each token begins.
        place: where in it the name begins.
        name: with the quote after it.
        quoted: all names, each with the quote after it, sorted.
    """
    sure = 1.0
    for number in range(bisect_right(starts, place) - 1, len(tokens)):
        said = name[: max(0, starts[number] - place)]
        possible = _led_to(said, quoted)
        if said == name or len(possible) == 1:
            break
        sure *= _share(tokens[number], max(0, place - starts[number]), said, quoted.index(name), possible, quoted)
    return sure


def _share(token: Token, before: int, said: str, ours: int, possible: range, quoted: Sequence[str]) -> float:
    """The probability of a token among those that go on to a name.

    Args:
        token: of a name.
        before: how many of its letters stand before the name.
        said: the name's letters before it.
        ours: which of all names it is.
        possible: which are possible before the token.
        quoted: all names.
    """
    known = {text: _exp(logprob) for text, logprob in token.top} | {token.text: _exp(token.logprob)}
    start = token.text[:before].lstrip()
    agree, differ, told = 0.0, 0.0, set[int]()
    for text, share in known.items():
        reached = text.lstrip() if before else text  # JSON's spaces are all the same
        led = _led_to(said + reached[len(start) :], quoted) if reached.startswith(start) and len(reached) > len(start) else range(0)
        told.update(led)
        if text == token.text or led == range(ours, ours + 1):
            agree += share
        elif led:
            differ += share
    # A name that no token told of leads to is less likely than the least of these, and than all that is left.
    untold = sum(one not in told for one in possible)
    least = min((_exp(logprob) for _, logprob in token.top), default=1.0)
    differ += min(untold * least, max(0.0, 1.0 - sum(known.values())))
    return agree / (agree + differ) if agree else 0.0


def _led_to(text: str, quoted: Sequence[str]) -> range:
    """The names that begin with a text, by number; if it goes on past the quote of a name, that one."""
    name, quote, _ = text.partition('"')
    first = bisect_left(quoted, name + quote)
    return range(first, bisect_left(quoted, f"{name}{quote}\U0010ffff", first))


def _exp(logprob: float) -> float:
    return math.exp(min(0.0, logprob)) if not math.isnan(logprob) else 0.0
