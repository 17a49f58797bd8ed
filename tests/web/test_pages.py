"""The pages over a running system: what they show, what they do, and how they follow what happens."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from heddle import macro, subjects
from heddle.broker.connect import connected
from heddle.control.goals import new_goal, submit_goal
from heddle.control.replay import history
from heddle.messages import DeadLetter
from heddle.router.reload import Drift
from heddle.router.router import Router
from heddle.settings import DashboardSettings
from heddle.telemetry.observer import Observer
from heddle.web.serve import dashboard
from heddle.web.shelf import Shelf
from tests.support import RULES, Echoed, Ground, Word, echo, eventually, on_ground, registry_of
from tests.web.board import Board, board

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202egnp'


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@asynccontextmanager
async def announced(ground: Ground, rules: str = RULES, replica: str = "r1") -> AsyncIterator[Router]:
    """A router that has told the others of its rules."""
    async with ground.router(rules, replica) as router:
        await Drift(router, "rules.yaml").look()
        yield router


@pytest.fixture
async def served(ground: Ground) -> AsyncIterator[Board]:
    """A dashboard over all roles."""
    async with announced(ground), ground.worker(), ground.orchestrator(), board(ground) as served:
        yield served


def words(page: str) -> str:
    """A page as it is read: without its tags and its pictures."""
    return " ".join(html.unescape(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


async def ended_goal(ground: Ground, text: str) -> str:
    """Submit a goal and wait for its end."""
    goal = new_goal(text)
    await submit_goal(ground.client, goal)
    await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    return goal.goal_id or ""


async def dead_task(ground: Ground, payload: dict[str, object], worker_type: str = "unruled") -> DeadLetter:
    """Submit a task that the rules do not know, and wait for its letter."""
    known = {letter.id for letter in await ground.letters(0)}
    await ground.publish(subjects.TASKS_INCOMING, {"worker_type": worker_type, "payload": payload})
    return next(letter for letter in await ground.letters(len(known) + 1) if letter.id not in known)


async def read(served: Board, path: str, sight: str) -> str:
    """A page's words, once they hold something: what is dear to read is read every few seconds only."""

    async def look() -> str:
        return words(await served.page(path))

    return await eventually(look, lambda seen: sight in seen)


async def test_a_server_that_has_not_seen_heddle_yet_is_no_trouble(nats_url: str) -> None:
    async with (
        connected(nats_url, "test", Observer()) as client,
        dashboard(client, DashboardSettings(port=0), Shelf, "ada") as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as http,
    ):
        pages = {path: (await http.get(path)).text for path in ("/", "/goals", "/dead", "/dead/trail", "/rules", "/workers", "/macros")}
    assert [path for path, page in pages.items() if 'role="alert"' in page or "could not be read" in page] == []


async def test_an_empty_system_says_what_to_type(ground: Ground) -> None:
    async with board(ground) as served:
        overview, dead = words(await served.page("/")), words(await served.page("/dead"))
        rules, workers = words(await served.page("/rules")), words(await served.page("/workers"))
    assert ("heddle goal" in overview, "heddle run worker" in overview, "heddle task" in dead) == (True, True, True)
    assert ("heddle run router" in rules, "heddle run worker" in workers) == (True, True)


async def test_the_overview_shows_goals_queues_and_dead_letters(ground: Ground, served: Board) -> None:
    await ended_goal(ground, "echo hello")
    await dead_task(ground, {})
    overview = await read(served, "/", "unknown_tier")
    assert ("echo hello" in overview, "completed" in overview, "1 worker" in overview) == (True, True, True)


async def test_a_goal_shows_its_hops_what_was_asked_and_what_was_answered(ground: Ground, served: Board) -> None:
    goal_id = await ended_goal(ground, "echo hello")
    assert goal_id in await served.page("/goals?standing=completed")
    page = await read(served, f"/goals/{goal_id}", "completed")
    assert re.search(r"echo local completed( \d+){5} ", page)
    assert page.count('{ "word": "hello" }') == 2


