"""The macro `csv_profile`: what is in the columns of a CSV file."""

from __future__ import annotations

import asyncio
import csv
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from types import MappingProxyType
from typing import IO, Annotated, Final, Literal

from pydantic import BaseModel, Field

from heddle import macro, reject
from heddle.fields import Percent, words
from workflows.csv_columns import Column, ColumnType, Quartiles, Sample, ValueType, read_value
from workflows.files import Files, UnknownFile

SAMPLED_NUMBERS: Final = 1_000_000
MOST_COLUMNS: Final = 500
MOST_EXAMPLES: Final = 5
LONGEST_LINE: Final = 1 << 20
LONGEST_NAME: Final = 200
ROWS_TO_GUESS_BY: Final = 100

Delimiter = Literal["comma", "semicolon", "tab", "pipe"]
Encoding = Literal["utf-8", "utf-16", "latin-1"]

DELIMITERS: Final[Mapping[Delimiter, str]] = MappingProxyType({"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"})
_ENCODINGS: Final[Mapping[str, Encoding]] = MappingProxyType({"utf-8-sig": "utf-8", "utf-16": "utf-16", "latin-1": "latin-1"})
_NO_UTF8: Final = "the file is not UTF-8: it was read as Latin-1, so letters with accents may be wrong"


_MISSING: Final = "[and (flag|point out|show) [(all|every)] (column|columns) with more than {max_missing} missing [values]]"


class NotCsv(Exception):
    """The file cannot be read as CSV."""


class ProfileRequest(BaseModel, frozen=True, extra="forbid"):
    """Which file to profile."""

    path: str = Field(min_length=1, description="The CSV file's path as the goal names it.")
    delimiter: Annotated[
        Literal["auto", "comma", "semicolon", "tab", "pipe"],
        words(comma=["commas"], semicolon=["semicolons"], tab=["tabs"], pipe=["pipes"]),
        Field(description="What separates the columns; auto finds out."),
    ] = "auto"
    max_missing: Percent | None = Field(
        None, ge=0, le=100, description="Remark on every column of which more than this is missing, such as 20%."
    )


class Outlier(BaseModel, frozen=True, extra="forbid"):
    """A number beyond the fences and the line of the file where its row ends."""

    line: int
    value: int | float


class Outliers(BaseModel, frozen=True, extra="forbid"):
    """Numbers beyond Tukey's fences (1.5 interquartile ranges beyond the quartiles)."""

    low_fence: float
    high_fence: float
    count: int
    first: list[Outlier] = Field(description="The first five.")


class ColumnProfile(BaseModel, frozen=True, extra="forbid"):
    """One column."""

    name: str
    type: ColumnType = Field(description="The narrowest type that every value fits; empty if there is no value.")
    types: dict[ValueType, int] = Field(description="How many values have each type: a text column of numbers shows its strays here.")
    values: int
    nulls: int = Field(description="Cells that are missing, blank, NA, N/A, NaN, null or none.")
    distinct: int | None = Field(description="How many different values there are; null if more than 1000.")
    minimum: int | float | str | None = Field(description="Of numbers, or the earliest of dates; null for other types.")
    maximum: int | float | str | None
    shortest: int | None = Field(description="Characters of the shortest value.")
    longest: int | None
    mean: float | None
    q1: float | None
    median: float | None
    q3: float | None
    sampled: bool = Field(description="Whether the quartiles, and so the fences, come from an even sample of the numbers, not from all.")
    outliers: Outliers | None = Field(
        description="Null if the column is not numeric, has fewer than 4 values, or its middle half is one value."
    )


class CsvProfile(BaseModel, frozen=True, extra="forbid"):
    """What is in a CSV file; `remarks` says what was odd about it."""

    path: str
    encoding: Encoding
    delimiter: Delimiter
    rows: int
    ragged_rows: int = Field(
        description="Rows with more or fewer cells than the header: missing ones count as null, further ones are left out."
    )
    columns: list[ColumnProfile]
    remarks: list[str]


