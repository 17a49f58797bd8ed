from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nats
import pytest

from heddle.broker import server
from heddle.broker.server import embedded, find_server
from heddle.errors import ServerError

ROOT = Path(server.__file__).parents[2]
PARENT = """
import sys, time
from pathlib import Path
from heddle.broker.server import embedded
with embedded(Path(sys.argv[1])) as server:
    print(server.url, server.pid, flush=True)
    time.sleep(60)
"""


def answers(url: str) -> bool:
    host, port = url.removeprefix("nats://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def fake_server(folder: Path, script: str) -> Path:
    folder.mkdir()
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only_fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is the whole PATH, on a machine without the package."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(server, "PACKAGE", "no-such-package")
    return tmp_path / "bin"


def test_it_answers_on_a_free_port_and_is_gone_afterwards() -> None:
    with embedded() as one, embedded() as two:
        assert one.url.startswith("nats://127.0.0.1:")
        assert one.url != two.url
        assert answers(one.url)
        assert answers(two.url)
        assert "Server is ready" in one.log.read_text()
        os.kill(one.pid, 0)
    assert not answers(one.url)
    assert not one.store.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(one.pid, 0)


def test_it_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with embedded():
        pass
    assert capfd.readouterr() == ("", "")


async def test_a_store_survives_a_restart(tmp_path: Path) -> None:
    for stored in (1, 2):
        with embedded(tmp_path / "deep" / "store") as running:
            async with await nats.connect(running.url) as connection:
                assert connection.max_payload == 1024 * 1024
                stream = connection.jetstream()
                await stream.add_stream(name="KEPT", subjects=["kept"])
                assert (await stream.publish("kept", b"x")).seq == stored
    assert running.log.exists()
    assert not list(running.store.glob("*.ports"))


def test_the_port_that_was_asked_for_is_used() -> None:
    port = 20_000 + os.getpid() % 10_000  # below the range that free ports come from, and another one in every test process
    with embedded(port=port) as running:
        assert running.url == f"nats://127.0.0.1:{port}"


def test_a_taken_port_is_named_with_its_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"(?s)127\.0\.0\.1:{port} is taken.*--port"), embedded(port=port):
            pass


def test_a_store_has_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FREE_WITHIN", 0.02)
    with embedded(tmp_path) as first:
        refusal = rf"(?s){re.escape(str(tmp_path))} is in use .* process {os.getpid()}\nRemedy: .*{re.escape(str(first.log))}"
        with pytest.raises(ServerError, match=refusal), embedded(tmp_path):
            pass
        assert answers(first.url)
    with embedded(tmp_path):
        pass


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"(?s)file/store cannot be made.*Remedy"), embedded(tmp_path / "file" / "store"):
        pass


def test_a_ports_file_that_a_crash_left_behind_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "nats-server_1.ports").write_text('{"nats": ["nats://127.0.0.1:1"]}')
    with embedded(tmp_path) as running:
        assert answers(running.url)


def test_nothing_is_left_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().split()[0]
        assert answers(url)
        parent.kill()
    with embedded(tmp_path) as successor:  # waits until the store is free
        assert successor.url == url or not answers(url)


def test_a_server_that_ends_at_start_shows_its_last_words(only_fakes: Path) -> None:
    fake_server(only_fakes, '[ "$1" = --version ] && echo "nats-server: v2.15.1" || { echo "[FTL] the warp is torn" >&2; exit 3; }')
    with pytest.raises(ServerError, match=r"(?s)exit code 3.*nats-server\.log.*the warp is torn"), embedded():
        pass


def test_a_server_that_is_never_ready_is_given_up(only_fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READY_WITHIN", 0.05)
    sleep = shutil.which("sleep", path=os.defpath)
    fake_server(only_fakes, f'[ "$1" = --version ] && echo "nats-server: v2.15.1" || exec {sleep} 60')
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"not ready within 0\.05 s"), embedded():
        pass
    assert time.monotonic() - started < 8


def test_an_old_server_on_path_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = fake_server(tmp_path / "bin", 'echo "nats-server: v2.9.0"')
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    found = find_server()
    assert found.path != old
    assert tuple(map(int, found.version.split("."))) >= server.OLDEST


def test_a_new_server_on_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = fake_server(tmp_path / "bin", 'echo "nats-server: v2.100.0"')
    monkeypatch.setenv("PATH", str(new.parent))
    assert find_server() == (new, "2.100.0")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "nats-server: v2.9.0"', "is version 2.9.0"),
        ('echo "segmentation fault"', "cannot be used: `--version` gave no version but 'segmentation fault'"),
    ],
)
def test_without_a_usable_server_it_says_what_was_found(only_fakes: Path, script: str, said: str) -> None:
    path = fake_server(only_fakes, script)
    with pytest.raises(ServerError) as caught:
        find_server()
    assert f"{path} (on PATH) {said}" in str(caught.value)
    assert "pip install --upgrade" in str(caught.value)


@pytest.mark.usefixtures("only_fakes")
def test_without_any_server_it_says_so() -> None:
    with pytest.raises(ServerError, match=r"no nats-server 2\.12\.0 or newer(?s:.*)none on PATH, and no package(?s:.*)Remedy"):
        find_server()
