"""Connections to NATS, and requests to JetStream's API with its errors told apart."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle import events
from heddle.broker.addresses import credentials_file, demand_encryption, servers_of, without_credentials
from heddle.errors import BrokerError, NoServer, Refused
from heddle.telemetry.observer import Observer

MINIMUM_SERVER: Final = (2, 12, 0)
MINIMUM_PAYLOAD: Final = 1 << 20
"""nats-server's default; outputs, letters and records are cut to fit it."""
STREAM_NAME_IN_USE: Final = 10058
NO_MESSAGE: Final = 10037
MAXIMUM_REACHED: Final = 10077
"""JetStream's error code when a stream or a subject is at its cap."""
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
"""The header of a publish that the server refuses unless the last message on that subject has this sequence; 0 for none."""
NOT_LAST: Final = frozenset({10071, 10164})
"""JetStream's error codes when it has another."""

_OUTBOUND_BYTES: Final = 16 << 20


@asynccontextmanager
async def connected(
    url: str,
    role: str,
    observer: Observer,
    *,
    subjects_checked: bool = False,
    timeout: float = 3.0,  # the first connection has a deadline; afterwards the client reconnects for ever
) -> AsyncIterator[Client]:
    """A connection that heals itself, for as long as the block runs.

    Where it cannot, because the server turns us away (nats-py gives up after any error that it is told, such as revoked credentials),
    the block ends: a role without a connection would look alive and do nothing.

    Args:
        url: one or several servers, separated by commas; credentials in it are used and never told.
        role: names the connection in the server's monitoring.
        observer: is told of every loss.
        subjects_checked: every subject published to is built by `subjects` from names that the wire contract has checked, as the
            roles do, so the client need not look for blanks and line ends in it again (2 % of a relay's time).
        timeout: seconds that the first connection may take.

    Raises:
        NoServer: nothing answers there; or, in the block, the server closed the connection for good.
        BrokerError: the server is too old, or takes too little in one message.
        SettingsError: NATS_CREDS names a file that cannot be read.
    """
    client, closed, shown = Client(), asyncio.Event(), without_credentials(url)
    await _connect(client, url, role, observer, closed, subjects_checked=subjects_checked, timeout=timeout)
    async with _while_open(client, closed, shown):
        _check_server(client, shown)
        yield client


async def _connect(
    client: Client, url: str, role: str, observer: Observer, closed: asyncio.Event, *, subjects_checked: bool, timeout: float
) -> None:
    """Open the connection; from then on `closed` is set when it is closed for good."""
    servers, shown, credentials = servers_of(url), without_credentials(url), credentials_file()
    await asyncio.gather(*(demand_encryption(server) for server in servers if server.startswith("tls://")))
    refusals: list[Exception] = []
    given_up = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if not client.is_connected:
            refusals.append(error)
            if len(refusals) >= len(servers):
                given_up.set()
        if isinstance(error, nats.errors.SlowConsumerError):
            observer.see(events.MESSAGES_DROPPED, "the client library dropped a message: a subscription's buffer is full", role=role)
        elif client.is_connected:
            observer.see(events.BROKER_TROUBLE, "the server reports an error", role=role, error=str(error))

    async def on_disconnect() -> None:
        if not client.is_closed:
            observer.see(events.DISCONNECTED, "lost the server; reconnecting", role=role, url=shown)

    async def on_reconnected() -> None:
        observer.see(events.RECONNECTED, "the server is back", role=role, url=shown)

    async def on_closed() -> None:
        closed.set()

    connecting = asyncio.create_task(
        client.connect(
            servers=servers,
            name=f"heddle-{role}",
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
            connect_timeout=2,
            reconnect_time_wait=0.2,  # type: ignore[arg-type]  # annotated as int, used as seconds
            max_reconnect_attempts=-1,
            ping_interval=10,
            pending_size=_OUTBOUND_BYTES,
            skip_subject_validation=subjects_checked,
            user_credentials=credentials,
        )
    )
    failure = await _first_connection(connecting, given_up, timeout)
    if failure is not None:
        with contextlib.suppress(AssertionError):  # it did not come so far as to have something to close
            await client.close()
        cause = refusals[-1] if refusals else failure
        told = str(cause) or "no answer"
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise NoServer(
                f"the server at {shown} is not trusted ({told}). If its authority is your own, name its certificate in SSL_CERT_FILE"
            )
        raise NoServer(f"no NATS server answers at {shown} ({told}). Start one with `heddle up`, or name yours with --server or NATS_URL")


