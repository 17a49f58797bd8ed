"""Connections to a real server: what ends them, what is told of them, and what senders' headers cannot do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import nats.errors
import pytest
import trustme
from nats.aio.client import Client

from heddle import subjects
from heddle.broker import connect
from heddle.broker.addresses import without_credentials
from heddle.broker.connect import Stored, connected, js_api, last_on_subject, next_or_first, stored_from, submit
from heddle.broker.pages import count_from
from heddle.broker.server import Server, embedded
from heddle.errors import BrokerError, NoServer, SettingsError
from heddle.telemetry.observer import Observer
from tests.support import PATIENCE, eventually, on_ground


def configure(server: Server, **more: object) -> None:
    """Let the running server read its configuration again, with this besides."""
    path = server.store / "nats-server.conf"
    config = json.loads(path.read_text())
    config["port"] = int(server.url.rpartition(":")[2])
    path.write_text(json.dumps(config | more))
    os.kill(server.pid, signal.SIGHUP)


def users(password: str) -> dict[str, object]:
    return {"users": [{"user": "role", "password": password}]}


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    """A server that asks for TLS, with a certificate of an authority that nobody knows; that is `authority.pem` in the same folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    pem = str(tmp_path / "server.pem")
    with embedded(tmp_path / "store") as server:
        configure(server, tls={"cert_file": pem, "key_file": pem})
        yield server


async def tls_client(server: Server) -> bool:
    """Connect as a user does."""
    port = server.url.rpartition(":")[2]
    async with connected(f"tls://localhost:{port}", "test", Observer()) as client:
        return client.is_connected


async def test_with_tls_in_the_address_a_server_that_asks_for_none_is_refused_before_anything_is_sent(nats_url: str) -> None:
    address = nats_url.replace("nats://", "tls://role:s3cret@")
    with pytest.raises(NoServer, match=r"does not ask for TLS") as refused:
        async with connected(address, "test", Observer()):
            pass
    assert "s3cret" not in str(refused.value)


async def test_a_certificate_of_an_unknown_authority_is_told_as_that(tls_server: Server) -> None:
    async def told() -> str:
        try:
            await tls_client(tls_server)
        except NoServer as error:
            return str(error)
        return ""

    await eventually(told, lambda said: "is not trusted" in said and "SSL_CERT_FILE" in said)  # until it has read its configuration


async def test_an_authority_of_one_s_own_is_named_in_the_environment(tls_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.store.parent / "authority.pem"))

    async def connects() -> bool:
        try:
            return await tls_client(tls_server)
        except NoServer:  # it has not read its configuration yet
            return False

    assert await eventually(connects, bool)


async def test_a_connection_that_the_server_ends_for_good_ends_the_block(tmp_path: Path) -> None:
    async def role(server: Server) -> None:
        async with connected(server.url, "test", Observer()):
            configure(server, authorization=users("other"))
            await asyncio.Event().wait()

    with embedded(tmp_path) as server, pytest.raises(NoServer, match=r"closed the connection for good .*authorization"):
        await asyncio.wait_for(role(server), PATIENCE)


@pytest.mark.parametrize(
    "url",
    [
        "nats://role:s3cret@127.0.0.1:9",
        "nats://s3cret@127.0.0.1:9,tls://role:s3cret@127.0.0.1:9",
        "role:s3cret@127.0.0.1:9",
        "nats://role:s3cret@127.0.0.1:none",
        "nats://role:s3cret#1@127.0.0.1:9",
        "nats://role:1/s3cret@127.0.0.1:9",
    ],
)
async def test_an_error_tells_no_password(url: str) -> None:
    with pytest.raises(NoServer, match=r"127\.0\.0\.1") as caught:
        async with connected(url, "test", Observer()):
            pass
    assert "s3cret" not in str(caught.value)


def test_addresses_are_told_without_credentials() -> None:
    assert without_credentials("nats://a:b@one:4222, c@two,three:1") == "nats://one:4222,two,three:1"


@pytest.mark.parametrize("url", ["", ",", "nats://127.0.0.1:none", "nats://[::1:4222", "nats://:4222"])
async def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(NoServer, match="is no address of a NATS server"):
        async with connected(url, "test", Observer()):
            pass


async def test_credentials_that_are_not_there_are_told(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_CREDS", "/nowhere/role.creds")
    with pytest.raises(SettingsError, match=r"NATS_CREDS names /nowhere/role\.creds, which cannot be read"):
        async with connected(nats_url, "test", Observer()):
            pass


async def test_a_senders_own_status_header_is_no_word_of_the_servers(nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        subject = subjects.routed("echo", "local")
        await ground.client.request(subject, b"body", headers={"Status": "404"})
        assert [one.body for one in await stored_from(ground.client, subjects.TASKS, 1, subject, 10)] == [b"body"]
        assert await last_on_subject(ground.client, subjects.TASKS, subject) == b"body"
        assert await count_from(ground.client, subjects.TASKS, subject) == 1


async def test_going_round_a_stream_passes_where_the_server_stops(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def three_at_most(client: Client, stream: str, sequence: int, subject: str, count: int) -> list[Stored]:
        """As the server does at 64 MiB."""
        return await stored_from(client, stream, sequence, subject, min(count, 3))

    monkeypatch.setattr(connect, "stored_from", three_at_most)
    async with on_ground(nats_url) as ground:
        for number in range(5):
            await ground.client.request(subjects.routed("echo", "local"), b"%d" % number)
        seen: list[int] = []
        for _ in range(3):
            found = await next_or_first(ground.client, subjects.TASKS, seen[-1] + 1 if seen else 1, "heddle.tasks.*.*", 512)
            seen += [one.sequence for one in found]
    assert seen == [1, 2, 3, 4, 5, 1, 2, 3]


async def test_a_server_that_takes_too_little_in_one_message_is_refused(tmp_path: Path) -> None:
    with embedded(tmp_path) as server:
        configure(server, max_payload=65536)

        async def told() -> str:
            try:
                async with connected(server.url, "test", Observer()):
                    return ""
            except BrokerError as error:
                return str(error)

        assert "takes 65536 bytes in one message; heddle needs 1048576" in await eventually(told, bool)


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