async def test_a_goal_that_was_replayed_is_told_apart_from_what_it_was_before(ground: Ground, served: Board) -> None:
    goal_id = await ended_goal(ground, "do what nobody can")
    await ground.publish(subjects.GOALS_INCOMING, {"goal_id": goal_id, "instruction": "echo hello", "generation": 1})
    page = await read(served, "/goals", "replay 1")
    assert page.index("echo hello replay 1") < page.index("do what nobody can")
    rows = re.findall(r'<tr id="([^"]+)"', await served.page("/goals"))
    assert len(rows) == len(set(rows)) == 2


async def test_a_goal_that_failed_leads_to_its_dead_letter_and_its_remedy(ground: Ground, served: Board) -> None:
    goal_id = await ended_goal(ground, "break hello")
    (letter,) = await ground.letters()
    assert f'href="/dead/{letter.id}"' in await served.page(f"/goals/{goal_id}")
    page = words(await served.page(f"/dead/{letter.id}"))
    assert ("Broken: hello" in page, "Read the reason; correct the input or the macro" in page) == (True, True)


async def test_a_goal_nobody_knows_is_told_to_be_unknown(served: Board) -> None:
    assert "Nothing is known of it" in await served.page("/goals/goal-none")
    assert "No goal can have such an id" in await served.page("/goals/no%20id", 404)


