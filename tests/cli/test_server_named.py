"""Where the server's address comes from, and what is told of a file that names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from heddle.cli.options import server_url
from heddle.errors import NoServer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / ".heddle").mkdir()
    (tmp_path / "nats/context").mkdir(parents=True)
    (tmp_path / "nats/context.txt").write_text("mine\n")
    return tmp_path


NAMELESS = ["", "{}", "[]", '{"url": 1}', "x"]


@pytest.mark.parametrize("text", NAMELESS)
def test_a_server_file_that_names_none_is_told(folder: Path, text: str) -> None:
    (folder / ".heddle/server.json").write_text(text)
    with pytest.raises(NoServer, match=r"server\.json does not say where a server is"):
        server_url(None)


@pytest.mark.parametrize("text", NAMELESS)
def test_a_context_that_names_none_is_passed_over(folder: Path, text: str) -> None:
    (folder / "nats/context/mine.json").write_text(text)
    (folder / ".heddle/server.json").write_text('{"url": "nats://ours:1"}')
    assert server_url(None) == "nats://ours:1"


def test_a_context_comes_before_the_server_file(folder: Path) -> None:
    (folder / "nats/context/mine.json").write_text('{"url": "nats://theirs:1"}')
    (folder / ".heddle/server.json").write_text('{"url": "nats://ours:1"}')
    assert server_url(None) == "nats://theirs:1"