@asynccontextmanager
async def _while_open(client: Client, closed: asyncio.Event, shown: str) -> AsyncIterator[None]:
    """Close the client after the block; end the block if the client closes itself."""
    in_block = asyncio.timeout(None)

    async def watch() -> None:
        await closed.wait()
        in_block.reschedule(0)

    watching = asyncio.create_task(watch())
    try:
        async with in_block:
            yield
    except TimeoutError:
        if not in_block.expired():
            raise
        raise NoServer(f"the server at {shown} closed the connection for good ({client.last_error})") from None
    finally:
        watching.cancel()
        await client.close()


async def _first_connection(connecting: asyncio.Task[None], given_up: asyncio.Event, timeout: float) -> BaseException | None:
    """Wait until we are connected, every server has refused, or time is up; what stood in the way, or None."""
    refused = asyncio.create_task(given_up.wait())
    await asyncio.wait({connecting, refused}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    refused.cancel()
    if connecting.done():
        return connecting.exception()
    connecting.cancel()
    await asyncio.wait({connecting})
    return TimeoutError(f"no answer within {timeout:g} s")


def _check_server(client: Client, url: str) -> None:
    version = client.connected_server_version
    if (version.major, version.minor, version.patch) < MINIMUM_SERVER:
        wanted = ".".join(map(str, MINIMUM_SERVER))
        raise BrokerError(f"the server at {url} is version {version}; heddle needs {wanted} or newer (message schedules, per-message TTL)")
    if client.max_payload < MINIMUM_PAYLOAD:
        told = f"the server at {url} takes {client.max_payload} bytes in one message; heddle needs {MINIMUM_PAYLOAD}"
        raise BrokerError(f"{told}: raise max_payload in its configuration, or that of the account")


async def js_api(client: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to `$JS.API.<subject>`.

    Raises:
        Refused: JetStream answered with an error; its code is kept.
        BrokerError: JetStream did not answer.
    """
    try:
        answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode() if body is not None else b"", timeout=5)
    except nats.errors.NoRespondersError:
        raise BrokerError("the server has no JetStream: start nats-server with -js, or give it a `jetstream {}` block") from None
    except (nats.errors.TimeoutError, nats.errors.ConnectionClosedError) as error:
        raise BrokerError(f"no answer from JetStream to {subject}: {error}{_forbidden(client)}") from None
    parsed: dict[str, Any] = json.loads(answer.data)
    if "error" in parsed:
        raise Refused(parsed["error"].get("description", "refused"), parsed["error"].get("err_code", 0))
    return parsed


async def last_on_subject(client: Client, stream: str, subject: str) -> bytes | None:
    """The newest message a stream holds on a subject (direct get); None if it holds none.

    Raises:
        BrokerError: the stream did not answer.
    """
    try:
        answer = await client.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=5)
    except (nats.errors.Error, TimeoutError) as error:
        raise BrokerError(f"cannot read {subject} from {stream}: {type(error).__name__} {error}") from None
    if (status := status_of(answer)) is not None:
        if status == "404":
            return await _last_from_leader(client, stream, subject)
        raise BrokerError(f"cannot read {subject} from {stream}: {status} {(answer.headers or {}).get('Description', '')}")
    return answer.data


def status_of(answer: Msg) -> str | None:
    """What the server says in the place of a stored message; None of a message, whose sender may have given it a header `Status`."""
    headers = answer.headers or {}
    return None if "Nats-Sequence" in headers else headers.get("Status")


async def _last_from_leader(client: Client, stream: str, subject: str) -> bytes | None:
    """The same from the stream's leader: in a cluster a direct get may be answered by a replica that lags."""
    try:
        answer = await js_api(client, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    except Refused as refused:
        if refused.code == NO_MESSAGE:
            return None
        raise
    return base64.b64decode(answer["message"].get("data", ""))


async def submit(
    client: Client, subject: str, body: bytes, message_id: str | None = None, headers: Mapping[str, str] | None = None
) -> None:
    """Publish one message and wait until its stream has stored it.

    Args:
        client: the connection.
        subject: where to.
        body: the message.
        message_id: by which the server knows it again for two minutes.
        headers: further headers.

    Raises:
        Refused: the stream said no, for instance because it is full.
        NoStream: no stream takes that subject yet.
        BrokerError: no answer came.
    """
    if len(body) > client.max_payload - 512:
        raise Refused(f"the message has {len(body)} bytes; the server takes {client.max_payload}: send a reference to the data instead")
    given = {**({"Nats-Msg-Id": message_id} if message_id else {}), **(headers or {})}
    try:
        answer = await client.request(subject, body, timeout=5, headers=given or None)
    except nats.errors.NoRespondersError:
        raise NoStream(f"no stream takes {subject}") from None
    except (nats.errors.Error, TimeoutError) as error:
        told = f"{subject}: no PubAck came ({type(error).__name__}); it may or may not be stored{_forbidden(client)}"
        raise BrokerError(told) from None
    if error_told := json.loads(answer.data).get("error"):
        raise Refused(f"{subject}: {error_told.get('description', 'refused')}", error_told.get("err_code", 0))


def _forbidden(client: Client) -> str:
    """What the server said last, if it was that this user may not do something: it answers nothing to that, and tells it beside."""
    told = str(client.last_error or "")
    return f"; the server says: {told.removeprefix('nats: ')}" if "permissions violation" in told.lower() else ""


class NoStream(BrokerError):
    """No such stream, or none that takes that subject: no role has run against this server yet."""


class Stored(NamedTuple):
    """A message as a stream holds it."""

    sequence: int
    subject: str
    body: bytes
    headers: dict[str, str]

    @property
    def is_entry(self) -> bool:
        """Of a bucket: is it an entry, and not the mark of one that was deleted?"""
        return bool(self.body) and "KV-Operation" not in self.headers


async def stored_from(client: Client, stream: str, sequence: int, subject_filter: str, count: int) -> list[Stored]:
    """Up to `count` messages of a stream on matching subjects, from a sequence on, in one request (batched direct get).

    Raises:
        BrokerError: the stream did not answer.
    """
    return await _stored(client, stream, {"batch": count, "seq": max(1, sequence), "next_by_subj": subject_filter})


async def how_many(client: Client, stream: str, subject_filter: str) -> int:
    """How many messages a stream holds on matching subjects.

    Raises:
        BrokerError: the stream did not answer.
    """
    first = await stored_from(client, stream, 1, subject_filter, 1)
    return 1 + int(first[0].headers.get("Nats-Num-Pending", 0)) if first else 0


async def next_or_first(client: Client, stream: str, sequence: int, subject_filter: str, count: int) -> list[Stored]:
    """The same for who goes round and round: from the stream's begin if nothing is left. The server may give fewer than `count`,
    because it stops at some number of bytes too; so fewer does not mean that the end is reached.

    Raises:
        BrokerError: the stream did not answer.
    """
    found = await stored_from(client, stream, sequence, subject_filter, count)
    return found or (await stored_from(client, stream, 1, subject_filter, count) if sequence > 1 else found)


async def last_of_each(client: Client, stream: str, *subject_filters: str) -> list[Stored]:
    """The last message on each subject that one of these matches, oldest first, in one request; there may be 1,024 such subjects at most.

    Raises:
        BrokerError: there are more, or the stream did not answer.
    """
    return await _stored(client, stream, {"batch": 1024, "multi_last": subject_filters})


_SILENCE: Final = 5.0
"""Seconds without a further message until an answer is taken for lost."""


async def _stored(client: Client, stream: str, request: dict[str, Any]) -> list[Stored]:
    """What a batched direct get answers. A callback takes the messages: `next_msg` would make a Task and a timer for each."""
    found: list[Stored] = []
    end: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def on_message(message: Msg) -> None:
        headers = message.headers or {}
        status = status_of(message)
        if status is None:
            found.append(Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data, headers))
        elif not end.done():
            end.set_result(None if status in {"204", "404"} else f"{status} {headers.get('Description', '')}")

    inbox = client.new_inbox()
    try:
        subscription = await client.subscribe(inbox, cb=on_message)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=inbox)
            seen = -1
            while not end.done():
                if seen == len(found):
                    raise BrokerError(f"cannot read {stream}: no answer within {_SILENCE:g} s{_forbidden(client)}")
                seen = len(found)
                await asyncio.wait({end}, timeout=_SILENCE)
        finally:
            await subscription.unsubscribe()
    except nats.errors.Error as error:
        raise BrokerError(f"cannot read {stream}: {type(error).__name__}") from None
    if (refused := end.result()) is not None:
        if refused.startswith("503"):
            raise NoStream(f"there is no stream {stream} yet, or nobody leads it")
        raise BrokerError(f"cannot read {stream}: {refused}")
    return found
