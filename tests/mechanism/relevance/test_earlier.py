"""Earlier directions: what promotes, what suppresses, over long jumps, beside random directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.mechanism.relevance.small import PROMPTS, directions, double_model
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.relevance import Relevance, relevance
from theodolite.mechanism.relevance.earlier import REST, Earlier, random_beside, trace_earlier
from theodolite.mechanism.relevance.report import carried_figure, earlier_figure
from theodolite.mechanism.relevance.sentences import earlier_sentences
from theodolite.models.handle import LanguageModel


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return double_model()


def test_random_directions_are_unit_and_at_right_angles() -> None:
    given = directions(1, 3)
    drawn = random_beside([*given, given[0]], 20)
    both = np.stack([one.vector for one in drawn])
    assert len(drawn) == 20 and {one.hidden_index for one in drawn} == {1}
    assert np.allclose(both @ both.T, np.eye(20)) and len({one.name for one in drawn}) == 20
    assert np.abs(both @ np.stack([one.vector for one in given]).T).max() < 1e-10
    assert np.array_equal(random_beside(given, 4)[0].vector, random_beside(given, 4)[0].vector)
    assert len(random_beside(directions(1, 30), 20)) == 2
    assert not random_beside(directions(1, 32, orthonormal=True), 20)
    with pytest.raises(DataError, match="one depth is needed"):
        random_beside([*given, *directions(2, 1)], 2)


@pytest.mark.parametrize("backend", ["lrp", "leave_one_out"])
def test_random_directions_change_nothing_of_those_that_are_asked_for(
    model: LanguageModel, backend: str
) -> None:
    targets, sources = directions(3, 2), directions(1, 2)  # a jump over two blocks
    plain = relevance(model, PROMPTS, targets, to=sources, backend=backend)  # type: ignore[arg-type]
    found = trace_earlier(model, PROMPTS, targets, sources, backend=backend, random=3)
    for key in ("scores", "parts", "rest", "totals"):
        assert np.allclose(getattr(found.relevance, key), getattr(plain, key), atol=1e-10), key
    assert found.relevance.sources == plain.sources
    assert found.random.shape == (len(PROMPTS), 3, 2)
    (alone,) = (
        relevance(model, PROMPTS, targets, to=[one], backend=backend).split()[0].sum(1)[:, 0]  # type: ignore[arg-type]
        for one in random_beside(sources, 3)[1:2]
    )
    assert np.allclose(found.random[:, 1], alone, atol=1e-10)


def by_hand(values: list[list[float]], random: list[float]) -> Earlier:
    """Return relevance of one target: rows are prompts, columns earlier directions."""
    parts = np.zeros((len(values), 3, len(values[0]), 1))
    parts[:, 2, :, 0] = values
    count = len(values)
    drawn = np.tile(np.array(random)[None, :, None], (count, 1, 1))
    made = Relevance(
        targets=("L3-C1",), hidden_index=3, sources=("L1-C1", "L1-C2", "L1-C3"), boundaries=(1,),
        backend="lrp", rules="cplrp", position="prompt_last", normalize=None,
        prompt_ids=tuple(f"p{i}" for i in range(count)), goals=tuple(f"g{i}" for i in range(count)),
        prompts=(), scores=np.full((count, 1), 1.5), totals=np.ones((count, 1, 1)), tokens=None,
        parts=parts, rest=np.full((count, 3, 1), 0.25), model="m", fingerprint="f", template="none",
        seed=0,
    )  # fmt: skip
    return Earlier(made, drawn)


def test_what_promotes_and_what_suppresses_stand_apart() -> None:
    found = by_hand(
        [[2.0, -1.0, 1.0], [2.1, -1.1, -1.0], [1.9, -0.9, 1.1], [2.0, -1.0, -1.1]],
        [0.1, -0.3, 0.2],
    )
    rows = {row["source"]: row for row in found.frame()}
    assert [row["source"] for row in found.frame()] == ["L1-C1", "L1-C2", "L1-C3", REST]
    assert rows["L1-C1"]["relevance"] == pytest.approx(2.0) and rows["L1-C1"]["clear"]
    assert rows["L1-C2"]["relevance"] == pytest.approx(-1.0) and rows["L1-C2"]["clear"]
    assert rows["L1-C2"]["high"] < 0 and rows["L1-C2"]["promotes"] == 0.0
    both = rows["L1-C3"]
    assert both["relevance"] == pytest.approx(0.0) and both["clear"] is False
    assert both["promotes"] == pytest.approx(0.525) and both["suppresses"] == pytest.approx(-0.525)
    shares = [rows[name]["signed_share"] for name in ("L1-C1", "L1-C2", "L1-C3")]
    assert shares == pytest.approx([2 / 3, -1 / 3, 0.0])
    assert rows["L1-C1"]["random"] == pytest.approx(0.29) and rows[REST]["random"] is None
    floors = {m.name: m.floor for m in found.measurements()}
    down = floors["relevance/from/L1-C2/L3-C1"]
    assert down is not None and down.value == pytest.approx(-0.29)
    assert floors["relevance/from/rest/L3-C1"] is None
    said = earlier_sentences(found)
    assert said[0].startswith("L3-C1 is promoted by L1-C1 (+2)")
    assert said[1].startswith("L3-C1 is suppressed by L1-C2 (-1)")
    assert "Of its mean component 1.5, 1 lies on the 3 earlier directions" in said[2]


def test_figures_are_centred_and_cross_what_random_directions_reach() -> None:
    found = by_hand([[2.0, -1.0, 0.1], [2.2, -1.2, 0.1]], [0.3])
    spec = earlier_figure(found).spec
    cells, crosses = spec["data"]
    assert cells["zmin"] == -cells["zmax"] == pytest.approx(-2.1)
    assert crosses["y"] == ["L1-C3"] and "19 of 20 random directions" in str(cells["colorbar"])
    carried = carried_figure([found]).spec["data"][0]
    assert carried["zmin"] == -carried["zmax"]
    assert carried["z"] == [[pytest.approx(2.1 / 3.3)]]


def test_no_room_for_random_directions_leaves_no_floor() -> None:
    found = by_hand([[1.0, 1.0, 1.0], [1.1, 1.0, 1.0]], [])
    assert found.floors() == [None]
    assert all(row["random"] is None and row["clear"] is None for row in found.frame())
    assert len(earlier_figure(found).spec["data"]) == 1
    assert "No earlier direction is shown" in earlier_sentences(found)[0]


def test_directions_of_another_model_are_refused_unless_forced(model: LanguageModel) -> None:
    own, foreign = (
        [replace(one, model=name) for one in directions(3, 1)]
        for name in (model.fingerprint, "another-fingerprint")
    )
    earlier = [replace(one, model="another-fingerprint") for one in directions(1, 1)]
    relevance(model, PROMPTS[:1], own)
    said = f"'L3-C1' was found on another model .*'another-fing'.*{model.name}"
    with pytest.raises(DataError, match=said):
        relevance(model, PROMPTS[:1], foreign)
    with pytest.raises(DataError, match="'L1-C1' was found on another model"):
        trace_earlier(model, PROMPTS[:1], own, earlier)
    forced = relevance(model, PROMPTS[:1], foreign, force=True)
    assert np.array_equal(forced.scores, relevance(model, PROMPTS[:1], own).scores)
    trace_earlier(model, PROMPTS[:1], own, earlier, force=True)


def test_a_part_of_a_map_is_the_map_of_a_part(model: LanguageModel) -> None:
    found = relevance(model, PROMPTS, directions(3, 2)).part([2, 0])
    alone = relevance(model, [PROMPTS[2], PROMPTS[0]], directions(3, 2))
    assert found.prompt_ids == alone.prompt_ids and found.goals == alone.goals
    assert found.tokens is not None and alone.tokens is not None
    assert np.allclose(found.tokens, alone.tokens) and np.allclose(found.scores, alone.scores)
    with pytest.raises(ConfigError, match="traced to tokens"):
        found.split()
