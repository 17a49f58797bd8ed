"""The catalogue: what macros promise, as a file, so that an orchestrator needs their contracts and not their code.

    {"format": 1, "macros": [{"name": "repo_triage", "version": 1, …, "input": {…}, "output": {…}, "digest": "3f6c0b8e91d2"}, …]}

A digest is that of the contract alone: the same on every machine, and another as soon as anything in it is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.failures import described
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Effects, explain_fields
from heddle.macros.marks import check_marks, planner_schema
from heddle.macros.schema import DEFINITIONS, Schema
from heddle.macros.validation import problems, validator_of
from heddle.macros.versioned import Versioned
from heddle.messages import is_name

FORMAT: Final = 1


@dataclass(frozen=True)
class Contract:
    """What one version of a macro promises.

    Attributes:
        name: the worker type.
        version: of the input's shape.
        intent: what it does, in a line.
        schema: of the input.
        output_schema: of the output.
        timeout: seconds a run may take.
        hidden: the input fields that only a person may set.
        effects: what a run changes.
        deprecated: until when this version is served.
        reads: older versions without a handler, whose tasks are upgraded to this one.
        where: what to call the place in an error; no part of the contract.
    """

    name: str
    version: int
    intent: str
    schema: Schema
    output_schema: Schema
    tier: str
    timeout: float
    examples: tuple[tuple[str, Mapping[str, Any]], ...]
    phrases: tuple[str, ...]
    hidden: frozenset[str]
    effects: Effects
    deprecated: str | None
    reads: tuple[int, ...]
    where: str

    @cached_property
    def planner_schema(self) -> Schema:
        """The input schema without the fields that are not the planner's to fill, and with text for quantities."""
        return planner_schema(self.schema, self.hidden)

    @property
    def promises(self) -> dict[str, Any]:
        """The contract as JSON values, in the order of the file."""
        return {
            "name": self.name,
            "version": self.version,
            "intent": self.intent,
            "tier": self.tier,
            "timeout": self.timeout,
            "hidden": sorted(self.hidden),
            "effects": self.effects,
            "deprecated": self.deprecated,
            "reads": list(self.reads),
            "examples": [[goal, dict(arguments)] for goal, arguments in self.examples],
            "phrases": list(self.phrases),
            "input": self.schema,
            "output": self.output_schema,
        }

    @cached_property
    def digest(self) -> str:
        """The first 12 hex digits of the sha256 of what is promised."""
        canonical = json.dumps(self.promises, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @cached_property
    def _validator(self) -> Validator:
        return validator_of(self.schema)

    def read(self, payload: dict[str, Any]) -> Any:
        """The payload as it would be published, checked; JSON's own types, nothing coerced, no unknown key.

        Raises:
            MacroFailure: `invalid_payload`, naming every field at fault.
        """
        try:
            value = json.loads(_TO_JSON(payload))
            told = problems(self._validator, value)
        except Exception as error:  # noqa: BLE001  # what is no JSON, or nested too deep, is no payload
            raise MacroFailure(Code.INVALID_PAYLOAD, described(error)) from None
        if told:
            raise MacroFailure(Code.INVALID_PAYLOAD, told)
        return value


Catalogue: TypeAlias = Versioned[Contract]

_TO_JSON: Final = TypeAdapter(dict[str, Any]).dump_json


def catalogue_of(registry: Registry) -> Catalogue:
    """The contracts of all macros in a registry, in all versions.

    Raises:
        DefinitionError: a macro promises something that JSON cannot say, such as an endless timeout.
    """
    return Versioned(
        {
            name: {version: contract_of(macro, _upgraded_to(registry, macro)) for version, macro in found.items()}
            for name, found in registry.macros.items()
        }
    )


def _upgraded_to(registry: Registry, macro: AnyMacro) -> tuple[int, ...]:
    routes = {version: registry.route(macro.name, version) for version in registry.readable(macro.name) if version != macro.version}
    return tuple(version for version, route in routes.items() if route and route.macro is macro)


def contract_of(macro: AnyMacro, reads: tuple[int, ...] = ()) -> Contract:
    """What a macro promises.

    Args:
        macro: which.
        reads: older versions whose tasks are upgraded to it.

    Raises:
        DefinitionError: JSON cannot say it.
    """
    try:
        contract = Contract(
            name=macro.name,
            version=macro.version,
            intent=macro.intent,
            schema=to_jsonable_python(macro.schema),
            output_schema=to_jsonable_python(macro.output_schema),
            tier=macro.tier,
            timeout=float(macro.timeout),
            examples=tuple((goal, to_jsonable_python(dict(arguments))) for goal, arguments in macro.examples),
            phrases=macro.phrases,
            hidden=macro.hidden,
            effects=macro.effects,
            deprecated=macro.deprecated,
            reads=reads,
            where=str(macro.where),
        )
        contract.digest  # noqa: B018  # is it JSON?
    except ValueError as error:
        raise DefinitionError(f"{macro.where}: {macro.name} cannot be written to a catalogue: {error}") from None
    return contract


def write_catalogue(catalogue: Catalogue) -> str:
    """The catalogue as the text of a file: the same text for the same macros."""
    macros = [{**contract.promises, "digest": contract.digest} for contract in contracts(catalogue)]
    return json.dumps({"format": FORMAT, "macros": macros}, ensure_ascii=False, indent=2) + "\n"


def contracts(catalogue: Catalogue) -> Iterator[Contract]:
    """Every contract, by name and version."""
    for _, versions in sorted(catalogue.macros.items()):
        for _, contract in sorted(versions.items()):
            yield contract


class _Entry(BaseModel, extra="forbid"):
    name: str
    version: Annotated[int, Field(ge=1)]
    intent: str
    tier: str
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    hidden: list[str]
    effects: Effects
    deprecated: str | None
    reads: list[int]
    examples: list[tuple[str, dict[str, Any]]]
    phrases: list[str]
    input: dict[str, Any]
    output: dict[str, Any]
    digest: str


class _File(BaseModel, extra="forbid"):
    format: int
    macros: list[_Entry]


def read_catalogue(text: str, source: str) -> Catalogue:
    """Read a catalogue.

    Args:
        text: the file's text.
        source: the file's name, for errors.

    Raises:
        DefinitionError: the text is no catalogue, is damaged, or is of a format that this heddle does not read.
    """
    again = f"write it anew: heddle macros compile -O {source}"
    try:
        parsed = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"{source} is not JSON: {described(error)}; {again}") from None
    match parsed:
        case {"format": int(number), "macros": _} if not isinstance(number, bool):
            if number != FORMAT:
                raise DefinitionError(f"{source} is a catalogue of format {number}, and this heddle reads format {FORMAT}; {again}")
        case _:
            raise DefinitionError(f'{source} is no catalogue of macros: it is not {{"format": {FORMAT}, "macros": […]}}; {again}')
    try:
        entries = _File.model_validate_json(text, strict=True).macros
    except ValidationError as error:
        raise DefinitionError(f"{source} is damaged: {explain_fields(error)}; {again}") from None
    found: dict[str, dict[int, Contract]] = {}
    for entry in entries:
        contract = _contract(entry, source)
        wrong = "it is there twice" if contract.version in found.get(contract.name, {}) else _damage(contract, entry.digest)
        if wrong:
            raise DefinitionError(f"{source} is damaged: {contract.name!r} version {contract.version}: {wrong}; {again}")
        found.setdefault(contract.name, {})[contract.version] = contract
    return Versioned(MappingProxyType(found))


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _contract(entry: _Entry, source: str) -> Contract:
    return Contract(
        name=entry.name,
        version=entry.version,
        intent=entry.intent,
        schema=entry.input,
        output_schema=entry.output,
        tier=entry.tier,
        timeout=entry.timeout,
        examples=tuple(entry.examples),
        phrases=tuple(entry.phrases),
        hidden=frozenset(entry.hidden),
        effects=entry.effects,
        deprecated=entry.deprecated,
        reads=tuple(entry.reads),
        where=source,
    )


