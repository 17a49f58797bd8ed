"""Who may talk to the dashboard, and what a browser may do with its pages."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from heddle.broker.connect import connected
from heddle.errors import SettingsError
from heddle.settings import DashboardSettings
from heddle.telemetry.observer import Observer
from heddle.web.app import application
from heddle.web.guard import Guard, from_our_page, is_ours
from heddle.web.serve import check, dashboard
from heddle.web.shelf import Shelf
from tests.support import Ground, on_ground
from tests.web.board import Board, board

TOKEN = "correct-horse-battery"
PATHS = ("/", "/goals", "/goals/goal-1", "/dead", "/dead/x-0", "/dead/trail", "/rules", "/workers", "/macros", "/macros/echo", "/nowhere")
ACTIONS = (
    "/goals/goal-1/approve",
    "/goals/goal-1/cancel",
    "/dead/x-0/replay",
    "/dead/x-0/drop",
    "/dead/many",
    "/dead/jobs/1/stop",
    "/rules/explain",
    "/login",
    "/logout",
)


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.fixture
async def open_board(ground: Ground) -> AsyncIterator[Board]:
    async with board(ground) as served:
        yield served


@pytest.fixture
async def closed_board(ground: Ground) -> AsyncIterator[Board]:
    async with board(ground, token=TOKEN) as served:
        yield served


@pytest.mark.parametrize("host", ["localhost:4280", "127.0.0.1", "[::1]:4280", "10.1.2.3:80", "atlas", "ATLAS:4280", "atlas.:4280"])
def test_the_dashboard_answers_to_addresses_and_to_its_own_names(host: str) -> None:
    assert is_ours(host, frozenset({"atlas"}))


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "atlas.evil.example", "1234"])
def test_a_name_that_was_made_to_lead_here_is_none_of_its_own(host: str) -> None:
    assert not is_ours(host, frozenset({"atlas"}))


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://here:1", "host": "here:1"}, True),
        ({"origin": "http://here:2", "host": "here:1"}, False),
        ({"origin": "null", "host": "here:1"}, False),
        ({"origin": "http://evil.example", "host": "here:1", "sec-fetch-site": "same-origin"}, False),
    ],
)
def test_a_browser_says_whose_page_a_request_comes_from(headers: dict[str, str], ours: bool) -> None:
    assert from_our_page(headers) is ours


@given(st.text())
@hypothesis.settings(max_examples=30)
def test_no_text_is_a_session_or_a_form_token_by_chance(text: str) -> None:
    guard = Guard(frozenset(), TOKEN)
    assert not guard.is_session(text)
    assert not guard.is_form_token(text, guard.session(member=True))


def test_a_session_is_worth_nothing_in_another_process_or_as_a_members() -> None:
    one, other = Guard(frozenset(), TOKEN), Guard(frozenset(), TOKEN)
    visitor = one.session(member=False)
    assert (one.is_session(visitor), one.is_member(visitor), other.is_session(visitor)) == (True, False, False)


def test_a_form_token_is_one_sessions_alone() -> None:
    guard = Guard(frozenset(), None)
    mine, yours = guard.session(member=True), guard.session(member=True)
    assert (guard.is_form_token(guard.form_token(mine), mine), guard.is_form_token(guard.form_token(mine), yours)) == (True, False)


async def test_a_request_under_a_strangers_name_is_turned_away_with_the_setting_that_would_let_it_in(open_board: Board) -> None:
    answer = await open_board.http.get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, "HEDDLE_DASHBOARD__NAMES" in answer.text) == (421, True)


async def test_a_name_of_the_settings_is_let_in(ground: Ground) -> None:
    async with board(ground, names=("heddle.example",)) as served:
        assert (await served.http.get("/", headers={"Host": "heddle.example"})).status_code == 200


async def test_no_action_is_taken_that_another_sites_page_asks_for(open_board: Board) -> None:
    answers = {path: await open_board.http.post(path, headers={"Origin": "https://evil.example"}) for path in ACTIONS}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(ACTIONS, 403)


async def test_no_action_is_taken_without_a_form_token(open_board: Board) -> None:
    await open_board.page("/rules")
    told = {}
    for path in ACTIONS:
        answer = await open_board.http.post(path, data={"do": "drop"}, headers={"Origin": open_board.address})
        told[path] = answer.status_code, "Load it again" in answer.text
    assert told == dict.fromkeys(ACTIONS, (403, True))


def test_every_route_that_takes_a_form_is_among_those_that_are_tried() -> None:
    desk: Any = None  # routes are only listed
    routes = application(SimpleNamespace(guard=desk), desk, desk).routes  # type: ignore[arg-type]  # no page is asked for
    forms = [route.path_regex for route in routes if isinstance(route, Route) and "POST" in (route.methods or ())]
    assert [form.pattern for form in forms if not any(form.match(path) for path in ACTIONS)] == []


async def test_a_form_that_is_too_long_is_refused(open_board: Board) -> None:
    answer = await open_board.post("/rules/explain", task="x" * (1 << 20))
    assert answer.status_code == 413


async def test_pages_run_no_script_and_no_style_but_the_dashboards_own(open_board: Board) -> None:
    foreign = re.compile(r"<script(?! src=\"/static/)|<style|\son\w+=|\sstyle=|(?:src|href|action)=\"(?!/|#)")
    for path in PATHS:
        answer = await open_board.http.get(path, headers={"Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert ("default-src 'none'" in policy, "unsafe" in policy, foreign.findall(answer.text)) == (True, False, []), path


async def test_pages_are_not_kept_by_caches_and_their_cookie_is_out_of_reach_of_scripts_and_other_sites(open_board: Board) -> None:
    answer = await open_board.http.get("/rules")
    cookie = answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


async def test_with_a_token_a_stranger_sees_the_login_and_nothing_else(closed_board: Board) -> None:
    for path in PATHS:
        answer = await closed_board.http.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    answer = await closed_board.http.get("/", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401


async def _say(closed: Board, token: str) -> httpx.Response:
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', await closed.page("/login"))
    assert found is not None
    return await closed.http.post("/login", data={"form_token": found[1], "token": token}, headers={"Origin": closed.address})


@pytest.mark.parametrize("path", ["/static/nothing", "/static/../dead", "/loginx", "/login/x"])
async def test_with_a_token_a_stranger_learns_nothing_from_a_page_that_is_not_there(closed_board: Board, path: str) -> None:
    answer = await closed_board.http.get(path, headers={"Accept": "text/html"})
    assert "NATS" not in answer.text
    answer = await closed_board.http.post("/login", data={"token": "x"}, headers={"Accept": "text/html", "Origin": closed_board.address})
    assert (answer.status_code, "NATS" in answer.text) == (403, False)


async def test_the_token_lets_in_and_logging_out_ends_it(closed_board: Board) -> None:
    assert (await _say(closed_board, TOKEN)).headers["location"] == "/"
    assert "Overview" in await closed_board.page("/")
    await closed_board.post("/logout")
    assert (await closed_board.http.get("/", headers={"Accept": "text/html"})).status_code == 303


async def test_a_wrong_token_does_not_let_in(closed_board: Board) -> None:
    answer = await _say(closed_board, TOKEN + "!")
    assert (answer.status_code, "not the token" in answer.text) == (403, True)
    assert (await closed_board.http.get("/", headers={"Accept": "text/html"})).status_code == 303


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::", "atlas"])  # noqa: S104
def test_beyond_loopback_a_token_is_demanded(host: str) -> None:
    with pytest.raises(SettingsError, match="HEDDLE_DASHBOARD__TOKEN"):
        check(DashboardSettings(host=host))
    check(DashboardSettings.model_validate({"host": host, "token": TOKEN}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_token_is_needed(host: str) -> None:
    check(DashboardSettings(host=host))


async def test_a_port_that_is_taken_is_told_with_what_to_do(nats_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with connected(nats_url, "test", Observer()) as client:
            with pytest.raises(SettingsError, match=f"{port}.*--port"):
                async with dashboard(client, DashboardSettings(port=port), Shelf, "ada"):
                    pass
            async with dashboard(client, DashboardSettings(port=port), Shelf, "ada", any_port=True) as address:
                assert str(port) not in address
