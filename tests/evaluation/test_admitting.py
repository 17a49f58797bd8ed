"""A model is tested once for a registry, and the result is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heddle.broker.admissions import admissions
from heddle.errors import ModelError, ModelUnavailable
from heddle.evaluation import admitting
from heddle.evaluation.admission import Verdict, admission_cases
from heddle.evaluation.admitting import admit, digest_of_test
from heddle.llm.model import Answer, Facts
from heddle.planning.offer import Offers
from heddle.planning.prompt import Prompt
from heddle.settings import FallbackSettings, NovelCategory, PlannerSettings, Settings
from heddle.testing import ScriptedModel
from tests.evaluation.test_admission import made
from tests.support import on_ground, registry_of

OFFERS = registry_of(made("aa"), made("bb"), made("cc"))
CASES = len(admission_cases(OFFERS))
UNSUPPORTED = '{"tasks": [{"macro": "unsupported"}]}'


class Pupil(ScriptedModel):
    """A model that does what `aa 1` asks for if there is a macro `aa`, and refuses else; unless told to do otherwise."""

    def __init__(self, *, facts: Facts | Exception | None = None, always: str | None = None, fails_after: int | None = None) -> None:
        super().__init__(name="pupil")
        self._facts = facts or Facts("pupil", 7_600_000_000, 4.5, True)
        self._always = always
        self._fails_after = fails_after

    async def complete(self, prompt: Prompt) -> Answer:
        self.prompts.append(prompt)
        if self._fails_after is not None and len(self.prompts) > self._fails_after:
            raise ModelUnavailable("the server is gone", "start it")
        name, word = json.loads(prompt.user.removeprefix("Goal: ")).split()
        known = f"- {name}(" in prompt.system
        done = json.dumps({"tasks": [{"macro": name, "arguments": {"word": word}}]})
        return Answer(self._always or (done if known else UNSUPPORTED))

    async def facts(self) -> Facts:
        if isinstance(self._facts, Exception):
            raise self._facts
        return self._facts


class Shelf:
    """Results in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def read(self, key: str) -> bytes | None:
        return self.kept.get(key)

    async def write(self, key: str, value: bytes) -> None:
        self.kept[key] = value


def planning(**more: Any) -> Settings:
    return Settings(planner=PlannerSettings(**more))


async def admitted(model: Pupil, shelf: Shelf | None = None, offers: Offers = OFFERS, **more: Any) -> Verdict:
    return await admit(model, offers, planning(**more), shelf)


async def test_a_model_that_does_its_examples_and_refuses_the_rest_is_admitted() -> None:
    found = await admitted(model := Pupil())
    assert (found.admitted, found.problems, found.warnings) == (True, (), ())
    assert len(model.prompts) == CASES


async def test_a_model_that_refuses_everything_fails_on_the_examples() -> None:
    found = await admitted(Pupil(always=UNSUPPORTED))
    assert not found.admitted
    assert [problem.split(";")[0] for problem in found.problems] == [
        "0 of 6 examples of your macros became exactly their calls, and 80% are demanded"
    ]


async def test_a_model_that_always_finds_something_to_do_fails_on_the_refusals() -> None:
    class Eager(Pupil):
        async def complete(self, prompt: Prompt) -> Answer:
            answer = await super().complete(prompt)
            return (
                Answer('{"tasks": [{"macro": "%s"}]}' % ("aa" if "- aa(" in prompt.system else "bb"))
                if answer.text == UNSUPPORTED
                else answer
            )

    found = await admitted(Eager())
    assert not found.admitted
    assert found.problems[-1].startswith("0 of 3 goals that no macro can do were refused by the model itself")


async def test_a_model_that_is_too_small_is_not_tested_at_all() -> None:
    found = await admitted(model := Pupil(facts=Facts("pupil", 1_500_000_000, 4.5, True)))
    assert (found.admitted, found.results, model.prompts) == (False, None, [])


async def test_a_model_that_is_too_small_is_tested_if_its_size_is_waived() -> None:
    found = await admitted(model := Pupil(facts=Facts("pupil", 1_500_000_000, 4.5, True)), admit=("parameters",))
    assert (found.admitted, len(model.prompts)) == (True, CASES)
    assert "waived" in found.warnings[0]


async def test_a_waived_test_costs_no_call() -> None:
    found = await admitted(model := Pupil(always="nonsense"), admit=("examples",))
    assert (found.admitted, model.prompts) == (True, [])


@pytest.mark.parametrize("facts", [Facts("pupil"), ModelError("the answer cannot be read")], ids=["not told", "unreadable"])
async def test_a_model_of_which_nothing_is_known_is_tested_and_warned_of(facts: Facts | Exception) -> None:
    found = await admitted(Pupil(facts=facts))
    assert found.admitted
    assert len(found.warnings) == 3