async def test_a_goal_that_waits_for_its_approval_is_approved_on_its_page(ground: Ground) -> None:
    @macro(name="echo", tier="local", effects="irreversible", phrases=["echo {word}"])
    async def lasting(request: Word) -> Echoed:
        """Say a word for good."""
        return Echoed(word=request.word)

    registry = registry_of(lasting)
    async with ground.router(), ground.worker(registry), ground.orchestrator(registry=registry), board(ground) as served:
        goal = new_goal("echo hello")
        await submit_goal(ground.client, goal)
        await read(served, f"/goals/{goal.goal_id}", "It waits for an approval")
        answer = await served.post(f"/goals/{goal.goal_id}/approve", generation="0")
        assert answer.headers["location"].endswith("told=approved")
        record = (await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>"))[0].output
    assert (record["status"], record["approved_by"]) == ("completed", "ada@test")


async def test_a_goal_is_cancelled_on_its_page(ground: Ground) -> None:
    async with ground.router(), ground.orchestrator(), board(ground) as served:
        goal = new_goal("echo hello")
        await submit_goal(ground.client, goal)
        await read(served, f"/goals/{goal.goal_id}", "on its way")
        answer = await served.post(f"/goals/{goal.goal_id}/cancel")
        assert answer.headers["location"].endswith("told=cancelled")
        async with ground.worker():
            (outcome,) = await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert (outcome.error or "").startswith("cancelled")


async def test_what_comes_from_outside_is_shown_and_never_runs(ground: Ground, served: Board) -> None:
    goal_id = await ended_goal(ground, f"impossible {HOSTILE}")
    letter = await dead_task(ground, {HOSTILE: HOSTILE})
    for path in (f"/dead?text={HOSTILE}", f"/dead?goal={HOSTILE}", f"/goals?standing={HOSTILE}"):
        page = await served.page(path)
        assert ("<script>alert" in page, "<img src=x" in page) == (False, False), path
    for path in (f"/goals/{goal_id}", "/goals", "/dead", f"/dead/{letter.id}", "/"):
        page = await served.page(path)
        assert ("<script>alert" in page, "<img src=x" in page, "\u202e" in page) == (False, False, False), path
    assert "\\u202egnp" in await served.page(f"/dead/{letter.id}")


async def test_a_letter_says_what_would_become_of_it_and_is_replayed_once(ground: Ground) -> None:
    async with announced(ground), ground.worker(), board(ground) as served:
        letter = await dead_task(ground, {"word": "hello"})
        assert "would come back" in words(await served.page(f"/dead/{letter.id}"))
    async with announced(ground, RULES + "  unruled: {tier: local}\n"), ground.worker(), board(ground) as served:
        await read(served, f"/dead/{letter.id}", "would go on")
        answer = await served.post(f"/dead/{letter.id}/replay")
        assert answer.headers["location"].endswith("told=replayed")
        again = await served.post(f"/dead/{letter.id}/replay")
        assert (again.status_code, "ada@test replayed it" in again.text) == (409, True)
        outcomes = await ground.outcomes(2)
        page = words(await served.page(f"/dead/{letter.id}?told=replayed"))
    assert {outcome.status for outcome in outcomes} == {"failed", "completed"}
    assert ("Replayed:" in page, "replayed by ada@test" in page) == (True, True)


async def test_a_letter_is_dropped_and_the_trail_says_by_whom(ground: Ground, served: Board) -> None:
    letter = await dead_task(ground, {})
    await served.post(f"/dead/{letter.id}/drop")
    assert await ground.letters(0) == []
    assert "dropped ada@test" in words(await served.page("/dead/trail"))


async def test_many_letters_are_tried_dry_and_then_replayed_and_later_ones_are_left_alone(ground: Ground, served: Board) -> None:
    for word in ("a", "b", "c"):
        await dead_task(ground, {"word": word})
    await dead_task(ground, {}, "other")
    dry = await served.post("/dead/many", do="forecast", type="unruled")
    page = await read(served, dry.headers["location"], "ended")
    assert "would come back 3" in page
    await dead_task(ground, {"word": "late"})
    chosen = dict(re.findall(r'<input type="hidden" name="(type|until)" value="([^"]+)">', await served.page(dry.headers["location"])))
    replayed = await served.post("/dead/many", do="replay", rate="100", **chosen)
    page = await read(served, replayed.headers["location"], "ended")
    assert ("replayed 3" in page, "not replayed 0" in page) == (True, True)
    trail = await history(ground.client)
    assert [entry.worker_type for entry in trail.entries] == ["unruled"] * 3


async def test_a_job_is_stopped_and_what_it_did_stays_done(ground: Ground, served: Board) -> None:
    for number in range(4):
        await dead_task(ground, {"number": number})
    begun = await served.post("/dead/many", do="replay", rate="0.01")
    where = begun.headers["location"]
    await read(served, where, "replayed 1")
    await served.post(f"{where}/stop")
    await read(served, where, "stopped")  # long before the next is due


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"do": "forecast", "code": "nonsense"}, "no code"),
        ({"do": "eat"}, "what to do"),
        ({"do": "replay", "rate": "-1"}, "no rate"),
        ({"do": "drop", "age": "2h"}, "no age"),
        ({"do": "drop", "since": "yesterday"}, "no time"),
        ({"do": "drop", "until": "9" * 400}, "no time"),
        ({f"field{number}": "" for number in range(200)}, "many fields"),
    ],
)
async def test_a_form_that_makes_no_sense_is_told_so(served: Board, fields: dict[str, str], told: str) -> None:
    answer = await served.post("/dead/many", **fields)
    assert (answer.status_code, told in answer.text) == (400, True)


async def test_a_filter_that_makes_no_sense_leaves_the_list_of_others_alone(ground: Ground, served: Board) -> None:
    letter = await dead_task(ground, {"word": "hay"})
    await served.page("/dead?age=2h")
    assert letter.id in await served.page("/dead")


@pytest.mark.parametrize(("path", "referrer"), [("/nowhere", "http://[::1"), (f"/dead/jobs/{'9' * 5000}", "")])
async def test_an_odd_address_is_no_page_and_no_trouble(served: Board, path: str, referrer: str) -> None:
    answer = await served.http.get(path, headers={"Accept": "text/html", "Referer": referrer})
    assert answer.status_code == 404


async def test_letters_are_filtered_by_the_server_and_by_reading(ground: Ground, served: Board) -> None:
    hay, needle = await dead_task(ground, {"word": "hay"}), await dead_task(ground, {"word": "needle"}, "other")
    for query in ("type=other", "code=unknown_tier&type=other", "age=1h&type=other", "text=NEEDLE"):
        page = await eventually(lambda asked=query: served.page(f"/dead?{asked}"), lambda seen: needle.id in seen)  # type: ignore[misc]
        assert hay.id not in page, query
    assert "No dead letter is like that" in await served.page("/dead?tier=frontier")
    assert "There is no code" in await served.page("/dead?code=nonsense")


