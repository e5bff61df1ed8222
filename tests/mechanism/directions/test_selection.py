"""The selection on the model: effects equal a plain forward, the planted direction is chosen.

Traps: a direction that parts the classes may do nothing (depths before the one that writes it);
what is chosen must not be measured on the prompts it was chosen by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.mechanism.directions.planted_refusal import LAYERS, REFUSAL, Planted, planted_refusal
from tests.oracles import directions as oracle
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.effects import (
    Pushed,
    Reader,
    Sides,
    effects_of,
    least_similar,
)
from theodolite.mechanism.directions.selection import select_direction, template_positions
from theodolite.mechanism.directions.selection_result import Selection, SelectionOptions, choose
from theodolite.mechanism.states import encode_for_states, read_states


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_refusal()


@pytest.fixture(scope="module")
def selected(planted: Planted) -> Selection:
    return select_direction(planted.model, planted.items, [REFUSAL])


def sides(planted: Planted, count: int = 3) -> Sides:
    encoded = encode_for_states(planted.model, planted.items.prompts)
    rows = [
        np.flatnonzero(side)[:count] for side in (planted.items.positive, ~planted.items.positive)
    ]
    prompts = [tuple(encoded[i] for i in own) for own in rows]
    goals = [tuple(planted.items.groups[i] for i in own) for own in rows]
    return Sides(*prompts, *goals)


def test_the_planted_direction_is_chosen(planted: Planted, selected: Selection) -> None:
    assert abs(selected.direction.vector @ planted.r) > 0.95
    assert selected.direction.hidden_index == 2  # right behind the block that writes it
    assert selected.direction.position.startswith("template[")
    assert selected.counts["harmful val"] == "8 of 8"


def test_states_alone_choose_it_as_well(planted: Planted) -> None:
    options = SelectionOptions(by="cosine", controls=0)
    found = select_direction(
        planted.model,
        planted.items,
        [REFUSAL],
        positions=("template[-3]", "template[-1]"),
        options=options,
    )
    assert abs(found.direction.vector @ planted.r) > 0.95
    assert all(row["similarity"] is not None for row in found.frame())
    assert found.measurements()[0].floor is None


def test_effects_equal_bare_forwards_with_plain_hooks(planted: Planted) -> None:
    model, own = planted.model, sides(planted)
    rng = np.random.default_rng(0)
    pushed = []
    for depth in (0, 2, LAYERS):
        vector = rng.standard_normal(planted.r.size)
        pushed.append(Pushed(depth, vector / np.linalg.norm(vector), 1.5 + depth))
    found = effects_of(Reader(model, (REFUSAL, 3)), own, pushed)
    plain = [oracle.logits_under(model, prompt.ids) for prompt in own.benign]
    for d, each in enumerate(pushed):
        for i, prompt in enumerate(own.harmful):
            without = oracle.logits_under(model, prompt.ids, ablated=each.unit)
            wanted = oracle.refusal_log_odds(without, (REFUSAL, 3))
            assert found.ablated[d, i] == pytest.approx(wanted, abs=1e-3)
        for i, prompt in enumerate(own.benign):
            without = oracle.logits_under(model, prompt.ids, ablated=each.unit)
            p, q = (x.double().log_softmax(-1) for x in (plain[i], without))
            assert found.drift[d, i] == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-5)
            if each.hidden_index < LAYERS:
                added = each.hidden_index, each.length * each.unit
                logits = oracle.logits_under(model, prompt.ids, added=added)
                wanted = oracle.refusal_log_odds(logits, (REFUSAL, 3))
                assert found.induced[d, i] == pytest.approx(wanted, abs=1e-3)
    wanted = [oracle.refusal_log_odds(logits, (REFUSAL, 3)) for logits in plain]
    assert found.benign == pytest.approx(wanted, abs=1e-3)
    assert np.isnan(found.similarity).all()


def test_similarity_is_that_of_mean_states(planted: Planted) -> None:
    own = sides(planted)
    places = ("template[-1]", "template[0]")
    reader = Reader(planted.model, (REFUSAL,), depths=(1, 4), positions=places)
    wanted = read_states(
        planted.model,
        [p for p in planted.items.prompts if p.id in {e.prompt_id for e in own.harmful}],
        positions=places,
        hidden_indices=(1, 4),
    )
    assert reader.states(own.harmful) == pytest.approx(wanted.values.mean(0), abs=1e-5)
    nothing = Pushed(2, unit_of(0), 0.0)
    planted_one = Pushed(2, planted.r, 3.7)
    found = effects_of(reader, own, [nothing, planted_one]).similarity
    assert found[1] > found[0] + 0.1
    deep = replace(reader, depths=tuple(range(1, LAYERS + 1)))
    assert len(least_similar(deep, own, 0.4)) == 2
    assert min(least_similar(deep, own, 0.2)) >= 2  # classes part behind the writer only


def unit_of(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(48)
    return vector / np.linalg.norm(vector)


def test_the_frame_says_why_a_candidate_is_out(selected: Selection) -> None:
    rows = selected.frame()
    assert len(rows) == len(selected.candidates) == 3 * len({r["position"] for r in rows})
    assert {row["hidden_index"] for row in rows} == {1, 2, 3}  # below 0.8 of 5 blocks
    assert [row["chosen"] for row in rows].count(True) == 1
    early = [row for row in rows if row["hidden_index"] == 1]
    assert all(
        row["why_not"] and "when added" in row["why_not"] for row in early if row["kl"] < 0.1
    )


def test_figures_are_of_test_prompts_beside_random_directions(
    planted: Planted, selected: Selection
) -> None:
    measured = {m.name.rsplit("/", 1)[1]: m for m in selected.measurements()}
    removed, induced, kl = (measured[name] for name in ("removed", "induced", "kl"))
    assert removed.floor is not None and induced.floor is not None and kl.floor is not None
    assert removed.value is not None and removed.high is not None and induced.low is not None
    assert removed.high < -5 and abs(removed.floor.value) < 3
    assert induced.low > 5 and induced.floor.value < 5
    assert kl.value is not None and kl.value < 0.1
    assert removed.n == 8 and removed.n_clusters == 8
    tested = {p.goal_id for p in planted.items.prompts if p.split == "test"}
    by_id = {p.id: p.goal_id for p in planted.items.prompts}
    assert selected.tested is not None
    assert {by_id[goal] for goal in selected.tested.harmful_goals} == tested


def test_without_test_prompts_nothing_is_measured(planted: Planted) -> None:
    kept = planted.items.select([p.split != "test" for p in planted.items.prompts])
    found = select_direction(planted.model, kept, [REFUSAL], positions=("prompt_last",))
    assert found.tested is None
    assert {m.status for m in found.measurements()} == {"not_measured"}


def test_rules_that_nothing_passes_are_counted(planted: Planted, selected: Selection) -> None:
    with pytest.raises(DataError, match="None of 21 candidates passes"):
        choose(selected.effects, SelectionOptions(most_kl=0.0))
    with pytest.raises(DataError, match="bring no refusals above 99"):
        choose(selected.effects, SelectionOptions(least_induced=99.0))
    nan = replace(selected.effects, drift=np.full_like(selected.effects.drift, np.nan))
    with pytest.raises(DataError, match="drift"):
        choose(nan, SelectionOptions())


def test_a_model_that_does_not_refuse_is_refused() -> None:
    calm = planted_refusal(strength=0.0)
    with pytest.raises(DataError, match="Of 16 harmful prompts in train 0 are refused"):
        select_direction(calm.model, calm.items, [REFUSAL])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "cosin"}, "Did you mean `cosine`"),
        ({"deepest": 0.0}, "deepest is 0.0"),
        ({"least_similar": 2.0}, "least_similar is 2.0"),
        ({"val": 1}, "val 1"),
        ({"deepest": 0.1}, "No depth of 5 blocks"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    planted: Planted, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        select_direction(
            planted.model, planted.items, [REFUSAL], options=SelectionOptions(**options)
        )


@pytest.mark.parametrize("tokens", [[], [9999], [-1]])
def test_refusal_tokens_must_be_the_models(planted: Planted, tokens: list[int]) -> None:
    with pytest.raises(ConfigError, match="refusal tokens"):
        select_direction(planted.model, planted.items, tokens)


def test_positions_are_those_all_prompts_have(planted: Planted) -> None:
    encoded = encode_for_states(planted.model, planted.items.prompts[:3])
    places = template_positions(encoded)
    assert places[-1] == "template[-1]"
    assert len(places) == encoded[0].template[1] - encoded[0].template[0]
    bare = encode_for_states(planted.model, planted.items.prompts[:3], template="none")
    assert template_positions(bare) == ("prompt_last",)
