"""Looking at dead letters: pages, filters, scans, originals, numbers, fixtures."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from heddle import subjects
from heddle.broker.connect import js_api
from heddle.broker.outbox import Outbox
from heddle.control.deadletters import OTHERS, Wanted, letter, original, page, scan, stats
from heddle.control.fixtures import keep
from heddle.control.replay import Done, Undone, drop, replay
from heddle.deadletters import Ending, failed_result, make_sure_of_letter
from heddle.errors import Code, DefinitionError
from heddle.macros.fixtures import read_fixture
from heddle.macros.loading import load
from heddle.messages import GOAL_WORKER_TYPE
from heddle.settings import StreamSettings
from heddle.worker.vetting import vet
from tests.support import Ground, eventually, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def buried(ground: Ground, task_id: str, original: bytes = b"{}", *, goal: bool = False, **fields: Any) -> str:
    """A letter as a role writes it; its id."""
    known: dict[str, Any] = {
        "code": Code.HANDLER_FAILED,
        "detail": f"ValueError: no {task_id}",
        "letter_id": subjects.task_letter(task_id, 0),
        "subject": None,
        "at": time.time(),
        "by": "worker/w1",
        "task_id": task_id,
        "worker_type": GOAL_WORKER_TYPE if goal else "echo",
        "tier": None if goal else "local",
    }
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    ending = Ending(**(known | fields))
    await make_sure_of_letter(outbox, ground.observer, failed_result(ending), original)
    return ending.letter_id


async def names(ground: Ground, wanted: Wanted) -> list[str | None]:
    return [kept.letter.task_id async for kept in scan(ground.client, wanted)]


async def test_the_server_picks_by_code_type_and_tier_and_reading_by_goal_and_text(ground: Ground) -> None:
    await buried(ground, "g", goal=True, code=Code.NO_PLAN, original=b'{"instruction": "Gr\xc3\xbc\xc3\x9fe an alle"}')
    await buried(ground, "g-1", parent_task_id="g", original=b'{"payload": {"path": "Orders.CSV"}}')
    await buried(ground, "t", worker_type="csv", tier="standard", code=Code.TIMED_OUT)
    await buried(ground, "u", worker_type="csv", tier="local", original=b'she said "no"')
    assert await names(ground, Wanted()) == ["u", "t", "g-1", "g"]
    assert await names(ground, Wanted(code="handler_failed")) == ["u", "g-1"]
    assert await names(ground, Wanted(worker_type="csv", tier="local")) == ["u"]
    assert await names(ground, Wanted(worker_type="-", tier="-")) == ["g"]
    assert await names(ground, Wanted(goal_id="g")) == ["g-1", "g"]
    assert await names(ground, Wanted(text="orders.csv")) == ["g-1"]
    assert await names(ground, Wanted(text="GRÜSSE")) == ["g"]
    assert await names(ground, Wanted(text='said "no"')) == ["u"]
    assert await names(ground, Wanted(code="no_plan", goal_id="g", text="nowhere")) == []


async def test_letters_are_chosen_by_when_they_were_written(ground: Ground) -> None:
    await buried(ground, "old")
    between = time.time()
    await buried(ground, "new")
    assert await names(ground, Wanted(since=between)) == ["new"]
    assert await names(ground, Wanted(until=between)) == ["old"]
    assert await names(ground, Wanted(since=between + 3600)) == []
    assert await names(ground, Wanted(until=between + 3600)) == ["new", "old"]


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(code="handler_failed"), Wanted(text="echo")], ids=["all", "code", "text"])
async def test_pages_follow_each_other_without_a_gap_though_letters_come_and_go(ground: Ground, wanted: Wanted) -> None:
    ids = [await buried(ground, f"t{number}") for number in range(7)]
    first = await page(ground.client, wanted, limit=3)
    await buried(ground, "late")
    _ = [step async for step in drop(ground.client, [ids[3]], by="ada@host")]
    second = await page(ground.client, wanted, limit=3, before=first.older)
    assert [[kept.letter.task_id for kept in one.letters] for one in (first, second)] == [["t6", "t5", "t4"], ["t2", "t1", "t0"]]
    assert second.older is None


async def test_a_scan_tells_how_far_it_is(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.control.deadletters._CHUNK", 2)
    for number in range(5):
        await buried(ground, f"t{number}")
    told: list[tuple[int, int]] = []
    found = [kept async for kept in scan(ground.client, Wanted(text="t3"), progress=lambda *far: told.append(far))]
    assert (len(found), told) == (1, [(2, 5), (4, 5), (5, 5)])


@pytest.mark.parametrize("body", [b'{ "a" : 1.50 }', b"label it", b"\xff\x00", b'"' * (1 << 20), b"null"], ids=str)
async def test_the_original_comes_back_byte_for_byte(ground: Ground, body: bytes) -> None:
    kept = await letter(ground.client, await buried(ground, "t", body))
    assert kept is not None
    assert await original(ground.client, kept) == body


async def test_a_letter_that_is_made_again_is_stored_once_even_beyond_the_duplicate_window(ground: Ground) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.DEAD}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.DEAD}", config | {"duplicate_window": 10**8})
    begun = time.monotonic()

    async def bury() -> float:
        await buried(ground, "t", at=1_800_000_000.0)
        return time.monotonic() - begun

    await eventually(bury, lambda passed: passed > 0.2)
    state = (await js_api(ground.client, f"STREAM.INFO.{subjects.DEAD}"))["state"]
    assert (state["messages"], state["last_seq"]) == (1, 1)
    assert (await stats(ground.client, time.time())).gone == 0


async def test_what_goes_for_room_is_counted_apart_from_what_people_removed(nats_url: str) -> None:
    async with on_ground(nats_url, StreamSettings(dead_max_msgs=10)) as ground:
        ids = [await buried(ground, f"t{number}") for number in range(25)]
        _ = [step async for step in drop(ground.client, ids[-4:], by="ada@host")]
        told = await stats(ground.client, time.time())
    assert (told.total, told.removed, told.gone) == (6, 4, 15)


async def test_letters_beyond_the_bytes_go_the_oldest_first(nats_url: str) -> None:
    async with on_ground(nats_url, StreamSettings(dead_max_bytes=1 << 20)) as ground:
        for number in range(12):
            await buried(ground, f"t{number}", b'"' + b"x" * 100_000 + b'"')
        told = await stats(ground.client, time.time())
        kept = [kept.letter.task_id async for kept in scan(ground.client)]
    assert kept == [f"t{number}" for number in range(11, 11 - told.total, -1)]
    assert (told.size <= 1 << 20, told.gone) == (True, 12 - told.total)


async def test_numbers_are_by_code_type_tier_age_and_hour(ground: Ground) -> None:
    await buried(ground, "a")
    await buried(ground, "b", worker_type="csv", tier="standard", code=Code.TIMED_OUT)
    await buried(ground, "g", goal=True, code=Code.NO_PLAN)
    now = time.time()
    told = await stats(ground.client, now)
    assert told.by_code == {"handler_failed": 1, "timed_out": 1, "no_plan": 1}
    assert told.by_worker_type == {"-": 1, "csv": 1, "echo": 1}
    assert told.by_tier == {"-": 1, "local": 1, "standard": 1}
    assert told.by_age == {"1h": 3, "1d": 0, "7d": 0, "older": 0}
    assert (sum(count for _, count in told.per_hour), len(told.per_hour), told.oldest is not None) == (3, 24, True)
    assert (await stats(ground.client, now + 2 * 3600)).by_age == {"1h": 0, "1d": 3, "7d": 0, "older": 0}


async def test_types_that_nobody_knows_any_more_are_counted_together(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.control.deadletters._SAMPLE", 1)
    for name in ("old", "older", "new"):
        await buried(ground, name, worker_type=name)
    assert (await stats(ground.client, time.time())).by_worker_type == {"new": 1, OTHERS: 2}


async def test_without_a_single_stream_there_are_no_letters(nats_url: str, ground: Ground) -> None:
    await js_api(ground.client, f"STREAM.DELETE.{subjects.DEAD}")
    assert (await page(ground.client)).letters == ()
    assert (await stats(ground.client, time.time())).total == 0


# --- as a fixture

MACRO = """
from pydantic import BaseModel
from heddle import macro, reject

