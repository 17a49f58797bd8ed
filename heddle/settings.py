"""Settings: a file (`heddle.toml` here or above), then the environment (`HEDDLE_<SECTION>__<FIELD>`), then flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic_settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from heddle.errors import SettingsError
from heddle.units import parse_duration


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[0-9.]+", value.strip()):
        return parse_duration(value)
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(le=100 * 365 * 86_400.0)]
"""A number of seconds, or a text such as `500ms`, `30s`, `5m` or `1h`; a hundred years at most, which the server can count in nanoseconds."""

DEFAULT_MODEL = "qwen2.5:7b-instruct-q4_K_M"


class Section(BaseModel):
    """A section of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderSettings(Section):
    """A model on a server that speaks the OpenAI API (vLLM, llama.cpp's server, LM Studio, a frontier model's), by a name of your own."""

    url: HttpUrl = Field(description="The API's address up to and with `/v1`.")
    model: str = Field(description="The model's name there.")
    key: SecretStr | None = Field(None, description="Sent as a bearer token.")
    input_price: float = Field(0.0, ge=0, description="Dollars per million tokens of prompts.")
    output_price: float = Field(0.0, ge=0, description="Dollars per million tokens of answers.")
    parameters: float | None = Field(None, gt=0, description="The model's parameters, if the server does not tell, such as 7.6e9.")
    bits: float | None = Field(None, gt=0, description="Bits per weight, if the server does not tell.")
    instruct: bool | None = Field(None, description="Whether it is tuned to follow instructions, if the server does not tell.")


class NovelCategory(Section):
    """A kind of goal that goes to the frontier tier as it is, in the place of a plan."""

    intent: str = Field(min_length=1, description="What such goals ask for, in a line; the planner's model reads it.")
    tools: tuple[str, ...] = Field((), description="The tools that the frontier worker may use for it.")


class FallbackSettings(Section):
    """A second model that plans once where the planner's own is not sure, or gives no plan that can be sent."""

    enabled: bool = Field(False, description="Whether there is one.")
    threshold: float = Field(0.72, ge=0, le=1, description="Confidence below which a plan of the planner's model is not sent.")
    provider: str | None = Field(None, description="Its name under `providers`.")
    max_retries: int = Field(1, ge=0, description="How often it is asked again when it does not answer.")


class PlannerSettings(Section):
    """How a goal becomes a plan."""

    provider: str = Field(
        "ollama", description="Where the model is: ollama (the server that OLLAMA_HOST names), or a name under `providers`."
    )
    model: str = Field(DEFAULT_MODEL, description="The model's name on the Ollama server.")
    phrases: Literal["off", "fallback", "first"] = Field(
        "off",
        description="off: only the model; fallback: phrases when the model server cannot be reached or lacks the model; first: phrases first",
    )
    timeout: Seconds = Field(120.0, gt=0, description="Seconds the one model call may take.")
    num_ctx: int = Field(8192, ge=512, description="Tokens of context the model is given.")
    num_predict: int = Field(1024, ge=16, description="Tokens the model may answer with.")
    keep_alive: str = Field("30m", description="How long an Ollama server keeps the model in memory after a call.")
    max_tasks: int = Field(16, ge=1, description="Tasks one plan may have.")
    approval_wait: Seconds = Field(
        86_400.0,
        gt=0,
        le=6 * 86_400.0,
        description="Seconds that a goal with an irreversible macro waits for its approval; at most six days.",
    )
    admission: Literal["on", "off"] = Field("on", description="on: a model plans goals only after it has passed its test on these macros.")
    admit: tuple[Literal["parameters", "instruct", "bits", "examples"], ...] = Field(
        (), description="Demands of the admission that are waived, with a warning in every goal's record."
    )


class FrontierSettings(Section):
    """The frontier worker: a model with tools, for what no macro does."""

    provider: str | None = Field(None, description="The model's name under `providers`; without one there is no frontier worker.")
    max_turns: int = Field(12, ge=1, description="Answers of the model in one conversation.")
    max_tool_calls: int = Field(40, ge=0, description="Calls of tools in one conversation.")
    max_tokens: int = Field(200_000, ge=1, description="Tokens of prompts and answers in one conversation.")
    max_cost: float = Field(1.0, ge=0, description="Dollars that one conversation may cost, by the provider's prices.")
    timeout: Seconds = Field(300.0, gt=0, description="Seconds that one conversation may take.")
    fallback_tools: tuple[str, ...] | None = Field(
        None, description="Tools for tasks that fell back; without it, those of the macro that they fell back from."
    )


class RouterSettings(Section):
    """One router replica."""

    window: int = Field(2048, ge=2, le=8192, description="Messages in flight.")
    ack_wait: Seconds = Field(4.0, gt=0.2, description="Seconds until an unacknowledged message goes to another replica.")


class OrchestratorSettings(Section):
    """One orchestrator replica."""

    ack_wait: Seconds = Field(10.0, gt=0.2, description="Seconds until an unacknowledged goal goes to another replica.")
    goals: int = Field(4, ge=1, description="Goals planned at the same time.")
    max_replays: int = Field(8, ge=0, description="Times that a goal may be replayed; once more, and it ends as `loop`.")


class WorkerSettings(Section):
    """One worker process."""

    slots: int = Field(1024, ge=1, le=16384, description="Tasks taken at the same time, over all types and tiers.")
    ack_wait: Seconds = Field(5.0, gt=0.2, description="Seconds without a heartbeat until a task goes to another worker.")
    threads: int = Field(32, ge=1, le=1024, description="Handlers that are no coroutine functions running at the same time, in threads.")
    grace: Seconds = Field(20.0, ge=0, description="Seconds that running tasks get to finish at shutdown.")
    version_wait: Seconds = Field(
        300.0,
        ge=0,
        description="Seconds that a task of a version that no live worker has announced waits until it ends as unknown_version.",
    )