@macro(
    version=1,
    tier="local",
    timeout=300,
    effects="none",
    fails={UnknownFile: reject, NotCsv: reject},
    examples=[
        ("Profile the file data/orders.csv", {"path": "data/orders.csv"}),
        (
            "what columns, ranges and outliers does exports/users.tsv have? It is separated by tabs",
            {"path": "exports/users.tsv", "delimiter": "tab"},
        ),
        ("check metrics/latency.csv for missing values and outliers", {"path": "metrics/latency.csv"}),
        (
            "Profile data/patients.csv and point out every column with more than 20% missing",
            {"path": "data/patients.csv", "max_missing": "20%"},
        ),
        ('Tell me what is in the columns of "survey results.csv"', {"path": "survey results.csv"}),
        (
            "Give me column types and quartiles of reports/2026/q1.csv, which is a semicolon-separated file",
            {"path": "reports/2026/q1.csv", "delimiter": "semicolon"},
        ),
        (
            "archive/stock.dat is split by pipes: which columns are numbers, and is a tenth or so of any of them empty?",
            {"path": "archive/stock.dat", "delimiter": "pipe"},
        ),
    ],
    phrases=[
        f"profile [the] [(file|csv|csv file)] {{path}} [separated by {{delimiter}}] {_MISSING}",
        "(describe|summarise|summarize) [the] (file|csv|csv file|columns of|data in) {path} [separated by {delimiter}]",
        "(check|inspect|profile) [the] [(file|csv|csv file)] {path} for [(nulls|missing values) and] (outliers|nulls|missing values)",
    ],
)
async def csv_profile(request: ProfileRequest, *, files: Files) -> CsvProfile:
    """Profile a CSV file: the type, nulls, range, quartiles and outliers of every column.

    The first row is the header. The file is read twice, row by row, in a thread; counts and ranges are exact. Quartiles are exact
    while the file has at most a million numbers (shared among the columns), beyond that from an even, deterministic sample.
    """
    path = await files.locate(request.path)
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(_profile, request, path, given_up)
    finally:
        given_up.set()  # a thread cannot be cancelled: it looks


@dataclass(frozen=True, slots=True)
class _Table:
    """A CSV file as it is to be read."""

    path: Path
    encoding: str
    delimiter: str
    given_up: threading.Event

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank, and the line where it ends."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(_lines(file, self.given_up), delimiter=self.delimiter, skipinitialspace=True)
            try:
                yield from ((reader.line_num, row) for row in reader if row)
            except csv.Error as error:
                raise NotCsv(f"line {reader.line_num}: {error}; is a quotation mark left open?") from None


def _profile(request: ProfileRequest, path: Path, given_up: threading.Event) -> CsvProfile:
    with path.open("rb") as file:
        encodings = ("utf-16",) if file.read(2) in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            delimiter = _guess_delimiter(path, encoding, given_up) if request.delimiter == "auto" else request.delimiter
            return _profile_table(request, _Table(path, encoding, DELIMITERS[delimiter], given_up), delimiter)
        except UnicodeError:
            continue  # Latin-1 reads everything
    raise NotCsv(f"{request.path}: begins like UTF-16 text and goes on like something else")


def _profile_table(request: ProfileRequest, table: _Table, delimiter: Delimiter) -> CsvProfile:
    """Two passes: all but the outliers, then the numbers beyond the fences that the first found."""
    rows, ragged, first_ragged = 0, 0, 0
    columns: list[Column] = []
    for line, row in table.rows():
        if not columns:
            columns = _columns(row)
            continue
        rows += 1
        if len(row) != len(columns):
            ragged, first_ragged = ragged + 1, first_ragged or line
        missing = repeat("", len(columns) - len(row))
        for column, cell in zip(columns, chain(row, missing), strict=False):
            column.add(cell)
    quartiles = [column.quartiles for column in columns]
    outliers = _outliers(table, columns, quartiles)
    remarks = [_NO_UTF8] if table.encoding == "latin-1" else []
    if not rows:
        remarks.append("there is a header and no row" if columns else "the file is empty")
    if ragged:
        remarks.append(
            f"{ragged} of {rows} rows have more or fewer cells than the header's {len(columns)}, the first at line {first_ragged}"
        )
    if request.max_missing is not None:
        remarks += _too_empty(columns, rows, request.max_missing)
    return CsvProfile(
        path=request.path,
        encoding=_ENCODINGS[table.encoding],
        delimiter=delimiter,
        rows=rows,
        ragged_rows=ragged,
        columns=[_column_profile(*known) for known in zip(columns, quartiles, outliers, strict=True)],
        remarks=remarks,
    )


