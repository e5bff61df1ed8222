"""Every probe equals its definition and finds planted classes as well as can be."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from tests.oracles import probe_fits as oracle
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.probes import multilayer
from theodolite.mechanism.probes.calibration import auroc
from theodolite.mechanism.probes.classifiers import (
    PROBES,
    STRENGTHS,
    Design,
    Fit,
    _best,
    _svm_path,
    fit,
    fit_many,
)

LINEAR = [name for name in PROBES if name != "mlp"]
# Wide states (more coordinates than rows) and narrow ones take different ways to the same fit.
SHAPES = [(48, 90), (90, 14)]


def drawn(
    seed: int, n: int, width: int, classes: int = 2, shift: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows in uneven units around class means, one coordinate standing still."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    x = rng.normal(size=(n, width))
    x[np.arange(n), labels] += shift
    x = x * rng.uniform(0.1, 10, width) + rng.normal(size=width)
    x[:, -1] = 3.0
    return x, labels


def folds_of(labels: np.ndarray, folds: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels))


def split(n: int, width: int, classes: int = 2, seed: int = 0, shift: float = 1.5):  # type: ignore[no-untyped-def]
    """Return a design of the first rows, with labels of both parts."""
    x, labels = drawn(seed, n + 30, width, classes, shift)
    return Design.of(x[:n], x[n:]), labels[:n], labels[n:], x


@pytest.mark.parametrize("n, width", SHAPES)
def test_design_is_standardised_on_the_training_rows(n: int, width: int) -> None:
    design, *_, x = split(n, width)
    train, test = oracle.standardised(x[:n], x[n:])
    assert design.train == pytest.approx(train)
    assert design.test == pytest.approx(test)
    assert (design.train[:, -1] == 0).all() and (design.test[:, -1] == 0).all()
    assert design.gram == pytest.approx(train @ train.T)
    assert design.cross == pytest.approx(test @ train.T)
    index, held = np.array([0, 3, 5]), np.array([1, 2])
    part = design.part(index, held)
    assert part.gram == pytest.approx(train[index] @ train[index].T)
    assert part.cross == pytest.approx(train[held] @ train[index].T)


@pytest.mark.parametrize("n, width", SHAPES)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LINEAR)
def test_the_direction_gives_the_scores(name: str, classes: int, n: int, width: int) -> None:
    design, labels, _, x = split(n, width, classes)
    fitted = fit(name, design, labels, inner=folds_of(labels), classes=classes)
    weights, bias = fitted.direction() or (None, None)
    assert x[n:] @ weights + bias == pytest.approx(fitted.test_scores)
    assert x[:n] @ weights + bias == pytest.approx(fitted.train_scores)
    assert (np.asarray(weights)[-1] == 0).all()


@pytest.mark.parametrize("n, width", SHAPES)
@pytest.mark.parametrize("classes", [2, 3])
def test_difference_of_means_takes_the_nearest_mean(classes: int, n: int, width: int) -> None:
    design, labels, _, _ = split(n, width, classes)
    found = fit("difference_of_means", design, labels, inner=[], classes=classes)
    expected = oracle.nearest_mean(design.train, labels, design.test, classes)
    assert (found.predicted == expected).all()


def test_difference_of_means_gives_log_odds_of_round_classes() -> None:
    """Two normal classes of equal spread: the log-odds rise by delta**2 from mean to mean."""
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 2
    x = rng.normal(size=(len(labels), 2)) + np.outer(labels, [1.5, 0])
    scores = fit("difference_of_means", Design.of(x, x[:1]), labels, inner=[]).train_scores
    slope = np.polyfit(x[:, 0], scores, 1)[0]
    assert slope == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("n, width", SHAPES)
@pytest.mark.parametrize("classes", [2, 3])
def test_lda_equals_its_definition(classes: int, n: int, width: int) -> None:
    design, labels, _, _ = split(n, width, classes)
    found = fit("lda", design, labels, inner=[], classes=classes)
    scores = oracle.lda_scores(design.train, labels, design.test, classes)
    if classes == 2:
        assert found.test_scores == pytest.approx(scores[:, 1] - scores[:, 0])
    else:  # the same up to what all classes have in common
        common = found.test_scores - scores
        assert common == pytest.approx(np.repeat(common[:, :1], classes, axis=1))
        assert (found.predicted == scores.argmax(1)).all()


@pytest.mark.parametrize("n, width", SHAPES)
def test_logistic_equals_the_library_with_its_own_search(n: int, width: int) -> None:
    design, labels, _, _ = split(n, width)
    folds = folds_of(labels)
    found = fit("logistic", design, labels, inner=folds)

    def library(c: float, rows: np.ndarray) -> LogisticRegression:
        model = LogisticRegression(C=c, tol=1e-9, max_iter=100_000)
        return model.fit(design.train[rows], labels[rows])

    held_out = np.empty((len(STRENGTHS), n))
    for s, c in enumerate(STRENGTHS):
        for train, val in folds:
            held_out[s, val] = library(c, train).decision_function(design.train[val])
    assert found.strength == oracle.ranked_best(held_out.tolist(), labels.tolist(), STRENGTHS)
    model = library(found.strength, np.arange(n))
    assert (model.predict(design.test) == found.predicted).all()
    weights, _ = found.direction() or (None, None)
    moving = np.isfinite(design.scale)
    expected = model.coef_[0][moving] / design.scale[moving]
    error = np.linalg.norm(np.asarray(weights)[moving] - expected)
    assert error < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("n, width", SHAPES)
@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_svm_equals_the_library_at_every_strength(n: int, width: int, shift: float) -> None:
    """Also where a strength is passed over because no row is held back by its bound."""
    design, labels, _, _ = split(n, width, shift=shift)
    machines = _svm_path(design.gram, labels == 1, STRENGTHS)
    for strength, machine in zip(STRENGTHS, machines, strict=True):
        library = SVC(kernel="linear", C=strength).fit(design.train, labels)
        scores = design.cross @ machine.dual + machine.bias
        assert scores == pytest.approx(library.decision_function(design.test), abs=5e-3)


def test_the_svm_grid_stops_where_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    real = SVC.fit
    monkeypatch.setattr(SVC, "fit", lambda self, *rows: fits.append(self.C) or real(self, *rows))
    design, labels, _, _ = split(48, 90, shift=5.0)
    machines = list(_svm_path(design.gram, labels == 1, STRENGTHS))
    assert len(machines) == len(STRENGTHS) > len(fits)
    assert machines[-1] is machines[-2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_strength_is_ranked_as_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 12)
    held_out = rng.integers(-2, 3, (len(STRENGTHS), 12)) + 0.5  # few values, many ties
    best, accuracy = _best(held_out[:, :, None], labels)
    assert STRENGTHS[best] == oracle.ranked_best(held_out.tolist(), labels.tolist(), STRENGTHS)
    assert accuracy == ((held_out[best] > 0) == labels).mean()


@pytest.mark.parametrize("name", PROBES)
def test_many_labellings_are_many_fits(name: str) -> None:
    design, labels, _, _ = split(48, 90)
    control = np.random.default_rng(0).permutation(labels)
    folds = folds_of(labels)
    together = fit_many(name, design, np.stack([labels, control]), folds)
    for own, found in zip((labels, control), together, strict=True):
        alone = fit(name, design, own, inner=folds)
        assert (found.test_scores == alone.test_scores).all()
        assert found.strength == alone.strength
        assert found.inner_accuracy == alone.inner_accuracy


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", PROBES)
def test_inner_accuracy_is_that_of_fits_without_the_held_out_rows(name: str, classes: int) -> None:
    design, labels, _, _ = split(60, 40, classes)
    folds = folds_of(labels, 3)
    found = fit(name, design, labels, inner=folds, classes=classes)
    right: list[bool] = []
    for train, val in folds:
        part = design.part(train, val)
        if found.strength is None:
            predicted = fit(name, part, labels[train], inner=[], classes=classes).predicted
        else:
            predicted = at_strength(name, part, labels[train], found.strength, classes)
        right += (predicted == labels[val]).tolist()
    assert found.inner_accuracy == pytest.approx(np.mean(right))


def at_strength(
    name: str, part: Design, labels: np.ndarray, strength: float, classes: int
) -> np.ndarray:
    """Fit the library's classifier at one strength, each class against all others."""
    scores = []
    for k in range(classes):
        model = (
            LogisticRegression(C=strength, tol=1e-9, max_iter=100_000)
            if name == "logistic"
            else SVC(kernel="linear", C=strength)
        )
        scores.append(model.fit(part.train, labels == k).decision_function(part.test))
    return np.argmax(scores, axis=0)


