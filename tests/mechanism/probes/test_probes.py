"""Probes: right by an oracle, at chance where there is nothing, and never fooled by a shortcut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.mechanism.made_states import made_items, made_states
from tests.oracles.probes import nearest_mean
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.probes.fitting import ProbeOptions, permuted_labels, probe
from theodolite.mechanism.probes.report import (
    findings,
    frame,
    measurements,
    outcomes,
    shortcut_warning,
)
from theodolite.runs.journal import Journal

MEANS = ("difference_of_means",)


def planted(items, hidden, *, shift=3.0, width=8, layers=4, seed=0):  # type: ignore[no-untyped-def]
    """Return noise whose first coordinate tells the classes apart at some hidden indices."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(len(items), layers, 1, width))
    for index in hidden:
        x[:, index, 0, 0] += shift * items.labels
    return made_states(items, x)


def test_predictions_equal_the_oracle() -> None:
    items = made_items(30)
    states = planted(items, (1, 2), shift=1.0)
    result = probe(states, items, options=ProbeOptions(MEANS, ("random", "source"), 2, 0))
    starts = np.flatnonzero(np.diff(result.rows.split, prepend=-1))
    ends = [*starts[1:], len(result.rows.split)]
    for split, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        test = result.rows.item[begin:end]
        facts = result.splits[split]
        train = np.setdiff1d(np.arange(len(items)), test)
        assert (len(train), len(test)) == (facts.n_train, facts.n_test)
        for index in states.hidden_indices:
            x = states.at(index, "prompt_last")
            expected = nearest_mean(
                x[train].tolist(), items.labels[train].tolist(), x[test].tolist()
            )
            assert result.predicted[0, 0, index, 0, begin:end].tolist() == expected


def test_the_layer_is_chosen_on_training_items_only() -> None:
    """Index 3 is perfect on the training sources and useless elsewhere; index 1 is good on all."""
    items = made_items(60, sources=2)
    states = planted(items, (1,), shift=3.0)
    first = np.array([source == "source-0" for source in items.sources])
    values = states.values.copy()
    values[first, 3, 0, 0] += 50.0 * items.labels[first]
    tempting = made_states(items, values)
    result = probe(tempting, items, options=ProbeOptions(MEANS, ("source",), 2, 0))
    places = dict(zip([s.held_out for s in result.splits], result.chosen("source"), strict=True))
    assert places == {"source-0": ("prompt_last", 1), "source-1": ("prompt_last", 3)}


def test_noise_is_at_chance_and_so_are_permuted_labels() -> None:
    """One random split of many items: inside a 99.9 % band at every one of 6 indices."""
    items = made_items(400, sources=2)
    states = planted(items, (2,), shift=2.0, layers=6)
    result = probe(states, items, options=ProbeOptions(MEANS, ("source",), 2, 0))
    curve = result.curve("source", "prompt_last", MEANS[0])
    control = result.control_curve("source", "prompt_last", MEANS[0])
    reach = 3.6 * np.sqrt(0.25 / len(items))  # two-sided over 11 looks
    assert np.abs(np.delete(curve.values, 2) - 0.5).max() < reach
    assert np.abs(control - 0.5).max() < reach
    assert curve.values[2] > 0.5 + 5 * reach
    assert curve.low[2] < curve.values[2] < curve.high[2]


def test_permuted_labels_keep_the_class_counts() -> None:
    items = made_items(20)
    shuffled = permuted_labels(items, 7)
    assert sorted(shuffled) == sorted(items.labels)
    assert (shuffled != items.labels).any()


def test_a_shortcut_that_turns_round_between_sources_is_exposed() -> None:
    """A trigger means harm in one source and its opposite in the other; each has its own sign."""
    items = made_items(80, sources=2)
    x = np.random.default_rng(1).normal(size=(len(items), 2, 1, 8)) * 0.1
    first = np.array([source == "source-0" for source in items.sources])
    sign = 2.0 * items.labels - 1
    x[:, 1, 0, 0] += np.where(first, sign, -sign)
    x[:, 1, 0, 1] += np.where(first, sign, 0.0)
    x[:, 1, 0, 2] += np.where(first, 0.0, sign)
    states = made_states(items, x)
    result = probe(states, items, options=ProbeOptions(("logistic",), ("random", "source"), 3, 0))
    assert result.chosen_rows("random").mean() > 0.95
    assert result.chosen_rows("source").mean() <= 0.5
    warning = shortcut_warning(result)
    assert warning is not None and "one source left out" in warning
    assert warning in findings(result)


