"""A head alone out is a group of one."""

from __future__ import annotations

import pytest

from tests.mechanism.heads.test_asr import PROMPTS, TOKENS, ZERO, judge, opened, steps
from theodolite.mechanism.heads.asr import attack_success
from theodolite.mechanism.heads.asr_map import head_asr_map


def test_a_map_is_one_group_per_head() -> None:
    heads = [(0, 0), (1, 3), (2, 1), (1, 0), (0, 0)]
    found = head_asr_map(
        opened(),
        PROMPTS,
        heads,
        ZERO,
        scores={(0, 0): 1.0, (1, 3): 2.0, (2, 1): 0.5, (1, 0): float("nan")},
        max_new_tokens=TOKENS,
        judge=judge(),
    )
    assert found.heads == ((0, 0), (1, 3), (2, 1), (1, 0))
    assert not found.result.whole.any()
    one = attack_success(
        opened(), PROMPTS, [(1, 3)], ZERO, max_new_tokens=TOKENS, judge=judge(), opinions=0
    )
    assert (found.result.keyword[2] == one.keyword[1]).all()
    assert [m.name for m in found.measurements()] == [
        "heads/asr/intact",
        "heads/asr/score_vs_asr",
    ]


def test_all_heads_are_written_in_few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = steps(monkeypatch)
    heads = [(layer, head) for layer in range(3) for head in range(4)]
    asked = PROMPTS[:4]
    found = head_asr_map(opened(), asked, heads, max_new_tokens=TOKENS, judge=judge())
    assert len(noted) <= TOKENS  # 13 conditions, one batch
    for place, head in enumerate(heads):
        alone = attack_success(
            opened(), asked, [head], max_new_tokens=TOKENS, judge=judge(), opinions=0
        )
        assert alone.texts == (found.result.texts[0], found.result.texts[place + 1])
        assert (alone.keyword[1] == found.result.keyword[place + 1]).all()
