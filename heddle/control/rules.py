"""The operator's view of the rules that run: reload, push, history, rollback."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import subjects
from heddle.broker.connect import stored_from
from heddle.broker.streams import make_streams
from heddle.control.decisions import kept_rules
from heddle.errors import BrokerError
from heddle.messages import format_time, parse_time
from heddle.router.reading import parse_rules
from heddle.router.reload import router_cards
from heddle.router.rules import Rules, digest_of
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

_HISTORY = 64
QUIET: float = 0.3
"""Seconds without a further answer after which all replicas are taken to have answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica says to a reload."""

    replica: str
    ok: bool
    digest: str
    problems: tuple[str, ...]
    source: str | None


async def rules_in_force(client: Client) -> list[Rules]:
    """The rules that the announced routers follow, those of most routers first; none if no router is announced.

    Raises:
        BrokerError: the server does not answer.
    """
    try:
        digests = Counter(str(card["digest"]) for card in await router_cards(client))
    except BrokerError:  # no role has run against this server yet
        return []
    found = [await kept_rules(client, digest) for digest, _ in digests.most_common()]
    return [rules for rules in found if rules is not None]


async def reload(client: Client, patience: float = 2.0) -> list[Answer]:
    """Make every router replica read its own source again; their answers, by replica.

    Replicas that announced themselves and do not answer within `patience` seconds are listed too, with a problem that says so.

    Raises:
        BrokerError: the server does not answer.
    """
    try:
        cards = {card["replica"]: card for card in await router_cards(client)}
    except BrokerError:
        cards = {}
    answers = await _ask(client, set(cards), patience)
    for replica in cards.keys() - answers.keys():
        answers[replica] = {"ok": False, "digest": cards[replica]["digest"], "problems": [{"message": f"no answer within {patience:g} s"}]}
    return [
        Answer(
            replica,
            ok=bool(answer["ok"]),
            digest=answer["digest"],
            problems=tuple(_told(problem) for problem in answer.get("problems", ())),
            source=cards.get(replica, {}).get("source"),
        )
        for replica, answer in sorted(answers.items())
    ]


async def _ask(client: Client, expected: set[str], patience: float) -> dict[str, dict[str, Any]]:
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    answers: dict[str, dict[str, Any]] = {}
    try:
        await client.publish(subjects.CONTROL_RELOAD, b'{"action": "reload"}', reply=inbox)
        until = asyncio.get_running_loop().time() + patience
        while (left := until - asyncio.get_running_loop().time()) > 0:
            complete = bool(answers) and expected <= answers.keys()
            try:
                message = await subscription.next_msg(timeout=min(left, QUIET) if complete else left)
            except (nats.errors.TimeoutError, TimeoutError):
                break
            if (answer := _answer(message.data)) is not None:
                answers[answer["replica"]] = answer
            elif not message.data and not expected:  # nobody listens on the control subject
                break
    finally:
        await subscription.unsubscribe()
    return answers


def _answer(body: bytes) -> dict[str, Any] | None:
    """What a router answered; None for what is no such answer: others may listen on the subject too."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match answer:
        case {"replica": str(), "ok": bool(), "digest": str()} if all(isinstance(one, dict) for one in answer.get("problems", ())):
            return dict(answer)
    return None


def _told(problem: dict[str, Any]) -> str:
    where = f"line {problem['line']}: {problem.get('path', '')}: " if problem.get("line") else ""
    return f"{where}{problem.get('message', '')}"


@dataclass(frozen=True, slots=True)
class Revision:
    """A rules text that was pushed; `at` is a wire time."""

    revision: int
    at: str
    digest: str
    text: str


async def push(client: Client, text: str, source: str) -> Revision:
    """Put rules into the bucket that `--rules nats` replicas follow, after checking them.

    Raises:
        RulesError: the text cannot be used; nothing was pushed.
        BrokerError: the bucket does not answer.
    """
    parse_rules(text, source)
    try:
        bucket = await _rules_bucket(client)
        revision = await bucket.put(subjects.RULES_KEY, text.encode())
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise _no_bucket(error) from None
    return Revision(revision, format_time(datetime.now().astimezone().timestamp()), digest_of(text), text)


async def _rules_bucket(client: Client) -> KeyValue:
    """The bucket of the rules; made, with all the streams, on a server that has not seen heddle yet."""
    try:
        return await client.jetstream().key_value(subjects.RULES)
    except nats.js.errors.NotFoundError:
        await make_streams(client, StreamSettings(), Observer())
        return await client.jetstream().key_value(subjects.RULES)


async def history(client: Client) -> list[Revision]:
    """The texts that were pushed, newest first; the bucket keeps 64.

    Raises:
        BrokerError: the bucket does not answer.
    """
    await _rules_bucket(client)
    found = await stored_from(client, f"KV_{subjects.RULES}", 1, f"$KV.{subjects.RULES}.{subjects.RULES_KEY}", _HISTORY)
    revisions = [
        _revision(entry.sequence, entry.headers.get("Nats-Time-Stamp", ""), entry.body.decode(errors="replace")) for entry in found
    ]
    return revisions[::-1]


def _revision(number: int, stored: str, text: str) -> Revision:
    return Revision(number, format_time(parse_time(stored).timestamp()) if stored else "", digest_of(text), text)


async def rollback(client: Client, to: int | None = None) -> Revision:
    """Push an older text again: revision `to`, or the newest that differs from what is in force.

    Raises:
        BrokerError: there is no such revision, or the bucket does not answer.
        RulesError: that text cannot be used by this version.
    """
    known = await history(client)
    if not known:
        raise BrokerError("no rules were pushed yet, so there is nothing to go back to")
    older = next((one for one in known if (one.revision == to if to is not None else one.digest != known[0].digest)), None)
    if older is None:
        told = f"there is no revision {to}" if to is not None else "there is no older text that differs"
        raise BrokerError(f"{told}; see `heddle rules history`")
    return await push(client, older.text, f"revision {older.revision}")


def _no_bucket(error: Exception) -> BrokerError:
    return BrokerError(
        f"the bucket {subjects.RULES} does not answer ({type(error).__name__} {error}); has a role run against this server yet?"
    )
