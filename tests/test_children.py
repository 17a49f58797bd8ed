from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heddle import children

ROOT = Path(children.__file__).parents[1]
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
PARENT = """
import subprocess, sys, time
from heddle import children
children.ORPHAN_GRACE = 1
child = children.start(sys.argv[1:], stdout=subprocess.PIPE)
child.process.stdout.readline()
print(child.pid, child.guard.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return not state or state.startswith("Z")


def eventually(holds: Callable[[], bool], within: float = 8.0) -> bool:
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def crash_a_parent_of(argv: list[str]) -> tuple[int, int]:
    with subprocess.Popen([sys.executable, "-c", PARENT, *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child, guard = map(int, parent.stdout.readline().split())
        assert not gone(child)
        assert not gone(guard)
        parent.kill()
    return child, guard


def test_a_killed_parent_takes_its_child_along() -> None:
    child, guard = crash_a_parent_of([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
    assert eventually(lambda: gone(child))
    assert eventually(lambda: gone(guard))


def test_an_orphan_that_ignores_sigterm_is_killed() -> None:
    child, guard = crash_a_parent_of(STUBBORN)
    assert eventually(lambda: gone(child))
    assert eventually(lambda: gone(guard))


def test_an_orphan_is_asked_first(tmp_path: Path) -> None:
    note = tmp_path / "note"
    polite = (
        "import signal, sys, pathlib\n"
        "def leave(*_): pathlib.Path(sys.argv[1]).write_text('asked'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print('up', flush=True)\n"
        "signal.pause()"
    )
    child, _ = crash_a_parent_of([sys.executable, "-c", polite, str(note)])
    assert eventually(lambda: gone(child))
    assert note.read_text() == "asked"


def test_stop_leaves_no_child_and_no_guard() -> None:
    child = children.start(SLEEPER)
    assert child.process.poll() is None
    assert children.stop(child) == -signal.SIGTERM
    assert child.guard.returncode == -signal.SIGKILL  # reaped: it ended itself with its group
    assert children.stop(child) == -signal.SIGTERM


def test_stop_kills_what_ignores_sigterm() -> None:
    child = children.start(STUBBORN, stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    with child.process.stdout as output:
        assert output.readline() == b"deaf\n"
        assert children.stop(child, grace=0.05) == -signal.SIGKILL
    assert child.guard.returncode is not None


def test_a_child_that_ended_by_itself_keeps_its_exit_code() -> None:
    child = children.start([sys.executable, "-c", "raise SystemExit(7)"])
    assert children.wait(child, timeout=10) == 7
    assert child.guard.returncode is not None
    assert children.stop(child) == 7


def test_wait_says_when_the_time_is_up() -> None:
    child = children.start(SLEEPER)
    with pytest.raises(subprocess.TimeoutExpired):
        children.wait(child, timeout=0.01)
    assert child.guard.poll() is None
    children.stop(child)


def test_what_the_child_left_behind_goes_with_it() -> None:
    child = children.start(["/bin/sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    with child.process.stdout as output:
        left = int(output.readline())
        assert children.wait(child) == 0
    assert eventually(lambda: gone(left))


def test_a_second_child_does_not_keep_the_first_ones_guard_asleep() -> None:
    first, second = children.start(SLEEPER), children.start(SLEEPER)
    assert first.guard.stdin is not None
    first.guard.stdin.close()  # what our death would do
    assert first.process.wait(8) == -signal.SIGTERM
    assert second.process.poll() is None
    first.guard.kill()
    children.stop(first)
    children.stop(second)


def test_a_guard_that_was_killed_hinders_nothing() -> None:
    child = children.start(SLEEPER)
    child.guard.kill()
    assert children.stop(child) == -signal.SIGTERM


def test_a_program_that_is_not_there_leaves_no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    dismissed: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(children, "_dismiss", dismissed.append)
    with pytest.raises(FileNotFoundError):
        children.start(["/no/such/program"])
    monkeypatch.undo()
    [guard] = dismissed
    children._dismiss(guard)
    assert guard.returncode == -signal.SIGKILL


def test_where_it_runs_and_with_what(tmp_path: Path) -> None:
    child = children.start(["/bin/sh", "-c", 'pwd; echo "$WARP"'], env={"WARP": "7"}, cwd=tmp_path, stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    with child.process.stdout as output:
        assert output.read().decode().split() == [str(tmp_path.resolve()), "7"]
    assert children.wait(child) == 0


def test_kill_does_not_ask() -> None:
    child = children.start(STUBBORN, stdout=subprocess.PIPE)
    assert child.process.stdout is not None
    with child.process.stdout as output:
        assert output.readline() == b"deaf\n"
        assert (children.kill(child), children.kill(child)) == (-signal.SIGKILL, -signal.SIGKILL)
    assert child.guard.returncode is not None


def test_a_descriptor_that_is_passed_has_the_same_number_there() -> None:
    reading, writing = os.pipe()
    child = children.start([sys.executable, "-c", f"import os; os.write({writing}, b'here')"], pass_fds=[writing])
    os.close(writing)
    assert children.wait(child) == 0
    assert os.read(reading, 9) == b"here"
    os.close(reading)


@pytest.mark.parametrize(("code", "words"), [(0, "exit 0"), (3, "exit 3"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-250, "signal 250")])
def test_how_it_ended_in_words(code: int, words: str) -> None:
    assert children.how_it_ended(code) == words
