"""Goals planned without a model: sentence templates (hassil), read strictly.

A slot of a phrase is an input field. It takes one word or one quoted string of the goal, never a run of words, and every word of
the goal must be used up. hassil drops dots, slashes and colons, so it never hears them: in the place of a quoted string, or of a
word with a character that is no letter, digit or apostrophe, it hears a placeholder, and values are taken from the goal itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import accumulate, combinations, count, product
from operator import add, and_, or_
from typing import Any, Final

import hassil
from hassil.intents import Intent, SlotList
from hassil.parser import ParseError
from jsonschema.protocols import Validator

from heddle.errors import DefinitionError
from heddle.macros.marks import given_fields
from heddle.macros.validation import problems, validator_of
from heddle.planning.offer import Offer
from heddle.planning.plan import PlannedCall
from heddle.planning.slots import Slot, slot_of

MAX_CHARACTERS: Final = 2_000
MAX_WORDS: Final = 200
MAX_CALLS: Final = 16
MAX_PARTS: Final = 2 * MAX_CALLS  # between "and" and "and": a phrase may have one of its own

_MARKS: Final = ".!?…"
_QUOTES: Final = {'"': '"', "'": "'", "\u201c": "\u201d", "\u201d": "\u201d", "\u201e": "\u201c\u201d", "\u2018": "\u2019", "«": "»"}
_CLOSED: Final = {opening: re.compile(rf"[{closing}](?=[,;{_MARKS}]*(?:\s|\Z))") for opening, closing in _QUOTES.items()}
_RUN: Final = re.compile(r"\S+")
# Letters that hassil holds for equal and `str.casefold` does not: the apostrophes, and some to `re.IGNORECASE`.
_ALIKE: Final = {"\u2019": "'", "\u0130": "i", "\u0131": "i", "\ufb06": "\ufb05"}


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why phrases give no plan: a line for a person ("no phrase fits: 'and email bob'"), and the words at fault, as the goal has them."""

    reason: str
    part: str


@dataclass(frozen=True, eq=False, slots=True)
class Phrasebook:
    """The compiled phrases of some macros, and every letter in them."""

    phrases: tuple[_Phrase, ...]
    letters: str


def compile_phrases(macros: Sequence[Offer]) -> Phrasebook:
    """Compile the phrases of all macros.

    Raises:
        DefinitionError: a phrase cannot be used; it names the macro, where it stands, the phrase and the problem.
    """
    phrases = [(macro, phrase) for macro in macros for phrase in macro.phrases]
    return Phrasebook(tuple(_compile(macro, phrase) for macro, phrase in phrases), "\n".join(_fold(phrase) for _, phrase in phrases))


