"""What is read from a quantization's name, and from the signs of a model that follows instructions."""

from __future__ import annotations

import pytest

from heddle.llm.facts import bits_of, is_instruct


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ("Q4_K_M", 4),
        ("q4_0", 4),
        ("Q8_0", 8),
        ("IQ3_XXS", 3),
        ("TQ1_0", 1),
        ("F16", 16),
        ("BF16", 16),
        ("F32", 32),
        ("fp8", 8),
        ("MXFP4", 4),
        ("MXFP4 MoE", 4),
        ("nvfp4", 4),
        ("int4", 4),
        ("4bit", 4),
        ("8-bit", 8),
        ("unknown", None),
        ("", None),
        (None, None),
    ],
)
def test_bits_are_those_in_the_quantizations_name(quantization: str | None, bits: float | None) -> None:
    assert bits_of(quantization) == bits


@pytest.mark.parametrize(
    ("name", "signs", "instruct"),
    [
        ("qwen2.5:7b-instruct-q4_K_M", {}, True),
        ("Qwen/Qwen2.5-7B-Instruct", {}, True),
        ("gemma-3-27b-it", {}, True),
        ("llama3.1:8b-text-q4_0", {"template": "{{ .Prompt }}"}, False),
        ("qwen2.5:7b-base", {"template": "{{- range .Messages }}{{ end }}", "capabilities": ["completion", "tools"]}, False),
        ("mine:latest", {"finetune": "Instruct"}, True),
        ("mine-instruct", {"finetune": "Base"}, False),
        ("llama3.1:8b", {"template": "{{ .Messages }}", "capabilities": ["completion", "tools"]}, True),
        ("phi4:14b", {"template": "{{ .Messages }}", "capabilities": ["completion"]}, True),
        ("mine:latest", {"template": " {{ .Prompt }}\n"}, False),
        ("mine:latest", {"template": ""}, False),
        ("mine:latest", {}, None),
        ("bitnet", {}, None),
        ("database-7b", {}, None),
    ],
)
def test_a_model_is_instruct_if_the_strongest_sign_says_so(name: str, signs: dict[str, object], instruct: bool | None) -> None:
    assert is_instruct(name, **signs) is instruct  # type: ignore[arg-type]
