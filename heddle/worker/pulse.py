"""The pulse of a child process: it writes a byte to a pipe from its event loop, again and again, and its parent listens.

A loop that is blocked writes nothing, and neither does a process that is stopped: that is how the parent knows of both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from heddle import children

VARIABLE: Final = "HEDDLE_PULSE"
"""The environment variable that names the pipe's file descriptor to the child."""

BEATS: Final = 5
"""Beats within the time after which silence counts as death."""

LOOK_EVERY: Final = 0.1
"""Seconds between two looks of a parent at its child."""

_AWAKE: Final = 2 * LOOK_EVERY
"""Seconds that a look can account for: when all processes were stopped together, the parent may be the first to go on."""


@dataclass(slots=True)
class Listener:
    """The parent's end.

    Attributes:
        descriptor: the pipe's reading end.
        heard: whether there was a first beat; the silence before it does not count.
        silence: seconds without a beat, as far as we were awake to hear one.
    """

    descriptor: int
    heard: bool = False
    silence: float = 0.0
    _looked: float | None = field(default=None)

    def listen(self, now: float) -> None:
        """Take in what was written since the last look; `now` is monotonic, in seconds."""
        try:
            beats = os.read(self.descriptor, 4096)
        except BlockingIOError:
            beats = b""
        if beats:
            self.heard, self.silence = True, 0.0
        elif self.heard and self._looked is not None:
            self.silence += min(now - self._looked, _AWAKE)
        self._looked = now

    def close(self) -> None:
        """Listen no more."""
        os.close(self.descriptor)


def start(argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = ()) -> tuple[children.Child, Listener]:
    """Start a child whose pulse we hear.

    Args:
        argv: the program and its arguments.
        env: its environment; the name of the pipe is added.
        pass_fds: further file descriptors that it is to have.

    Raises:
        OSError: the program cannot be started.
    """
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        child = children.start(argv, env={**env, VARIABLE: str(writing)}, pass_fds=(writing, *pass_fds))
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return child, Listener(reading)


def begin(silence: float) -> None:
    """Begin to beat in the running loop, until it ends; nothing happens if nobody listens.

    Args:
        silence: seconds without a beat after which the parent takes us for dead.
    """
    named = os.environ.pop(VARIABLE, None)  # a process that we start has not inherited the pipe
    if named is None:
        return
    descriptor, loop = int(named), asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    os.set_inheritable(descriptor, False)

    def beat() -> None:
        with suppress(BlockingIOError, BrokenPipeError):  # it is full, or nobody reads it any more
            os.write(descriptor, b".")
        loop.call_later(silence / BEATS, beat)

    beat()