def match_phrases(text: str, book: Phrasebook) -> tuple[PlannedCall, ...] | NoMatch:
    """The calls that a goal stands for, if phrases fit it wholly and in one way.

    The whole goal is tried as one call, then as ever more, split at "and" or ";". Of the readings with the fewest calls the one
    with the most literal words is taken; if several are left and disagree, the goal is ambiguous.
    """
    if len(text) > MAX_CHARACTERS:
        return _refuse(text, f"too long for phrases, {len(text):,} characters of at most {MAX_CHARACTERS:,}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return _refuse(text, "not Unicode text")
    tokens = _tokens(text, book)
    parts = _parts(tokens)
    if len(tokens) > MAX_WORDS or len(parts) > MAX_PARTS:
        return _refuse(text, f'too long for phrases, more than {MAX_WORDS} words, or {MAX_PARTS} parts between "and" and ";"')
    heard = " ".join(f"{token.inner.heard} {token.last.heard}" for token in tokens).casefold()
    return _Goal(text, tokens, parts, [phrase for phrase in book.phrases if phrase.may_fit(heard)]).plan()


def _refuse(part: str, problem: str) -> NoMatch:
    return NoMatch(f"{problem}: {part if len(part) <= 160 else f'{part[:160]}…'!r}", part)


@dataclass(frozen=True, eq=False, slots=True)
class _Phrase:
    macro: Offer
    arguments: Validator
    slots: Mapping[str, Slot]
    intents: hassil.Intents
    clauses: frozenset[frozenset[str]]
    longest: int

    def may_fit(self, heard: str) -> bool:
        """Whether the casefolded text has the letters without which the phrase cannot fit: quick, and true too often."""
        return all(any(fragment in heard for fragment in clause) for clause in self.clauses)


def _compile(macro: Offer, phrase: str) -> _Phrase:
    data = hassil.IntentData([re.sub(r"\{[^{}]*\}|[^{]+", lambda part: part[0] if part[0][0] == "{" else _fold(part[0]), phrase)])
    try:
        least, most = _words(data.sentences[0].expression)
        _check(macro, phrase, least, most)
        slots = {name: slot_of(macro, name) for name in sorted(most.keys() - {""})}
    except (ParseError, AssertionError, RecursionError):
        problem = "it does not parse: do its brackets ( ) [ ] { } match, and is none empty?"
    except ValueError as error:
        problem = str(error)
    else:
        intents = hassil.Intents("en", {macro.name: Intent(macro.name, [data])})
        return _Phrase(
            macro, validator_of(macro.planner_schema, now=0.0), slots, intents, data.sentences[0].get_required_clauses({}), most.total()
        )
    raise DefinitionError(f"{macro.where}: {macro.name}: phrase {phrase!r}: {problem}")


def _words(part: hassil.Expression) -> tuple[Counter[str], Counter[str]]:
    """How often each slot and, under "", a literal word stands in a goal that fits: at least, and at most."""
    match part:
        case hassil.TextChunk(text=text):
            literals = text.split()
            if wrong := [word for word in literals if not _is_plain(word)]:
                raise ValueError(f"{wrong[0]!r} is not made of letters, digits and the apostrophe: in a goal it can only fill a slot")
            return Counter({"": len(literals)}), Counter({"": len(literals)})
        case hassil.ListReference(list_name=name):
            if part.slot_name != name or part.is_capture:
                raise ValueError(f"a slot is written {{field}}: no ':' and no '@' beside {name!r}")
            return Counter([name]), Counter([name])
        case hassil.Group(items=[]):
            raise ValueError("it has an empty alternative: write [word] for a word that may be left out")
        case hassil.Group(items=items):
            least, most = zip(*map(_words, items), strict=True)
            choice = isinstance(part, hassil.Alternative)
            return reduce(and_ if choice else add, least), reduce(or_ if choice else add, most)
    raise ValueError("a <rule> means nothing here: there are no expansion rules")


def _check(macro: Offer, phrase: str, least: Counter[str], most: Counter[str]) -> None:
    if glued := re.search(r"[^\s(\[|;]\{|\}[^\s)\]|;]", phrase):
        raise ValueError(f"a slot touches what stands beside it, at {glued[0]!r}: put a space between them")
    if twice := [name for name, times in most.items() if name and times > 1]:
        raise ValueError(f"the slot {{{twice[0]}}} can stand in one goal twice")
    for name in (name for name in macro.schema.get("required", []) if name not in given_fields(macro.schema)):
        if not least[name]:
            raise ValueError(f"the required field {name!r} has {'a slot that may be left out' if most[name] else 'no slot'}")
    if not least[""]:
        raise ValueError("it needs a word of its own that cannot be left out, or it would fit goals that mean something else")


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a goal, or a quoted string: its exact text, and what hassil hears in its place."""

    text: str
    heard: str
    quoted: bool

    @property
    def is_and(self) -> bool:
        return not self.quoted and self.heard == "and"

    def value(self, slot: Slot) -> str | int | float | bool | None:
        """What it states in a slot, if it can stand there."""
        return slot.read(self.text, quoted=self.quoted)


@dataclass(frozen=True, slots=True)
class _Token:
    """A word and where it stands; `last` is the word if a call ends with it, without the sentence mark. `ended`: a ";" follows."""

    start: int
    end: int
    inner: _Word
    last: _Word
    ended: bool


def _tokens(text: str, book: Phrasebook) -> list[_Token]:
    """The goal's words, of a very long goal only the first."""
    letters = f"{_fold(text)}\n{book.letters}"
    prefix = next(prefix for number in count() if (prefix := f"zq{number}z") not in letters)
    placeholders: dict[str, str] = {}

    def word(value: str, quoted: bool) -> _Word:
        heard = _fold(value)
        if quoted or not _is_plain(heard):
            heard = placeholders.setdefault(value, f"{prefix}{len(placeholders):03d}")
        return _Word(value, heard, quoted)

    tokens: list[_Token] = []
    position = 0
    while len(tokens) <= MAX_WORDS and (run := _RUN.search(text, position)):
        value, quoted, end = _value(text, run)
        position = tail.end() if (tail := _RUN.match(text, end)) else end
        ended = ";" in text[end:position]
        if value or quoted:
            tokens.append(_Token(run.start(), end, word(value, quoted), word(value if quoted else _without_mark(value), quoted), ended))
        elif tokens:
            tokens[-1] = replace(tokens[-1], ended=ended)
    return tokens


def _value(text: str, run: re.Match[str]) -> tuple[str, bool, int]:
    """The value that begins here, whether it is quoted, and where it ends; commas and semicolons at its end are not part of it."""
    start = run.start()
    if (closed := _CLOSED.get(text[start])) and (close := closed.search(text, start + 1)):
        return text[start + 1 : close.start()], True, close.end()
    value = run[0].rstrip(",;") or run[0].rstrip(";")
    return value, False, start + len(value)


def _without_mark(value: str) -> str:
    """The word without the mark that ends its sentence; a word of dots and a path such as `src/.` have none."""
    stripped = value.rstrip(_MARKS)
    if _is_plain(_fold(stripped)):
        return stripped
    return value[:-1] if stripped and value[-1] in _MARKS and value[-2] not in "/.…" else value


def _fold(text: str) -> str:
    """The text composed, with all letters the same that hassil holds for equal."""
    letters = ((_ALIKE.get(letter) or letter.casefold(), letter) for letter in unicodedata.normalize("NFC", text))
    return unicodedata.normalize("NFC", "".join(folded if len(folded) == 1 else letter.lower() for folded, letter in letters))


def _is_plain(folded: str) -> bool:
    """Whether hassil hears the word as it is written."""
    return any(map(str.isalnum, folded)) and all(c.isalnum() or c == "'" or unicodedata.category(c)[0] == "M" for c in folded)


def _parts(tokens: Sequence[_Token]) -> list[tuple[int, int]]:
    """The goal's parts between "and" or ";", each by its first token and the one after its last."""
    parts: list[tuple[int, int]] = []
    start = 0
    for index, token in enumerate(tokens):
        if token.inner.is_and and not (index and start == index and tokens[index - 1].ended):  # "; and" is one connective
            parts.append((start, index))
        elif token.ended:
            parts.append((start, index + 1))
        elif not token.inner.is_and:
            continue
        start = index + 1
    return parts if tokens and tokens[-1].ended and not tokens[-1].inner.is_and else [*parts, (start, len(tokens))]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A stretch of the goal as calls, filling that many slots; more than one plan, and it is ambiguous."""

    slots: int
    plans: tuple[tuple[PlannedCall, ...], ...]

    @property
    def cost(self) -> tuple[int, int]:
        """Few calls first, then many literal words, which is few slots."""
        return len(self.plans[0]), self.slots

    def then(self, rest: _Reading) -> _Reading:
        return _Reading(self.slots + rest.slots, tuple(one + other for one, other in product(self.plans, rest.plans)))


def _best(readings: Sequence[_Reading]) -> _Reading | None:
    """The reading that costs least; where several do and differ, with two plans."""
    if not readings:
        return None
    best = min(readings, key=lambda reading: reading.cost)
    others = [plan for reading in readings if reading.cost == best.cost for plan in reading.plans if plan != best.plans[0]]
    return replace(best, plans=(best.plans[0], *others[:1]))


@dataclass
class _Goal:
    text: str
    tokens: list[_Token]
    parts: list[tuple[int, int]]
    phrases: list[_Phrase]
    lists: dict[Slot, SlotList] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)

    def plan(self) -> tuple[PlannedCall, ...] | NoMatch:
        """The plan, or why there is none."""
        end = len(self.parts)
        calls = {stretch: call for stretch in combinations(range(end + 1), 2) if (call := _best(list(self._calls(*stretch))))}
        best = {end: _Reading(0, ((),))}
        for start in reversed(range(end)):
            ways = [calls[start, stop].then(rest) for stop, rest in best.items() if (start, stop) in calls]
            if reading := _best(ways):
                best[start] = reading
        if 0 not in best:
            return self._not_understood(calls.keys(), best.keys())
        plan, *others = best[0].plans
        if len(plan) > MAX_CALLS:
            return _refuse(self.text, f"more than {MAX_CALLS} calls in one goal")
        if others:
            one, other = next(calls for calls in zip(plan, others[0], strict=True) if calls[0] != calls[1])
            return _refuse(self.text, f"ambiguous between {one.macro} {one.arguments} and {other.macro} {other.arguments}")
        return plan

    def _calls(self, start: int, stop: int) -> Iterator[_Reading]:
        """All readings of some parts as one call."""
        tokens = self.tokens[self.parts[start][0] : self.parts[stop - 1][1]]
        if not tokens or any(token.ended for token in tokens[:-1]):
            return
        words = [*(token.inner for token in tokens[:-1]), tokens[-1].last]
        heard = " ".join(word.heard for word in words)
        for phrase in self.phrases:
            if len(words) <= phrase.longest and phrase.may_fit(heard.casefold()):
                lists = {name: self._list(kind) for name, kind in phrase.slots.items()}
                for result in hassil.recognize_all(heard, phrase.intents, slot_lists=lists):
                    if (call := self._call(result, phrase, words)) is not None:
                        yield _Reading(len(call.arguments), ((call,),))

    def _call(self, result: hassil.RecognizeResult, phrase: _Phrase, words: Sequence[_Word]) -> PlannedCall | None:
        """The call, its values from the goal's own words; None unless every slot took exactly one word and they fit the macro's input."""
        at = dict(zip(accumulate((len(word.heard) + 1 for word in words), initial=0), words, strict=False))
        arguments: dict[str, Any] = {}
        for entity in result.entities_list:
            word = at.get(entity.text_span[0]) if entity.text_span else None
            if word is None or word.heard != entity.text.strip() or (value := word.value(phrase.slots[entity.name])) is None:
                return None
            arguments[entity.name] = value
        if told := problems(phrase.arguments, arguments):
            self.problems[f"{phrase.macro.name}: {told}"] = None
            return None
        return PlannedCall(phrase.macro.name, arguments)

    def _list(self, slot: Slot) -> SlotList:
        """The goal's words that a slot of this kind can take, each with the space after it, so that a part of a word is none."""
        if slot not in self.lists:
            heard = {word.heard for token in self.tokens for word in (token.inner, token.last) if word.value(slot) is not None}
            self.lists[slot] = hassil.TextSlotList(None, [hassil.TextSlotValue(hassil.TextChunk(f"{w} "), None) for w in sorted(heard)])
        return self.lists[slot]

    def _not_understood(self, calls: Collection[tuple[int, int]], readable: Collection[int]) -> NoMatch:
        """What is left of the goal when what can be read is taken away from its beginning and its end."""
        reached = {0}
        for start, stop in sorted(calls):
            reached |= {stop} if start in reached else set()
        left = max(reached)
        right = min(start for start in readable if start > left)
        words = self.tokens[self.parts[left - 1][1] if left else 0 : self.parts[right - 1][1]]
        refusal = _refuse(self.text[words[0].start : words[-1].end] if words else self.text, "no phrase fits")
        return replace(refusal, reason=f"{refusal.reason} ({'; '.join(list(self.problems)[:3])})") if self.problems else refusal
