"""Child processes that die with their parent.

A child runs in a process group of its own, so a Ctrl-C in the terminal reaches only us and we stop the children in order.
The group is led by a guard: a small shell that waits on a pipe whose other end only we hold. However we end, `kill -9`
included, the kernel closes our end; the guard wakes and ends its group, SIGTERM first, SIGKILL a little later.

The guard says `kill 0`, "my own group", and never names a pid, so it cannot hit a stranger who was given the number of a child
that is long gone. It is there before the child is, so no moment is unguarded. Only a copy of us made by a bare `os.fork` holds
our end of the pipe too: the children then live as long as that copy.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

Output: TypeAlias = int | IO[Any] | None
"""Where a child writes to, in the terms of `subprocess.Popen`; None is wherever we write to."""

ORPHAN_GRACE = 3
"""Seconds that an orphan has between SIGTERM and SIGKILL."""

# A line on the pipe says "it has ended"; the end of the pipe without one says that the parent is gone.
_GUARD = 'trap "" HUP INT TERM; read -r line || { kill -TERM 0; sleep "$1"; }; kill -KILL 0'


@dataclass(frozen=True, slots=True)
class Child:
    """A running child and its guard; made by `start`, ended by `stop` or `wait`."""

    process: subprocess.Popen[bytes]
    guard: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self.process.pid


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    stdout: Output = None,
    stderr: Output = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a guarded child; it reads nothing.

    Args:
        argv: the program and its arguments.
        env: its whole environment; None is ours.
        cwd: where it runs; None is where we are.
        stdout: where its output goes.
        stderr: where its errors go.
        pass_fds: our open files that it gets under the same numbers.

    Raises:
        OSError: the program cannot be started.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "heddle-guard", str(ORPHAN_GRACE)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=guard.pid,
            pass_fds=pass_fds,
        )
    except BaseException:
        _dismiss(guard)
        raise
    return Child(process, guard)


def wait(child: Child, timeout: float | None = None) -> int:
    """Wait until a child has ended, then end its guard and whatever else it left in its group.

    Returns:
        Its exit code; minus the signal's number if a signal ended it.

    Raises:
        subprocess.TimeoutExpired: it still runs after `timeout` seconds.
    """
    code = child.process.wait(timeout)
    _dismiss(child.guard)
    return code


def stop(child: Child, *, grace: float = 10.0) -> int:
    """End a child: SIGTERM, and SIGKILL if it still runs after `grace` seconds. One that has ended already is tidied up.

    Returns:
        Its exit code; minus the signal's number if a signal ended it.
    """
    child.process.terminate()
    try:
        return wait(child, grace)
    except subprocess.TimeoutExpired:
        child.process.kill()
        return wait(child)


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    with suppress(ValueError):  # its pipe is closed: it was told before
        guard.communicate(b"ended\n")
    guard.wait()