def test_no_warning_without_a_shortcut() -> None:
    items = made_items(60)
    result = probe(
        planted(items, (1, 2, 3)), items, options=ProbeOptions(MEANS, ("random", "source"), 3, 0)
    )
    assert shortcut_warning(result) is None


def test_constant_states_give_the_majority_and_an_auroc_of_one_half() -> None:
    items = made_items(20)
    states = made_states(items, np.ones((len(items), 1, 1, 4)))
    result = probe(states, items, options=ProbeOptions(("logistic",), ("source",), 2, 0))
    (row,) = frame(result)
    assert row["accuracy"] == 0.5
    assert row["auroc"] == 0.5


def test_the_table_has_its_columns_and_floors() -> None:
    items = made_items(40)
    states = planted(items, (2,), shift=4.0)
    bare = planted(items, (), seed=5)
    result = probe(
        states, items, options=ProbeOptions(MEANS, ("random", "source"), 2, 20), untrained=[bare]
    )
    table = frame(result)
    assert len(table) == 2 * 1 * 1 * 4
    row = next(r for r in table if r["split"] == "source" and r["hidden_index"] == 2)
    assert {"layer", "hidden_index", "position", "probe", "task", "split", "accuracy"} <= set(row)
    assert {"balanced_accuracy", "auroc", "low", "high", "control", "n"} <= set(row)
    assert row["layer"] == 1 and row["n"] == 80 and row["task"] == "harmful_vs_benign"
    assert row["accuracy"] > 0.85 > row["untrained_floor"] + 0.15
    assert abs(row["text_floor"] - 0.5) < 0.25
    assert row["permutation_p"] == pytest.approx(1 / 21)
    names = {m.name.rsplit("/", 1)[-1]: m for m in measurements(result)}
    assert names["gain_over_untrained"].low > 0.1
    assert names["selectivity"].low > 0.1
    assert names["accuracy"].floor is not None
    assert {o["measurement"] for o in outcomes(result)} == {
        "probes/harmful_vs_benign/accuracy",
        "probes/harmful_vs_benign/gain_over_text",
    }


def test_three_classes() -> None:
    items = made_items(40, classes=("benign", "harmful", "jailbreak"))
    result = probe(
        planted(items, (1, 2), shift=6.0),
        items,
        task="three_way",
        options=ProbeOptions(("logistic", "lda"), ("group",), 2, 10),
    )
    rows = [row for row in frame(result) if row["hidden_index"] == 1]
    assert all(row["accuracy"] > 0.9 and row["macro_f1"] > 0.9 for row in rows)
    assert all(row["auroc"] is None and row["permutation_p"] is None for row in rows)


def test_the_paper_preset_equals_direct_library_calls() -> None:
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    items = made_items(40)
    states = planted(items, (1, 2), shift=1.0)
    result = probe(states, items, options=ProbeOptions(preset="paper"))
    for index in states.hidden_indices:
        x = states.values[:, index, 0]
        a, b, y, _ = train_test_split(x, items.labels, test_size=0.3, random_state=42)
        rows = train_test_split(np.arange(len(x)), test_size=0.3, random_state=42)[1]
        svm = SVC(kernel="linear").fit(a, y).predict(b)
        scaler = StandardScaler().fit(a)
        mlp = MLPClassifier(
            (100,), alpha=0.01, learning_rate_init=0.01, max_iter=300, random_state=42
        )
        mlp.fit(scaler.transform(a), y)
        place = {item: row for row, item in enumerate(result.rows.item.tolist())}
        order = [place[row] for row in rows]
        assert result.predicted[0, 0, index, 0, order].tolist() == svm.tolist()
        said = mlp.predict(scaler.transform(b)).tolist()
        assert result.predicted[0, 0, index, 1, order].tolist() == said
    assert result.headline == "reference"
    assert result.chosen("reference") == [("prompt_last", 2)]


def test_a_resumed_run_fits_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = made_items(20)
    states = planted(items, (1,))
    options = ProbeOptions(MEANS, ("source",), 2, 0)
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = probe(states, items, options=options, journal=journal)
        monkeypatch.setattr("theodolite.mechanism.probes.fitting.fit_place", None)
        again = probe(states, items, options=options, journal=journal)
    assert (first.predicted == again.predicted).all()
    assert (first.scores == again.scores).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ProbeOptions(("logistik",)), "logistic"),
        (ProbeOptions(()), "At least one"),
        (ProbeOptions(repeats=1), "repeats"),
        (ProbeOptions(permutations=-1), "permutations"),
    ],
)
def test_unusable_options(options: ProbeOptions, says: str) -> None:
    items = made_items(5)
    with pytest.raises(ConfigError, match=says):
        probe(planted(items, ()), items, options=options)


