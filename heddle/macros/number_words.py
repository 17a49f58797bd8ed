"""Numbers as English states them: "3", "1.5", "twenty-one", "two and a half", "half an"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL: Final = {word: number for number, word in enumerate(_UNITS.split())}
_TEN: Final = {word: 10 * number for number, word in enumerate(_TENS.split()) if number > 1}
WORDS: Final = frozenset({*_SMALL, *_TEN, "hundred", "thousand"})
"""Every word that counts in `cardinal`."""

_BELOW_HUNDRED: Final = rf"(?:(?:{'|'.join(_TEN)})(?:[- ](?:{'|'.join(list(_SMALL)[1:10])}))?|{'|'.join(sorted(_SMALL, reverse=True))})"
_BELOW_THOUSAND: Final = rf"{_BELOW_HUNDRED}(?:[- ]hundred(?:(?: and)?[- ]{_BELOW_HUNDRED})?)?"
PATTERN: Final = rf"(?<!\w){_BELOW_THOUSAND}(?:[- ]thousand(?:(?: and)?[- ]{_BELOW_THOUSAND})?)?(?![- ]hundred(?!\w)|[- ]thousand(?!\w)|\w)"
"""A regular expression of one number, as long as can be: of "one hundred and five hundred" first "one hundred"."""
_DIGITS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def number_of(words: Sequence[str]) -> Fraction | None:
    """The number that some lower-case words state, digits among them; None if they are none.

    An article counts as one: "a", "an", "a hundred"; so do "half a" and "two and a half" as what they say.
    """
    match words:
        case ["a" | "an"]:
            return Fraction(1)
        case ["half", "a" | "an"]:
            return Fraction(1, 2)
        case [*whole, "and", "a", "half"]:
            number = number_of(whole)
            return None if number is None or number.denominator != 1 else number + Fraction(1, 2)
        case [digits] if _DIGITS.fullmatch(digits):
            return Fraction(digits)
        case ["a", "hundred" | "thousand", *_]:
            words = ["one", *words[1:]]
    whole_number = cardinal(words)
    return None if whole_number is None else Fraction(whole_number)


def cardinal(words: Sequence[str]) -> int | None:
    """The whole number below a million that some lower-case words spell out, without digits or articles; None if they spell none."""
    if "thousand" not in words:
        return _below_thousand(words)
    at = words.index("thousand")
    thousands, rest = _below_thousand(words[:at]), _added(words[at + 1 :])
    return None if not thousands or rest is None else thousands * 1000 + rest


def _below_thousand(words: Sequence[str]) -> int | None:
    match words:
        case [word] if word in _SMALL or word in _TEN:
            return _SMALL.get(word, _TEN.get(word))
        case [ten, unit] if ten in _TEN and 0 < _SMALL.get(unit, 0) < 10:
            return _TEN[ten] + _SMALL[unit]
        case [unit, "hundred", *more] if 0 < _SMALL.get(unit, 0) < 10 and (rest := _added(more)) is not None and rest < 100:
            return _SMALL[unit] * 100 + rest
        case _:
            return None


def _added(words: Sequence[str]) -> int | None:
    """What follows a "hundred" or a "thousand": nothing, or a number that is not zero, perhaps after an "and"."""
    match words:
        case []:
            return 0
        case ["and", *more]:
            return _below_thousand(more) or None
        case _:
            return _below_thousand(words) or None
