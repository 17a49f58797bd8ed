"""Rules while the router runs: where they come from, and how a replica takes new ones into use.

A replica has one source. A file is watched; the bucket HEDDLE_RULES is watched too. `heddle.control.reload` makes every replica
read its own source again and answer. Whatever the occasion, the text is read whole, checked whole, and swapped in at once; a
text that is not good changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from watchfiles import awatch

from heddle import events, subjects
from heddle.broker.announcements import announcements
from heddle.broker.periodic import every
from heddle.errors import BrokerError, Problem, RulesError
from heddle.router.audit import level_of
from heddle.router.publishing import keep_text, publish_tiers
from heddle.router.reading import parse_rules
from heddle.router.router import Router
from heddle.router.rules import Rules

FROM_NATS: Final = "nats"
POLL_EVERY: Final = 2.0
"""Seconds between looks at the source, in case a change was not noticed."""


class RulesSource(Protocol):
    """Where a replica's rules come from."""

    @property
    def name(self) -> str:
        """How it is told: a path, or `nats`."""
        ...

    async def text(self) -> str:
        """The text as it is now.

        Raises:
            RulesError: it cannot be read.
        """
        ...

    def changes(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Yields when the text may have changed, until stopped."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """Rules in a file."""

    path: Path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    async def text(self) -> str:
        """The file's text.

        Raises:
            RulesError: it cannot be read.
        """
        return read_text(self.path)

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """The folder is watched, not the file: editors and config maps replace the file by another."""
        async for _ in awatch(self.path.parent, stop_event=stop, rust_timeout=int(POLL_EVERY * 1000), yield_on_timeout=True):
            yield


@dataclass(frozen=True, slots=True)
class BucketSource:
    """Rules in the bucket HEDDLE_RULES, where `heddle rules push` puts them."""

    client: Client

    @property
    def name(self) -> str:
        """`nats`."""
        return FROM_NATS

    async def text(self) -> str:
        """The text that was pushed last.

        Raises:
            RulesError: there is none, or the bucket does not answer.
        """
        try:
            bucket = await self.client.jetstream().key_value(subjects.RULES)
            return ((await bucket.get(subjects.RULES_KEY)).value or b"").decode()
        except nats.js.errors.KeyNotFoundError:
            raise _unreadable(FROM_NATS, "no rules were pushed yet; push some: heddle rules push configs/router_rules.yaml") from None
        except (nats.errors.Error, TimeoutError, UnicodeDecodeError) as error:
            raise _unreadable(FROM_NATS, f"the bucket {subjects.RULES} cannot be read: {type(error).__name__} {error}") from None

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """The bucket's own messages are the nudge; a slow poll finds what was missed while disconnected."""
        nudge = asyncio.Event()

        async def nudged(_: Msg) -> None:
            nudge.set()

        subscription = await self.client.subscribe(f"$KV.{subjects.RULES}.{subjects.RULES_KEY}", cb=nudged)
        try:
            while not stop.is_set():
                await _first_of(nudge, stop, POLL_EVERY)
                nudge.clear()
                yield
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()


async def _first_of(one: asyncio.Event, other: asyncio.Event, patience: float) -> None:
    """Wait until either is set, or time is up."""
    waiting = [asyncio.create_task(event.wait()) for event in (one, other)]
    await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def read_text(path: Path) -> str:
    """A rules file's text.

    Raises:
        RulesError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _unreadable(str(path), f"not UTF-8: {error}") from None


def _unreadable(source: str, told: str) -> RulesError:
    return RulesError(source, (Problem(1, 1, "", told),))


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A replica's answer to a reload; `digest` is that of the rules in force after it."""

    replica: str
    ok: bool
    digest: str
    problems: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As it travels."""
        problems = [{"line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in self.problems]
        return {"replica": self.replica, "ok": self.ok, "digest": self.digest, "problems": problems}


@dataclass(slots=True, eq=False)
class Reloader:
    """Keeps a router on its source's rules.

    Attributes:
        refused: what was told last of rules that are not good.
        owed: is the broker still to be told of the rules in force?
    """

    router: Router
    source: RulesSource
    refused: str = ""
    owed: bool = False

    async def reload(self) -> Reloaded:
        """Read the source again; take its rules into use if they are good and new."""
        router = self.router
        try:
            text = await self.source.text()
            rules = parse_rules(text, self.source.name)
        except RulesError as error:
            if str(error) != self.refused:
                self.refused = str(error)
                router.observer.see(events.RULES_REFUSED, "the rules were refused; the good ones stay in force", problems=str(error))
            return Reloaded(router.replica, ok=False, digest=router.rules.digest, problems=error.problems)
        self.refused = ""
        if rules.digest != router.rules.digest:
            router.use(rules)
            self.owed = True
        if self.owed and router.client.is_connected:
            await self._tell(rules)
        return Reloaded(router.replica, ok=True, digest=router.rules.digest)

    async def _tell(self, rules: Rules) -> None:
        """Keep the text, and let the workers know the tiers; what the broker does not take now it is told at the next look."""
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await keep_text(self.router.client, rules)
            await publish_tiers(self.router.client, rules)
            self.owed = rules.digest != self.router.rules.digest

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload whenever the source may have changed, until stopped; where it cannot be watched, look now and then."""
        told = ""
        while not stop.is_set():
            try:
                async for _ in self.source.changes(stop):
                    await self.reload()
            except (OSError, RuntimeError, nats.errors.Error) as error:  # a RuntimeError: the system has no watch left to give
                if str(error) != told:
                    told = str(error)
                    message = f"cannot watch the rules; looking every {POLL_EVERY:g} s"
                    self.router.observer.see(events.BROKER_TROUBLE, message, role="router", error=told)
                await asyncio.sleep(POLL_EVERY)
                await self.reload()

    async def on_control(self, message: Msg) -> None:
        """Answer `heddle.control.reload`."""
        try:
            action = json.loads(message.data or b"{}").get("action", "reload")
        except (ValueError, AttributeError):
            action = "?"
        if action != "reload":
            return
        answer = await self.reload()
        if message.reply:
            await self.router.client.publish(message.reply, json.dumps(answer.as_json()).encode())


@asynccontextmanager
async def reloading(router: Router, source: RulesSource) -> AsyncIterator[Reloader]:
    """Keep a router on its source's rules for as long as the block runs."""
    reloader = Reloader(router, source)
    stop = asyncio.Event()
    subscription = await router.client.subscribe(subjects.CONTROL_RELOAD, cb=reloader.on_control)
    watcher = asyncio.create_task(reloader.watch(stop))
    drift = Drift(router, source.name)
    try:
        async with every(ANNOUNCE_EVERY, drift.look, at_once=True):
            yield reloader
    finally:
        stop.set()
        await _end(watcher)
        await drift.leave()
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()


async def _end(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task}, timeout=POLL_EVERY + 1)
    task.cancel()
    await asyncio.wait({task})


