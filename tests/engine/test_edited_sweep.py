"""Prompts under many interventions at once equal one whole run under each.

The traps: a change at the block of entry is overwritten by the intact stream; a prefix is shared
between variants that change it; rows get another variant's change.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare, opened
from tests.engine.test_interventions import hooks, vector
from theodolite.engine import EditedSweep, next_token
from theodolite.engine.interventions import (
    DirectionIntervention,
    HeadIntervention,
    Intervention,
    MlpIntervention,
    ResidualIntervention,
    SubspaceIntervention,
    apply,
)
from theodolite.engine.passes import run_pass
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded

Kinds = list[list[Intervention]]


def along(layer: int, site: str = "resid_post", **more: Any) -> DirectionIntervention:
    options: dict[str, Any] = {"operator": "add", "alpha": 3.0, **more}
    return DirectionIntervention(layer=layer, site=site, direction=vector(32, layer), **options)


def kinds(model: Any, positions: str) -> Kinds:
    last, where = model.anatomy.n_layers - 1, {"positions": positions}
    wide = torch.stack([vector(32, seed) for seed in range(6)])
    return [
        [along(0, "resid_pre", **where)],
        [along(n, **where) for n in range(last + 1)],
        [along(n, s, operator="ablate", **where) for n in (1, 2) for s in ("attn_out", "mlp_out")],
        [],
        [along(1, "resid_pre", operator="clamp", **where), along(1, "mlp_out", **where)],
        [SubspaceIntervention(layer=1, basis=wide, operator="ablate", **where)],
        [along(last, **where)],
        [along(last, "mlp_out", alpha=-9.0, **where)],
        [MlpIntervention(layer=1, operator="zero", **where), along(last, "attn_out", **where)],
        [HeadIntervention(layer=1, heads=(0, 2), operator="zero", **where)],
        [ResidualIntervention(layer=2, operator="add", vector=vector(32, 9), **where)],
        [along(0, positions="generated")],
        [along(1, **where), along(0, positions="generated")],
        [along(2, **where), along(1, positions="prompt"), along(1, positions="prompt_last")],
    ]


def logprobs(model: Any, final: torch.Tensor) -> torch.Tensor:
    logits = model.anatomy.logits_from_final(final)
    return logits[..., : model.anatomy.vocab_size].float().log_softmax(-1)


def alone(model: Any, prompts: Any, variants: Kinds) -> torch.Tensor:
    found = []
    for variant in variants:
        with apply(model, *variant):
            found.append(torch.cat([next_token(model, [prompt]) for prompt in prompts]))
    return torch.stack(found)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon-parallel", "bloom", "mpt"])
@pytest.mark.parametrize("positions", ["all", "prompt_last"])
def test_every_variant_equals_itself_alone(name: str, positions: str) -> None:
    model = opened(name)
    draw = torch.Generator().manual_seed(7)
    header = torch.randint(2, 300, (20,), generator=draw).tolist()
    tails = [torch.randint(2, 300, (n,), generator=draw).tolist() for n in (3, 9, 1, 12)]
    prompts = [bare(header + tail) for tail in tails] + [bare(tails[3]), bare(header + tails[0])]
    variants = kinds(model, positions)
    expected = alone(model, prompts, variants)
    sweep = EditedSweep(model, prompts, batch_tokens=120)
    found = logprobs(model, sweep.run(variants))
    assert (found - expected).abs().max() < 1e-4
    intact = logprobs(model, sweep.final)
    moved = (expected - intact).abs().amax((1, 2)) > 1e-3
    assert moved.tolist() == [bool(v) and v[0].positions != "generated" for v in variants]


def test_the_prompt_is_left_before_its_answer(llama: Any, prompts: list[Encoded]) -> None:
    variants: Kinds = [[along(1, positions="prompt")], [along(0)], [along(1)]]
    expected = alone(llama, prompts[:5], variants)
    assert (
        logprobs(llama, EditedSweep(llama, prompts[:5]).run(variants)) - expected
    ).abs().max() < 1e-4


def test_active_interventions_act_first(llama: Any, prompts: list[Encoded]) -> None:
    variants = kinds(llama, "prompt_last")[:3] + kinds(llama, "all")[:3]
    with apply(llama, ResidualIntervention(layer=1, operator="add", vector=vector(32, 5))):
        found = logprobs(llama, EditedSweep(llama, prompts[:4]).run(variants))
        expected = alone(llama, prompts[:4], variants)
        sweep = EditedSweep(llama, prompts[:4])
        sweep.run(variants)
    assert (found - expected).abs().max() < 1e-4
    with pytest.raises(ConfigError, match="not those the sweep was made under"):
        sweep.run(variants)


def test_blocks_below_the_first_change_are_not_run_again(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = EditedSweep(llama, prompts[:4])
    sweep.run([[along(2)], [along(2, positions="prompt_last")]])
    ran: list[int] = []
    handles = [
        block.self_attn.register_forward_hook(lambda *_, n=n: ran.append(n))
        for n, block in enumerate(llama.anatomy.blocks)
    ]
    sweep.run([[along(2)], [along(2, alpha=1.0)], [along(2, positions="prompt_last")]])
    for handle in handles:
        handle.remove()
    assert set(ran) == {2}


def test_hooks_leave_with_an_exception(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hooks(llama)
    sweep = EditedSweep(llama, prompts[:2])
    assert sweep.final.shape == (2, 32)
    monkeypatch.setattr("theodolite.engine.rerun.run_pass", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("theodolite.engine.last_token.step", lambda *_, **__: 1 / 0)
    for variant in ([along(0, positions="prompt_last")],):
        with pytest.raises(ZeroDivisionError):
            sweep.run([variant])
    monkeypatch.setattr("theodolite.engine.rerun.run_pass", run_pass)
    sweep.run([[along(0)]])
    monkeypatch.setattr("theodolite.engine.rerun.run_pass", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep.run([[along(0)]])
    assert hooks(llama) == before


def test_what_does_not_fit_is_refused(llama: Any, prompts: list[Encoded]) -> None:
    with pytest.raises(DataError, match="at least one prompt"):
        EditedSweep(llama, [])
    sweep = EditedSweep(llama, prompts[:2])
    with pytest.raises(ConfigError, match="numbered positions"):
        sweep.run([[along(0, positions=(1, -1))]])
    with pytest.raises(ConfigError, match="layer is 9"):
        sweep.run([[along(9)]])
