"""Rules change while routers run: whole, everywhere, and never for the worse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from heddle import events, subjects
from heddle.broker.connect import connected, js_api, last_on_subject
from heddle.broker.streams import make_streams
from heddle.control import rules as control
from heddle.errors import BrokerError, RulesError
from heddle.router import reload
from heddle.router.buckets import Bucket
from heddle.router.reading import parse_rules
from heddle.router.reload import BucketSource, Drift, FileSource, Reloader, reloading
from heddle.router.rules import digest_of
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer
from tests.support import Ground, by_id, eventually, on_ground

ONE = "version: 1\ntiers: {local: {rate: 100/s, burst: 10}, standard: {}}\nworker_types: {echo: {}}\n"
TWO = "version: 1\ntiers: {local: {rate: 100/s, burst: 10}, standard: {}}\nworker_types: {echo: {}, other: {}}\n"
BAD = "version: 1\ntiers: {local: {rate: fast}}\nworker_types: {echo: {}}\n"


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@asynccontextmanager
async def following(ground: Ground, path: Path, replica: str = "r1") -> AsyncIterator[Reloader]:
    async with ground.router(path.read_text(), replica) as router, reloading(router, FileSource(path)) as reloader:
        yield reloader


@asynccontextmanager
async def following_bucket(ground: Ground, replica: str = "r1") -> AsyncIterator[Reloader]:
    source = BucketSource(ground.client)
    async with ground.router(await source.text(), replica) as router, reloading(router, source) as reloader:
        yield reloader


async def digest(reloader: Reloader) -> str:
    return reloader.router.rules.digest


async def test_a_saved_file_is_taken_into_use(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path) as reloader:
        path.write_text(TWO)
        await eventually(lambda: digest(reloader), lambda seen: seen == digest_of(TWO))


async def test_a_file_that_is_replaced_is_taken_into_use(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path) as reloader:
        (tmp_path / "new").write_text(TWO)
        (tmp_path / "new").replace(path)
        await eventually(lambda: digest(reloader), lambda seen: seen == digest_of(TWO))


@pytest.mark.parametrize("spoil", ["bad text", "gone", "not UTF-8"])
async def test_a_bad_file_never_replaces_good_rules_and_its_problems_are_answered(ground: Ground, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path) as reloader:
        match spoil:
            case "bad text":
                path.write_text(BAD)
            case "gone":
                path.unlink()
            case _:
                path.write_bytes(b"\xff")
        (answer,) = await control.reload(ground.client)
        assert (answer.ok, answer.digest, bool(answer.problems)) == (False, digest_of(ONE), True)
        assert reloader.router.rules.digest == digest_of(ONE)


async def test_every_replica_answers_a_reload_with_its_digest(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path, "r1"), following(ground, path, "r2"), following(ground, path, "r3"):
        path.write_text(TWO)
        answers = await control.reload(ground.client)
    assert [(answer.replica, answer.digest) for answer in answers] == [(name, digest_of(TWO)) for name in ("r1", "r2", "r3")]


@pytest.mark.parametrize("junk", [b"not json", b"[]", b'{"replica": "x"}', b'{"replica": "x", "ok": true, "digest": "d", "problems": [1]}'])
async def test_an_answer_that_is_none_is_passed_over(ground: Ground, tmp_path: Path, junk: bytes) -> None:
    async def somebody(message: Msg) -> None:
        await message.respond(junk)

    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path, "r1"):
        await ground.client.subscribe("heddle.control.reload", cb=somebody)
        assert [answer.replica for answer in await control.reload(ground.client)] == ["r1"]


async def test_a_plain_request_gets_the_documented_answer(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path):
        message = await ground.client.request("heddle.control.reload", b'{"action": "reload"}', timeout=5)
    assert json.loads(message.data) == {"replica": "r1", "ok": True, "digest": digest_of(ONE), "problems": []}


async def test_pushed_rules_reach_every_replica_that_follows_the_bucket(ground: Ground) -> None:
    await control.push(ground.client, ONE, "test")
    async with following_bucket(ground, "r1") as first, following_bucket(ground, "r2") as second:
        await control.push(ground.client, TWO, "test")
        for reloader in (first, second):
            await eventually(lambda one=reloader: digest(one), lambda seen: seen == digest_of(TWO))  # type: ignore[misc]


async def test_a_bad_push_is_refused_before_it_reaches_anybody(ground: Ground) -> None:
    await control.push(ground.client, ONE, "test")
    with pytest.raises(RulesError):
        await control.push(ground.client, BAD, "test")
    assert [revision.digest for revision in await control.history(ground.client)] == [digest_of(ONE)]


async def test_a_bad_text_put_into_the_bucket_by_hand_is_refused_everywhere(ground: Ground) -> None:
    await control.push(ground.client, ONE, "test")
    async with following_bucket(ground, "r1"), following_bucket(ground, "r2"):
        bucket = await ground.client.jetstream().key_value(subjects.RULES)
        await bucket.put(subjects.RULES_KEY, BAD.encode())
        answers = await control.reload(ground.client)
    assert [(answer.ok, answer.digest, bool(answer.problems)) for answer in answers] == [(False, digest_of(ONE), True)] * 2


async def test_history_and_rollback(ground: Ground) -> None:
    for text in (ONE, TWO):
        await control.push(ground.client, text, "test")
    await control.rollback(ground.client)
    assert [revision.digest for revision in await control.history(ground.client)] == [digest_of(ONE), digest_of(TWO), digest_of(ONE)]


async def test_a_rollback_to_nowhere_says_so(ground: Ground) -> None:
    await control.push(ground.client, ONE, "test")
    with pytest.raises(BrokerError, match="no revision 99"):
        await control.rollback(ground.client, 99)


async def test_a_replica_that_was_cut_off_during_a_push_converges_when_it_is_back(ground: Ground, nats_url: str) -> None:
    await control.push(ground.client, ONE, "test")
    async with connected(nats_url, "cut-off", Observer()) as client:
        away = Ground(client, ground.streams, ground.observer)
        async with following_bucket(away, "r1") as reloader:
            client._transport.close()  # type: ignore[union-attr]
            await control.push(ground.client, TWO, "test")
            await eventually(lambda: digest(reloader), lambda seen: seen == digest_of(TWO))


async def test_the_tiers_of_new_rules_are_told_to_the_workers(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path):
        path.write_text(ONE.replace("standard: {}", "standard: {}, fresh: {}"))
        await control.reload(ground.client)
        meta = await ground.client.jetstream().key_value(subjects.META)
        assert (await meta.get(subjects.TIERS_KEY)).value == b"local standard fresh"


async def test_tiers_that_the_broker_did_not_take_are_told_when_it_does(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path) as reloader:
        await js_api(ground.client, f"STREAM.DELETE.KV_{subjects.META}")
        path.write_text(ONE.replace("standard: {}", "standard: {}, more: {}"))
        await eventually(lambda: digest(reloader), lambda seen: seen != digest_of(ONE))
        await make_streams(ground.client, StreamSettings(), ground.observer)

        async def tiers() -> bytes | None:
            return await last_on_subject(ground.client, f"KV_{subjects.META}", f"$KV.{subjects.META}.{subjects.TIERS_KEY}")

        assert await eventually(tiers, bool) == b"local standard more"


async def test_a_file_that_cannot_be_watched_is_looked_at_now_and_then(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise RuntimeError("Too many open files")

    monkeypatch.setattr(reload, "awatch", none_left)
    monkeypatch.setattr(reload, "POLL_EVERY", 0.05)
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path) as reloader:
        path.write_text(TWO)
        await eventually(lambda: digest(reloader), lambda seen: seen == digest_of(TWO))
    assert ground.observer.total(events.BROKER_TROUBLE) == 1


async def test_a_bucket_keeps_its_level_where_the_tiers_numbers_did_not_change(ground: Ground) -> None:
    async with ground.router(ONE) as router:
        router.buckets = {"local": Bucket(3.0, 1.0)}
        router.use(parse_rules(TWO))
        assert router.buckets == {"local": Bucket(3.0, 1.0)}
        router.use(parse_rules(TWO.replace("100/s", "50/s")))
        assert router.buckets == {}


async def test_a_reload_under_load_loses_nothing(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE.replace("{rate: 100/s, burst: 10}", "{}"))
    async with AsyncExitStack() as stack:
        for number in range(4):
            await stack.enter_async_context(following(ground, path, f"r{number}"))
        await stack.enter_async_context(ground.worker())
        for number in range(400):
            await ground.client.publish("heddle.tasks.incoming", b'{"worker_type": "echo", "payload": {}, "task_id": "t%d"}' % number)
            if number == 200:
                path.write_text(TWO.replace("{rate: 100/s, burst: 10}", "{}"))
                answers = await control.reload(ground.client)
        results = by_id(await ground.outcomes(400))
    assert {answer.digest for answer in answers} == {digest_of(path.read_text())}
    assert {result.status for result in results.values()} == {"completed"}


async def test_replicas_that_stay_on_different_rules_are_noticed(ground: Ground) -> None:
    async with ground.router(ONE, "r1") as first, ground.router(TWO, "r2") as second:
        drifts = [Drift(first, "a"), Drift(second, "b")]
        for _ in range(3):
            for drift in drifts:
                await drift.look()
    assert ground.observer.total(events.RULES_DRIFT) == 2


async def test_every_text_that_was_ever_active_is_kept_under_its_digest(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ONE)
    async with following(ground, path):
        path.write_text(TWO)
        await control.reload(ground.client)
    bucket = await ground.client.jetstream().key_value(subjects.RULES)
    for text in (ONE, TWO):
        assert (await bucket.get(subjects.rules_text(digest_of(text)))).value == text.encode()
