"""`@macro` and `@provides`: ordinary functions with a contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from heddle import Run, Settings, macro, person_only, provides, reject, retry
from heddle.errors import Code, DefinitionError, HeddleError, MacroFailure
from heddle.macros.loading import collect
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review


class Echo(BaseModel):
    text: str


class Request(BaseModel):
    repository: str = Field(description="Where.")
    count: Annotated[int, Field(ge=1, le=200)] = 10
    write: Annotated[bool, person_only] = False


class Report(BaseModel):
    processed: int = 0


class Forge:
    pass


class NoSchema:
    pass


class Aliased(BaseModel):
    write_it: Annotated[bool, person_only] = Field(default=False, alias="write")


class Permission(BaseModel):
    write: Annotated[bool, person_only] = False


class Nested(BaseModel):
    permission: Permission = Permission()


def refusal(define: Callable[[], Any]) -> str:
    with pytest.raises(DefinitionError) as caught:
        define()
    return str(caught.value)


def failure(call: Callable[[], Any]) -> MacroFailure:
    with pytest.raises(MacroFailure) as caught:
        call()
    return caught.value


@macro(
    fails={KeyError: retry(times=2, backoff=0.5), LookupError: reject}, timeout=5, tier="local", examples=[("do it", {"repository": "."})]
)
async def repo_triage(request: Request, *, forge: Forge, run: Run) -> Report:
    """Label the most recent changes of a repository.

    And more words, that the planner does not read.
    """
    return Report(processed=request.count)


# --- the definition


def test_a_plain_macro_of_one_field_can_be_defined() -> None:
    @macro
    async def shout(request: Echo) -> Echo:
        """Say it louder."""
        return Echo(text=request.text.upper())

    assert (shout.name, shout.version, shout.intent, shout.timeout, shout.tier) == ("shout", 1, "Say it louder.", 60.0, "standard")
    assert shout.schema["properties"] == {"text": {"title": "Text", "type": "string"}}


async def test_calling_a_macro_calls_its_function() -> None:
    assert await repo_triage(Request(repository=".", count=3), forge=Forge(), run=Run("1", 1, 0.0)) == Report(processed=3)


def test_the_intent_is_the_docstring_s_first_line() -> None:
    assert repo_triage.intent == "Label the most recent changes of a repository."


def test_a_macro_without_a_docstring_has_no_intent() -> None:
    @macro
    async def silent(request: Echo) -> Echo:
        return request

    assert silent.intent == ""


def test_tools_are_the_keyword_only_parameters_by_type_without_run() -> None:
    assert (dict(repo_triage.tools), repo_triage.run_parameter) == ({"forge": Forge}, "run")


def test_run_is_found_by_its_type_whatever_its_name() -> None:
    @macro
    async def named(request: Echo, *, this: Run) -> Echo:
        return request

    assert named.run_parameter == "this"


def test_fields_that_only_a_person_may_set_are_hidden_from_the_planner() -> None:
    assert (repo_triage.hidden, list(repo_triage.planner_schema["properties"])) == (frozenset({"write"}), ["repository", "count"])
    assert "write" in repo_triage.schema["properties"]


def test_a_definition_says_where_it_stands() -> None:
    assert str(repo_triage.where).partition("test_macro.py:")[2].isdecimal()


@pytest.mark.parametrize("name", ["Bad", "two words", "default", "incoming", "dead_letter", "orchestrator", "a.b", "x" * 64])
def test_a_name_that_cannot_be_a_worker_type_is_refused(name: str) -> None:
    def define() -> None:
        @macro(name=name)
        async def triage(request: Echo) -> Echo:
            return request

    assert f"{name!r} cannot be a macro's name" in refusal(define)


def test_a_version_below_1_is_refused() -> None:
    def define() -> None:
        @macro(version=0)
        async def triage(request: Echo) -> Echo:
            return request

    assert "triage: version 0 is below 1" in refusal(define)


@pytest.mark.parametrize("tier", ["", "Local", "two words", "default", "a.b"])
def test_a_tier_that_cannot_be_one_is_refused(tier: str) -> None:
    def define() -> None:
        @macro(tier=tier)
        async def triage(request: Echo) -> Echo:
            return request

    assert "tier" in refusal(define)


@pytest.mark.parametrize(
    "promise",
    [
        {"fails": {ValueError: retry}},  # it is not called
        {"fails": {(ValueError, KeyError): reject}},
        {"fails": {"ValueError": reject}},
        {"breaker": 5},
        {"pool": "fork"},
        {"deprecated": True},
        {"version": 1.5},
        {"version": True},
        {"timeout": "60"},
        {"phrases": "say [it]"},
        {"phrases": [5]},
        {"examples": [("say it",)]},
        {"examples": [("say it", None)]},
    ],
    ids="-".join,
)
def test_a_promise_of_another_shape_is_refused_where_it_is_made(promise: dict[str, Any]) -> None:
    def define() -> object:
        @macro(**promise)
        def shout(request: Request) -> Report:
            return Report()

        return shout

    told = refusal(define)
    assert "test_macro.py" in told
    assert next(iter(promise)) in told


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_of_no_time_is_refused(timeout: float) -> None:
    def define() -> None:
        @macro(timeout=timeout)
        async def triage(request: Echo) -> Echo:
            return request

    assert "timeout" in refusal(define)


async def no_input() -> Echo:
    return Echo(text="")


async def untyped_input(request) -> Echo:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return Echo(text="")


async def plain_input(request: str) -> Echo:
    return Echo(text=request)


async def no_output(request: Echo):  # type: ignore[no-untyped-def]
    return request


async def none_output(request: Echo) -> None:
    return None


async def any_output(request: Echo) -> Any:
    return request


async def output_without_schema(request: Echo) -> NoSchema:
    return NoSchema()


async def unknown_annotation(request: Echo) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    return request


async def positional_tool(request: Echo, forge: Forge) -> Echo:
    return request


async def untyped_tool(request: Echo, *, forge) -> Echo:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return request


async def any_keywords(request: Echo, **tools: Forge) -> Echo:
    return request


async def keyword_input(*, request: Echo) -> Echo:
    return request


async def many_inputs(*request: Echo) -> Echo:
    return request[0]


async def generator(request: Echo) -> AsyncIterator[Echo]:
    yield request


def plain_generator_of_outputs(request: Echo) -> Iterator[Echo]:
    yield request


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_input, "no_input's first parameter must be annotated with a pydantic model"),
        (untyped_input, "untyped_input's first parameter must be annotated with a pydantic model"),
        (plain_input, "plain_input's first parameter must be annotated with a pydantic model"),
        (keyword_input, "keyword_input's first parameter"),
        (many_inputs, "many_inputs's first parameter"),
        (no_output, "no_output needs a return annotation"),
        (none_output, "none_output needs a return annotation"),
        (any_output, "any_output's output is an untyped object"),
        (output_without_schema, "output_without_schema's output has no JSON Schema"),
        (unknown_annotation, "name 'Nowhere' is not defined"),
        (positional_tool, "'forge' must be keyword-only and annotated"),
        (untyped_tool, "'forge' must be keyword-only and annotated"),
        (any_keywords, "'tools' must be keyword-only and annotated"),
        (generator, "generator yields: a macro is an `async def` or a `def` that returns its output"),
        (plain_generator_of_outputs, "plain_generator_of_outputs yields: a macro is"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_that_cannot_be_a_macro_is_told_why_and_where(function: Callable[..., Any], said: str) -> None:
    told = refusal(lambda: macro(function))
    assert said in told
    assert "test_macro.py:" in told


# --- reading and writing


def test_a_payload_becomes_the_input_model_with_its_defaults() -> None:
    assert repo_triage.read({"repository": "."}) == Request(repository=".")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "repository: Field required"),
        ({"repository": 5}, "repository: "),
        ({"repository": ".", "count": "3"}, "count: "),
        ({"repository": ".", "count": 3.0}, "count: "),
        ({"repository": ".", "count": True}, "count: "),
        ({"repository": ".", "count": 0}, "count: "),
        ({"repository": ".", "count": None}, "count: "),
        ({"repository": ".", "cuont": 3}, "cuont: Extra inputs are not permitted"),
    ],
)
def test_a_payload_that_breaks_the_schema_is_invalid_payload(payload: dict[str, Any], said: str) -> None:
    broken = failure(lambda: repo_triage.read(payload))
    assert broken.code is Code.INVALID_PAYLOAD
    assert str(broken).startswith(said)


def test_every_field_at_fault_is_named() -> None:
    assert str(failure(lambda: repo_triage.read({"count": 0, "x": 1}))).count(";") == 2


@pytest.mark.parametrize("payload", [{"repository": "\ud800"}, {"repository": [[[]]] * 2, "x": "\udcff"}])
def test_half_a_surrogate_pair_in_a_payload_is_invalid_payload(payload: dict[str, Any]) -> None:
    assert failure(lambda: repo_triage.read(payload)).code is Code.INVALID_PAYLOAD


def test_a_bottomless_payload_is_invalid_payload() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    assert failure(lambda: repo_triage.read({"repository": deep})).code is Code.INVALID_PAYLOAD


def test_an_output_is_written_as_json() -> None:
    assert repo_triage.write(Report(processed=3)) == b'{"processed":3}'


@pytest.mark.parametrize("output", [None, 5, "x", {"processed": "3"}, Echo(text="x"), [Report()]])
def test_an_output_that_breaks_the_annotation_is_handler_failed(output: object) -> None:
    broken = failure(lambda: repo_triage.write(output))
    assert broken.code is Code.HANDLER_FAILED
    assert str(broken).startswith("the output breaks the macro's own schema: ")


def test_an_output_that_was_changed_after_it_was_made_is_checked_too() -> None:
    report = Report()
    report.processed = "many"  # type: ignore[assignment]
    assert failure(lambda: repo_triage.write(report)).code is Code.HANDLER_FAILED


def test_an_output_that_is_no_json_is_handler_failed() -> None:
    @macro
    async def tell(request: Echo) -> bytes:
        return b""

    assert failure(lambda: tell.write(b"\xff")).code is Code.HANDLER_FAILED


class Written(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(alias="no")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def twice(self) -> int:
        return 2 * self.number


def test_names_and_computed_fields_are_written() -> None:
    @macro
    async def tell(request: Echo) -> Written:
        return Written(no=1)

    assert tell.write(Written(no=1)) == b'{"number":1,"twice":2}'


class Picky(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def known(cls, text: str) -> str:
        return {"a": "b", "b": "b"}[text]


def test_a_validator_may_raise_anything() -> None:
    @macro
    async def pick(request: Picky) -> Picky:
        return request

    output = Picky(text="a").model_copy(update={"text": "c"})
    assert failure(lambda: pick.read({"text": "c"})).code is Code.INVALID_PAYLOAD
    assert failure(lambda: pick.write(output)).code is Code.HANDLER_FAILED


def test_an_output_with_half_a_surrogate_pair_is_handler_failed() -> None:
    @macro
    async def tell(request: Echo) -> str:
        return request.text

    assert failure(lambda: tell.write("README\udcff.md")).code is Code.HANDLER_FAILED


# --- what only a person may set


def sent(*macros: Any, arguments: dict[str, Any]) -> Any:
    looked_at = review([PlannedCall(macros[0].name, arguments)], collect(iter(macros)), Asked("", {}, 0.0), 5)
    return looked_at.problems or looked_at.calls


@macro
async def aliased(request: Aliased) -> Echo:
    return Echo(text="")


def test_a_field_that_only_a_person_may_set_is_not_shown_under_an_alias_either() -> None:
    assert list(aliased.planner_schema["properties"]) == []


def test_a_field_that_only_a_person_may_set_is_not_sent_under_an_alias_either() -> None:
    assert ".write: only a person may set it" in str(sent(aliased, arguments={"write": True}))


def test_a_field_that_only_a_person_may_set_stays_so_inside_another() -> None:
    def define_and_plan() -> None:
        @macro
        async def nested(request: Nested) -> Echo:
            return Echo(text="")

        sent(nested, arguments={"permission": {"write": True}})

    with pytest.raises(HeddleError):
        define_and_plan()


# --- providers


def test_a_provider_says_what_it_makes_and_needs() -> None:
    @provides
    async def forge(settings: Settings) -> AsyncIterator[Forge]:
        yield Forge()

    assert (forge.tool, dict(forge.needs)) == (Forge, {"settings": Settings})


async def no_generator() -> Forge:
    return Forge()


async def no_tool():  # type: ignore[no-untyped-def]
    yield Forge()


def plain_generator() -> AsyncIterator[Forge]:
    raise NotImplementedError


@pytest.mark.parametrize("function", [no_generator, no_tool, plain_generator])
def test_a_function_that_cannot_be_a_provider_is_told_why_and_where(function: Callable[..., Any]) -> None:
    told = refusal(lambda: provides(function))
    assert f"{function.__name__} must be an `async def` with one `yield`, annotated `-> AsyncIterator[Tool]`" in told
    assert "test_macro.py:" in told
