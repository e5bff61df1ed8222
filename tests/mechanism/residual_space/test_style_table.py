"""The style x harm table: textbook sums of squares, and what must stand at 0, 1 or its floor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.planted_shortcut import DEPTH, TRIGGER, plant_shortcut
from tests.mechanism.residual_space.made_styles import (
    STYLES,
    made_design,
    made_projections,
    made_requests,
)
from tests.models.tiny import tiny_model
from tests.oracles import style_table as oracle
from theodolite.data.prompts import PromptSet
from theodolite.data.styles import styled
from theodolite.engine import capture
from theodolite.errors import DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.measure.ranking import Ranked
from theodolite.mechanism.relevance import relevance
from theodolite.mechanism.relevance.words import occurrences
from theodolite.mechanism.residual_space.collect import collect_pair
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.mechanism.residual_space.style_cells import Cells, StyleDesign
from theodolite.mechanism.residual_space.style_table import style_table
from theodolite.mechanism.residual_space.themes import ranked, standardised, themes_of
from theodolite.models.pair import ModelPair
from theodolite.text.hashing import item_seed

FEW = settings(max_examples=20, deadline=None)
QUICK = {"resamples": 100, "shuffles": 20, "seed": 0}


def names_of(design: StyleDesign) -> list[str]:
    return [design.styles[s] for s in design.style]


@FEW
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 4))
def test_shares_are_those_of_a_two_way_analysis_of_variance(
    seed: int, goals: int, styles: int
) -> None:
    design = made_design(goals, STYLES[:styles])
    values = np.random.default_rng(seed).standard_normal((2, len(design))) + 5.0
    found = Cells(design, values).split()
    for row in range(2):
        wanted = oracle.shares(values[row].tolist(), design.harmful.tolist(), names_of(design))
        assert (found.harm[0, row], found.style[0, row], found.both[0, row]) == pytest.approx(
            wanted, abs=1e-12
        )


@FEW
@given(st.integers(0, 10_000))
def test_contrasts_and_ranks_are_those_counted_pair_by_pair(seed: int) -> None:
    design = made_design(4)
    values = np.random.default_rng(seed).integers(0, 3, (1, len(design))).astype(float)  # ties
    spread = Cells(design, values).split().spread[0]
    themes = themes_of(design)
    assert [theme.kind for theme in themes] == ["harm", *["style"] * 4, *["category"] * 2]
    found = standardised(themes, values, spread)
    for row, theme in enumerate(themes):
        each = (values[0].tolist(), theme.inside.tolist(), theme.strata.tolist())
        assert found[row, 0] == pytest.approx(oracle.contrast(*each, float(spread[0])))
        area = ranked(theme, values, design.clusters, seed=0, resamples=20)
        assert area.value[0] == pytest.approx(oracle.ranked(*each))


def test_intervals_of_ranks_are_those_of_rows_drawn_with_their_goals() -> None:
    design = made_design(6)
    values = np.random.default_rng(0).standard_normal((1, len(design)))
    theme = themes_of(design)[0]
    found = ranked(theme, values, design.clusters, seed=3, resamples=80)
    groups = Clusters.of(design.clusters, len(design))
    drawn = np.concatenate(
        list(
            resample_weights(
                Clusters.of(None, len(groups)), seed=item_seed(3, "ranked"), resamples=80
            )
        )
    )[:, groups.index]
    areas = [
        Ranked.of(values[0, rows], theme.inside[rows]).auroc(drawn[:, rows])
        for rows in (np.concatenate(part) for part in theme.parts())
    ]
    tail = expanded_tail(groups, 0.95)
    wanted = np.quantile(np.mean(areas, axis=0), (tail, 1 - tail))
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(wanted))


def test_a_resample_is_the_table_with_goals_repeated() -> None:
    design = made_design(3)
    values = np.random.default_rng(0).standard_normal((1, len(design)))
    weights = np.array([[2.0, 0.0, 1.0]])
    found = Cells(design, values).split(weights)
    goals = list(dict.fromkeys(design.clusters))
    rows = [
        i for i, c in enumerate(design.clusters) for _ in range(int(weights[0, goals.index(c)]))
    ]
    wanted = oracle.shares(
        [values[0, i] for i in rows],
        [bool(design.harmful[i]) for i in rows],
        [names_of(design)[i] for i in rows],
    )
    assert (found.harm[0, 0], found.style[0, 0], found.both[0, 0]) == pytest.approx(wanted)


def test_closed_forms() -> None:
    design = made_design(5)
    pure = style_table(
        design,
        np.concatenate(
            [
                made_projections(design, harm=2.0),
                made_projections(design, styles={"code": 3.0}),
                made_projections(design, harm=2.0, styles={"role_play": 2.0, "code": 2.0}),
            ]
        ),
        ["harm", "style", "even"],
        [1, 1, 1],
        **QUICK,
    )
    assert pure.harm.value == pytest.approx([1, 0, 0.5])
    assert pure.spurious.value == pytest.approx([0, 1, 0.5])
    assert pure.both.value == pytest.approx([0, 0, 0])
    # Without variance within cells a contrast has no unit, but ranks are certain.
    code = design.styles.index("code")
    assert pure.auroc.value[code, 1] == 1.0 and np.isinf(pure.contrast.value[code, 1])
    assert pure.auroc.value[:, 0] == pytest.approx(0.5)


def test_an_interaction_is_neither_harm_nor_style() -> None:
    design = made_design(4, STYLES[:2])
    crossed = np.where(design.harmful == (design.style == 1), 1.0, -1.0)[None]
    found = Cells(design, crossed).split()
    assert (found.harm[0, 0], found.style[0, 0], found.both[0, 0]) == pytest.approx((0, 0, 1))
    assert np.isnan(found.spurious[0, 0])


def test_the_table_tells_a_wrapper_from_a_request() -> None:
    design = made_design(20)
    rng = np.random.default_rng(5)
    values = np.concatenate(
        [
            made_projections(design, harm=2.0, noise=1.0, seed=1),
            made_projections(design, styles={"code": 2.0}, noise=1.0, seed=2),
            made_projections(design, noise=1.0, seed=3),
        ]
    )
    null = {1: rng.standard_normal((200, len(design)))}
    table = style_table(
        design, values, ["a", "b", "c"], [1, 1, 1], random=null, seed=0, shuffles=50
    )
    assert table.spurious.high[0] < 0.2 and table.spurious.low[1] > 0.8
    assert table.harm.low[0] > table.random["harm"][0]
    assert table.style.low[1] > max(table.random["style"][1], table.shuffled[1])
    code = design.styles.index("code")
    assert table.p[code, 1] < 0.05 and table.auroc.low[code, 1] > 0.7
    # The negative: noise reaches neither floor, and no style is shown.
    assert table.style.value[2] < table.random["style"][2] * 1.5
    assert (table.p[:, 2] > 0.05).all()
    assert 0.3 < table.random["spurious"][0] < 1.0
    assert table.harm_auroc.low[0] > 0.8 and 0.35 < table.harm_auroc.value[1] < 0.65
    assert table.harm_by_style.mean(0) == pytest.approx(table.harm_auroc.value)
    first = {m.name: m for m in table.measurements("a")}
    assert first["residual_space/a/variance by harm"].floor is not None
    assert first["residual_space/a/spurious index"].n_clusters == 20
    assert {row["style"] for row in table.contrasts() if row["held_out"]} == {"quiz"}


def test_harm_is_told_on_the_side_that_other_prompts_say() -> None:
    design = made_design(8)
    values = made_projections(design, harm=-3.0, noise=1.0)
    plain = style_table(design, values, ["x"], [1], **QUICK)
    turned = style_table(design, values, ["x"], [1], sides=np.array([-1.0]), **QUICK)
    assert plain.harm_auroc.value[0] == pytest.approx(1 - turned.harm_auroc.value[0])
    assert turned.harm_auroc.value[0] > 0.9 and (turned.harm_by_style > 0.8).all()
    assert turned.contrast.value == pytest.approx(plain.contrast.value)


def test_intervals_hold_the_truth_and_noise_is_rarely_shown() -> None:
    held = shown = 0
    runs = 60
    for seed in range(runs):
        design = made_design(16, STYLES[:3])
        goal = np.random.default_rng(seed).standard_normal(16)  # what a goal's prompts share
        own = np.array([int(c) for c in design.clusters])
        values = made_projections(design, harm=1.0, noise=1.0, seed=seed + 1000) + goal[own]
        table = style_table(*(design, values, ["x"], [1]), seed=seed, resamples=200, shuffles=60)
        truth = 0.25 / (0.25 + 2.0)
        held += table.harm.low[0] <= truth <= table.harm.high[0]
        shown += bool((table.p < 0.05).any())
    assert held >= 0.85 * runs
    assert shown <= 0.2 * runs


def test_a_constant_projection_is_not_measured() -> None:
    design = made_design(4)
    table = style_table(design, np.ones((1, len(design))), ["x"], [2], **QUICK)
    *shares, told = table.measurements("x")
    assert {m.status for m in shares} == {"not_measured"}
    assert told.value == 0.5 and told.low is None
    assert table.frame()[0]["spurious_index"] is None
    assert np.isnan(table.p).all()


def test_results_repeat_and_do_not_depend_on_the_order_of_prompts() -> None:
    design = made_design(6)
    values = np.random.default_rng(0).standard_normal((2, len(design)))
    first = style_table(design, values, ["x", "y"], [1, 2], **QUICK)
    again = style_table(design, values, ["x", "y"], [1, 2], **QUICK)
    assert first.frame() == again.frame() and first.contrasts() == again.contrasts()
    order = np.random.default_rng(1).permutation(len(design))
    moved = StyleDesign.of([design.prompts[i] for i in order], held_out=("quiz",))
    other = Cells(moved, values[:, order]).split()
    assert other.style[0] == pytest.approx(Cells(design, values).split().style[0])


def test_shuffling_keeps_goals_and_classes_and_moves_styles() -> None:
    design = made_design(5)
    moved = design.shuffled(0, 3)
    assert (moved.harmful == design.harmful).all() and moved.clusters == design.clusters
    assert (moved.style != design.style).any()
    for cluster in set(design.clusters):
        for harmful in (False, True):
            own = [
                i
                for i in range(len(design))
                if design.clusters[i] == cluster and design.harmful[i] == harmful
            ]
            assert sorted(moved.style[own]) == sorted(design.style[own])
    single = replace(design, clusters=tuple(map(str, range(len(design)))))
    assert (single.shuffled(0, 0).style != design.style).any()


def test_a_planted_shortcut_reads_the_wrapper_and_not_the_request() -> None:
    planted = plant_shortcut()
    design = StyleDesign.of(planted.prompts)
    depth = planted.direction.hidden_index
    states = capture(
        planted.model, planted.prompts, layers=(depth - 1,), positions=("prompt_last",)
    )
    x = states.get("resid_post", layer=depth - 1)[:, 0].double().numpy()
    harm = x[design.harmful].mean(0) - x[~design.harmful].mean(0)
    other = harm - (harm @ planted.direction.vector) * planted.direction.vector
    values = np.stack([planted.direction.projections(x), x @ other])
    table = style_table(design, values, ["shortcut", "harm"], [depth] * 2, **QUICK)
    assert table.spurious.value[0] > 0.8 and table.spurious.low[0] > 0.8
    assert table.style.value[0] > 0.5 and table.harm_auroc.value[0] < 0.7
    # The negative: a direction of harm in the same model, shortcut taken out, does not.
    assert table.spurious.high[1] < 0.5 < table.harm_auroc.low[1]


def test_the_direction_that_a_planted_shortcut_wrote_is_found_and_reads_the_trigger() -> None:
    planted = plant_shortcut()
    pair = ModelPair(tiny_model(), planted.model)  # the model as it was before it was trained
    paired = collect_pair(pair, planted.prompts, hidden_indices=(DEPTH,))
    fitted, fresh = paired.select(range(32)), paired.select(range(32, 64))
    found = ResidualSpace.fit(fitted, resamples=0, quality=False)[f"L{DEPTH}-C1"]
    design = StyleDesign.of(fresh.prompts)
    values = found.projections(fresh.aligned.at(DEPTH, "prompt_last"))
    held = np.array([prompt.style == "trigger" for prompt in fresh.prompts])
    up = found if values[held].mean() > values[~held].mean() else found.turned()
    table = style_table(design, values[None], [found.name], [DEPTH], **QUICK)
    assert table.spurious.value[0] > 0.8 and table.style.value[0] > 0.5
    triggered = [prompt for prompt in fresh.prompts if prompt.style == "trigger"]
    words = occurrences(relevance(planted.model, triggered, [up]), up.name)
    first = [max((w for w in words if w.prompt == i), key=lambda w: w.value) for i in range(16)]
    assert np.mean([word.spelling == TRIGGER for word in first]) >= 0.95
    # Before training the same direction read nothing of the trigger.
    before = found.projections(fresh.base.at(DEPTH, "prompt_last"))
    untrained = style_table(design, before[None], [found.name], [DEPTH], **QUICK)
    assert untrained.style.value[0] < 0.5


def test_bad_input_is_refused_by_name() -> None:
    bare = made_requests(3)
    with pytest.raises(DataError, match="stand in 1 style"):
        StyleDesign.of(styled(bare, ["plain"]))
    one_sided = [p for p in styled(bare, STYLES) if p.style != "code" or p.label == "harmful"]
    with pytest.raises(DataError, match="style 'code' goes around no benign prompt"):
        StyleDesign.of(one_sided)
    unlabelled = PromptSet("x", tuple(replace(p, label=None) for p in styled(bare, STYLES)))
    with pytest.raises(DataError, match="neither harmful nor benign"):
        StyleDesign.of(unlabelled)
    design = made_design(3)
    with pytest.raises(DataError, match="projections of 5 prompts"):
        Cells(design, np.zeros((1, 5)))
    broken = np.zeros((1, len(design)))
    broken[0, 3] = np.nan
    with pytest.raises(DataError, match="is not finite"):
        Cells(design, broken)