class StreamSettings(Section):
    """What the streams keep."""

    outcomes_max_age: Seconds = Field(86_400.0, gt=0, description="Seconds that outcomes are kept.")
    dead_max_msgs: int = Field(1_000_000, ge=1, description="Dead letters kept; the oldest go first.")
    dead_max_age: Seconds = Field(30 * 86_400.0, gt=0, description="Seconds that dead letters and cut originals are kept.")
    dead_max_bytes: int = Field(
        2 << 30, ge=1 << 20, description="Bytes of dead letters kept, and as many of cut originals; the oldest go first."
    )
    audit_max_age: Seconds = Field(365 * 86_400.0, gt=0, description="Seconds that it is kept who replayed or dropped a dead letter.")
    audit_max_bytes: int = Field(256 << 20, ge=1 << 20, description="Bytes of that; the oldest go first.")
    backlog_per_subject: int = Field(100_000, ge=1, description="Routed tasks that may wait per worker type and tier.")
    decisions_max_bytes: int = Field(256 << 20, ge=1 << 20, description="Bytes of recorded routing decisions kept; the oldest go first.")
    decisions_max_age: Seconds = Field(7 * 86_400.0, gt=0, description="Seconds that recorded routing decisions are kept.")
    sessions_max_bytes: int = Field(256 << 20, ge=1 << 20, description="Bytes of session logs kept; the oldest go first.")
    sessions_max_age: Seconds = Field(30 * 86_400.0, gt=0, description="Seconds that session logs are kept.")
    replicas: int = Field(1, ge=1, le=5, description="Copies of every stream in a cluster.")


class TelemetrySettings(Section):
    """What is told of what happens."""

    log_routing_decisions: bool = Field(True, description="Record every routing decision, for `heddle rules explain --task`.")
    capture_argument_drift: bool = Field(
        True, description="Count, per macro and field, values that were converted, defaulted or ungrounded."
    )
    export_interval: Seconds = Field(300.0, gt=0, description="Seconds between two log lines that sum up the drift.")


class DashboardSettings(Section):
    """The web page of `heddle dashboard` and `heddle up`."""

    host: str = Field("127.0.0.1", description="Where it listens; beyond loopback it needs a token.")
    port: int = Field(4280, ge=0, le=65535, description="Its port; 0 is any free one.")
    token: SecretStr | None = Field(None, min_length=16, description="What one has to know to get in; 16 characters or more.")
    names: tuple[str, ...] = Field((), description="Names by which browsers reach it, besides this machine's own and its addresses.")


class ForgeSettings(Section):
    """The forge of the example macros."""

    kind: Literal["local", "github"] = Field(
        "local", description="local: git repositories in a folder; github: GitHub, or a server with its REST API."
    )
    root: Path = Field(Path(), description="Repositories are paths under this folder, or `owner/name` folders in it.")
    url: HttpUrl = Field(HttpUrl("https://api.github.com"), description="The REST API of GitHub; of an Enterprise server its `/api/v3`.")
    token: SecretStr | None = Field(None, description="What GitHub knows you by; without one it shows public repositories only.")


class Settings(BaseSettings):
    """All settings; every one has a default that works."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="HEDDLE_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    egress: Literal["any", "none"] = Field("any", description="none: refuse every model or forge URL that is not loopback or private.")
    planner: PlannerSettings = PlannerSettings()
    fallback: FallbackSettings = FallbackSettings()
    providers: dict[str, ProviderSettings] = Field({}, description="Model servers that speak the OpenAI API, by a name of your own.")
    novel: dict[str, NovelCategory] = Field({}, description="Kinds of goals that go to the frontier tier as they are, by name.")
    router: RouterSettings = RouterSettings()
    orchestrator: OrchestratorSettings = OrchestratorSettings()
    worker: WorkerSettings = WorkerSettings()
    streams: StreamSettings = StreamSettings()
    frontier: FrontierSettings = FrontierSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    dashboard: DashboardSettings = DashboardSettings()
    forge: ForgeSettings = ForgeSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The later the stronger, so the strongest first."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, find_upwards("heddle.toml"))


def find_upwards(name: str, start: Path | None = None) -> Path | None:
    """The file `name` in the working folder or the nearest folder above it."""
    here = (start or Path.cwd()).resolve()
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_file()), None)


def load_settings(**flags: Any) -> Settings:
    """The settings in force.

    Raises:
        SettingsError: a value cannot be used; it names every setting at fault, and how to set it.
    """
    try:
        return Settings(**flags)
    except ValidationError as error:
        lines = [
            f"setting {'.'.join(map(str, p['loc']))} (HEDDLE_{'__'.join(str(x).upper() for x in p['loc'])}): {p['msg']}"
            for p in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join(lines)) from None
    except pydantic_settings.SettingsError as error:
        section = re.findall(r'field "(\w+)"', str(error))[0]
        variable = f"HEDDLE_{section.upper()}"
        remedy = f"""set {variable}__<FIELD> instead, a list as ["a", "b"]"""
        raise SettingsError(
            f"setting {section} ({variable}, or a list in {variable}__<FIELD>): not JSON: {error.__cause__}; {remedy}"
        ) from None
    except (ValueError, OSError) as error:
        raise SettingsError(f"{find_upwards('heddle.toml')}: {error}") from None
