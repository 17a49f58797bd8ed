"""What several pages look at."""

from __future__ import annotations

import time
from typing import Final

from nats.aio.client import Client

from heddle import subjects
from heddle.control import deadletters
from heddle.control.deadletters import Stats
from heddle.control.fleet import TierCard, cards, tiers
from heddle.control.flow import GOAL_RECORDS
from heddle.control.goals import GoalPage, goals_page
from heddle.web.crew import Crew
from heddle.web.poller import Topic

LATEST: Final = 6


async def _crew(client: Client) -> Crew:
    return Crew(*await cards(client))


async def _tiers(client: Client) -> tuple[TierCard, ...]:
    return await tiers(client)


async def _latest(client: Client) -> GoalPage:
    return await goals_page(client, limit=LATEST)


async def _stats(client: Client) -> Stats:
    return await deadletters.stats(client, time.time())


CREW: Final = Topic("crew", _crew)
TIERS: Final = Topic("tiers", _tiers, rest=2.0)
LATEST_GOALS: Final = Topic("latest goals", _latest, frozenset({subjects.GOALS, GOAL_RECORDS}), rest=2.0)
BY_CODE: Final = Topic("dead letters by code", deadletters.by_code, frozenset({subjects.DEAD}), rest=5.0, late=True)
STATS: Final = Topic("dead letters in numbers", _stats, frozenset({subjects.DEAD}), rest=10.0, late=True)