async def test_a_kept_result_is_used_without_a_call() -> None:
    shelf = Shelf()
    first = await admitted(Pupil(), shelf)
    second = await admitted(again := Pupil(), shelf)
    assert (again.prompts, second) == ([], first)


async def test_a_kept_failure_stands_too() -> None:
    shelf = Shelf()
    await admitted(Pupil(always=UNSUPPORTED), shelf)
    found = await admitted(better := Pupil(), shelf)
    assert (found.admitted, better.prompts) == (False, [])


async def test_a_test_anew_replaces_what_is_kept() -> None:
    shelf = Shelf()
    await admitted(Pupil(always=UNSUPPORTED), shelf)
    assert (await admit(Pupil(), OFFERS, planning(), shelf, anew=True)).admitted
    assert (await admitted(Pupil(always=UNSUPPORTED), shelf)).admitted


async def test_a_kept_result_is_judged_by_the_settings_of_now() -> None:
    shelf = Shelf()
    small = Facts("pupil", 1_500_000_000, 4.5, True)
    assert (await admitted(Pupil(facts=small), shelf, admit=("parameters",))).admitted
    assert not (await admitted(Pupil(facts=small), shelf)).admitted


async def test_other_weights_are_tested_anew() -> None:
    shelf = Shelf()
    await admitted(Pupil(), shelf)
    await admitted(other := Pupil(facts=Facts("other", 7_600_000_000, 4.5, True)), shelf)
    assert len(other.prompts) == CASES


async def test_other_macros_are_tested_anew() -> None:
    shelf = Shelf()
    await admitted(Pupil(), shelf)
    await admitted(model := Pupil(), shelf, registry_of(made("aa"), made("bb"), made("dd")))
    assert len(model.prompts) == CASES


@pytest.mark.parametrize("more", [{"num_ctx": 4096}, {"num_predict": 512}, {"max_tasks": 3}], ids=str)
def test_another_way_of_calling_the_model_is_another_test(more: dict[str, Any]) -> None:
    assert digest_of_test(OFFERS, planning()) != digest_of_test(OFFERS, planning(**more))


def test_another_threshold_is_another_test_and_a_fallback_is_not() -> None:
    told = digest_of_test(OFFERS, planning())
    assert told != digest_of_test(OFFERS, Settings(fallback=FallbackSettings(threshold=0.9)))
    assert told == digest_of_test(OFFERS, Settings(fallback=FallbackSettings(enabled=True)))
    assert told == digest_of_test(OFFERS, planning(phrases="fallback"))


def test_another_prompt_is_another_test() -> None:
    told = digest_of_test(OFFERS, planning())
    assert told != digest_of_test(OFFERS, Settings(novel={"writing": NovelCategory(intent="Write a text.")}))


def test_another_heddle_is_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    told = digest_of_test(OFFERS, planning())
    monkeypatch.setattr(admitting, "version", lambda _: "99.0")
    assert told != digest_of_test(OFFERS, planning())


async def test_without_a_digest_of_the_model_nothing_is_kept() -> None:
    shelf = Shelf()
    await admitted(Pupil(facts=Facts(None, 7_600_000_000, 4.5, True)), shelf)
    assert shelf.kept == {}


async def test_a_server_that_is_lost_in_the_middle_is_told_and_nothing_is_kept() -> None:
    shelf = Shelf()
    with pytest.raises(ModelUnavailable):
        await admitted(Pupil(fails_after=CASES - 1), shelf)
    assert shelf.kept == {}


async def test_a_server_that_is_away_is_told() -> None:
    with pytest.raises(ModelUnavailable):
        await admitted(Pupil(facts=ModelUnavailable("no server", "start it")))


async def test_progress_is_told_from_none_to_all() -> None:
    seen: list[tuple[int, int]] = []
    await admit(Pupil(), OFFERS, planning(), None, lambda done, of: seen.append((done, of)))
    assert seen == [(done, CASES) for done in range(CASES + 1)]


async def test_a_result_that_cannot_be_read_is_none() -> None:
    shelf = Shelf()
    await admitted(Pupil(), shelf)
    shelf.kept = dict.fromkeys(shelf.kept, b"{}")
    assert (await admitted(Pupil(), shelf)).results is not None


async def test_replicas_share_a_result_through_the_server(nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        first = await admit(Pupil(), OFFERS, planning(), await admissions(ground.client))
        second = await admit(again := Pupil(), OFFERS, planning(), await admissions(ground.client))
    assert (again.prompts, second) == ([], first)
