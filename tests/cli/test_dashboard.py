"""`heddle dashboard` as its user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from heddle import children
from tests.cli.command import heddle

HEDDLE = [sys.executable, "-m", "heddle"]


def test_beyond_loopback_without_a_token_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = heddle("dashboard", "--host", "0.0.0.0", cwd=tmp_path)  # noqa: S104  # that is the point
    told = ("HEDDLE_DASHBOARD__TOKEN" in done.stderr, "ssh -L" in done.stderr, "Traceback" in done.stderr)
    assert (done.returncode, told) == (2, (True, True, False))


@pytest.mark.parametrize(("flags", "env"), [(("--token", "short"), {}), ((), {"HEDDLE_DASHBOARD__TOKEN": "short"})])
def test_a_token_that_can_be_guessed_is_refused(tmp_path: Path, flags: tuple[str, ...], env: dict[str, str]) -> None:
    done = heddle("dashboard", *flags, cwd=tmp_path, **env)
    assert (done.returncode, "16" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_macros_that_cannot_be_read_are_an_error_if_they_were_asked_for(tmp_path: Path) -> None:
    done = heddle("dashboard", "--macros", "nowhere.py", cwd=tmp_path)
    assert (done.returncode, "nowhere.py" in done.stderr) == (1, True)


def test_it_serves_until_it_is_stopped(tmp_path: Path, nats_url: str) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "broken.py").write_text("import nothing_like_this\n")
    with subprocess.Popen(
        [*HEDDLE, "dashboard", "--port", "0", "--server", nats_url], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        page, macros = (httpx.get(f"{address}{path}", trust_env=False) for path in ("", "macros"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (page.status_code, "nothing_like_this" in macros.text) == (200, True)


def test_other_commands_do_not_wait_for_the_web_servers_import(tmp_path: Path) -> None:
    program = (
        "import sys, typer.main\n"
        "from heddle.cli.main import COMMANDS, app\n"
        "group = typer.main.get_command(app)\n"
        "[group.get_command(None, name) for name in COMMANDS]\n"
        "sys.exit(', '.join({'starlette', 'uvicorn', 'jinja2'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_wheel_would_carry_what_the_pages_are_made_of() -> None:
    web = Path(children.__file__).parent / "web"
    assert {path.suffix for path in (web / "static").iterdir()} == {".css", ".js", ".svg"}
    assert (web / "templates" / "base.html").is_file()
