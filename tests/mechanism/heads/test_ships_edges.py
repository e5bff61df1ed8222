"""Scores at the edges: keys, references, pairs, what is not finite, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.mechanism.heads.made_scores import made_scores
from tests.models.tiny import tiny_model
from tests.oracles import engine_forward as forward
from tests.oracles import engine_surgery as surgery
from theodolite.data.prompts import Prompt
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.distributions import divergence
from theodolite.mechanism.heads import layer_scores
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.sahara import sahara
from theodolite.mechanism.heads.ships import head_ships, twins_of
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.runs.run import Run

WORDS = ("bake some bread", "say a poem of the sea", "count to five", "fold a paper boat")


def asked(*words: str, label: str = "harmful", **more: Any) -> list[Prompt]:
    return [
        Prompt(id=f"{label}-{i}", text=text, label=label, **more) for i, text in enumerate(words)
    ]


HARMFUL, BENIGN = asked(*WORDS[:3]), asked("name a river", "draw a cat", "sing", label="benign")
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fewer harmful": {"harmful": HARMFUL[:2], "benign": [HARMFUL[2], *BENIGN]},
    "other operator": {"ablation": HeadAblation("zero")},
    "other factor": {"ablation": HeadAblation("ua", 0.5)},
    "other frame": {"template": "chat"},
    "a group": {"group": [(0, 1)]},
    "another group": {"group": [(0, 2)]},
    "frozen": {"freeze_downstream": True},
    "before the norm": {"pre_norm": True},
    "means": {"ablation": HeadAblation("dataset_mean")},
    "other means": {
        "ablation": HeadAblation("dataset_mean"),
        "references": asked("a b c", "d e f", label="other"),
    },
}


def scored(model: Any, request: dict[str, Any], **more: Any) -> Any:
    given = {"harmful": HARMFUL, "benign": BENIGN, "template": "none", **request, **more}
    return head_ships(model, given.pop("harmful"), given.pop("benign"), **given)


def test_no_two_requests_share_what_is_kept(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with Run.create("test", "tiny", out=tmp_path / "run") as run:
        for name, request in REQUESTS.items():
            kept, fresh = scored(model, request, journal=run.journal), scored(model, request)
            assert np.array_equal(kept.kl, fresh.kl, equal_nan=True), name
            for angle, values in fresh.angles.items():
                assert np.array_equal(kept.angles[angle], values, equal_nan=True), name


def test_other_weights_and_interventions_are_other_requests(tmp_path: Path) -> None:
    from theodolite.engine.interventions import MlpIntervention, apply

    model, other = tiny_model("llama"), tiny_model("llama")
    other.fingerprint = "another"
    with torch.no_grad():
        other.anatomy.blocks[2].mlp.down_proj.weight.mul_(2.0)
    with Run.create("test", "tiny", out=tmp_path / "run") as run:
        first = scored(model, {}, journal=run.journal)
        second = scored(other, {}, journal=run.journal)
        with apply(model, MlpIntervention(layer=1, operator="zero")):
            third = scored(model, {}, journal=run.journal)
    assert not np.allclose(first.kl, second.kl) and not np.allclose(first.kl, third.kl)


def test_a_head_that_helps_to_refuse_has_a_change_above_0(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny_model("llama"), (7, 19, 40)
    monkeypatch.setattr(layer_scores, "refusing_tokens", lambda _: tokens)
    found = head_ships(model, HARMFUL[:1], ablation=HeadAblation("zero"), template="none")
    ids = encode_framed(model, HARMFUL[:1], "none")[0].ids
    size = model.anatomy.head_dim
    for layer, head in ((0, 1), (2, 3)):

        def change(z: torch.Tensor, _: int, head: int = head) -> torch.Tensor:
            new = z.clone()
            new[head * size : (head + 1) * size] = 0.0
            return new

        before = forward.logits(model, ids)[-1].log_softmax(-1)[list(tokens)].logsumexp(-1)
        after = surgery.changed_logits(model, ids, layer, "head_z", change)[-1]
        after = after.log_softmax(-1)[list(tokens)].logsumexp(-1)
        assert found.refusal[0, layer, head] == pytest.approx(float(before - after), abs=1e-5)
    assert np.abs(found.refusal).max() > 1e-4


def test_the_noise_is_that_of_blocks_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def shaken(sweep: HeadSweep) -> tuple[torch.Tensor, torch.Tensor]:
        return sweep.final[None] * 1.01, sweep.stream[None]

    assert scored(tiny_model("llama"), {}).noise < 1e-6
    monkeypatch.setattr(HeadSweep, "unchanged", shaken)
    assert scored(tiny_model("llama"), {}).noise > 1e-6


def test_no_prompt_is_among_its_own_references() -> None:
    model = tiny_model("llama")
    means = HeadAblation("dataset_mean")
    found = scored(model, {"ablation": means})
    for i, prompt in enumerate(BENIGN):
        others = [other for other in BENIGN if other.id != prompt.id]
        alone = head_ships(model, [prompt], ablation=means, references=others, template="none")
        assert np.allclose(found.kl[3 + i], alone.kl[0], atol=1e-6)
    for operator in ("dataset_mean", "resample"):
        with pytest.raises(DataError, match="its own reference"):
            head_ships(model, HARMFUL[:1], BENIGN[:1], ablation=HeadAblation(operator))
    with pytest.raises(DataError, match="its own only reference"):
        head_ships(model, HARMFUL[:1], ablation=means, references=HARMFUL[:1], template="none")


@pytest.mark.parametrize("name", ["pair_id", "goal_id"])
def test_twins_find_each_other_in_any_order(name: str) -> None:
    harmful = [replace(p, **{name: f"g{i}"}) for i, p in enumerate(HARMFUL)]
    benign = [replace(p, **{name: f"g{i}"}) for i, p in enumerate(BENIGN)]
    twins = twins_of(harmful, [benign[2], benign[0], benign[1]])
    assert twins is not None and [p.id for p in twins] == [p.id for p in benign]
    assert twins_of(harmful, benign[:2]) is None
    assert twins_of(HARMFUL, BENIGN) is None
    found = head_ships(tiny_model("llama"), harmful, benign[::-1], template="none")
    assert found.pairs and found.prompt_ids[3:] == tuple(p.id for p in benign)


def test_pairs_and_clusters_reach_the_intervals() -> None:
    scores = made_scores({(1, 2): 2.0}, {(1, 2): 1.8}, prompts=16)
    assert scores.specific is not None and scores.benign

    def width(**other: Any) -> float:
        found = replace(scores, **other).specific
        assert found is not None
        return float((found.high - found.low)[1, 2])

    few = tuple(f"c{i % 4}" for i in range(32))
    assert width(pairs=True) != width(pairs=False)
    assert width(pairs=False, clusters=few) != width(pairs=False)
    clustered = replace(scores, clusters=few)
    assert clustered.over_harmful.n_clusters == 4


def test_heads_chosen_for_scoring_are_judged_among_all() -> None:
    every = made_scores({(1, 2): 2.0}, {(1, 2): 1.8}, prompts=16)
    kl = every.kl.copy()
    kl[:, 2:] = np.nan
    some = replace(every, kl=kl)
    assert some.specific is not None and every.specific is not None
    assert some.specific.band_low[1, 2] <= every.specific.band_low[1, 2] + 1e-9


def test_equal_prompts_are_one_cluster() -> None:
    twice = [*HARMFUL, replace(HARMFUL[0], id="again")]
    found = head_ships(tiny_model("llama"), twice, template="none")
    assert found.clusters[3] == found.clusters[0] != found.clusters[1]
    assert found.over_harmful.n_clusters == 3


def test_logits_that_are_not_finite_are_refused_by_prompt() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.anatomy.lm_head.weight[350] = float("nan")
    with pytest.raises(NumericsError, match="harmful-0"):
        head_ships(model, HARMFUL, template="none")


def test_tokens_that_are_ruled_out_count_for_nothing() -> None:
    intact = torch.tensor([0.5, 0.5, 0.0]).log()
    ablated = torch.tensor([0.25, 0.75, 0.0]).log()
    expected = 0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)
    assert float(divergence(intact, ablated)) == pytest.approx(expected)


def test_what_cannot_be_asked_is_refused_before_anything_runs() -> None:
    model = tiny_model("llama")
    model.anatomy.decoder.forward = None
    given: Any = {"template": "none"}
    for only in ([(99, 0)], [(0, 99)], [(-1, 0)]):
        with pytest.raises(ConfigError, match="There is no head"):
            head_ships(model, HARMFUL, only=only, **given)
    with pytest.raises(ConfigError, match="No head"):
        head_ships(model, HARMFUL, only=[], **given)
    with pytest.raises(DataError, match="Two prompts have the id"):
        head_ships(model, [*HARMFUL, HARMFUL[0]], **given)
    for operator in ("head_mean", "dataset_mean", "resample"):
        with pytest.raises(CapabilityError, match=operator):
            sahara(model, HARMFUL, steps=2, ablation=HeadAblation(operator), **given)
    with pytest.raises(ConfigError, match="no single head's key"):
        sahara(model, HARMFUL, steps=2, ablation=HeadAblation("ua", target="k"), **given)
    with pytest.raises(ConfigError, match="There is no score"):
        sahara(model, HARMFUL, by="angle_r8", **given)


def test_a_score_that_no_head_has_is_refused() -> None:
    same = [Prompt(id=f"p{i}", text="bake bread") for i in range(4)]
    with pytest.raises(DataError, match="not determined"):
        sahara(tiny_model("llama"), same, by="angle_r1_centered", template="none")
