"""One decoding step above the change equals running the whole model with the same change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_surgery as surgery
from tests.oracles import graft as oracle
from theodolite.engine.capture import capture
from theodolite.engine.interventions import (
    DirectionIntervention,
    MlpIntervention,
    ResidualIntervention,
    apply,
)
from theodolite.engine.last_token import LastTokenSweep
from theodolite.engine.next_token import next_token
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.models.chat import Encoded
from theodolite.models.handle import ApiModel


def variants_of(sweep: LastTokenSweep, hidden_index: int) -> torch.Tensor:
    """Return the intact stream, another prompt's, and half of it; (variant, prompt, d_model)."""
    own = sweep.states[:, hidden_index]
    return torch.stack([own, own.roll(1, 0), 0.5 * own])


def test_every_depth_equals_a_whole_run_with_the_change(
    family: Any, prompts: list[Encoded]
) -> None:
    some = [prompts[i] for i in (0, 2, 6, 12)]
    sweep = LastTokenSweep(family, some, batch_tokens=80)
    assert torch.allclose(
        sweep.logits.log_softmax(-1)[:, : family.anatomy.vocab_size],
        next_token(family, some),
        atol=1e-4,
    )
    for index in range(family.anatomy.n_layers + 1):
        variants = variants_of(sweep, index)
        found = sweep.run(index, variants).logits
        assert found is not None
        assert torch.allclose(found[0], sweep.logits, atol=2e-4), index
        for variant in (1, 2):
            for row, prompt in enumerate(some):
                vector = variants[variant, row]
                expected = oracle.naive_logits(family, prompt.ids, index, vector)
                assert torch.allclose(found[variant, row], expected, atol=2e-4), (index, row)


def test_states_are_those_that_capture_reads(llama: Any, prompts: list[Encoded]) -> None:
    sweep = LastTokenSweep(llama, prompts)
    read = capture(llama, prompts, sites=("resid_pre", "resid_post"))
    assert torch.allclose(sweep.states[:, 0], read.get("resid_pre", layer=0)[:, 0], atol=1e-5)
    for layer in range(llama.anatomy.n_layers):
        after = read.get("resid_post", layer=layer)[:, 0]
        assert torch.allclose(sweep.states[:, layer + 1], after, atol=1e-5)


def test_prompts_of_one_token_and_a_single_prompt(llama: Any) -> None:
    for ids in ([[5], [9]], [[7]], [[5], [5, 6], list(range(2, 60))]):
        some = [bare(row) for row in ids]
        sweep = LastTokenSweep(llama, some)
        vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
        found = sweep.run(1, vector.expand(1, len(some), -1)).logits
        assert found is not None
        for row, prompt in enumerate(some):
            expected = oracle.naive_logits(llama, prompt.ids, 1, vector)
            assert torch.allclose(found[0, row], expected, atol=1e-4)


