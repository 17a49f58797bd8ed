"""How many tokens a text comes to at most."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.planning.tokens import most_tokens

# Counted with the tokenizers of Qwen 2.5 and SmolLM2; the greater of the two.
COUNTED = [
    ("Check the last 3 PRs in acme/checkout and tag them using conventional commits", 19),
    ("Bitte überprüfe die letzten fünf Änderungen im Repository acme/kasse und schreibe danach die Versionshinweise für den Geschäftsführer.", 49),
    ("检查仓库中最近的五个更改\uff0c并为团队撰写发行说明。", 43),
    ("저장소의 최근 다섯 개 변경 사항을 확인하고 팀을 위한 릴리스 노트를 작성하세요.", 91),
    ("🎉🚀👩‍👩‍👧 🔥✨🧵🇩🇪", 33),
    ("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND CHECKS THE LAST PULL REQUESTS", 32),
    (" ".join(f"2026-0{day}-1{day}T0{day}:3{day}:00Z" for day in range(1, 9)), 167),
    (" ".join(f"src/pkg_{n}/module_{n * 7}/test_thing.py:{n * 13}" for n in range(15)), 294),
    (" " * 300, 6),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tokens"), COUNTED, ids=[text[:20] for text, _ in COUNTED])
def test_a_text_has_no_more_tokens_than_that(text: str, tokens: int) -> None:
    assert tokens <= most_tokens(text) <= 3 * tokens + 10


@given(st.text(), st.text())
@settings(max_examples=100, deadline=None)
def test_no_text_has_more_tokens_than_bytes_and_more_text_has_no_fewer(one: str, other: str) -> None:
    assert most_tokens(one) <= len(one.encode(errors="replace"))
    assert most_tokens(f"{one}\n{other}") >= max(most_tokens(one), most_tokens(other)) - 1
