"""Which model the settings choose."""

from __future__ import annotations

import pytest

from heddle.errors import SettingsError
from heddle.llm.ollama import OllamaModel
from heddle.llm.openai import OpenAIModel
from heddle.llm.providers import model_of
from heddle.settings import ProviderSettings, Settings, load_settings

GPU = ProviderSettings.model_validate({"url": "http://10.0.0.7:8000/v1", "model": "qwen"})
SETTINGS = Settings(providers={"gpu": GPU, "attic": GPU})


async def test_a_provider_of_the_settings_speaks_the_openai_api() -> None:
    async with model_of(SETTINGS, "gpu") as model:
        assert isinstance(model, OpenAIModel)
        assert (model.name, model.api.url) == ("qwen", "http://10.0.0.7:8000/v1")


async def test_ollama_is_the_server_that_ollama_host_names() -> None:
    async with model_of(SETTINGS, "ollama") as model:
        assert isinstance(model, OllamaModel)


async def test_a_name_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError) as caught:
        async with model_of(SETTINGS, "gpi", "fallback.provider"):
            pass
    assert str(caught.value) == "fallback.provider is 'gpi', and there is no provider of that name; there is ollama, attic, gpu"


async def test_no_provider_may_be_called_ollama() -> None:
    with pytest.raises(SettingsError, match=r"providers.ollama: .* choose another"):
        async with model_of(Settings(providers={"ollama": GPU}), "ollama"):
            pass


async def test_a_key_may_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL": "http://10.0.0.7/v1", "MODEL": "m", "KEY": "sk-1"}.items():
        monkeypatch.setenv(f"HEDDLE_PROVIDERS__GPU__{name}", value)
    key = load_settings().providers["gpu"].key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
