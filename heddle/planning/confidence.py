"""How sure a model was of the macros that it named, from the log-probabilities of its answer."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    return min(_probability(tokens, starts, place, name, names) for name, place in first.items())


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


def _probability(tokens: Sequence[Token], starts: Sequence[int], place: int, name: str, names: Collection[str]) -> float:
    """Of one name, from its first letter to the quote after it, or until no other is possible."""
    sure = 1.0
    for number in range(bisect_right(starts, place) - 1, len(tokens)):
        known = max(0, starts[number] - place)
        rests = {other: f'{other}"'[known:] for other in names if f'{other}"'.startswith(f'{name}"'[:known])}
        if known > len(name) or len(rests) == 1:
            break
        sure *= _share(tokens[number], max(0, place - starts[number]), name, rests)
    return sure


def _share(token: Token, before: int, name: str, rests: Mapping[str, str]) -> float:
    """The probability of a token among those that go on to a name.

    Args:
        token: of a name.
        before: how many of its letters stand before the name.
        name: which.
        rests: the names that are still possible, each with what is missing of it and the quote after it.
    """
    known = {text: _exp(logprob) for text, logprob in token.top} | {token.text: _exp(token.logprob)}
    start = token.text[:before].lstrip()
    whole = [(other, f"{start}{rest}") for other, rest in rests.items()]
    lead = {text: _leads_to(text.lstrip() if before else text, len(start), whole) for text in known}
    ours = sum(known[text] for text, led in lead.items() if text == token.text or led == {name})
    others = sum(known[text] for text, led in lead.items() if text != token.text and led - {name})
    # A name that no token told of leads to is less likely than the least of these, and than all that is left.
    untold = len(rests.keys() - set[str]().union(*lead.values()))
    least = min((_exp(logprob) for _, logprob in token.top), default=1.0)
    others += min(untold * least, max(0.0, 1.0 - sum(known.values())))
    return ours / (ours + others) if ours else 0.0


def _leads_to(text: str, start: int, whole: Sequence[tuple[str, str]]) -> set[str]:
    """The names that go on with a token; none if it ends before the first letter of a name.

    Args:
        text: the token's, without the spaces before an opening quote: JSON's spaces are all the same.
        start: how many letters there are before a name.
        whole: names, each with these letters, what is missing of it, and the quote after it.
    """
    if len(text) <= start:
        return set()
    return {name for name, rest in whole if rest.startswith(text) or text.startswith(rest)}


def _exp(logprob: float) -> float:
    return math.exp(min(0.0, logprob)) if not math.isnan(logprob) else 0.0
