"""Planted moves are found, those of both arms or of chance are not; a blind direction says so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.correction.perspective_inside.made import AXIS, LAYERS, WIDTH, moved, texts
from tests.oracles.perspective_inside import reach, shift
from theodolite.correction.perspective_inside import shift as module
from theodolite.correction.perspective_inside.explain import figure, findings
from theodolite.correction.perspective_inside.shift import OVER, inner_shift
from theodolite.mechanism.directions.means import DifferenceInMeans


def test_it_is_the_written_out_shift() -> None:
    dice = np.random.default_rng(5)
    contrast = texts(5)
    before, first, second = dice.standard_normal((3, 4, LAYERS, WIDTH))
    ids = ("a", "b", "c", "d")
    found = inner_shift(contrast, before, {"m": first, "p": second}, ids=ids, goals=ids, draws=30)
    rows = contrast.fitting
    for layer in range(LAYERS):
        states = contrast.states[rows, layer]
        kinds = [states[contrast.labels[rows] == label].tolist() for label in (1, 0)]
        for arm, after in (("m", first), ("p", second)):
            for i in range(4):
                slow = shift(*kinds, before[i, layer].tolist(), after[i, layer].tolist())
                assert found.shifts[arm][i, layer] == pytest.approx(slow, abs=1e-9)
    assert np.allclose(found.shifts[OVER], found.shifts["m"] - found.shifts["p"])


def test_bands_are_the_written_out_reach_of_the_directions() -> None:
    contrast = texts(2)
    found = moved(AXIS, contrast=contrast, draws=25, seed=2)
    estimate = DifferenceInMeans().fit(contrast, seed=2)
    dice = np.random.default_rng(3)
    before = 3 * dice.standard_normal((24, LAYERS, WIDTH))
    after = before + AXIS + 0.1 * dice.standard_normal((24, LAYERS, WIDTH))
    chance = module._random(contrast, 25, 2)
    assert np.allclose(np.linalg.norm(chance, axis=2), 1.0)
    for layer, hidden_index in enumerate(contrast.hidden_indices):
        slow = reach(
            (after - before)[:, layer].tolist(),
            chance[layer].tolist(),
            estimate.gaps[hidden_index],
        )
        assert found.random["pet_io"][layer] == pytest.approx(slow, abs=1e-9)


def test_all_the_way_from_one_kind_to_the_other_is_one() -> None:
    contrast = texts(apart=6.0)
    rows = contrast.fitting
    way = np.stack(
        [
            contrast.at(h)[rows & contrast.positive].mean(0)
            - contrast.at(h)[rows & ~contrast.positive].mean(0)
            for h in contrast.hidden_indices
        ]
    )
    found = moved(-way, 0.5 * way, noise=0.0, contrast=contrast)
    assert np.allclose(found.shifts["pet_io"], -1.0)
    assert np.allclose(found.shifts["pet_placebo"], 0.5)
    assert np.allclose(found.shifts[OVER], -1.5)


@pytest.mark.parametrize(("sign", "way"), [(-1, "off"), (1, "towards")])
def test_a_planted_move_of_the_method_alone_is_seen(sign: int, way: str) -> None:
    found = moved(sign * 3.0 * AXIS)
    assert found.readable and found.visible
    over = found.measured(OVER, found.best)
    assert over.value == pytest.approx(sign * 0.5, abs=0.1)
    assert over.floor is not None and abs(over.floor.value) < abs(over.value or 0)
    said = findings(found)
    assert len(said) == 2 and f"readers move it {way} toxic text" in said[1]


def test_a_move_that_the_placebo_makes_too_is_not_the_readers(seeds: range = range(10)) -> None:
    """Both arms move far along the direction: the shifts are large and their difference nothing."""
    seen = [moved(-3.0 * AXIS, -3.0 * AXIS, seed=seed) for seed in seeds]
    assert all(abs(one.measured("pet_io", one.best).value or 0) > 0.3 for one in seen)
    assert sum(one.visible for one in seen) <= 1
    assert any("No effect of the readers" in findings(one)[1] for one in seen)


def test_a_move_across_the_direction_is_not_seen() -> None:
    """A long move at right angles leaks a little into the direction; the bands hold that."""
    across = np.eye(WIDTH)[1] * 5.0
    assert sum(moved(across, seed=seed).visible for seed in range(10)) <= 1


def test_a_direction_that_is_at_chance_lets_nothing_be_read() -> None:
    found = moved(50.0 * AXIS, contrast=texts(apart=0.0))
    assert not found.readable and not found.visible
    (said,) = findings(found)
    assert "nothing can be read" in said and "not above chance" in said


def test_texts_held_out_of_one_kind_leave_the_direction_untried() -> None:
    whole = texts()
    splits = tuple("train" if i % 2 else s for i, s in enumerate(whole.splits))
    contrast = type(whole)(**{**vars(whole), "splits": splits})
    found = moved(-3.0 * AXIS, contrast=contrast)
    assert found.auroc[found.best].status == "not_measured" and not found.visible
    assert "could not be tried" in findings(found)[0]


def test_depth_is_chosen_without_the_texts_held_out() -> None:
    contrast = texts()
    spoiled = contrast.states.copy()
    held = np.array(contrast.splits) == "test"
    spoiled[held] = spoiled[held][:, :, ::-1]
    other = type(contrast)(**{**vars(contrast), "states": spoiled})
    first, second = moved(contrast=contrast), moved(contrast=other)
    assert first.best == second.best and np.allclose(first.shifts[OVER], second.shifts[OVER])
    assert first.readable and not second.readable


def test_tables_and_figure_hold_every_depth_and_repeat_themselves() -> None:
    found, again = moved(AXIS), moved(AXIS)
    rows = found.frame()
    assert [row["hidden_index"] for row in rows] == list(found.hidden_indices)
    assert sum(row["chosen"] for row in rows) == 1 and rows == again.frame()
    assert len(found.outcomes()) == 3 * 24
    drawn = figure(found)
    assert [t["name"] for t in drawn.spec["data"] if t.get("name")][:2] == ["pet_io", "pet_placebo"]
    names = [one.name for one in found.measurements()]
    assert names == [
        "perspective_taking/direction/auroc",
        "perspective_taking/pet_io/shift",
        "perspective_taking/pet_placebo/shift",
        "perspective_taking/over_placebo",
    ]
