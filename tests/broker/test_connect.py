"""What is told when the server does not answer."""

from __future__ import annotations

from typing import cast

import nats.errors
import pytest
from nats.aio.client import Client

from heddle.broker.connect import js_api, submit
from heddle.errors import BrokerError


class Forbidden:
    """A connection whose user may not do what is asked: the server does not answer that, and tells it beside."""

    max_payload = 1 << 20
    last_error = nats.errors.Error('nats: permissions violation for publish to "x"')

    async def request(self, *_: object, **__: object) -> None:
        raise nats.errors.TimeoutError


async def test_who_may_not_do_something_is_told_so() -> None:
    client = cast("Client", Forbidden())
    for asked in (js_api(client, "STREAM.NAMES"), submit(client, "x", b"{}")):
        with pytest.raises(BrokerError, match='the server says: permissions violation for publish to "x"'):
            await asked
