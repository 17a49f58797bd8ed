"""What texts say, whatever their spelling: case, quotes, width, number words and thousands separators make no difference.

Letters that only look alike (Cyrillic in the place of Latin, say) are different letters, and a word with an invisible character at
its edge is another word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from heddle.macros import number_words

_SPELLINGS: Final = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f\u2033`"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4"), "'"),
    0x2212: "-",
}
_DASH_AS_MINUS: Final = re.compile(r"(?<!\S)[\u2013\u2014](?=\d)")
_THOUSANDS: Final = re.compile(r"(?<![\w.,'])\d{1,3}([,_'\u00a0\u202f\u2009])\d{3}(?:\1\d{3})*(?!\w)")
_SEPARATED: Final = re.compile(r"\d[,_'\u00a0\u202f\u2009]\d\d\d")
_LONE_QUOTE: Final = re.compile(r"\"|(?<![^\W_])'|'(?![^\W_])")

SPELLED: Final = re.compile(number_words.PATTERN, re.IGNORECASE)
"""A number in words."""
_SCALES: Final = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SCALED: Final = re.compile(
    rf"(?<!\w)(?:(?P<half>half )?an? )?(?:(?P<count>\d+(?:\.\d+)?) )?(?P<scale>{'|'.join(_SCALES)})(?!\w)", re.IGNORECASE
)
_COUNTING: Final = frozenset({*number_words.WORDS, *_SCALES, "couple", "minus", "negative"})
_LETTERS: Final = re.compile("[a-z]+")
_COUPLE: Final = re.compile(r"(?<!\w)a couple of(?!\w)")
_MINUS: Final = re.compile(r"(?<!\w)(?:minus|negative) (?=\d)")

_NUMBER: Final = re.compile(
    r"(?<![\w.])(?:(?<![^\s(\[{<=:,;|$€£])(?P<sign>-))?(?P<digits>\d{1,40}(?:\.\d{1,40})?|\.\d{1,40})"
    r"(?P<exponent>e[+-]?\d{1,3})?(?P<unit>[a-z]{1,4})?(?!\w|\.\d)"
)
_BEFORE_UNIT: Final = re.compile(r"(?<=\d) (?=[a-z%])")
_SENTENCE_END: Final = re.compile(r"[.,;:!?]+[)\]}>]*(?!\S)")
_NO_WORD: Final = re.compile(r"\W")
_MOST_PLACES: Final = 10_000
"""Places where a phrase is looked for; beyond, a text is made to keep a planner busy."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs"})
_JOINERS: Final = "\u200c\u200d"  # Persian, Indic scripts and emoji need them


def unfolded(text: str) -> str:
    """The text with width, quotes and thousands separators made plain, and its case as it is; a wide (CJK) letter becomes a word."""
    if text.isascii():
        return _without_thousands(text.replace("`", '"'))
    text = _DASH_AS_MINUS.sub("-", unicodedata.normalize("NFC", text).translate(_SPELLINGS))
    return _without_thousands(unicodedata.normalize("NFC", "".join(map(_plain, _without_thousands(text))))).translate(_SPELLINGS)


def _without_thousands(text: str) -> str:
    return _THOUSANDS.sub(lambda found: found[0].replace(found[1], ""), text) if _SEPARATED.search(text) else text


def _plain(letter: str) -> str:
    if letter.isascii() or (letter.isnumeric() and not letter.isdecimal()):  # "10²" is not 102, nor "1½" 11/2
        return letter
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    plain = unicodedata.normalize("NFKC", letter)
    return "".join(f" {one} " if unicodedata.east_asian_width(one) == "W" else one for one in plain)


def unwrapped(text: str) -> str:
    """A goal without the quotes around the whole of it."""
    text = unfolded(text).strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1] else text


def normal(text: str) -> str:
    """The text as it is compared: unfolded, in one case, without quotes, its numbers in digits."""
    text = unfolded(text).casefold()
    if '"' in text or "'" in text:
        text = _LONE_QUOTE.sub(" ", text)
    text = " ".join(text.split())
    if not counts(text):
        return text
    text = _COUPLE.sub("2", SPELLED.sub(lambda found: digits(found[0]), text))
    return _MINUS.sub("-", scaled(text))


def counts(text: str) -> bool:
    """Whether a text may have numbers in words: quick, and true too often."""
    return not _COUNTING.isdisjoint(_LETTERS.findall(text.casefold()))


def digits(spelled: str) -> str:
    """A number in words, in digits; words that are none as they are."""
    number = number_words.cardinal(spelled.casefold().replace("-", " ").split())
    return spelled if number is None else str(number)


