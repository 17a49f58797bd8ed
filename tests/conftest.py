"""Every test may have a real nats-server; none may have a real model."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from heddle.llm.connection import SWITCH

NOBODY = "127.0.0.1:9"

pytest_plugins = ["heddle.testing"]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell starts what it runs in the background deaf to SIGINT, and so would be every command that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_real_model() -> Iterator[None]:
    """The switch, in this process and in those that it starts: no model server is called but a test's own.

    `tests.llm.http_server.allowed` lets calls out to those, and only they use it. Where Ollama would be, at port 9, nobody listens.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SWITCH, NOBODY)
        environment.setenv("HEDDLE_EGRESS", "none")
        environment.setenv("OLLAMA_HOST", f"http://{NOBODY}")
        for name in ("NATS_URL", "NATS_CREDS"):
            environment.delenv(name, raising=False)
        yield