def test_inner_accuracy_of_permuted_labels_is_at_chance() -> None:
    """60 labellings of 48 rows: held-out rows that leaked into their own fit would be right."""
    design, labels, _, _ = split(48, 90)
    rng = np.random.default_rng(0)
    controls = np.stack([rng.permutation(labels) for _ in range(60)])
    fits = fit_many("difference_of_means", design, controls, folds_of(labels))
    assert np.mean([one.inner_accuracy for one in fits]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([(one.train_predicted == c).mean() for one, c in zip(fits, controls)]) > 0.8


@pytest.mark.parametrize("name", PROBES)
def test_three_classes_are_told_apart(name: str) -> None:
    design, labels, tests, _ = split(90, 40, classes=3, shift=6.0)
    found = fit(name, design, labels, inner=folds_of(labels), classes=3)
    assert found.test_scores.shape == (30, 3)
    assert (found.predicted == tests).mean() > 0.8
    lead = np.sort(found.test_scores, axis=1)
    assert found.score == pytest.approx(lead[:, -1] - lead[:, -2])


@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("name", ["difference_of_means", "lda", "logistic"])
def test_planted_classes_are_found_as_well_as_can_be(name: str, delta: float) -> None:
    """Two round classes delta apart along one of 64 axes, 2,000 training rows.

    No rule is right more often than Phi(delta / 2). Many test rows, so that their own chance stays
    below the tolerance; logistic is given one inner fold, as five of 2,000 rows are slow.
    """
    rng = np.random.default_rng(7)
    labels = np.arange(22_000) % 2
    x = rng.normal(size=(len(labels), 64))
    x[:, 0] += delta * labels
    design = Design.of(x[:2000], x[2000:])
    inner = [(np.arange(1500), np.arange(1500, 2000))]
    found = fit(name, design, labels[:2000], inner=inner)
    normal, truth = NormalDist(), labels[2000:]
    assert (found.predicted == truth).mean() == pytest.approx(normal.cdf(delta / 2), abs=0.02)
    area = auroc(found.test_scores, truth)
    assert area == pytest.approx(normal.cdf(delta / sqrt(2)), abs=0.02)


@pytest.mark.parametrize("name", PROBES)
def test_permuted_labels_are_at_chance_though_wide_states_can_learn_them(name: str) -> None:
    """Ten labellings of 80 rows scored on 300: 3,000 outcomes, related in tens."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(380, 200))
    labels = np.arange(380) % 2
    controls = np.stack([rng.permutation(labels[:80]) for _ in range(10)])
    fits = fit_many(name, Design.of(x[:80], x[80:]), controls, folds_of(labels[:80]))
    assert np.mean([one.predicted == labels[80:] for one in fits]) == pytest.approx(0.5, abs=0.05)
    learnt = [(one.train_predicted == own).mean() for one, own in zip(fits, controls, strict=True)]
    assert np.mean(learnt) > 0.9


@pytest.mark.parametrize("name", PROBES)
def test_states_that_are_all_alike_give_one_score(name: str) -> None:
    """As the embedding of a template token is: accuracy of one class, AUROC one half."""
    x = np.tile(np.random.default_rng(0).normal(size=30), (50, 1))
    labels = np.arange(50) % 2
    design = Design.of(x[:40], x[40:])
    found = fit(name, design, labels[:40], inner=folds_of(labels[:40]))
    assert len(np.unique(found.test_scores)) == 1
    assert auroc(found.test_scores, labels[40:]) == 0.5


def test_the_perceptron_bends() -> None:
    """Classes in opposite corners: no plane parts them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(600, 6))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    design = Design.of(x[:400], x[400:])
    inner = folds_of(labels[:400])
    bent = fit("mlp", design, labels[:400], inner=inner)
    straight = fit("logistic", design, labels[:400], inner=inner)
    assert (bent.predicted == labels[400:]).mean() > 0.85
    assert (straight.predicted == labels[400:]).mean() < 0.65
    assert bent.direction() is None and bent.strength is None


