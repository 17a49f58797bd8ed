"""Settings: a file, then the environment, then flags, the later the stronger."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heddle.errors import SettingsError
from heddle.settings import Settings, find_upwards, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no setting from outside."""
    for name in [name for name in os.environ if name.upper().startswith("HEDDLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_every_setting_has_a_default_that_works() -> None:
    assert load_settings() == Settings()


def test_the_environment_is_read_by_section_and_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_WORKER__ACK_WAIT", "7")
    monkeypatch.setenv("HEDDLE_PLANNER__PHRASES", "first")
    found = load_settings()
    assert (found.worker.ack_wait, found.planner.phrases) == (7.0, "first")


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300.0), ("30s", 30.0), ("250ms", 0.25), ("90", 90.0)])
def test_a_time_may_be_written_with_its_unit(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_TELEMETRY__EXPORT_INTERVAL", text)
    assert load_settings().telemetry.export_interval == seconds


def test_a_time_of_an_unknown_unit_is_told_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_TELEMETRY__EXPORT_INTERVAL", "5 fortnights")
    assert "HEDDLE_TELEMETRY__EXPORT_INTERVAL" in refusal()


def test_a_provider_is_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_PROVIDERS__VLLM__URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("HEDDLE_PROVIDERS__VLLM__MODEL", "qwen")
    assert load_settings().providers["vllm"].model == "qwen"


def test_a_setting_outside_a_section_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_EGRESS", "none")
    assert load_settings().egress == "none"


def test_a_file_is_read_from_the_working_folder(folder: Path) -> None:
    (folder / "heddle.toml").write_text('egress = "none"\n[worker]\nslots = 5\n')
    found = load_settings()
    assert (found.egress, found.worker.slots) == ("none", 5)


def test_a_file_is_read_from_a_folder_above(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "heddle.toml").write_text("[worker]\nslots = 5\n")
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    assert load_settings().worker.slots == 5


def test_the_nearest_file_is_the_only_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "heddle.toml").write_text("[worker]\nslots = 5\ngrace = 1\n")
    (folder / "a").mkdir()
    (folder / "a" / "heddle.toml").write_text("[worker]\nslots = 6\n")
    monkeypatch.chdir(folder / "a")
    found = load_settings().worker
    assert (found.slots, found.grace) == (6, 20.0)


def test_the_environment_beats_the_file_field_by_field(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "heddle.toml").write_text("[worker]\nslots = 5\nack_wait = 9\n")
    monkeypatch.setenv("HEDDLE_WORKER__ACK_WAIT", "7")
    found = load_settings().worker
    assert (found.slots, found.ack_wait) == (5, 7.0)


def test_flags_beat_the_environment_field_by_field(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "heddle.toml").write_text("[worker]\nslots = 5\n")
    monkeypatch.setenv("HEDDLE_WORKER__ACK_WAIT", "7")
    monkeypatch.setenv("HEDDLE_WORKER__GRACE", "8")
    found = load_settings(worker={"ack_wait": 3.0}).worker
    assert (found.slots, found.ack_wait, found.grace) == (5, 3.0, 8.0)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_WORKER__SLOTS", "")
    assert load_settings().worker.slots == Settings().worker.slots


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HEDDLE_WORKER__ACK_WAIT", "soon", "setting worker.ack_wait (HEDDLE_WORKER__ACK_WAIT): "),
        ("HEDDLE_WORKER__SLOTS", "0", "setting worker.slots (HEDDLE_WORKER__SLOTS): "),
        ("HEDDLE_ROUTER__WINDOW", "1", "setting router.window (HEDDLE_ROUTER__WINDOW): "),
        ("HEDDLE_PLANNER__PHRASES", "always", "setting planner.phrases (HEDDLE_PLANNER__PHRASES): "),
        ("HEDDLE_PLANNER__MODLE", "x", "setting planner.modle (HEDDLE_PLANNER__MODLE): "),
        ("HEDDLE_EGRESS", "some", "setting egress (HEDDLE_EGRESS): "),
        ("HEDDLE_FORGE__KIND", "gitlab", "setting forge.kind (HEDDLE_FORGE__KIND): "),
        ("HEDDLE_FORGE__URL", "api.github.com", "setting forge.url (HEDDLE_FORGE__URL): "),
        ("HEDDLE_WORKER", "5", "setting worker (HEDDLE_WORKER): "),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert refusal().startswith(said)


def test_every_setting_at_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_WORKER__SLOTS", "x")
    monkeypatch.setenv("HEDDLE_ROUTER__WINDOW", "x")
    assert [line.split(" ")[1] for line in refusal().splitlines()] == ["router.window", "worker.slots"]


@pytest.mark.parametrize(("text", "said"), [("[planer]\nmodel = 'x'", "setting planer "), ("[worker]\nslot = 5", "setting worker.slot ")])
def test_a_misspelt_setting_in_the_file_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "heddle.toml").write_text(text)
    assert refusal().startswith(said)


@pytest.mark.parametrize("content", [b"[worker", b"\xff\xfe", b"slots = = 5"])
def test_a_file_that_is_no_toml_is_named(folder: Path, content: bytes) -> None:
    (folder / "heddle.toml").write_bytes(content)
    assert refusal().startswith(f"{folder / 'heddle.toml'}: ")


def test_a_section_that_is_no_json_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_WORKER", "{")
    assert "HEDDLE_WORKER" in refusal()


def test_a_list_that_is_no_json_is_told_how_to_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_PLANNER__ADMIT", "bits")
    with pytest.raises(SettingsError, match=r'a list in HEDDLE_PLANNER__<FIELD>.*a list as \["a", "b"\]'):
        load_settings()


@pytest.mark.parametrize("value", ["inf", "1e300", '"99999999999999h"'])
def test_a_time_that_no_server_can_count_is_named(folder: Path, value: str) -> None:
    (folder / "heddle.toml").write_text(f"[streams]\noutcomes_max_age = {value}\n")
    with pytest.raises(SettingsError, match=r"streams\.outcomes_max_age .*less than or equal"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().egress = "none"  # type: ignore[misc]


def test_a_file_is_looked_for_upwards_from_any_folder(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "x.toml").touch()
    assert find_upwards("x.toml", folder / "a") == folder / "x.toml"


def test_a_folder_of_that_name_is_no_file(folder: Path) -> None:
    (folder / "x.toml").mkdir()
    assert find_upwards("x.toml") is None
