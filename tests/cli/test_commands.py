"""Every command as its user runs it: a process, its output, its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from heddle import children
from tests.cli.command import heddle
from tests.support import RULES, Ground, eventually, on_ground

HEDDLE = [sys.executable, "-m", "heddle"]


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.fixture
def roles(nats_url: str, tmp_path: Path) -> Iterator[None]:
    """Router and orchestrator in processes of their own, and no worker."""
    (tmp_path / "rules.yaml").write_text(RULES)
    env = {**os.environ, "NATS_URL": nats_url, "HEDDLE_PLANNER__PHRASES": "first"}
    commands = (["run", "router", "--rules", str(tmp_path / "rules.yaml")], ["run", "orchestrator", "--macros", "tests.support"])
    with (tmp_path / "log").open("wb") as log:
        started = [children.start([*HEDDLE, *command], env=env, stderr=log) for command in commands]
        yield
        for child in started:
            children.stop(child)


def test_without_a_server_a_command_exits_4_and_says_how_to_start_one(tmp_path: Path) -> None:
    done = heddle("status", cwd=tmp_path)
    assert (done.returncode, "heddle up" in done.stderr) == (4, True)


@pytest.mark.parametrize("told", ["", "[]", "{}", "\x00"])
def test_a_server_file_that_names_no_server_is_exit_4_too(tmp_path: Path, told: str) -> None:
    (tmp_path / ".heddle").mkdir()
    (tmp_path / ".heddle" / "server.json").write_text(told)
    done = heddle("status", cwd=tmp_path)
    assert (done.returncode, "server.json does not say where a server is" in done.stderr) == (4, True)


def test_a_server_that_does_not_answer_is_exit_4_too(tmp_path: Path) -> None:
    done = heddle("status", "--server", "nats://127.0.0.1:9", cwd=tmp_path)
    assert (done.returncode, "127.0.0.1:9" in done.stderr, "Traceback" in done.stderr) == (4, True, False)


@pytest.mark.parametrize(
    ("url", "env", "code", "told"),
    [
        (",", {}, 4, "is no address of a NATS server"),
        ("nats://127.0.0.1:port", {}, 4, "is no address of a NATS server"),
        ("nats://[::1", {}, 4, "is no address of a NATS server"),
        ("nats://127.0.0.1:9", {"NATS_CREDS": "/nowhere/x.creds"}, 2, "/nowhere/x.creds, which cannot be read"),
    ],
)
def test_an_address_or_credentials_that_are_none_are_told(tmp_path: Path, url: str, env: dict[str, str], code: int, told: str) -> None:
    done = heddle("status", "--server", url, cwd=tmp_path, **env)
    assert (done.returncode, told in done.stderr, "Traceback" in done.stderr) == (code, True, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("task",),
        ("task", "Not A Name"),
        ("task", "echo", "--payload", "no json"),
        ("task", "echo", "--payload", "[1]"),
        ("task", "echo", "--priority", "urgent"),
        ("goal", "x", "--context", "novalue"),
        ("goal", "x", "--timeout", "soon"),
        ("dead", "list", "--code", "nonsense"),
        ("nonsense",),
    ],
)
def test_wrong_usage_exits_2_without_a_traceback(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = heddle(*arguments, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_a_bad_setting_exits_2_and_names_its_variable(tmp_path: Path) -> None:
    done = heddle("plan", "x", cwd=tmp_path, HEDDLE_WORKER__SLOTS="many")
    assert (done.returncode, "HEDDLE_WORKER__SLOTS" in done.stderr) == (2, True)


async def test_a_task_and_a_goal_complete_and_print_json(ground: Ground, nats_url: str, tmp_path: Path) -> None:
    async with ground.all_roles():
        task = await asyncio.to_thread(heddle, "task", "echo", "-p", '{"word": "hi"}', "-o", "json", cwd=tmp_path, url=nats_url)
        goal = await asyncio.to_thread(heddle, "goal", "echo hi", "-o", "json", cwd=tmp_path, url=nats_url)
    assert (task.returncode, json.loads(task.stdout)["output"]) == (0, {"word": "hi"})
    assert (goal.returncode, json.loads(goal.stdout)["status"]) == (0, "completed")


async def test_a_goal_or_task_that_fails_exits_1_with_the_reason(ground: Ground, nats_url: str, tmp_path: Path) -> None:
    async with ground.all_roles():
        task = await asyncio.to_thread(heddle, "task", "nobody", cwd=tmp_path, url=nats_url)
        goal = await asyncio.to_thread(heddle, "goal", "echo one and surprise two", "-o", "json", cwd=tmp_path, url=nats_url)
    assert (task.returncode, "unknown_tier" in task.stderr) == (1, True)
    assert (goal.returncode, json.loads(goal.stdout)["status"], "unknown_tier" in goal.stderr) == (1, "partial", True)


@pytest.mark.usefixtures("roles")
def test_without_a_worker_a_task_says_so_keeps_waiting_and_exits_3(nats_url: str, tmp_path: Path) -> None:
    done = heddle("task", "echo", "--timeout", "3s", cwd=tmp_path, url=nats_url)
    assert (done.returncode, "heddle run worker --types echo" in done.stderr) == (3, True)


@pytest.mark.usefixtures("roles")
def test_without_a_worker_a_goal_says_so_keeps_waiting_and_exits_3_with_its_id(nats_url: str, tmp_path: Path) -> None:
    done = heddle("goal", "echo hi", "--timeout", "8s", "-o", "json", cwd=tmp_path, url=nats_url)
    assert (done.returncode, "heddle run worker --types echo" in done.stderr, json.loads(done.stdout)["exit_code"]) == (3, True, 3)


def test_a_task_on_a_server_that_has_never_seen_heddle_waits_for_its_router(nats_url: str, tmp_path: Path) -> None:
    done = heddle("task", "echo", "--no-wait", "-o", "json", cwd=tmp_path, url=nats_url)
    assert (done.returncode, "task_id" in json.loads(done.stdout)) == (0, True)


async def test_dead_letters_and_status_are_shown(ground: Ground, nats_url: str, tmp_path: Path) -> None:
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", b"[]")
        (found,) = await ground.letters()
    listed = heddle("dead", "list", "-o", "json", cwd=tmp_path, url=nats_url)
    shown = heddle("dead", "show", found.id, cwd=tmp_path, url=nats_url)
    status = heddle("status", "-o", "json", cwd=tmp_path, url=nats_url)
    assert [one["id"] for one in json.loads(listed.stdout)] == [found.id]
    assert found.remedy[:20] in shown.stdout
    assert json.loads(status.stdout)["dead"] == {"invalid_task_message": 1}


def test_rules_check_names_every_problem_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\ntiers: {a: {rate: fast}}\nworker_types: {x: {tier: b}}\n")
    done = heddle("rules", "check", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, "tiers.a.rate" in done.stderr, "worker_types.x.tier" in done.stderr) == (1, True, True)


def test_rules_check_names_each_macro_without_a_rule_and_the_line_to_add(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\ntiers: {local: {}}\nworker_types: {echo: {}, broken: {}}\n")
    done = heddle(
        "rules", "check", "rules.yaml", "--macros", str(Path(__file__).parents[1] / "support.py"), cwd=tmp_path, PYTHONPATH=str(Path.cwd())
    )
    assert (done.returncode, "unruled: {}" in done.stderr) == (1, True)


def test_rules_explain_says_every_step_the_same_way_each_time(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "task.json").write_text('{"worker_type": "limited", "payload": {}}')
    runs = {
        heddle("rules", "explain", "task.json", "--rules", "rules.yaml", "--at", "2026-01-01T00:00:00Z", cwd=tmp_path).stdout
        for _ in range(2)
    }
    (told,) = runs
    assert "decision: dispatch to 'slow'" in told


def test_a_plan_is_shown_and_nothing_published(tmp_path: Path) -> None:
    macros = str(Path(__file__).parents[2] / "workflows")
    done = heddle("plan", "profile data/orders.csv", "--macros", macros, "-o", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["tasks"] == [{"macro": "csv_profile", "tier": "local", "arguments": {"path": "data/orders.csv"}}]


def test_a_new_project_passes_its_own_tests_and_checks_at_once(tmp_path: Path) -> None:
    made = heddle("init", "project", cwd=tmp_path)
    project = tmp_path / "project"
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, text=True, timeout=60, check=False)
    checked = heddle("rules", "check", cwd=project)
    macros = heddle("macros", "check", "--strict", cwd=project)
    again = heddle("init", "project", cwd=tmp_path)
    assert (made.returncode, tested.returncode, checked.returncode, macros.returncode, again.returncode) == (0, 0, 0, 0, 1)


def test_the_demo_completes_a_goal_of_two_tasks_on_a_small_repository_of_its_own(tmp_path: Path) -> None:
    done = heddle("demo", "-o", "json", cwd=tmp_path)
    record: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, record["status"]) == (0, "completed")
    assert sum(task["status"] == "completed" and bool(task["output"]) for task in record["tasks"]) >= 2


def test_the_demo_with_chaos_loses_nothing(tmp_path: Path) -> None:
    done = heddle("demo", "--chaos", cwd=tmp_path)
    assert (done.returncode, "200 tasks, 200 outcomes, 0 missing" in done.stdout) == (0, True)


async def test_up_serves_a_second_terminal_in_the_same_folder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    heddle("init", "project", cwd=tmp_path)
    project = tmp_path / "project"
    with (tmp_path / "log").open("wb") as log:
        up = children.start([*HEDDLE, "up", "--port", str(_free_port())], cwd=project, stdout=log, stderr=log)
        try:
            file = project / ".heddle/server.json"

            async def written() -> bool:
                return file.exists()

            await eventually(written, bool)
            told = json.loads(file.read_text())
            pid, page = told["pid"], await asyncio.to_thread(httpx.get, told["dashboard"], trust_env=False)
            done = heddle("goal", 'count the words in "to be or not to be"', "-o", "json", cwd=project)
        finally:
            os.kill(up.pid, signal.SIGINT)
            ended = children.wait(up, 20)
    assert (done.returncode, json.loads(done.stdout)["tasks"][0]["output"]) == (0, {"words": 6})
    assert (page.status_code, "Overview" in page.text) == (200, True)
    assert (ended, file.exists()) == (0, False)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_up_with_a_frontier_model_serves_its_tier_and_says_what_the_rules_lack(tmp_path: Path) -> None:
    heddle("init", "project", cwd=tmp_path)
    project, url = tmp_path / "project", f"nats://127.0.0.1:{(port := _free_port())}"
    (project / "heddle.toml").write_text('[providers.big]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n[frontier]\nprovider = "big"\n')
    with (tmp_path / "log").open("wb") as log:
        up = children.start([*HEDDLE, "up", "--port", str(port)], cwd=project, stdout=log, stderr=log)
        try:

            async def tiers() -> set[str]:
                done = await asyncio.to_thread(heddle, "status", "-o", "json", cwd=project, url=url)
                return (
                    {tier for worker in json.loads(done.stdout)["workers"] for tier in worker["tiers"]} if done.returncode == 0 else set()
                )

            served = await eventually(tiers, lambda seen: "frontier" in seen)
        finally:
            os.kill(up.pid, signal.SIGINT)
            children.wait(up, 20)
    log_text = (tmp_path / "log").read_text()
    assert served > {"frontier"}
    assert ("macro 'novel' has no rule" in log_text, "the tier 'frontier' is not declared" in log_text) == (True, True)


def test_up_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = heddle("up", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert (done.returncode, "--port" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
