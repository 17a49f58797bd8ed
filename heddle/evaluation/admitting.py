"""Admits a model: asks what it is, and tests it on the macros, unless that was done before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol

from heddle import subjects
from heddle.errors import ModelError, ModelUnavailable
from heddle.evaluation.admission import Results, Verdict, admission_cases, registry_digest, results, verdict
from heddle.evaluation.running import attempts
from heddle.llm.model import Facts, Model
from heddle.messages import read_kept
from heddle.planner import make_planner, prompt_budget
from heddle.planning.offer import Offers
from heddle.settings import Settings


class Kept(Protocol):
    """Where results are kept."""

    async def read(self, key: str) -> bytes | None:
        """What was written last; None if nothing was."""
        ...

    async def write(self, key: str, value: bytes) -> None:
        """Keep something."""
        ...


async def admit(
    model: Model,
    offers: Offers,
    settings: Settings,
    kept: Kept | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
    *,
    anew: bool = False,
) -> Verdict:
    """Find out whether a model may plan goals.

    A test's results are kept by what the model and the test are, and used again as long as both are the same: a bad one too. Without
    a digest of the model nobody can tell that it is the same, so nothing is kept.

    Args:
        model: which.
        offers: the macros that it is to plan with.
        settings: those that goals are planned with; `planner.admit` waives demands.
        kept: where results are kept.
        progress: told before the test and after each case: how many are done, and of how many.
        anew: whether to test it even if a result is kept.

    Raises:
        ModelUnavailable: the model server cannot be reached or lacks the model; nothing is kept of a test that was under way.
        DefinitionError: a phrase of a macro cannot be used.
    """
    facts = await facts_of(model)
    waived = settings.planner.admit
    at_once = verdict(facts, None, waived)
    if not at_once.admitted or "examples" in waived:
        return at_once
    key = None if facts.digest is None else subjects.admission(facts.digest, digest_of_test(offers, settings))
    tested = (
        None if kept is None or key is None or anew else read_kept(Results, await kept.read(key) or b"")
    )  # one of a heddle that kept something else is none
    if tested is None:
        tested = await _test(model, offers, settings, progress)
        if kept is not None and key is not None:
            await kept.write(key, tested.model_dump_json().encode())
    return verdict(facts, tested, waived)


async def facts_of(model: Model) -> Facts:
    """What the server tells of a model; nothing, if what it tells cannot be read.

    Raises:
        ModelUnavailable: the model server cannot be reached or lacks the model.
    """
    try:
        return await model.facts()
    except ModelUnavailable:
        raise
    except ModelError:
        return Facts()


async def _test(model: Model, offers: Offers, settings: Settings, progress: Callable[[int, int], object]) -> Results:
    cases = admission_cases(offers, prompt_budget(settings))
    progress(0, len(cases))
    findings = []
    async for finding in attempts(cases, offers, model, settings):
        findings.append(finding)
        progress(len(findings), len(cases))
    return results(findings, offers)


def digest_of_test(offers: Offers, settings: Settings) -> str:
    """What a test depends on beside the model, as one word: the contracts, the prompt, how the model is called, the checks."""
    planner = settings.planner
    prefix = make_planner(offers, None, settings).prefix
    told = [
        version("heddle-router"),
        registry_digest(offers),
        prefix.system,
        prefix.schema,
        planner.num_ctx,
        planner.num_predict,
        planner.max_tasks,
        settings.fallback.threshold,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
