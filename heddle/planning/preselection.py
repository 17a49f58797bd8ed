"""Which macros a goal is shown when not all fit the model's context: those that share words with it, always the same ones.

Words are weighed by where a macro has them and by how few macros have them. All of it is whole numbers, so that every machine chooses
alike. A goal that shares no word with the macro that it means may miss it: `heddle eval` measures how often.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from heddle.errors import Code, PlanError
from heddle.macros.schema import Schema, parts_of
from heddle.planning.goal import Asked
from heddle.planning.offer import Offer, Offers
from heddle.planning.prompt import WORKED_EXAMPLES, Prefix
from heddle.planning.tokens import most_tokens

TEMPLATE_TOKENS: Final = 64
"""What a model's chat template adds around the messages, at most."""
_NAME: Final = 4
_INTENT: Final = 2
_ELSEWHERE: Final = 1
_WORD: Final = re.compile(r"[^\W\d_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SLOT: Final = re.compile(r"\{[^{}]*\}")
_SHORT: Final = 3
_STEM: Final = 5


@dataclass(frozen=True, slots=True)
class Index:
    """What is needed to choose among macros, made once for them.

    Attributes:
        prefix: with all of them.
        weights: by word and macro: how much the word says for the macro.
    """

    prefix: Prefix
    weights: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which macros a goal is shown.

    Attributes:
        names: theirs, in the prompt's order.
        of: how many there are.
        fits: whether the goal and at least one macro fit.
    """

    names: tuple[str, ...]
    of: int
    fits: bool

    @property
    def note(self) -> str | None:
        """What a person should know of it: "12 of 80 macros shown", and why; None if all are."""
        if len(self.names) == self.of:
            return None
        return f"{len(self.names)} of {self.of} macros shown: more do not fit the model's context (planner.num_ctx)"


def index_of(offers: Offers, prefix: Prefix) -> Index:
    """The words of some macros; `prefix` is theirs."""
    macros = offers.newest()
    found = {macro.name: _words_of(macro) for macro in macros}
    having = Counter(word for words in found.values() for word in words)
    weights: dict[str, dict[str, int]] = {}
    for name, words in found.items():
        for word, place in words.items():
            weights.setdefault(word, {})[name] = place * (len(macros) // having[word]).bit_length()
    return Index(prefix, weights)


def selected(index: Index, asked: Asked, budget: int) -> Selection:
    """The macros to show for a goal: all if they fit, else as many as do, the likeliest first, of equals the first by name.

    Args:
        index: of all macros.
        asked: the goal.
        budget: tokens that a prompt may have: the model's context without what is kept for the answer.
    """
    entries = index.prefix.entries
    left = budget - _goal_tokens(index.prefix, asked)
    if index.prefix.tokens <= left:
        return Selection(tuple(one.name for one in entries), len(entries), fits=True)
    weights = [index.weights.get(word, {}) for word in set(_words(asked.instruction))]
    likelihood = {one.name: sum(weight.get(one.name, 0) for weight in weights) for one in entries}
    examples = sorted((one.example_tokens for one in entries), reverse=True)[:WORKED_EXAMPLES]
    left -= index.prefix.frame_tokens + 2 * sum(examples)
    shown: set[str] = set()
    for one in sorted(entries, key=lambda entry: (-likelihood[entry.name], entry.name)):
        if one.tokens <= left:
            shown.add(one.name)
            left -= one.tokens
    return Selection(tuple(one.name for one in entries if one.name in shown), len(entries), fits=bool(shown))


def choose(index: Index, asked: Asked, budget: int) -> tuple[Prefix, Selection]:
    """The prompt's prefix for a goal, and which macros are in it; all, wherever they fit.

    Raises:
        PlanError: `no_plan`, if the goal does not fit beside a single macro.
    """
    selection = selected(index, asked, budget)
    if not selection.fits:
        told = f"about {_goal_tokens(index.prefix, asked):,} tokens, and a prompt may have {max(0, budget):,}"
        remedy = "say it in fewer words, or raise planner.num_ctx"
        raise PlanError(Code.NO_PLAN, f"the goal does not fit the model's context beside a macro: it has {told}: {remedy}")
    return (index.prefix if len(selection.names) == selection.of else index.prefix.only(selection.names)), selection


def _goal_tokens(prefix: Prefix, asked: Asked) -> int:
    return TEMPLATE_TOKENS + most_tokens(prefix.question(asked.instruction, asked.context))


def _words_of(macro: Offer) -> dict[str, int]:
    """The words of a macro, each with the weight of the best place that it stands in."""
    goals = [goal for goal, _ in macro.examples]
    literals = [_SLOT.sub(" ", phrase) for phrase in macro.phrases]
    places = ((_ELSEWHERE, [*_texts(macro.planner_schema), *goals, *literals]), (_INTENT, [macro.intent]), (_NAME, [macro.name]))
    return {word: weight for weight, texts in places for text in texts for word in _words(text)}


def _texts(schema: Schema) -> Iterator[str]:
    """What the model reads of an input: fields, descriptions, choices, and the words by which these may be stated."""
    for _, part in parts_of(schema, ""):
        if isinstance(part, dict):
            yield from part.get("properties", {})
            yield part.get("description", "")
            yield from (word for word in (*part.get("enum", ()), part.get("const")) if isinstance(word, str))
            yield from (word for words in part.get("x-words", {}).values() for word in words)


def _words(text: str) -> Iterator[str]:
    """The words of a text without case, accents and endings: "labels", "labelled" and "LABEL" are one."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", _CAMEL.sub(" ", text)) if not unicodedata.combining(letter))
    for found in _WORD.finditer(plain.casefold()):
        stem = (found[0].removesuffix("s") if len(found[0]) > _SHORT else found[0])[:_STEM]
        yield f"{stem[:-1]}i" if stem.endswith("y") else stem