class Request(BaseModel):
    path: str

class Unknown(Exception):
    pass

@macro(fails={Unknown: reject})
async def profile(request: Request) -> str:
    \"\"\"Profile a file.\"\"\"
    raise Unknown(request.path)
"""


async def test_a_letter_is_kept_as_a_fixture_that_holds_until_the_macro_is_mended(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "profiling.py").write_text(MACRO)
    registry = load([str(tmp_path / "profiling.py")])
    body = b'{"worker_type": "profile", "payload": {"path": "orders.csv"}}'
    kept = await letter(ground.client, await buried(ground, "t", body, worker_type="profile", detail="Unknown: orders.csv"))
    assert kept is not None
    path, tools = await keep(ground.client, kept, registry)
    fixture = read_fixture(path)
    assert path.parent == tmp_path / "fixtures" / "profile"
    assert (fixture.input, str(fixture.fails), fixture.version, tools) == ({"path": "orders.csv"}, "Unknown and code handler_failed", 1, [])
    assert f"Dead letter {kept.letter.id}" in path.read_text()
    assert await vet(registry, ["profile"]) == (["profile"], [])
    with pytest.raises(DefinitionError, match="is there already"):
        await keep(ground.client, kept, registry)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"code": Code.RATE_LIMITED}, "tells nothing of a macro"), ({"worker_type": "nobody"}, "there is no macro nobody here")],
)
async def test_a_letter_that_is_of_no_macro_here_is_kept_as_no_fixture(
    ground: Ground, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    (tmp_path / "profiling.py").write_text(MACRO)
    body = b'{"worker_type": "nobody", "payload": {}}'
    kept = await letter(ground.client, await buried(ground, "t", body, **fields))
    assert kept is not None
    with pytest.raises(DefinitionError, match=told):
        await keep(ground.client, kept, load([str(tmp_path / "profiling.py")]))


@pytest.mark.parametrize("body", [b"not json", b"\xff\xfe", b"[]", b'{"reason": "x"}', b""])
async def test_what_is_kept_among_the_letters_and_is_none_is_seen_and_can_be_dropped(ground: Ground, body: bytes) -> None:
    await buried(ground, "t")
    await ground.publish(subjects.dead("timed_out", "echo", None, "by-hand"), body)
    by_hand, good = (await page(ground.client)).letters
    assert (by_hand.letter.id, by_hand.letter.code, by_hand.letter.worker_type, by_hand.letter.tier) == (
        "by-hand",
        "timed_out",
        "echo",
        None,
    )
    assert by_hand.letter.reason.startswith("timed_out: what is kept here is no dead letter: ")
    assert await original(ground.client, by_hand) == body
    assert good.letter.task_id == "t"
    assert [type(step) async for step in replay(ground.client, ["by-hand"], by="ada")] == [Undone]
    assert [type(step) async for step in drop(ground.client, Wanted(), by="ada")] == [Done, Done]


async def test_a_letter_has_the_id_under_which_it_is_found(ground: Ground) -> None:
    told = {
        "reason": "x",
        "original_task": {},
        "id": "a > *",
        "code": "timed_out",
        "at": "2026-01-01T00:00:00Z",
        "by": "me",
        "remedy": "none",
    }
    await ground.publish(subjects.dead("timed_out", None, None, "by-hand"), json.dumps(told).encode())
    assert [kept.letter.id for kept in (await page(ground.client)).letters] == ["by-hand"]
    assert [type(step) async for step in drop(ground.client, ["by-hand"], by="ada")] == [Done]


@pytest.mark.parametrize("long_ago", [-1e300, -1e12, float("-inf")])
async def test_a_time_before_all_times_leaves_every_letter_in(ground: Ground, long_ago: float) -> None:
    await buried(ground, "t")
    assert await names(ground, Wanted(since=long_ago)) == ["t"]
    assert await names(ground, Wanted(until=long_ago)) == []


@pytest.mark.parametrize("far_ahead", [1e10, 1e300, float("inf")])
async def test_a_time_after_all_times_leaves_no_letter_in(ground: Ground, far_ahead: float) -> None:
    await buried(ground, "t")
    assert await names(ground, Wanted(since=far_ahead)) == []
    assert await names(ground, Wanted(until=far_ahead)) == ["t"]
