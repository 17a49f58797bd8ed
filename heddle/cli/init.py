"""`heddle init`: a working project of one macro, its fixtures, rules, and tests that pass at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from heddle.cli.options import Output, OutputFormat
from heddle.cli.output import Exit, console, fail, print_json

FILES = {
    "workflows/__init__.py": '"""Macros of this project."""\n',
    "workflows/count_words.py": '''\
"""A first macro: count the words of a text."""

from pydantic import BaseModel, Field

from heddle import macro, reject


class Text(BaseModel):
    """What to count."""

    text: str = Field(description="the text whose words are counted")


class Count(BaseModel):
    """How many."""

    words: int


class EmptyText(Exception):
    """There is nothing to count."""


@macro(
    tier="local",
    timeout=10,
    fails={EmptyText: reject},
    examples=[('Count the words in "to be or not to be"', {"text": "to be or not to be"})],
    phrases=["count [the] words (in|of) {text}"],
)
async def count_words(request: Text) -> Count:
    """Count the words of a text."""
    words = len(request.text.split())
    if not words:
        raise EmptyText("the text has no words")
    return Count(words=words)
''',
    "workflows/fixtures/count_words/hamlet.yaml": """\
input: {text: to be or not to be}
output: {words: 6}
""",
    "workflows/fixtures/count_words/blanks.yaml": """\
input: {text: "   "}
fails: {error: EmptyText}
""",
    "configs/router_rules.yaml": """\
# Where tasks go. Read again on save while `heddle up` runs; check it with `heddle rules check`.
version: 1

tiers: # every tier there is
  local: {rate: 200/s, burst: 400, max_wait: 30s}
  standard: {rate: 300/min, burst: 20, max_wait: 2m}

worker_types: # every worker type there is; {} goes to the tier that the task names
  count_words: {}
""",
    "tests/test_count_words.py": '''\
"""Run with: pytest"""

import asyncio

from heddle.testing import Fixture, each_fixture, replay, run_macro
from workflows.count_words import count_words


@each_fixture(count_words)
def test_count_words_does_what_its_fixtures_say(fixture: Fixture) -> None:
    assert asyncio.run(replay(count_words, fixture)) is None


def test_blanks_do_not_count() -> None:
    assert asyncio.run(run_macro(count_words, {"text": "  one   two "})) == {"words": 2}
''',
    "pytest.ini": """\
[pytest]
pythonpath = .
testpaths = tests
""",
    ".gitignore": ".heddle/\n__pycache__/\n",
}


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make it; a new or empty folder.", show_default=False)],
    output: Output = OutputFormat.TEXT,
) -> None:
    """Make a working project: one macro, its fixtures, rules, and tests that pass at once."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise fail(f"{folder} is there already and not empty; name a new folder", Exit.INCOMPLETE)
    try:
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise fail(f"cannot write {error.filename}: {error.strerror}", Exit.INCOMPLETE) from None
    if output is OutputFormat.JSON:
        print_json({"folder": str(folder), "files": list(FILES)})
        return
    out = console()
    out.print(f"made a project in [bold]{escape(str(folder))}[/]:")
    for name in FILES:
        out.print(f"  {name}")
    out.print(
        f"\nnext:\n  cd {escape(str(folder))} && pytest            # pip install pytest, if it is not there\n  heddle up\n  heddle goal 'count the words in \"to be or not to be\"'   # in another terminal"
    )
