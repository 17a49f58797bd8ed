"""How answers are printed where there is little room for them."""

from __future__ import annotations

import json
import sys

import pytest
from rich.markup import escape
from rich.text import Text

from heddle.cli.output import console, print_json, print_line, print_table

ID = "21d19f7402709744f4146d6e4a13a5a4-3"
REASON = "the rules declare no tier 'nosuch'; they have local, standard, slow"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_an_id_is_whole_and_in_one_line_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_table(("id", "at", "code", "reason"), [(ID, "2026-11-26T04:02:52.203Z", "unknown_tier", REASON)] * 2)
    lines = Text.from_ansi(capsys.readouterr().out).plain.splitlines()
    assert (sum(ID in line for line in lines), "…" in "".join(lines)) == (2, False)
    assert max(map(len, lines)) <= width


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "at"), [])
    assert capsys.readouterr().out.split() == ["id", "at"]


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\x9b31m", "\x7f", "\u202etxt.exe", "\u2066x"])
def test_nothing_that_is_printed_moves_the_cursor_or_turns_what_follows(capsys: pytest.CaptureFixture[str], hostile: str) -> None:
    print_json({"x": hostile, "gr\u00fcn": 1})
    print_line({"x": hostile})
    told = capsys.readouterr().out
    assert [json.loads(line)["x"] for line in told.splitlines()] == [hostile] * 2
    console().print(escape(hostile))
    print_table(("x",), [(hostile,)])
    told += capsys.readouterr().out
    assert (hostile[0] in told, "gr\u00fcn" in told) == (False, True)