def test_an_untrained_network_read_elsewhere_is_refused() -> None:
    items = made_items(10)
    other = made_states(items, np.ones((len(items), 2, 1, 8)))
    with pytest.raises(DataError, match="untrained"):
        probe(planted(items, ()), items, untrained=[other])


def test_items_that_several_splits_test_are_counted_once() -> None:
    """Ten resplits of 40 + 40 items make 240 rows, not 240 requests."""
    items = made_items(40, sources=1)
    states = planted(items, (1, 2), shift=1.5)
    result = probe(states, items, options=ProbeOptions(MEANS, ("random", "group"), 10, 0))
    assert result.headline == "group"
    rows = result.of_kind("group")
    tested = len(set(result.rows.item[rows].tolist()))
    assert rows.sum() == 240 and 70 <= tested <= 80
    found = {m.name.rsplit("/", 1)[-1]: m for m in measurements(result)}
    assert {m.n for name, m in found.items() if name != "random"} == {tested}
    assert found["random"].n <= 80
    assert all(m.n_clusters <= m.n for m in found.values() if m.n_clusters)
    assert found["accuracy"].high - found["accuracy"].low > 0.1  # of 240 it would be 0.08


def test_no_interval_of_an_accuracy_leaves_its_range() -> None:
    items = made_items(15)
    states = planted(items, (1,), shift=5.0)
    result = probe(states, items, options=ProbeOptions(MEANS, ("random", "source"), 10, 0))
    curve = result.curve("random", "prompt_last", MEANS[0])
    assert curve.values[1] < 1 and curve.high[1] == 1.0
    assert all(m.high is None or m.high <= 1.0 for m in measurements(result))


def test_the_reason_for_the_headline_is_that_of_its_split() -> None:
    items = made_items(10)
    states = planted(items, (1,))
    asked = probe(states, items, options=ProbeOptions(MEANS, ("random",), 2, 0))
    assert (asked.headline, asked.why) == ("random", "the last of the splits that were asked for")
    strict = probe(states, items, options=ProbeOptions(MEANS, ("random", "headline"), 2, 0))
    assert strict.headline == "source" and "at least two sources" in strict.why


def test_what_changes_the_numbers_is_fitted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative of resuming: other classes, options, seeds and states are other units."""
    from theodolite.mechanism.probes import fitting

    fitted: list[int] = []
    fit_place = fitting.fit_place

    def counted(*given: object, **more: object) -> object:
        fitted.append(1)
        return fit_place(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "fit_place", counted)
    items, options = made_items(20), ProbeOptions(MEANS, ("random", "source"), 2, 0)
    states = planted(items, (1,))
    other = made_items(20, seed=3)
    with Journal(tmp_path / "journal.jsonl") as journal:
        for again, known in (
            ({"states": states, "items": items, "options": options}, 0),
            ({"states": states, "items": items, "options": options}, 4),
            ({"states": states, "items": items, "options": options, "seed": 1}, 0),
            ({"states": states, "items": other, "options": options}, 0),
            ({"states": planted(items, (2,)), "items": items, "options": options}, 0),
            (
                {
                    "states": states,
                    "items": items,
                    "options": ProbeOptions(("lda",), ("random", "source"), 2, 0),
                },
                0,
            ),
        ):
            fitted.clear()
            probe(**again, journal=journal)  # type: ignore[arg-type]
            assert len(fitted) == 4 - known


def test_every_untrained_network_is_read_at_its_own_best_place() -> None:
    items = made_items(40)
    states, bare = planted(items, (1,), shift=6.0), planted(items, (3,), shift=6.0, seed=5)
    result = probe(
        states, items, options=ProbeOptions(MEANS, ("source",), 2, 0), untrained=[bare, states]
    )
    assert {index for _, index in result.chosen("source")} == {1}
    assert {index for _, index in result.chosen("source", variant=1)} == {3}
    own, others = result.chosen_rows("source"), result.untrained_rows("source")
    first = result.chosen_rows("source", variant=1)
    assert first.mean() >= 0.9
    assert others.tolist() == ((first.astype(float) + own) / 2).tolist()
    found = {m.name.rsplit("/", 1)[-1]: m for m in measurements(result)}
    for floor, gain in (("text_floor", "gain_over_text"), ("untrained", "gain_over_untrained")):
        expected = found["accuracy"].value - found[floor].value
        assert found[gain].value == pytest.approx(expected)