def test_the_perceptron_starts_from_its_seed() -> None:
    design, labels, _, _ = split(48, 90)
    scores = [fit("mlp", design, labels, inner=[], seed=s).test_scores for s in (1, 1, 2)]
    assert (scores[0] == scores[1]).all()
    assert not (scores[0] == scores[2]).all()


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_perceptrons_gradient_is_that_of_its_loss(outputs: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 5)).astype(np.float32)
    wanted = np.eye(max(outputs, 2), dtype=np.float32)[rng.integers(0, max(outputs, 2), 9)]
    wanted = wanted[:, :outputs]
    weights = [w.astype(np.float64) for w in multilayer._start(5, outputs, 0)]
    slopes = multilayer._gradient(weights, rows, wanted)  # type: ignore[arg-type]

    def loss() -> float:
        chances = multilayer._chances(multilayer._forward(weights, rows)[1]).astype(float)  # type: ignore[arg-type]
        if outputs == 1:
            chances = np.concatenate([chances, 1 - chances], axis=1)
            own = np.where(wanted[:, 0] > 0, chances[:, 0], chances[:, 1])
        else:
            own = (chances * wanted).sum(1)
        penalty = 0.01 / 2 / len(rows) * sum((weights[i] ** 2).sum() for i in (0, 2))
        return float(-np.log(own).mean() + penalty)

    for weight, slope in zip(weights, slopes, strict=True):
        place = np.unravel_index(np.abs(slope).argmax(), weight.shape)
        ends = []
        for nudge in (1e-3, -2e-3):
            weight[place] += nudge
            ends.append(loss())
        weight[place] += 1e-3
        assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-2)


