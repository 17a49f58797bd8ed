"""Every test may have a real nats-server; none may have a real model."""

from __future__ import annotations

import pytest

pytest_plugins = ["heddle.testing"]


@pytest.fixture(autouse=True)
def no_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch: model servers off this machine are forbidden, and on it there is none unless a test brings its own."""
    monkeypatch.setenv("HEDDLE_EGRESS", "none")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    for name in ("NATS_URL", "NATS_CREDS"):
        monkeypatch.delenv(name, raising=False)
