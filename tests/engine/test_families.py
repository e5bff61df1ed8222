"""Every family, batched, padded, branched and early-stopped, equals one prompt at a time.

Traps: sliding windows shorter than the prompt behind a branched cache; ALiBi and learned positions
under padding; models that take no position ids; in-place sums inside a block.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.oracles import engine_forward as oracle
from theodolite.engine.capture import CAPTURE_SITES, capture
from theodolite.engine.generate import end_tokens, generate
from theodolite.engine.next_token import next_token
from theodolite.engine.plan import plan_batches
from theodolite.models.chat import Encoded


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    scale = expected.abs().max().clamp(min=1e-6)
    return bool((found - expected).abs().max() <= 1e-4 * scale)


def test_the_prompts_share_nested_prefixes(prompts: list[Encoded]) -> None:
    batches = plan_batches([p.ids for p in prompts], 512)
    assert any(len(batch.levels()) > 1 for batch in batches)
    assert any(len(copies) > 1 for batch in batches for copies in batch.copies)


@pytest.mark.parametrize("tokens", [40, 512])
def test_capture_equals_one_prompt_at_a_time(
    family: Any, prompts: list[Encoded], tokens: int
) -> None:
    sites = [site for site in CAPTURE_SITES if site != "head_out"]
    where = ("prompt_last", "instruction_mean", 2, -3)
    found = capture(family, prompts, sites=sites, positions=where, batch_tokens=tokens)
    for row, prompt in enumerate(prompts):
        start, end = prompt.instruction or (0, 0)
        for site in sites:
            every = oracle.site_values(family, prompt.ids, site)
            mean = every[:, start:end].mean(1)
            expected = torch.stack([every[:, -1], mean, every[:, 2], every[:, -3]], dim=1)
            assert close(found.get(site)[row], expected), (site, prompt.prompt_id)


def test_stopping_early_changes_nothing(family: Any, prompts: list[Encoded]) -> None:
    whole = capture(family, prompts, sites=("resid_post", "resid_pre"))
    for layer in range(family.anatomy.n_layers):
        part = capture(family, prompts, sites=("resid_post", "resid_pre"), layers=[layer])
        for site in part.sites:
            assert close(part.get(site)[:, 0], whole.get(site, layer=layer))


def test_next_token_equals_one_prompt_at_a_time(family: Any, prompts: list[Encoded]) -> None:
    found = next_token(family, prompts)
    for row, prompt in enumerate(prompts):
        expected = oracle.logits(family, prompt.ids)[-1].float().log_softmax(-1)
        assert close(found[row], expected[: found.shape[1]])


def test_greedy_equals_computing_everything_again(family: Any, prompts: list[Encoded]) -> None:
    ends = end_tokens(family)
    for answer, prompt in zip(generate(family, prompts, max_new_tokens=12), prompts):
        expected = oracle.greedy(family, prompt.ids, 12, ends)
        if list(answer.token_ids) != expected:
            pairs = zip(answer.token_ids, expected)
            first = next(i for i, (a, b) in enumerate(pairs) if a != b)
            assert oracle.margin(family, [*prompt.ids, *expected[:first]]) < 1e-3