def test_components_are_the_leading_ones() -> None:
    design, *_ = split(120, 90)
    train, test = design.components
    assert train.shape == (120, multilayer.COMPONENTS)
    assert (train.astype(float) ** 2).mean() == pytest.approx(1, rel=1e-5)
    _, lengths, axes = np.linalg.svd(design.train, full_matrices=False)
    size = (train.astype(float) ** 2).sum(0)
    assert size / size[0] == pytest.approx((lengths[:64] / lengths[0]) ** 2, rel=1e-4)
    projected = design.test @ axes[:64].T
    most = np.unravel_index(np.abs(projected).argmax(), projected.shape)
    scale = abs(test[most] / projected[most])
    # Float32 sums: a small entry is as exact as the large ones it is made of.
    close = pytest.approx(scale * np.abs(projected), abs=1e-4 * float(np.abs(test).max()))
    assert np.abs(test) == close


def test_a_fold_that_lacks_a_class_is_passed_over() -> None:
    design, labels, _, _ = split(40, 60)
    one_class = (np.flatnonzero(labels == 0), np.flatnonzero(labels == 1))
    folds = folds_of(labels)
    for name in PROBES:
        plain, more = (fit(name, design, labels, inner=f) for f in (folds, [*folds, one_class]))
        assert (plain.test_scores == more.test_scores).all()
        assert plain.inner_accuracy == more.inner_accuracy
    with pytest.raises(DataError, match="No inner fold holds every class"):
        fit("logistic", design, labels, inner=[one_class])
    assert np.isnan(fit("lda", design, labels, inner=[one_class]).inner_accuracy)


def bad(name: str = "lda", x=None, labels=None, test=None) -> Fit:  # type: ignore[no-untyped-def]
    """Fit something that is wrong in one place."""
    rows = np.random.default_rng(0).normal(size=(8, 3)) if x is None else x
    design = Design.of(rows, rows if test is None else test)
    return fit(name, design, np.arange(8) % 2 if labels is None else labels, inner=[])


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"x": np.full((8, 3), np.nan)}, "training states of row 0 hold NaN"),
        ({"test": np.full((2, 3), np.inf)}, "test states of row 0 hold NaN"),
        ({"test": np.zeros((2, 4))}, "width 3 do not go with test rows of width 4"),
        ({"x": np.zeros((8, 3, 2))}, "3 axes"),
        ({"x": np.zeros((1, 3))}, "at least two training rows"),
        ({"labels": np.zeros(8, int)}, "Class 1 has no training rows"),
        ({"labels": np.arange(7) % 2}, "7 rows, but 8"),
        ({"labels": np.arange(8) % 3}, "Label 2"),
        ({"labels": np.arange(8) % 2 - 1}, "Label -1"),
    ],
)
def test_bad_input_is_named(wrong, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        bad(**wrong)


def test_an_unknown_probe_is_named() -> None:
    with pytest.raises(ConfigError, match="logistic"):
        bad("logstic")


@pytest.mark.parametrize("probe", ["logistic", "difference_of_means", "lda"])
def test_classes_with_one_mean_give_scores_of_nothing(probe: str) -> None:
    """As after erasing all that a linear probe could read: the best weights are none."""
    labels = np.arange(40) % 2
    x = np.random.default_rng(0).normal(size=(40, 6))
    for k in (0, 1):
        x[labels == k] -= x[labels == k].mean(0)
    folds = [(np.arange(10, 40), np.arange(10)), (np.arange(30), np.arange(30, 40))]
    found = fit(probe, Design.of(x, x), labels, inner=folds)
    assert np.abs(found.test_scores).max() < 1e-6
