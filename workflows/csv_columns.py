"""What can be learned of a column of texts, value by value, in memory that does not grow with the file."""

from __future__ import annotations

import math
import re
import statistics
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final, Literal, TypeVar

ValueType = Literal["boolean", "integer", "number", "date", "datetime", "text"]
ColumnType = ValueType | Literal["empty"]
_Ordered = TypeVar("_Ordered", int, int | float, tuple[datetime, str])
Value = bool | int | float | date | datetime | str

NULLS: Final = frozenset({"", "na", "n/a", "nan", "null", "none"})
MOST_DISTINCT: Final = 1000
FEWEST_FOR_QUARTILES: Final = 4

_BOOLEANS: Final = {"true": True, "false": False, "yes": True, "no": False}
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)|\.[0-9]+(?:[eE][+-]?[0-9]+)?)")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*")


def read_value(text: str) -> tuple[ValueType, Value]:
    """The narrowest type that a text fits, and its value.

    Digits that begin with a zero (postcodes) or number more than 18 (card numbers) are identifiers, so they are text; so are
    numbers with a thousands separator or a decimal comma. Dates are ISO 8601.
    """
    if _INTEGER.fullmatch(text):
        return "integer", int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return "number", number
    if (truth := _BOOLEANS.get(text.casefold())) is not None:
        return "boolean", truth
    try:
        if _DATE.fullmatch(text):
            return "date", date.fromisoformat(text)
        if _DATETIME.fullmatch(text):
            return "datetime", datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        pass
    return "text", text


@dataclass(slots=True)
class Sample:
    """Numbers, every one up to `most`; beyond, every second, fourth, eighth … : evenly spread and the same on every run."""

    most: int
    values: array[float] = field(default_factory=lambda: array("d"))
    stride: int = 1
    seen: int = 0

    def add(self, value: float) -> None:
        """Offer the next number."""
        if self.seen % self.stride == 0:
            if len(self.values) >= self.most:
                del self.values[1::2]
                self.stride *= 2
            if self.seen % self.stride == 0:
                self.values.append(value)
        self.seen += 1


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The quartiles of a column, by linear interpolation (type 7 of Hyndman and Fan, 1996)."""

    q1: float
    median: float
    q3: float

    def fences(self) -> tuple[float, float] | None:
        """Tukey's inner fences (Exploratory Data Analysis, 1977): 1.5 interquartile ranges below q1 and above q3.

        None if the middle half is a single value: every other value would lie outside.
        """
        reach = 1.5 * (self.q3 - self.q1)
        low, high = rounded(self.q1 - reach), rounded(self.q3 + reach)
        return (low, high) if reach > 0 and math.isfinite(low) and math.isfinite(high) else None


@dataclass(slots=True)
class Column:
    """What is known of a column so far."""

    name: str
    sample: Sample
    nulls: int = 0
    types: Counter[ValueType] = field(default_factory=Counter)
    numbers: tuple[int | float, int | float] | None = None
    total: float = 0
    times: tuple[tuple[datetime, str], tuple[datetime, str]] | None = None
    lengths: tuple[int, int] | None = None
    _hashes: set[int] = field(default_factory=set)

    def add(self, cell: str) -> None:
        """Learn from the next cell."""
        text = cell.strip()
        if text.casefold() in NULLS:
            self.nulls += 1
            return
        kind, value = read_value(text)
        self.types[kind] += 1
        if len(self._hashes) <= MOST_DISTINCT:
            self._hashes.add(hash(text))
        self.lengths = _widen(self.lengths, len(text))
        if isinstance(value, date):
            self.times = _widen(self.times, (_moment(value), text))
        elif isinstance(value, int | float) and kind != "boolean":
            self.numbers = _widen(self.numbers, value)
            self.total += value
            self.sample.add(value)

    @property
    def type(self) -> ColumnType:
        """The narrowest type that every value fits."""
        seen = set(self.types)
        if not seen:
            return "empty"
        if len(seen) == 1:
            return seen.pop()
        if seen == {"integer", "number"}:
            return "number"
        return "datetime" if seen == {"date", "datetime"} else "text"

    @property
    def values(self) -> int:
        """Cells that hold something."""
        return self.types.total()

    @property
    def distinct(self) -> int | None:
        """How many different values there are; None above MOST_DISTINCT."""
        return len(self._hashes) if len(self._hashes) <= MOST_DISTINCT else None

    @property
    def mean(self) -> float | None:
        """The mean of a numeric column; None if the sum is too large for a float."""
        return rounded(self.total / self.values) if self._is_numeric and math.isfinite(self.total) else None

    @property
    def quartiles(self) -> Quartiles | None:
        """The quartiles of a numeric column with enough values."""
        if not self._is_numeric or self.values < FEWEST_FOR_QUARTILES:
            return None
        q1, median, q3 = map(rounded, statistics.quantiles(self.sample.values, n=4, method="inclusive"))
        return Quartiles(q1, median, q3) if math.isfinite(q1 + median + q3) else None

    @property
    def range(self) -> tuple[int | float, int | float] | tuple[str, str] | None:
        """The smallest and the largest number, or the earliest and the latest time as they stand in the file."""
        if self._is_numeric:
            return self.numbers
        if self.type in {"date", "datetime"} and self.times:
            return self.times[0][1], self.times[1][1]
        return None

    @property
    def _is_numeric(self) -> bool:
        return self.type in {"integer", "number"}


def rounded(number: float) -> float:
    """Twelve significant digits: what is behind them is noise of the arithmetic."""
    return float(f"{number:.12g}")


def _widen(known: tuple[_Ordered, _Ordered] | None, value: _Ordered) -> tuple[_Ordered, _Ordered]:
    return (value, value) if known is None else (min(known[0], value), max(known[1], value))


def _moment(value: date) -> datetime:
    """A point in time to compare by; without an offset it is taken as UTC."""
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
