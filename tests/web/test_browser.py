"""The pages as a person meets them: in a real browser, by eye, by keyboard, and through a screen reader's rules (axe-core)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from heddle import subjects
from heddle.control.goals import new_goal, submit_goal
from heddle.settings import DashboardSettings
from heddle.web.serve import dashboard
from heddle.web.shelf import shelf_of
from tests.support import Ground, on_ground, registry_of
from tests.web.board import Board, board

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
AXE: Final = Path(str(distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js"))).read_text()
"""axe-core (MPL 2.0), as the package carries it."""
DESKTOP, PHONE = (1280, 800), (360, 800)


def browser_path() -> str | None:
    """A Chromium that is installed: of HEDDLE_TEST_BROWSER, else on PATH."""
    return os.environ.get("HEDDLE_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        browser_path() is None,
        reason="NO BROWSER: nobody looked at the dashboard. Install one (Debian: apt-get install chromium), or name one in HEDDLE_TEST_BROWSER",
    ),
]


@pytest_asyncio.fixture(loop_scope="module")
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all, since it takes a second to start; every window has a profile of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path())
        yield browser
        await browser.close()


async def opened(browser: Browser, address: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Page:
    """A new window at a page, once it is live."""
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    context.set_default_timeout(15_000)
    page = await context.new_page()
    await page.goto(address)
    await expect(page.locator("#link")).to_have_text("Live", timeout=15_000)
    return page


async def some_life(ground: Ground, served: Board) -> list[str]:
    """A goal that failed, letters, a dry run; and the addresses of every kind of page, those with the most in them first."""
    goal = new_goal("break hello")
    await submit_goal(ground.client, goal)
    await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "unruled", "payload": {"word": "<b>" * 40}})
    letters = await ground.letters(2)
    await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    job = (await served.post("/dead/many", do="forecast")).headers["location"]
    crowded = ["/", f"/goals/{goal.goal_id}", f"/dead/{letters[0].id}", job]
    return [*crowded, "/goals", "/dead", "/dead/trail", "/rules", "/workers", "/macros", "/macros/echo"]


WCAG: Final = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']"
COLOURS_AND_SIZES: Final = "{type: 'rule', values: ['color-contrast', 'target-size']}"
"""What is another on a phone in the dark; the rest of a page is the same."""


async def faults(page: Page, rules: str) -> list[str]:
    """What axe-core finds, from serious on."""
    await page.evaluate(AXE)
    found = await page.evaluate(f"axe.run(document, {{runOnly: {rules}, resultTypes: ['violations']}})")
    return [
        f"{one['id']}: {node['target']}: {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


async def test_what_is_not_accessible_would_be_found(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<html lang=en><title>x</title><p style='color: #999; background: #aaa'>hard to read</p><input>")
    found = {fault.partition(":")[0] for rules in (WCAG, COLOURS_AND_SIZES) for fault in await faults(page, rules)}
    await page.close()
    assert found == {"color-contrast", "label"}


@pytest.mark.parametrize(
    ("size", "scheme", "rules", "pages"),
    [(DESKTOP, "light", WCAG, 11), (PHONE, "dark", COLOURS_AND_SIZES, 4)],
    ids=["desktop, light", "phone, dark"],
)
async def test_every_page_fits_its_window_is_accessible_and_complains_of_nothing(
    ground: Ground, browser: Browser, size: tuple[int, int], scheme: str, rules: str, pages: int
) -> None:
    told: dict[str, object] = {}
    async with ground.all_roles(), board(ground) as served:
        paths = await some_life(ground, served)
        page = await opened(browser, served.address, size, color_scheme=scheme, reduced_motion="reduce")
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for path in paths:
            await page.goto(served.address + path)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            found = await faults(page, rules) if path in paths[:pages] else []
            if wide > size[0] or found:
                told[path] = f"{wide} pixels wide", found
        await page.context.close()
    assert (told, complaints) == ({}, [])


async def test_a_page_changes_in_place_and_keeps_what_one_is_at(ground: Ground, browser: Browser) -> None:
    async with ground.all_roles(), board(ground) as served:
        page = await opened(browser, served.address)
        await page.locator("#wide-dead").focus()
        await page.evaluate("document.querySelector('svg.wide').kept = 'the same'")
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "unruled", "payload": {}})
        await expect(page.locator("#wide-dead .figure")).to_have_text("1")
        await expect(page.get_by_role("link", name="Dead letters 1", exact=True)).to_be_visible()
        assert await page.evaluate("document.activeElement.id") == "wide-dead"
        assert await page.evaluate("document.querySelector('svg.wide').kept") == "the same"
        await page.context.close()


async def test_a_list_holds_still_while_one_is_in_it_and_catches_up_afterwards(ground: Ground, browser: Browser) -> None:
    async with ground.all_roles(), board(ground) as served:
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "unruled", "payload": {}})
        (first,) = await ground.letters()
        page = await opened(browser, f"{served.address}/dead")
        await page.locator(f"#letter-{first.id} a").first.focus()
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "unruled", "payload": {}})
        await expect(page.locator("nav .badge")).to_have_text("2")
        assert await page.locator("#list tbody tr").count() == 1
        await page.locator("main").focus()
        await expect(page.locator("#list tbody tr")).to_have_count(2)
        await page.context.close()


async def test_everything_is_reached_and_done_by_keyboard(ground: Ground, browser: Browser) -> None:
    async with ground.all_roles(), board(ground) as served:
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "unruled", "payload": {}})
        (letter,) = await ground.letters()
        page = await opened(browser, f"{served.address}/dead/{letter.id}")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.keyboard.press("Enter")
        for wanted in ("Drop it", "Drop it"):
            while not (await page.evaluate("document.activeElement.textContent")).startswith(wanted):
                await page.keyboard.press("Tab")
                assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            await page.keyboard.press("Enter")
            await page.keyboard.press("Tab")
        await expect(page.get_by_text("Dropped.")).to_be_visible()
        await page.context.close()
        assert await ground.letters(0) == []


async def test_a_page_says_that_the_dashboard_is_away_and_goes_on_when_it_is_back(ground: Ground, browser: Browser) -> None:
    shelf = shelf_of(registry_of(), "tests")
    async with dashboard(ground.client, DashboardSettings(port=0), lambda: shelf, "ada") as address:
        page = await opened(browser, f"{address}goals")
        port = int(address.rstrip("/").rpartition(":")[2])
    await expect(page.locator("#link")).to_contain_text("Trying again")
    async with dashboard(ground.client, DashboardSettings(port=port), lambda: shelf, "ada"):
        await submit_goal(ground.client, new_goal("echo hello"))
        await expect(page.get_by_text("echo hello")).to_be_visible(timeout=15_000)
        await expect(page.locator("#link")).to_have_text("Live")
        await page.context.close()


async def test_a_page_holds_what_it_held_at_first_however_long_it_is_open(ground: Ground, browser: Browser) -> None:
    async with ground.all_roles(), board(ground) as served:
        page = await opened(browser, served.address)
        count = "document.getElementsByTagName('*').length"
        await expect(page.locator("#queues tbody tr").first).to_be_visible()
        before = await page.evaluate(count)
        for _ in range(3):
            await ground.run_task("echo", {}, tier="local")
            await asyncio.sleep(1.1)
        assert await page.evaluate(count) == before
        await page.context.close()