def _too_empty(columns: list[Column], rows: int, most: float) -> Iterator[str]:
    """A remark on the columns of which more percent than that are missing."""
    empty = [f"{column.name} ({100 * column.nulls / rows:.3g}%)" for column in columns if 100 * column.nulls > most * rows]
    if empty:
        more = f" and {len(empty) - MOST_EXAMPLES} more" if len(empty) > MOST_EXAMPLES else ""
        yield f"missing in more than {most:g}% of the rows: {', '.join(empty[:MOST_EXAMPLES])}{more}"


def _columns(header: list[str]) -> list[Column]:
    if len(header) > MOST_COLUMNS:
        raise NotCsv(f"the first row has {len(header)} cells and {MOST_COLUMNS} columns are the most: is it a header?")
    most = SAMPLED_NUMBERS // len(header)
    return [Column(cell.strip()[:LONGEST_NAME] or f"column {number}", Sample(most)) for number, cell in enumerate(header, 1)]


def _outliers(table: _Table, columns: list[Column], quartiles: list[Quartiles | None]) -> list[Outliers | None]:
    """Count the numbers beyond the fences; the file is read again only if some range reaches beyond them."""
    fences = [known.fences() if known else None for known in quartiles]
    counts = [0] * len(columns)
    first: list[list[Outlier]] = [[] for _ in columns]
    suspects = [
        (index, *fence)
        for index, (column, fence) in enumerate(zip(columns, fences, strict=True))
        if fence and column.numbers and (column.numbers[0] < fence[0] or column.numbers[1] > fence[1])
    ]
    for line, row in islice(table.rows(), 1, None) if suspects else ():
        for index, low, high in suspects:
            value = read_value(row[index].strip())[1] if index < len(row) else None
            if isinstance(value, int | float) and not low <= value <= high:
                counts[index] += 1
                if len(first[index]) < MOST_EXAMPLES:
                    first[index].append(Outlier(line=line, value=value))
    return [
        Outliers(low_fence=fence[0], high_fence=fence[1], count=count, first=examples) if fence else None
        for fence, count, examples in zip(fences, counts, first, strict=True)
    ]


def _column_profile(column: Column, quartiles: Quartiles | None, outliers: Outliers | None) -> ColumnProfile:
    minimum, maximum = column.range or (None, None)
    shortest, longest = column.lengths or (None, None)
    return ColumnProfile(
        name=column.name,
        type=column.type,
        types=dict(column.types),
        values=column.values,
        nulls=column.nulls,
        distinct=column.distinct,
        minimum=minimum,
        maximum=maximum,
        shortest=shortest,
        longest=longest,
        mean=column.mean,
        q1=quartiles.q1 if quartiles else None,
        median=quartiles.median if quartiles else None,
        q3=quartiles.q3 if quartiles else None,
        sampled=quartiles is not None and column.sample.stride > 1,
        outliers=outliers,
    )


def _guess_delimiter(path: Path, encoding: str, given_up: threading.Event) -> Delimiter:
    """The delimiter that cuts the first rows into the most even rows of more than one cell, then into the most cells."""

    def evenness(delimiter: Delimiter) -> tuple[bool, float, int]:
        widths = Counter(len(row) for _, row in islice(_Table(path, encoding, DELIMITERS[delimiter], given_up).rows(), ROWS_TO_GUESS_BY))
        width, count = widths.most_common(1)[0] if widths else (0, 0)
        return width > 1, count / max(1, widths.total()), width

    return max(DELIMITERS, key=evenness)


def _lines(file: IO[str], given_up: threading.Event) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if given_up.is_set():
            raise NotCsv("nobody waits for the profile any more")
        if "\0" in line:
            raise NotCsv(f"line {number}: a zero byte: this is no text file")
        if len(line) == LONGEST_LINE:
            raise NotCsv(f"line {number}: longer than {LONGEST_LINE} characters: this is no CSV file")
        yield line
