"""A sweep over a tree of prefixes equals whole runs with the same change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_surgery as surgery
from theodolite.engine.interventions import MlpIntervention, ResidualIntervention, apply
from theodolite.engine.next_token import next_token
from theodolite.engine.rerun import Rerun
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded

FACTORS = torch.tensor([0.0, 1.5, -0.5])


def scaled(layer: int, site: str, untouched: int = 0) -> Any:
    """Return the variants that multiply a site's values from some position on."""

    def make(rows: Rerun, chunk: slice) -> torch.Tensor:
        values = rows.values(layer, site)
        place = rows.start + torch.arange(rows.width)[None, :, None]
        factors = FACTORS[chunk][:, None, None, None].to(values)
        return torch.where(place < untouched, values, values * factors)

    return make


def logits(sweep: TreeSweep, layer: int, site: str, untouched: int = 0) -> torch.Tensor:
    final, _ = sweep.run(layer, len(FACTORS), scaled(layer, site, untouched), site=site)
    return sweep.model.anatomy.logits_from_final(final)


@pytest.mark.parametrize("site", ["attn_out", "mlp_out"])
def test_every_variant_equals_a_whole_run(family: Any, prompts: list[Encoded], site: str) -> None:
    some = [prompts[i] for i in (0, 1, 3, 4, 7, 10, 13)]  # nested prefixes, equal and lone prompts
    sweep = TreeSweep(family, some, SweepOptions(sites=(site,), together=48, batch_tokens=120))
    assert len(sweep._levels) >= 2
    for layer in (0, family.anatomy.n_layers - 1):
        found = logits(sweep, layer, site)
        for variant, factor in enumerate(FACTORS):
            for row, prompt in enumerate(some):
                expected = surgery.changed_logits(
                    family, prompt.ids, layer, site, lambda x, _, factor=factor: x * factor
                )[-1]
                assert torch.allclose(found[variant, row], expected, atol=2e-4), (layer, row)


@pytest.mark.parametrize("untouched", [1, 3, 40])
def test_untouched_tokens_run_once_and_stay(
    llama: Any, prompts: list[Encoded], untouched: int
) -> None:
    some = prompts[:8]
    still = min(untouched, min(len(p.ids) for p in some) - 1)
    options = SweepOptions(sites=("attn_out",), untouched=untouched, together=9)
    sweep = TreeSweep(llama, some, options)
    assert min(rows.start for rows in sweep.rows()) == still
    found = logits(sweep, 1, "attn_out", still)
    for row, prompt in enumerate(some):
        expected = surgery.changed_logits(
            llama, prompt.ids, 1, "attn_out", lambda x, at: x * 1.5 if at >= still else x
        )[-1]
        assert torch.allclose(found[1, row], expected, atol=1e-4)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("budget", [16, 64, 100_000])
def test_budget_and_sharing_change_nothing(
    llama: Any, prompts: list[Encoded], budget: int, share: bool
) -> None:
    plain = TreeSweep(llama, prompts, SweepOptions(sites=("attn_out",), share=False))
    sweep = TreeSweep(
        llama, prompts, SweepOptions(sites=("attn_out",), share=share, batch_tokens=budget)
    )
    expected, found = logits(plain, 0, "attn_out"), logits(sweep, 0, "attn_out")
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(sweep.final, plain.final, atol=1e-4)


def test_the_intact_ends_are_the_models(family: Any, prompts: list[Encoded]) -> None:
    sweep = TreeSweep(family, prompts)
    logits_ = family.anatomy.logits_from_final(sweep.final)[:, : family.anatomy.vocab_size]
    assert torch.allclose(logits_.log_softmax(-1), next_token(family, prompts), atol=1e-4)
    normed = family.anatomy.final_norm(sweep.stream)
    assert torch.allclose(normed, sweep.final, atol=1e-5)


def test_what_attention_reads_is_kept_from_the_first_token_on(
    llama: Any, prompts: list[Encoded]
) -> None:
    sweep = TreeSweep(llama, prompts[:6], SweepOptions(keep_values=True, untouched=1, together=9))
    whole = TreeSweep(llama, prompts[:6], SweepOptions(keep_values=True, share=False))
    reference: dict[int, torch.Tensor] = {}
    for rows in whole.rows():
        for item, row in zip(*whole.last(rows)):
            reference[item] = rows.attended(2)[row, : rows.lengths[row]]
    seen = set()
    for rows in sweep.rows():
        for item, row in zip(*sweep.last(rows)):
            found = rows.attended(2)[row, : rows.start + rows.lengths[row]]
            assert torch.allclose(found, reference[item], atol=1e-5)
            seen.add(item)
    assert seen == set(range(6))


@pytest.mark.parametrize("positions", ["all", (-3,), "prompt"])
def test_active_interventions_stay_active(
    llama: Any, prompts: list[Encoded], positions: Any
) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    steer = ResidualIntervention(layer=0, operator="add", vector=vector, positions=positions)
    quiet = MlpIntervention(layer=2, operator="scale", epsilon=0.3)
    with apply(llama, steer, quiet):
        sweep = TreeSweep(llama, prompts[:5], SweepOptions(sites=("attn_out",)))
        same, _ = sweep.run(1, 1, lambda rows, _: rows.values(1, "attn_out")[None])
        found = llama.anatomy.logits_from_final(same[0]).log_softmax(-1)
        assert torch.allclose(found, next_token(llama, prompts[:5]), atol=1e-4)
    with pytest.raises(ConfigError, match="active interventions"):
        sweep.run(1, 1, lambda rows, _: rows.values(1, "attn_out")[None])


def test_bad_places_are_refused(llama: Any, prompts: list[Encoded]) -> None:
    with pytest.raises(DataError, match="at least one prompt"):
        TreeSweep(llama, [])
    sweep = TreeSweep(llama, prompts[:2])
    with pytest.raises(ConfigError, match="There is no layer 3"):
        sweep.run(3, 1, scaled(0, "resid_pre"))
    with pytest.raises(ConfigError, match="There is no site"):
        sweep.run(0, 1, scaled(0, "resid_pre"), site="nowhere")
    with pytest.raises(ConfigError, match="was not kept"):
        sweep.run(0, 1, scaled(0, "attn_out"))


def test_a_prompt_of_one_token_can_be_swept(llama: Any) -> None:
    sweep = TreeSweep(llama, [bare([5]), bare([5, 7])], SweepOptions(sites=("attn_out",)))
    found = logits(sweep, 0, "attn_out")
    expected = surgery.changed_logits(llama, [5], 0, "attn_out", lambda x, _: x * 1.5)[-1]
    assert torch.allclose(found[1, 0], expected, atol=1e-5)


def test_too_much_to_keep_is_refused(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.engine.tree_sweep.memory_left", lambda _: 1000.0)
    with pytest.raises(ConfigError, match="GiB") as raised:
        TreeSweep(llama, [bare(list(range(2, 40)))])
    assert raised.value.fix == "Give fewer prompts at a time."