def test_more_variants_than_fit_at_once_change_nothing(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LastTokenSweep(llama, prompts)
    monkeypatch.setattr("theodolite.engine.last_token.row_budget", lambda *_: 5)
    small = LastTokenSweep(llama, prompts)
    assert len(small._groups) > len(whole._groups)
    draws = torch.randn(7, len(prompts), 32, generator=torch.Generator().manual_seed(1))
    for count in (2, 7, 3):  # the layout holds more rows, then is used in part
        left, right = (sweep.run(2, draws[:count]).final for sweep in (whole, small))
        assert torch.allclose(left, right, atol=1e-5)


def test_depths_that_share_passes_change_nothing(family: Any, prompts: list[Encoded]) -> None:
    sweep = LastTokenSweep(family, prompts[:5])
    depths = [2, 0, family.anatomy.n_layers, 1, 0]
    variants = torch.stack([sweep.states[:, d].roll(1, 0) * (1 + i) for i, d in enumerate(depths)])
    found = sweep.run(depths, variants, logits=False).final
    for depth, variant, final in zip(depths, variants, found, strict=True):
        alone = sweep.run(depth, variant[None], logits=False).final[0]
        assert torch.allclose(final, alone, atol=1e-4), depth


def test_a_stream_carried_on_and_continued_is_a_whole_run(
    family: Any, prompts: list[Encoded]
) -> None:
    sweep = LastTokenSweep(family, prompts[:3])
    last = family.anatomy.n_layers
    start = variants_of(sweep, 0)
    whole = sweep.run(0, start, logits=False).final
    middle = sweep.carry(0, start, 1)
    assert torch.allclose(middle[0], sweep.states[:3, 1], atol=1e-4)
    assert torch.allclose(sweep.run(1, middle, logits=False).final, whole, atol=1e-4)
    end = sweep.carry(1, middle, last)
    assert torch.allclose(sweep.run(last, end, logits=False).final, whole, atol=1e-4)


def test_active_interventions_stay_active(llama: Any, prompts: list[Encoded]) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(2))
    steps = (
        MlpIntervention(layer=2, operator="scale", epsilon=0.3),
        ResidualIntervention(layer=0, operator="add", vector=vector, positions="prompt_last"),
        DirectionIntervention(layer=2, site="resid_pre", direction=vector, operator="ablate"),
        ResidualIntervention(
            layer=1, site="attn_out", operator="add", vector=vector, positions=(-2,)
        ),
    )
    some = prompts[:4]
    with apply(llama, *steps):
        sweep = LastTokenSweep(llama, some)
        expected = next_token(llama, some)
        assert torch.allclose(sweep.logits.log_softmax(-1), expected, atol=1e-4)
        for index in range(llama.anatomy.n_layers + 1):
            variants = variants_of(sweep, index)
            found = sweep.run(index, variants).logits
            assert found is not None
            assert torch.allclose(found[0].log_softmax(-1), expected, atol=1e-4), index
            for row in range(4):
                graft = ResidualIntervention(
                    layer=max(index - 1, 0),
                    site="resid_post" if index else "resid_pre",
                    operator="replace",
                    vector=variants[1, row],
                    positions="prompt_last",
                )
                with apply(llama, graft):
                    whole = next_token(llama, [some[row]])[0]
                assert torch.allclose(found[1, row].log_softmax(-1), whole, atol=1e-4), index
    with pytest.raises(ConfigError, match="active interventions"):
        sweep.run(0, variants_of(sweep, 0))


def test_nothing_is_left_on_the_model(llama: Any, prompts: list[Encoded]) -> None:
    before = next_token(llama, prompts[:2])
    sweep = LastTokenSweep(llama, prompts[:3])
    sweep.run(2, variants_of(sweep, 2))
    with pytest.raises(NumericsError, match="p1"):
        broken = variants_of(sweep, 1)
        broken[1, 1] = float("nan")
        sweep.run(1, broken)
    assert all("forward" not in vars(block) for block in llama.anatomy.blocks)
    assert all(not block._forward_hooks for block in llama.anatomy.blocks)
    assert torch.equal(next_token(llama, prompts[:2]), before)


def test_what_does_not_fit_is_refused(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = LastTokenSweep(llama, prompts[:3])
    good = variants_of(sweep, 1)
    for index in (-1, 4):
        with pytest.raises(ConfigError, match=f"no hidden_index {index}"):
            sweep.run(index, good)
    for wrong in (good[0], good[:, :2], good[..., :-1]):
        with pytest.raises(ConfigError, match="variants has axes"):
            sweep.run(1, wrong)
    for to in (1, 4):
        with pytest.raises(ConfigError, match="cannot be carried"):
            sweep.carry(1, good, to)
    with pytest.raises(DataError, match="at least one prompt"):
        LastTokenSweep(llama, [])
    with pytest.raises(CapabilityError):
        LastTokenSweep(ApiModel("api:x/y", "x/y", "key"), prompts[:1])  # type: ignore[arg-type]
    monkeypatch.setattr("theodolite.engine.last_token.memory_left", lambda *_: 1000.0)
    with pytest.raises(ConfigError, match="GiB"):
        LastTokenSweep(llama, prompts[:3])


def test_the_oracle_is_the_surgery_oracle_at_one_place(llama: Any) -> None:
    ids = list(range(3, 15))
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))
    expected = surgery.changed_logits(
        llama, ids, 1, "resid_post", lambda x, at: vector if at == 11 else x
    )[-1]
    assert torch.allclose(oracle.naive_logits(llama, ids, 2, vector), expected, atol=1e-6)