def scaled(text: str, spelled: MutableMapping[str, str] | None = None) -> str:
    """The text with "a dozen", "5 thousand" and "1.5 million" in digits; `spelled` is told the words of each number."""

    def product(found: re.Match[str]) -> str:
        number = Decimal(found["count"] or 1) * _SCALES[found["scale"].casefold()] / (2 if found["half"] else 1)
        digits = f"{number.normalize():f}"
        if spelled is not None:
            count = found["count"] or ""
            spelled[digits] = found[0].replace(count, spelled.get(count, count), 1)
        return digits

    return _SCALED.sub(product, text)


def bare(word: str) -> str:
    """A word without the marks around it and without a genitive."""
    if word[:1] == word[-1:] == "*":  # emphasis, and "*.csv" is none
        word = word.strip("*")
    return word.lstrip("([{<,;:!?'\"").rstrip(".,;:!?)]}>'\"").removesuffix("'s")


def has_invisible(text: str) -> bool:
    """Whether the text holds characters that nobody sees, direction marks among them."""
    return not text.isprintable() and any(
        unicodedata.category(letter) in _INVISIBLE and letter not in "\n\r\t" and letter not in _JOINERS for letter in text
    )


def holds(text: str, phrase: str) -> bool:
    """Whether a normal text holds a normal phrase: as words, or as parts of a word between its separators (`/`, `#`, `@`, `:`, `=` …)."""
    return next(places(text, phrase), None) is not None


def places(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Where a normal text holds a normal phrase: beginnings and ends."""
    start = text.find(phrase) if phrase else -1
    for _ in range(_MOST_PLACES):
        if start < 0:
            return
        end = start + len(phrase)
        if _may_begin(text, start) and _may_end(text, end):
            yield start, end
        separator = _NO_WORD.search(text, start)  # a phrase begins after one
        if separator is None:
            return
        start = text.find(phrase, separator.end())


def _joins(letter: str) -> bool:
    """Whether what stands beside this letter belongs to the same part of a word."""
    return letter.isalnum() or letter in "_-.+" or (not letter.isascii() and unicodedata.category(letter)[0] in "MC")


def _may_begin(text: str, at: int) -> bool:
    if at == 0 or text[at - 1].isspace():
        return True
    before = text[at - 1]
    return not _joins(before) and before != "'" if _joins(text[at]) and text[at] not in "-." else before in "([{<=,;|*"


def _may_end(text: str, at: int) -> bool:
    if at == len(text) or text[at].isspace():
        return True
    last, after = text[at - 1], text[at]
    if after == "'":
        return text[at + 1 : at + 2] == "s" and (at + 2 == len(text) or not _joins(text[at + 2]))
    if _SENTENCE_END.match(text, at):
        return True
    if not _joins(last) or last in "-.":
        return after in ")]}>,;|*"
    return not _joins(after) or (text.startswith(".git", at) and (at + 4 == len(text) or not _joins(text[at + 4])))


@dataclass(frozen=True)
class Said:
    """What somebody said, in normal form; `text` is as it was, `normal` as it is compared."""

    text: str

    @cached_property
    def normal(self) -> str:
        """The text as it is compared."""
        return normal(self.text)

    @cached_property
    def loose(self) -> str:
        """The same with hyphens and underscores as spaces, for names: "by-path" is "by path"."""
        return loosely(self.normal)

    @cached_property
    def tight(self) -> str:
        """The same with no space between a number and its unit: "15 %" is "15%"."""
        return tightly(self.normal)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words that stand alone, without the marks around them."""
        return frozenset(map(bare, self.normal.split()))

    @cached_property
    def numbers(self) -> frozenset[Decimal]:
        """Every number in it."""
        return frozenset(numbers(self.normal))


def loosely(text: str) -> str:
    """A normal text with hyphens and underscores as spaces."""
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def tightly(text: str) -> str:
    """A normal text with no space between a number and its unit."""
    return _BEFORE_UNIT.sub("", text)


def numbers(text: str) -> Iterator[Decimal]:
    """The numbers in a normal text. "10k" is ten thousand; of "20mb" and "3rd" it is the number."""
    for found in _NUMBER.finditer(text):
        number = Decimal(f"{found['sign'] or ''}{found['digits']}{found['exponent'] or ''}")
        yield number * 1000 if found["unit"] == "k" else number


def number_said(text: str) -> Decimal | None:
    """The number that a normal text is and nothing else."""
    found = _NUMBER.fullmatch(text)
    return next(numbers(text)) if found else None


def number_of(value: Any) -> Decimal | None:
    """A JSON number, exactly; None for any other value, and for what is no number of JSON (NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    return number if number.is_finite() else None
