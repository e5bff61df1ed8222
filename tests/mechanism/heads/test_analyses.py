"""What analyses of heads say: true of the numbers, with the control, and only where it is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mechanism.heads.made_scores import HEADS, LAYERS, made_scores
from theodolite.errors import ConfigError
from theodolite.mechanism.explain import ANALYSES, load_analysis, panel_of, request_schema
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.analyses import map as heads_map
from theodolite.mechanism.heads.analyses import overlap as heads_overlap
from theodolite.mechanism.heads.analyses.options import (
    WORDS,
    AblationOptions,
    ablation_of,
    check_lasting,
    in_words,
    named_groups,
)
from theodolite.mechanism.heads.analyses.screened import Screened
from theodolite.mechanism.heads.figures import DETAILED, concentration, head_map, leading_heads
from theodolite.runs.atomic import part_path

ALL = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]


def test_a_head_that_is_about_harm_is_named_and_one_that_is_not_is_not() -> None:
    scores = made_scores({(3, 1): 1.0, (1, 2): 0.6}, {(3, 1): 1.0})
    said = " ".join(heads_map.report(scores).findings)
    assert "Taking out head 3-1" in said
    assert "1 of 15 heads" in said and "together: 1-2." in said
    assert "Head 3-1 is not among them" in said


def test_nothing_specific_is_said_to_be_not_shown() -> None:
    scores = made_scores({(3, 1): 1.0}, {(3, 1): 1.1})
    assert "No head is shown to matter more" in " ".join(heads_map.report(scores).findings)


def test_without_a_control_nothing_is_said_of_harm() -> None:
    result = heads_map.report(made_scores({(3, 1): 1.0}))
    assert "not known whether that is about harm" in " ".join(result.findings)
    missing = {m.name for m in result.measurements if m.status == "not_measured"}
    assert {"heads/specific_heads", "heads/top/specificity"} <= missing
    assert "nothing says whether a head is about harm" in result.figures[0].caption
    assert heads_map.summary(result)[0]["harm more?"] == "n/a"


def test_what_leads_the_report_says_whether_the_map_is_about_harm() -> None:
    result = heads_map.report(made_scores({(3, 1): 1.0}, {}))
    names = [m.name for m in result.measurements]
    assert names[:3] == ["heads/specific_heads", "heads/top/specificity", "heads/top/kl"]
    assert len(names) == len(set(names)) > 5
    assert set(result.labels) <= set(names) and result.labels[names[0]]


def test_a_screened_map_leaves_out_what_needs_all_heads() -> None:
    kept, audited = ALL[:6], ALL[9:12]
    chosen = Screened(tuple(kept), tuple(audited), 1, 12)
    scores = made_scores({ALL[2]: 1.0}, {}, scored=[*kept, *audited])
    result = heads_map.report(scores, chosen)
    assert len(result.tables["head_scores"]) == 9
    assert not [m for m in result.measurements if "share of" in m.name]
    assert [f.name for f in result.figures] == ["heads", "heads_leading"]
    (worth,) = result.tables["screening"]
    assert worth["certified"] and worth["missed"] == 0


def test_a_planted_miss_of_the_screening_is_told() -> None:
    kept, audited = ALL[:6], ALL[9:12]
    scores = made_scores({ALL[10]: 1.0, ALL[2]: 0.5}, {}, scored=[*kept, *audited])
    result = heads_map.report(scores, Screened(tuple(kept), tuple(audited), 1, 12))
    (worth,) = result.tables["screening"]
    assert not worth["certified"] and worth["missed"] == 1
    assert "not certified" in " ".join(result.how) and "3-1" in " ".join(result.how)
    assert "the screen missed 3-1" in " ".join(result.findings)


def test_the_map_has_layers_across_and_tells_a_cell_its_numbers() -> None:
    scores = made_scores({(3, 1): 1.0}, {})
    figure = head_map(scores.scores(), how="zero")
    trace = figure.spec["data"][0]
    assert trace["x"] == list(range(LAYERS)) and trace["y"] == list(range(HEADS))
    best = trace["customdata"][1][3]
    row = scores.scores()[0]
    assert best[0] == pytest.approx(row["kl"], rel=0.01)
    for word in ("benign", "harmful minus benign", "[%{customdata[1]"):
        assert word in trace["hovertemplate"]
    frames = [(s["x0"] + 0.5, s["y0"] + 0.5) for s in figure.spec["layout"]["shapes"]]
    assert frames == [(3.0, 1.0)]
    json.dumps(figure.spec, allow_nan=False)


def test_heads_without_a_score_are_blank() -> None:
    scores = made_scores({}, scored=[(0, 0), (4, 2)])
    trace = head_map(scores.scores(), how="zero").spec["data"][0]
    assert sum(cell is not None for line in trace["z"] for cell in line) == 2


def test_the_map_of_a_large_model_fits_the_report() -> None:
    row = made_scores({}, {}).scores()[0]
    rows = [{**row, "layer": i // 64, "head": i % 64} for i in range(80 * 64)]
    assert len(rows) > DETAILED
    spec = head_map(rows, how="zero").spec
    assert len(json.dumps(spec)) < 400_000
    assert "benign" in spec["data"][0]["hovertemplate"]


def test_few_heads_that_hold_everything_raise_the_curve_at_once() -> None:
    steep = concentration(made_scores({(3, 1): 50.0}).scores()).spec["data"][0]["y"]
    flat = concentration(made_scores({}).scores()).spec["data"][0]["y"]
    assert steep[1] > 0.9 > flat[1]
    assert steep[-1] == flat[-1] == pytest.approx(1.0)


def test_the_leading_heads_stand_in_order_beside_benign_requests() -> None:
    spec = leading_heads(made_scores({(3, 1): 1.0, (1, 2): 0.6}, {}).scores()).spec
    assert [t["name"] for t in spec["data"]] == ["harmful requests", "benign requests"]
    assert spec["layout"]["yaxis"]["ticktext"][:2] == ["3-1", "1-2"]


def test_equal_rankings_share_all_and_random_ones_what_chance_says() -> None:
    same = made_scores({(3, 1): 1.0, (1, 2): 0.6})
    rankings = [heads_overlap.ranking_of(name, same) for name in ("a", "b")]
    result = heads_overlap.report(rankings, 3, [])
    (row,) = result.tables["overlap"]
    assert row["shared"] == 3 and row["spearman"] == pytest.approx(1.0)
    assert row["expected"] == pytest.approx(9 / 15)
    assert "share 3 of their top 3" in result.findings[0]


@pytest.mark.parametrize("operator", WORDS)
def test_every_operator_has_words(operator: str) -> None:
    assert WORDS[operator] in in_words(ablation_of(AblationOptions(operator)))


def test_a_dose_is_in_the_words() -> None:
    assert "0.5" in in_words(HeadAblation("ua", 0.5))
    assert "1e-05" in in_words(HeadAblation("sc"))


def test_groups_are_named_by_their_heads() -> None:
    assert named_groups("18-8, 3-2; 12-0") == {"3-2 18-8": [(3, 2), (18, 8)], "12-0": [(12, 0)]}
    assert named_groups(" ; ") == {}
    with pytest.raises(ConfigError, match="layer-head"):
        named_groups("18")


def test_operators_of_one_request_cannot_last() -> None:
    with pytest.raises(ConfigError, match="dataset_mean"):
        check_lasting(AblationOptions("dataset_mean"))


@pytest.mark.parametrize("name", [name for name in ANALYSES if name.startswith("heads ")])
def test_every_part_is_an_analysis_of_its_own(name: str) -> None:
    analysis = load_analysis(name)
    assert analysis.TITLE and analysis.QUESTION.endswith("?") and analysis.VERSION
    assert request_schema(name)().task == analysis.Options()
    part_path(Path(), panel_of(name), ".json")
