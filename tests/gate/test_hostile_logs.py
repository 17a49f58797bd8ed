"""Whoever writes logs may mean harm: what they say is text in the files that are made of them, and runs nowhere."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from heddle.cli.proposals import Written, write_proposals
from heddle.gate.coverage import covers_of
from heddle.gate.reading import Logs, read_logs
from heddle.gate.scanning import Report, scan
from heddle.macros.loading import Registry, load

RUN: Final = "__import__('os').environ.setdefault('HOSTILE_LOGS', 'ran')"
TODAY: Final = date(2026, 5, 1)


def logs(*steps: dict[str, Any], goal: str = "note it") -> Logs:
    """Of five sessions that make the same calls; `#` in a text is the session's number."""
    events = (
        {"kind": "call", "session": f"s{number}", "tool": "Forge", "goal": goal, **json.loads(json.dumps(step).replace("#", str(number)))}
        for number in range(5)
        for step in ({"method": "latest", "arguments": {"repository": "r #"}, "result": {"id": "abc#def#99"}}, *steps)
    )
    return read_logs([("log.jsonl", b"".join(json.dumps(event).encode() + b"\n" for event in events))])


def annotate(**arguments: Any) -> dict[str, Any]:
    return {"method": "annotate", "arguments": {"change": "abc#def#99", **arguments}}


def scanned(read: Logs, registry: Registry | None = None) -> Report:
    return scan(read, covers_of(registry) if registry else [], [], [], TODAY)


async def written(read: Logs, folder: Path) -> Written:
    """What is proposed for the one sequence of some logs."""
    (one,) = await write_proposals(scanned(read), load([]), folder)
    return one


HOSTILE: Final = {
    "an argument that goes on as code": logs(annotate(**{f"b={RUN}, c": 1})),
    "a method that goes on as code": logs({**annotate(), "method": f"annotate(x={RUN}); y"}),
    "a method that ends its docstring": logs({**annotate(), "method": f'annotate""" + {RUN} + """'}),
    "a tool that ends a docstring": logs({**annotate(), "tool": f'Chat"""\n{RUN}\n"""'}),
    "a path for a method": logs({**annotate(), "method": "../../../../x"}),
    "a goal that ends a docstring": logs(annotate(), goal=f'""" \n{RUN}\n""" \\'),
    "a goal with a zero byte": logs(annotate(), goal="note \x00 it"),
    "a text that ends its literal": logs(annotate(note=f'"\\" + {RUN} + "{{x}} abc#def#99')),
    "a pattern that ends its literal": logs(annotate(path=f'a#]",{RUN.replace(" ", "")},"#')),
    "a key that ends its literal": logs(
        {"method": "read", "arguments": {"of": "abc#def#99"}, "result": {f"a'\"]+{RUN}#": "key # it"}}, annotate(note="see key # it")
    ),
    "an error that goes on as code": logs({**annotate(), "error": {"type": f"E(Exception): {RUN}\nclass F"}}, annotate()),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_logs_say_is_not_run(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTILE_LOGS", raising=False)
    one = await written(HOSTILE[what], tmp_path)
    assert (one.problem, os.environ.get("HOSTILE_LOGS")) == (None, None)


async def test_nothing_is_written_beside_the_folder(tmp_path: Path) -> None:
    await written(HOSTILE["a path for a method"], tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    "step",
    [
        {"tool": "forge"},
        {"tool": "Field", "method": "class"},
        {"tool": "Request", "method": "print"},
        {"method": "löschen", "arguments": {"change": "abc#def#99", "from": "day #", "user-id": 7, "self": "x #"}},
        {"method": "latest", "arguments": {"change": "abc#def#99"}},
        {"arguments": {"change": "abc#def#99", "where": [{"café": "a/é#"}, ["#"]]}},
        {"arguments": {"change": "abc#def#99", "path": "café#/naïve"}},
    ],
    ids=str,
)
async def test_whatever_things_are_called_their_macro_covers_them(step: dict[str, Any], tmp_path: Path) -> None:
    read = logs({**annotate(), **step})
    one = await written(read, tmp_path)
    assert one.problem is None
    assert [finding.status for finding in scanned(read, load([str(one.file)])).findings] == ["covered"]


@pytest.mark.parametrize("error", ["TimeoutError", "macro", "None", "Forge", "BaseModel", "E" * 500, "Recorded_1", "UnicodeDecodeError"])
async def test_whatever_an_error_is_called_it_can_be_declared(error: str, tmp_path: Path) -> None:
    one = await written(logs({**annotate(), "error": {"type": error}}, annotate()), tmp_path)
    assert (one.problem, one.fixtures) == (None, 4)