def _damage(contract: Contract, digest: str) -> str | None:
    """What is wrong with a contract that was read."""
    if contract.digest != digest:
        return f"its digest is {contract.digest}, not {digest}: it was changed by hand"
    if wrong := next((name for name in (contract.name, contract.tier) if not is_name(name)), None):
        return f"{wrong!r} can be no name"
    if contract.schema.get("type") != "object" or not isinstance(contract.schema.get("properties"), dict):
        return "its input is no object with named fields"
    for schema in (contract.schema, contract.output_schema):
        try:
            Draft202012Validator.check_schema(schema)
        except (SchemaError, RecursionError) as error:
            return f"its schema is none: {described(error).splitlines()[0]}"
        if stray := next((one for one in _references(schema) if not _leads_inside(one, schema)), None):
            return f"its schema refers to {stray!r}, which is not in it"
        if circle := next((name for name in schema.get("$defs", {}) if _comes_back(name, schema["$defs"])), None):
            return f"its definition {circle!r} refers to nothing but itself"
    try:
        check_marks(contract.schema, "its input")
    except DefinitionError as error:
        return str(error)
    return None


def _references(part: Any) -> Iterator[Any]:
    match part:
        case dict():
            for key, value in part.items():
                if key in {"$ref", "$dynamicRef"} and isinstance(value, str):
                    yield value
                yield from _references(value)
        case list():
            for value in part:
                yield from _references(value)


def _leads_inside(reference: str, schema: Schema) -> bool:
    return reference.startswith(DEFINITIONS) and reference.removeprefix(DEFINITIONS) in schema.get("$defs", {})


def _comes_back(name: str, definitions: Schema) -> bool:
    """Whether a definition's reference, and the reference there, lead round to where they were: nothing would be at their end."""
    met: set[str] = set()
    while name not in met:
        met.add(name)
        part = definitions[name]
        if not isinstance(part, dict) or "$ref" not in part:
            return False
        name = part["$ref"].removeprefix(DEFINITIONS)
    return True
