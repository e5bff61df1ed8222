"""Components as detectors: chosen on training goals, reported on others, beside chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.mechanism.residual_space.made import made_paired, made_prompts
from tests.oracles import residual_space as oracle
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.residual_space.collect import PairedStates
from theodolite.mechanism.residual_space.probe_result import ProbeTable
from theodolite.mechanism.residual_space.probe_table import probe_table
from theodolite.mechanism.residual_space.space import ResidualSpace

N, WIDTH = 160, 16


def paired_states(apart: float = 3.0, seed: int = 0) -> PairedStates:
    """Return states whose shift at depth 1 parts the classes along the first coordinate."""
    random = np.random.default_rng(seed)
    prompts = made_prompts(N)
    harmful = np.array([p.label == "harmful" for p in prompts])
    x = random.standard_normal((N, 2, WIDTH))
    shift = 0.3 * random.standard_normal((N, 2, WIDTH))
    shift[:, 1, 0] += apart * harmful
    shift[:, :, 1] += 2.5 * random.standard_normal((N, 2))
    return made_paired(x, shift, prompts)


def fitted(paired: PairedStates) -> ResidualSpace:
    return ResidualSpace.fit(paired.part("train"), quality=False, resamples=0)


@pytest.fixture(scope="module")
def paired() -> PairedStates:
    return paired_states()


@pytest.fixture(scope="module")
def table(paired: PairedStates) -> ProbeTable:
    return probe_table(fitted(paired), paired, components=5, resamples=200)


def test_every_column_equals_the_slow_way(paired: PairedStates, table: ProbeTable) -> None:
    space, test, train = fitted(paired), paired.part("test"), paired.part("train")
    for row in table.frame():
        vector = space[row["name"]].vector * row["orientation"]
        h = row["hidden_index"]
        own = test.aligned.at(h, "prompt_last") @ vector
        before = train.aligned.at(h, "prompt_last") @ vector
        assert row["train_auroc"] == pytest.approx(oracle.auroc(before, train.harmful))
        assert row["train_auroc"] >= 0.5
        assert row["auroc"] == pytest.approx(oracle.auroc(own, test.harmful))
        assert row["low"] <= row["auroc"] <= row["high"]
        best = oracle.best_balanced_accuracy(before, train.harmful)
        reached = oracle.balanced_accuracy(before, train.harmful, row["threshold"])
        assert reached == pytest.approx(best)
        wanted = oracle.balanced_accuracy(own, test.harmful, row["threshold"])
        assert row["balanced_accuracy"] == pytest.approx(wanted)
        assert row["r"] == pytest.approx(np.corrcoef(own, test.harmful)[0, 1])
        assert row["tpr_at_1"] is None  # fewer than 100 benign test prompts
        base = train.base.at(h, "prompt_last") @ space[row["name"]].vector
        accuracy = oracle.threshold_rule(base, train.harmful)[1]
        assert row["reference_accuracy"] == pytest.approx(accuracy)


def test_the_planted_component_wins_over_chance(table: ProbeTable) -> None:
    assert table.chosen.startswith("L1-")
    figure = table.auroc(table.chosen)
    assert figure.value is not None
    assert figure.low is not None
    assert figure.floor is not None
    assert figure.low > figure.floor.value
    assert figure.value > 0.9
    assert "random directions" in figure.floor.name
    accuracy = table.balanced_accuracy(table.chosen)
    assert accuracy.low is not None
    assert accuracy.value == pytest.approx(
        table.values["balanced_accuracy"][table.place(table.chosen)]
    )
    assert accuracy.low > 0.7
    names = [b.name for b in table.baselines]
    assert names == [
        "difference in means",
        "logistic probe",
        "shrinkage LDA",
        "best of 5 components",
        "best of 5 principal directions of the base",
    ]
    # Every way that knows the labels or the shift finds the depth where the classes are apart.
    assert all(b.chosen == 1 and b.areas[1] > 0.8 for b in table.baselines[:4])
    assert max(table.baselines[4].areas) < table.baselines[3].areas[1]
    assert table.nulls is not None
    assert table.nulls.random.shape == (200, 2)
    assert 0.45 < table.nulls.random[:, 0].mean() < 0.55
    assert table.nulls.shuffled_high < figure.value


def test_nothing_planted_nothing_found() -> None:
    paired = paired_states(apart=0.0, seed=1)
    found = probe_table(fitted(paired), paired, components=5, resamples=200)
    best = next(m for m in found.measurements() if m.name.startswith("chosen/"))
    assert best.floor is not None
    assert best.low is not None
    assert best.low < best.floor.value
    assert "shuffled" in best.floor.name


def test_test_goals_decide_nothing(paired: PairedStates, table: ProbeTable) -> None:
    turned = paired.aligned.values.copy()
    test = [i for i, part in enumerate(paired.parts) if part == "test"]
    turned[test] = -turned[test]
    other = replace(paired, aligned=replace(paired.aligned, values=turned))
    found = probe_table(fitted(paired), other, components=5, resamples=200)
    for key in ("orientation", "threshold", "train_auroc"):
        np.testing.assert_array_equal(found.values[key], table.values[key])
    assert found.chosen == table.chosen
    np.testing.assert_allclose(found.values["auroc"], 1 - table.values["auroc"])


def test_labels_from_outside(paired: PairedStates) -> None:
    refused: dict[str, bool | None] = {
        p.id: bool(h) for p, h in zip(paired.prompts, paired.harmful, strict=True)
    }
    refused[paired.prompts[0].id] = None
    del refused[paired.prompts[1].id]
    found = probe_table(fitted(paired), paired, refused, baselines=False, resamples=100)
    assert (found.label, found.unlabelled, found.nulls) == ("refused", 2, None)
    figure = found.auroc("L1-C1")
    assert figure.name == "L1-C1/refused_auroc"
    assert figure.unscored.reasons == {"no label": 2}
    assert figure.floor is not None
    assert figure.floor.name == "chance"
    with pytest.raises(DataError, match="no two classes"):
        probe_table(fitted(paired), paired, dict.fromkeys(refused, True))


@pytest.mark.parametrize("states", ["base", "shift"])
def test_other_states(paired: PairedStates, states: str) -> None:
    found = probe_table(fitted(paired), paired, states=states, baselines=False, resamples=50)
    place = found.place("L1-C1")
    test = paired.part("test")
    values = test.base.at(1, "prompt_last") if states == "base" else test.shift(1, "prompt_last")
    own = values @ fitted(paired)["L1-C1"].vector * found.values["orientation"][place]
    assert found.values["auroc"][place] == pytest.approx(oracle.auroc(own, test.harmful))


def test_an_empty_space_has_an_empty_table() -> None:
    x = np.random.default_rng(0).standard_normal((40, 1, 6))
    paired = made_paired(x, np.zeros_like(x))
    found = probe_table(fitted(paired), paired)
    assert (found.frame(), found.dominant, found.baselines) == ([], None, ())
    assert found.measurements()[0].status == "not_measured"


def test_unknown_names_are_refused(paired: PairedStates, table: ProbeTable) -> None:
    with pytest.raises(ConfigError, match="no component 'L1-C99'"):
        table.auroc("L1-C99")
    with pytest.raises(ConfigError, match="no states 'tuned'"):
        probe_table(fitted(paired), paired, states="tuned")


def test_frames_say_what_stands_where(table: ProbeTable) -> None:
    rows = table.baseline_frame()
    assert {row["baseline"] for row in rows} == {
        *(b.name for b in table.baselines),
        "random directions, mean",
        "random directions, 95th percentile",
    }
    assert {row["hidden_index"] for row in rows} == {0, 1}
    again = probe_table(fitted(paired_states()), paired_states(), components=5, resamples=200)
    assert again.frame() == table.frame()
    assert again.baseline_frame() == rows