async def test_the_rules_in_force_are_shown_and_a_task_is_explained_by_them(served: Board) -> None:
    page = await read(served, "/rules", "agree")
    assert "limited: {tier: slow}" in page
    assert '{"worker_type": "echo", "payload": {}, "model_tier": "local"}' in page
    good = await served.post("/rules/explain", task=json.dumps({"worker_type": "limited", "payload": {}}))
    assert ("dispatch to 'slow'" in words(good.text), 'class="hit"' in good.text) == (True, True)
    bad = await served.post("/rules/explain", task="{}")
    assert ("invalid_task_message" in bad.text, await served.page("/rules") != "") == (True, True)


async def test_replicas_on_other_rules_are_told_to_disagree(ground: Ground) -> None:
    async with announced(ground) as one, announced(ground, RULES + "  more: {}\n", "r2") as other, board(ground) as served:
        page = await read(served, "/rules", "disagree")
    assert (one.rules.digest in page, other.rules.digest in page, "heddle rules reload" in page) == (True, True, True)


async def test_workers_are_shown_with_what_they_promise_and_macros_with_who_serves_them(served: Board) -> None:
    page = await read(served, "/workers", "w1")
    assert "o1 phrases only" in await read(served, "/workers", "o1")
    digest = words(await served.page("/macros/echo")).partition("contract ")[2].split()[0]
    assert f"echo v1 {digest}" in page
    macros = words(await served.page("/macros"))
    assert ("Say a word again. reversible · local" in macros, "1 worker" in macros, "another contract" in macros) == (True, True, False)


async def test_a_macro_shows_its_fields_its_examples_and_its_fixtures(ground: Ground) -> None:
    async with board(ground) as served:
        page = words(await served.page("/macros/echo"))
        assert "No macro 'nothing' is known here." in words(await served.page("/macros/nothing", 404))
    assert 'word string default ""' in page.replace("string default", "string default")
    assert ("heddle goal 'echo hello'" in page, "heddle macros record echo" in page) == (True, True)


async def test_a_page_follows_what_happens_and_is_sent_only_what_has_changed(ground: Ground) -> None:
    async with ground.router(), ground.worker(), board(ground) as served, served.stream("/dead") as changes:
        first = await anext(changes)
        assert first.keys() >= {"nav", "server", "list", "count"}
        letter = await dead_task(ground, {})
        later = await anext(changes)
        while letter.id not in later.get("list", ""):
            later = await anext(changes)
    assert "server" not in later


async def test_a_page_that_asks_again_is_told_everything_anew(ground: Ground) -> None:
    async with board(ground) as served:
        for _ in range(2):
            async with served.stream("/workers") as changes:
                assert (await anext(changes)).keys() >= {"workers", "routers", "tiers", "queues"}


async def test_a_server_that_is_away_is_told_on_the_page(ground: Ground) -> None:
    async with board(ground) as served:
        await served.page("/goals")
        await ground.client.close()
        page = await eventually(lambda: served.page("/goals"), lambda seen: "does not answer" in seen)
    assert 'role="alert"' in page


async def test_the_end_of_the_dashboard_ends_its_streams_at_once(ground: Ground) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        async with dashboard(ground.client, DashboardSettings(port=0), Shelf, "ada@test") as address:
            answer = await http.send(http.build_request("GET", address, headers={"Accept": "text/event-stream"}), stream=True)
            lines = answer.aiter_lines()
            assert await anext(lines) == "retry: 1000"
        rest = [line async for line in lines]
    assert "data: " in rest[1]


async def test_every_page_is_there_without_a_type_of_the_rules(ground: Ground) -> None:
    async with board(ground) as served:
        for path in ("/", "/goals", "/dead", "/dead/trail", "/rules", "/workers", "/macros", f"/macros/{echo.name}"):
            assert "<h1" in await served.page(path)
