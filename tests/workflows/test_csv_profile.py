from __future__ import annotations

import statistics
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import csv_profile as module
from workflows.csv_columns import Column, Sample, read_value
from workflows.csv_profile import ColumnProfile, CsvProfile, NotCsv, ProfileRequest, csv_profile
from workflows.files import LocalFiles, UnknownFile


async def profile(root: Path, content: str | bytes, delimiter: module.Delimiter | None = None) -> CsvProfile:
    (root / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    request = ProfileRequest(path="data.csv") if delimiter is None else ProfileRequest(path="data.csv", delimiter=delimiter)
    return await csv_profile(request, files=LocalFiles(root))


async def column(root: Path, *cells: str) -> ColumnProfile:
    """The profile of the one column that holds these cells; a second one keeps a blank cell from being a blank row."""
    return (await profile(root, "x,y\n" + "".join(f"{cell},-\n" for cell in cells))).columns[0]


def names(found: CsvProfile) -> list[str]:
    return [known.name for known in found.columns]


# Reading the file


@pytest.mark.parametrize(("name", "character"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
async def test_the_delimiter_is_found(tmp_path: Path, name: str, character: str) -> None:
    found = await profile(tmp_path, "id,total,note\n1,2,3\n4,5,6\n".replace(",", character))
    assert (found.delimiter, names(found)) == (name, ["id", "total", "note"])


async def test_decimal_commas_do_not_hide_semicolons(tmp_path: Path) -> None:
    assert (await profile(tmp_path, "id;total\n1;2,50\n2;3,75\n")).delimiter == "semicolon"


async def test_a_named_delimiter_is_used(tmp_path: Path) -> None:
    assert names(await profile(tmp_path, "a,b;c\n1,2;3\n", "semicolon")) == ["a,b", "c"]


async def test_a_single_column_is_a_column(tmp_path: Path) -> None:
    assert names(await profile(tmp_path, "id\n1\n2\n")) == ["id"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("näme,b\n1,2\n".encode(), "utf-8"),
        (b"\xef\xbb\xbf" + "näme,b\n1,2\n".encode(), "utf-8"),
        ("näme,b\n1,2\n".encode("utf-16"), "utf-16"),
        ("näme,b\n1,2\n".encode("latin-1"), "latin-1"),
    ],
)
async def test_the_encoding_is_found(tmp_path: Path, content: bytes, encoding: str) -> None:
    found = await profile(tmp_path, content)
    assert (found.encoding, names(found)) == (encoding, ["näme", "b"])


async def test_a_stray_byte_far_into_the_file_is_found_too(tmp_path: Path) -> None:
    found = await profile(tmp_path, b"a,b\n" + b"1,2\n" * 20_000 + b"\xff,2\n")
    assert (found.encoding, found.rows) == ("latin-1", 20_001)


async def test_latin1_is_remarked_on(tmp_path: Path) -> None:
    assert "not UTF-8" in (await profile(tmp_path, b"n\xe4me,b\n1,2\n")).remarks[0]


async def test_quotes_may_hold_newlines_and_delimiters(tmp_path: Path) -> None:
    found = await profile(tmp_path, 'a,b\n"x\ny, z","say ""hi"""\n')
    assert (found.rows, [known.longest for known in found.columns]) == (1, [6, 8])


@pytest.mark.parametrize("content", ["", "\n\n"])
async def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    found = await profile(tmp_path, content)
    assert (found.rows, found.columns, found.remarks) == (0, [], ["the file is empty"])


async def test_a_header_alone_has_empty_columns(tmp_path: Path) -> None:
    found = await profile(tmp_path, "a,b\n")
    assert ([known.type for known in found.columns], found.remarks) == (["empty", "empty"], ["there is a header and no row"])


async def test_ragged_rows_are_counted_and_located(tmp_path: Path) -> None:
    found = await profile(tmp_path, "a,b\n1,2\n3\n4,5,6\n")
    assert (found.ragged_rows, found.columns[1].nulls) == (2, 1)
    assert found.remarks == ["2 of 3 rows have more or fewer cells than the header's 2, the first at line 3"]


async def test_columns_of_which_too_much_is_missing_are_remarked_on(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b,c\n1,,\n2,2,\n3,3,\n4,4,\n")
    found = await csv_profile(ProfileRequest(path="data.csv", max_missing=25), files=LocalFiles(tmp_path))
    assert found.remarks == ["missing in more than 25% of the rows: c (100%)"]


async def test_of_many_columns_of_which_too_much_is_missing_the_first_are_named(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(f"{','.join('abcdefgh')}\n{',' * 7}\n1{',' * 7}\n")
    found = await csv_profile(ProfileRequest(path="data.csv", max_missing=0), files=LocalFiles(tmp_path))
    assert found.remarks == ["missing in more than 0% of the rows: a (50%), b (100%), c (100%), d (100%), e (100%) and 3 more"]


@pytest.mark.parametrize("content", ["", "a,b\n"])
async def test_of_a_file_without_rows_nothing_is_missing(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.csv").write_text(content)
    found = await csv_profile(ProfileRequest(path="data.csv", max_missing=0), files=LocalFiles(tmp_path))
    assert not any("missing" in remark for remark in found.remarks)


async def test_a_nameless_column_gets_its_number(tmp_path: Path) -> None:
    assert names(await profile(tmp_path, "a,,c\n1,2,3\n")) == ["a", "column 2", "c"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x89PNG\x00\x01", "zero byte"),
        (b"\xff\xfea", "UTF-16"),
        (b'a,b\n"open' + b"x\n" * 100_000, "quotation mark"),
        (b"a," * 600 + b"\n", "600|601"),
        (b"x" * (1 << 20), "longer than"),
    ],
)
async def test_what_is_no_csv_is_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(NotCsv, match=why):
        await profile(tmp_path, content)


@pytest.mark.parametrize("path", ["nowhere.csv", "../outside.csv", "/etc/passwd", "folder", "way.csv", "a\0b", "x" * 5000])
async def test_a_file_that_is_not_there_is_unknown(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside.csv").write_text("a\n1\n")
    (root / "way.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(UnknownFile, match="HEDDLE_FORGE__ROOT"):
        await csv_profile(ProfileRequest(path=path), files=LocalFiles(root))


async def test_an_abandoned_profile_stops_reading(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(NotCsv, match="nobody waits"):
        module._profile(ProfileRequest(path="data.csv"), tmp_path / "data.csv", given_up)


# What a column is


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", "integer"),
        ("-17", "integer"),
        ("1.5", "number"),
        (".5", "number"),
        ("1e3", "number"),
        ("007", "text"),
        ("1234567890123456789", "text"),
        ("1,234", "text"),
        ("1e999", "text"),
        ("inf", "text"),
        ("٣", "text"),
        ("TRUE", "boolean"),
        ("no", "boolean"),
        ("2026-02-28", "date"),
        ("2026-02-30", "text"),
        ("20260228", "integer"),
        ("2026-02-28T10:00:00Z", "datetime"),
        ("2026-02-28 10:00", "datetime"),
        ("Ada", "text"),
    ],
)
def test_a_text_has_the_narrowest_type_that_fits(text: str, kind: str) -> None:
    assert read_value(text)[0] == kind


@given(st.text())
def test_every_text_has_a_type(text: str) -> None:
    assert read_value(text)[0] in {"boolean", "integer", "number", "date", "datetime", "text"}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5"], "number"),
        (["2026-01-01", "2026-01-01T10:00"], "datetime"),
        (["1", "yes"], "text"),
        (["1", "", "N/A", "null"], "integer"),
        (["", " "], "empty"),
    ],
)
async def test_a_column_has_the_narrowest_type_that_all_fit(tmp_path: Path, cells: list[str], kind: str) -> None:
    assert (await column(tmp_path, *cells)).type == kind


async def test_strays_show_in_the_counts_of_types(tmp_path: Path) -> None:
    assert (await column(tmp_path, "1", "2", "oops")).types == {"integer": 2, "text": 1}


async def test_nulls_are_counted(tmp_path: Path) -> None:
    found = await column(tmp_path, "1", "", "NA", "n/a", "NaN", "NULL", "None", " ")
    assert (found.values, found.nulls) == (1, 7)


async def test_dates_have_a_range(tmp_path: Path) -> None:
    found = await column(tmp_path, "2026-03-02", "2025-12-31", "2026-01-01")
    assert (found.minimum, found.maximum) == ("2025-12-31", "2026-03-02")


async def test_times_are_compared_as_moments(tmp_path: Path) -> None:
    found = await column(tmp_path, "2026-03-02T10:00:00+09:00", "2026-03-02T02:00:00Z")
    assert (found.minimum, found.maximum) == ("2026-03-02T10:00:00+09:00", "2026-03-02T02:00:00Z")


async def test_distinct_values_are_counted_up_to_a_limit(tmp_path: Path) -> None:
    assert (await column(tmp_path, *map(str, range(1000)))).distinct == 1000
    assert (await column(tmp_path, *map(str, range(1001)))).distinct is None


# Quartiles and outliers


async def test_the_quartiles_are_those_of_the_statistics_module(tmp_path: Path) -> None:
    found = await column(tmp_path, "3", "4", "5", "6", "7", "8", "9", "15", "30")
    assert (found.q1, found.median, found.q3) == tuple(statistics.quantiles([3, 4, 5, 6, 7, 8, 9, 15, 30], n=4, method="inclusive"))


async def test_an_outlier_lies_beyond_the_fences_and_is_located(tmp_path: Path) -> None:
    outliers = (await column(tmp_path, "10", "11", "", "12", "13", "99")).outliers
    assert outliers is not None
    assert (outliers.low_fence, outliers.high_fence) == (8.0, 16.0)
    assert (outliers.count, [(one.line, one.value) for one in outliers.first]) == (1, [(7, 99)])


async def test_all_outliers_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    outliers = (await column(tmp_path, *map(str, range(100)), *["1000"] * 7)).outliers
    assert outliers is not None
    assert (outliers.count, len(outliers.first)) == (7, 5)


@pytest.mark.parametrize(
    "cells", [["1", "2", "99"], ["5", "5", "5", "5", "99"], ["a", "b", "c", "d"], ["1e308", "-1e308", "1e308", "-1e308"]]
)
async def test_where_fences_mean_nothing_there_are_none(tmp_path: Path, cells: list[str]) -> None:
    assert (await column(tmp_path, *cells)).outliers is None


async def test_numbers_too_large_to_add_have_no_mean(tmp_path: Path) -> None:
    assert (await column(tmp_path, "1e308", "1e308")).mean is None


async def test_a_large_column_is_sampled_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLED_NUMBERS", 200)
    found = await column(tmp_path, *map(str, range(1000)))
    assert (found.sampled, found.values, found.minimum, found.maximum) == (True, 1000, 0, 999)
    assert found.median == pytest.approx(499.5, rel=0.05)


@given(st.integers(1, 50), st.integers(0, 2000))
def test_a_sample_is_bounded_and_even(most: int, numbers: int) -> None:
    sample = Sample(most)
    for number in range(numbers):
        sample.add(number)
    assert list(sample.values) == list(range(0, numbers, sample.stride))
    assert len(sample.values) <= most


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=4, max_size=50))
def test_the_mean_lies_in_the_range(numbers: list[float]) -> None:
    known = Column("x", Sample(1000))
    for number in numbers:
        known.add(repr(number))
    assert known.mean is not None
    low, high = min(numbers), max(numbers)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    assert low - slack <= known.mean <= high + slack


@given(st.binary(max_size=300))
def test_any_bytes_are_profiled_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(content)
    try:
        found = module._profile(ProfileRequest(path="any.csv"), file, threading.Event())
    except NotCsv:
        return
    assert all(known.values + known.nulls == found.rows for known in found.columns)
    csv_profile.write(found)