ANNOUNCE_EVERY: Final = 3.0
_DRIFT_ROUNDS: Final = 2


@dataclass(slots=True, eq=False)
class Drift:
    """Says which rules this replica follows, and notices when the replicas stay on different ones."""

    router: Router
    source: str
    rounds: int = 0
    told: frozenset[str] = frozenset()

    async def look(self) -> None:
        """Announce ourselves, and look at the others."""
        with contextlib.suppress(BrokerError, nats.errors.Error, nats.js.errors.Error, TimeoutError):
            bucket = await self.router.client.jetstream().key_value(subjects.WORKERS)
            await bucket.put(subjects.router_card(self.router.replica), self._card())
            cards = await router_cards(self.router.client)
            self.router.leases.replicas = max(1, len(cards))
            digests = {card["digest"] for card in cards}
            self._judge(frozenset(digests | {self.router.rules.digest}))

    def _card(self) -> bytes:
        router = self.router
        now = router.clock()
        levels = {name: level_of(router.rules, name, router.buckets, now) for name in router.rules.tiers}
        known = {name: round(level, 2) for name, level in levels.items() if level is not None}
        return json.dumps({"replica": router.replica, "digest": router.rules.digest, "source": self.source, "levels": known}).encode()

    def _judge(self, digests: frozenset[str]) -> None:
        self.rounds = self.rounds + 1 if len(digests) > 1 else 0
        if self.rounds < _DRIFT_ROUNDS:
            self.told = frozenset() if not self.rounds else self.told
        elif digests != self.told:
            self.told = digests
            self.router.observer.see(events.RULES_DRIFT, "router replicas follow different rules", digests=sorted(digests))

    async def leave(self) -> None:
        """Take our card away."""
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
            bucket = await self.router.client.jetstream().key_value(subjects.WORKERS)
            await bucket.delete(subjects.router_card(self.router.replica))


async def router_cards(client: Client) -> list[dict[str, Any]]:
    """The router replicas that announced themselves within the last ten seconds: {replica, digest, source, levels}."""
    cards = [card for key, card in (await announcements(client)).items() if subjects.is_router_card(key)]
    return sorted(cards, key=lambda card: str(card["replica"]))
