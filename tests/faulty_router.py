"""A router that dies by kill -9 at a chosen step: `python tests/faulty_router.py before|after SUBJECT_PREFIX -- ROUTER ARGUMENTS`.

`before`: when it is about to publish on such a subject; `after`: when the server has stored the message, and nothing that
follows has happened.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from heddle.broker.outbox import Outbox, Then
from heddle.cli.main import app
from heddle.errors import Refused


def die() -> None:
    """As a power cut would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Switch the fault on, and run the router."""
    when, prefix, _, *arguments = sys.argv[1:]
    send = Outbox.send

    async def faulty(self: Outbox, subject: str, body: bytes, then: Then, context: Any, headers: dict[str, str] | None = None) -> None:
        if not subject.startswith(prefix):
            await send(self, subject, body, then, context, headers)
        elif when == "before":
            die()
        else:

            async def stored(_: Any, __: Refused | None) -> None:
                die()

            await send(self, subject, body, stored, context, headers)

    Outbox.send = faulty  # type: ignore[method-assign]
    app(arguments)


if __name__ == "__main__":
    main()
