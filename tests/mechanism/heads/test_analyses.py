"""What analyses of heads say: true of the numbers, with the control, and only where it is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.mechanism.heads.made_scores import HEADS, LAYERS, made_scores, turned
from tests.mechanism.heads.test_asr_result import INTACT, NO, OK, OUT, column, planted
from tests.models.tiny import tiny_model
from theodolite.errors import ConfigError
from theodolite.mechanism.explain import (
    ANALYSES,
    Subject,
    load_analysis,
    panel_of,
    request_schema,
)
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.analyses import asr as heads_asr
from theodolite.mechanism.heads.analyses import group as heads_group
from theodolite.mechanism.heads.analyses import map as heads_map
from theodolite.mechanism.heads.analyses import overlap as heads_overlap
from theodolite.mechanism.heads.analyses import transplant as heads_transplant
from theodolite.mechanism.heads.analyses.options import (
    WORDS,
    AblationOptions,
    ablation_of,
    check_lasting,
    check_sizes,
    in_words,
    named_groups,
)
from theodolite.mechanism.heads.analyses.screened import Screened, told
from theodolite.mechanism.heads.figures import DETAILED, concentration, head_map, leading_heads
from theodolite.mechanism.heads.sahara import HeadGroup
from theodolite.mechanism.heads.screening import Certificate
from theodolite.mechanism.requests import read_harmful
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
    assert {"heads/specific_heads", "heads/head 3-1/specificity"} <= missing
    assert "nothing says whether a head is about harm" in result.figures[0].caption
    assert heads_map.summary(result)[0]["harm more?"] == "n/a"


def test_what_leads_the_report_says_whether_the_map_is_about_harm() -> None:
    result = heads_map.report(made_scores({(3, 1): 1.0}, {}))
    names = [m.name for m in result.measurements]
    head = "heads/head 3-1"
    assert names[:3] == ["heads/specific_heads", f"{head}/specificity", f"{head}/kl"]
    assert len(names) == len(set(names)) == 6
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
    assert worth["no_miss"] and worth["missed"] == 0 and worth["at_most"] == 1
    said = " ".join(result.how)
    assert "no miss among 3 audited heads" in said and "certified" not in said
    assert "among the top 10 of the heads scored" in result.findings[0]


def test_a_planted_miss_of_the_screening_is_told() -> None:
    kept, audited = ALL[:6], ALL[9:12]
    scores = made_scores({ALL[10]: 1.0, ALL[2]: 0.5}, {}, scored=[*kept, *audited])
    result = heads_map.report(scores, Screened(tuple(kept), tuple(audited), 1, 12))
    (worth,) = result.tables["screening"]
    assert not worth["no_miss"] and worth["missed"] == 1
    assert "the screening missed 3-1" in " ".join(result.how)
    assert "the screening missed 3-1" in " ".join(result.findings)


@pytest.mark.parametrize(("unseen", "says"), [(2, "at most 2 of the top 10"), (40, "too few")])
def test_no_more_than_the_top_can_be_missed(unseen: int, says: str) -> None:
    found = Certificate(10, 0.1, (), 30, 200, unseen, 0.95)
    chosen = Screened(tuple(ALL), (), 10, 12)
    worth, row, sentence = told(chosen, found)
    assert worth.value == row["at_most"] == min(unseen, 10) and worth.floor is None
    assert says in sentence and "no miss among 30 audited heads" in sentence


def test_dataset_level_leads_with_the_angle() -> None:
    result = heads_map.report(turned(), level="dataset")
    assert result.measurements[0].name == "heads/head 4-0/angle_r1"
    assert result.tables["head_scores"][0]["name"] == "4-0"
    assert "Taking out head 4-0 turns" in result.findings[0] and "degrees" in result.findings[0]
    first = heads_map.summary(result)[0]
    assert (first["head"], first["turn (degrees)"]) == ("4-0", "90")
    assert result.figures[0].name == "heads_angle"
    assert result.figures[0].title != result.figures[1].title
    assert "degrees" in result.figures[0].caption and "angle" in result.figures[0].caption
    assert not result.figures[0].spec["layout"]["shapes"]
    assert result.figures[2].spec["layout"]["yaxis"]["ticktext"][0] == "4-0"
    assert "4-0" in result.labels["heads/head 4-0/angle_r1"]


def test_dataset_level_cannot_be_screened() -> None:
    options = heads_map.Options(level="dataset", screen="fisher")
    with pytest.raises(ConfigError, match="angle"):
        heads_map.check(options, request_schema("heads map")())


@pytest.mark.parametrize("level", ["query", "dataset"])
def test_scores_at_rounding_are_no_finding(level: str) -> None:
    scores = replace(turned(), noise=2.7, noise_angle=91.0)
    (said,) = heads_map.report(scores, level=level).findings
    assert "No head changes anything above rounding" in said


@pytest.mark.parametrize(("prompts", "known"), [(7, False), (8, True)])
def test_few_requests_do_not_tell_of_resamples(prompts: int, known: bool) -> None:
    said = heads_map.report(made_scores({(3, 1): 1.0}, prompts=prompts)).findings[0]
    assert (f"resamples of these {prompts} requests" in said) == known


def test_few_pairs_are_said_to_be_too_few() -> None:
    few = made_scores({(3, 1): 1.0}, {(3, 1): 1.0}, prompts=3)
    said = " ".join(heads_map.report(few).findings)
    assert "3 pairs are too few to show one head out of 15" in said
    assert "--profile standard" in said and "No head is shown" not in said


@pytest.mark.parametrize(
    ("benign", "says"), [(1.3, "at least as much"), (0.9, "almost as much"), (0.5, "less under")]
)
def test_the_highest_head_is_held_against_benign_requests(benign: float, says: str) -> None:
    scores = made_scores({(3, 1): 1.0}, {(3, 1): benign}, prompts=2)
    scores.kl[:, 3, 1] = [1.0, 1.0, benign, benign]
    row = scores.scores()[0]
    said = heads_map.report(scores).findings[-1]
    assert says in said and f"{row['kl_benign']:.3g}" in said and f"{row['kl']:.3g}" in said


def test_a_cell_tells_units_and_percent() -> None:
    hover = head_map(made_scores({(3, 1): 1.0}, {}).scores(), how="zero").spec["data"][0]
    words = hover["hovertemplate"]
    assert "harmful %{customdata[0]:.3~g} nats, 95 % [%{customdata[1]:.3~g}, " in words
    assert "in their top 10 %{customdata[9]:.0%}" in words
    assert hover["customdata"][1][3][9] == 1.0  # 3-1 leads every request


def group(by: str = "kl") -> HeadGroup:
    scores = turned()
    maps = np.stack([scores.map(by)] * 2)
    return HeadGroup(((1, 2), (4, 0)), maps, by, (scores, scores))


@pytest.mark.parametrize(("by", "first"), [("kl", "1-2"), ("angle_r1", "4-0")])
def test_a_group_stands_beside_the_map_it_was_chosen_from(by: str, first: str) -> None:
    found = group(by)
    result = heads_group.report(found)
    ranks = [found.scores[0].ranking(by).index(head) + 1 for head in found.heads]
    assert result.tables["head_scores"][0]["name"] == first
    assert result.findings[0].endswith(f"Alone they rank {ranks[0]}, {ranks[1]} of 15.")


@pytest.mark.parametrize(
    ("benign", "cost", "says", "not_says"),
    [
        (True, True, "2 harmful requests and 2 benign ones", "no benign"),
        (False, True, "of bundled benign requests", "no benign"),
        (True, False, "no benign ones", "and 2"),
    ],
)
def test_a_group_says_which_benign_requests_it_asked(
    benign: bool, cost: bool, says: str, not_says: str
) -> None:
    requests = read_harmful(None, None, limit=2)
    subject = Subject(
        tiny_model("llama"), requests if benign else replace(requests, benign=()), "none"
    )
    said = heads_group.asked(subject, heads_group.Options(cost=cost))
    assert says in said and not_says not in said


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


def test_chance_is_divided_by_the_shorter_ranking_and_colours_go_from_none_to_all() -> None:
    full = heads_overlap.ranking_of("a", made_scores({(3, 1): 1.0, (1, 2): 0.6}))
    short = replace(full, name="b", heads=full.heads[:2], scores=full.scores[:2])
    (figure,) = heads_overlap.report([full, short], 3, []).figures
    assert figure.spec["data"][0]["zmin"] == 0 and figure.spec["data"][0]["zmax"] == 1
    assert f"would share {3 * 2 / 15 / 2:.1%}." in figure.caption
    assert "of all where a ranking has fewer" in figure.caption
    (figure,) = heads_overlap.report([full, replace(full, name="b")], 3, []).figures
    assert "fewer" not in figure.caption and f"would share {3 / 15:.1%}." in figure.caption


FAR, BACK = column(*[OK] * 10), column(*[NO] * 10)


def test_a_group_is_said_to_raise_only_what_it_is_shown_to_raise() -> None:
    said = heads_asr.findings(planted({"intact": BACK, "out": FAR}))
    assert said[1].startswith("Taking out 0-0 raises it to 100%") and "tried" not in said[1]
    said = heads_asr.findings(planted({"intact": BACK, "out": FAR, "less": OUT}))
    assert "raises it to 100%" in said[1] and "(one of 2 groups tried)" in said[1]
    assert "adjusted over 2 groups" in said[1]


def test_what_is_not_shown_is_not_said_to_be_answered() -> None:
    said = " ".join(heads_asr.findings(planted({"intact": BACK, "out": BACK})))
    assert "is not shown to change it: 0%" in said and "answered without" not in said
    few = column(OK, *[NO] * 9)
    said = " ".join(heads_asr.findings(planted({"intact": BACK, "out": few})))
    assert "is not shown to change it: 10%" in said


def test_a_group_that_makes_the_model_refuse_lowers_it() -> None:
    said = heads_asr.findings(planted({"intact": FAR, "out": BACK}))
    assert "There is hardly a refusal to break." in said[0]
    assert said[1].startswith("Taking out 0-0 lowers it to 0%")
    assert "hardly" not in heads_asr.findings(planted({"intact": INTACT}))[0]
    said = heads_asr.findings(planted({"intact": FAR, "out": BACK, "same": FAR}))
    assert "None of 2 groups tried is shown to raise it" in said[1]
    assert "Shown to lower it: 0-0." in said


def test_parts_of_a_base_have_words_of_their_own() -> None:
    result = planted({"aligned": BACK, "base": FAR, "base-attention": FAR, "base-mlp": BACK})
    told = heads_transplant.report(result, [])
    words = told.labels["heads/asr/base-attention/change"]
    assert words == "change in requests answered, base attention"
    assert told.labels["heads/asr/aligned"] == "harmful requests answered, aligned model"
    assert set(told.labels) <= {m.name for m in told.measurements}
    assert "Random" not in told.figures[0].caption
    assert "not shown to differ" not in told.findings[2]
    assert told.findings[3].endswith("p = 1: not shown to differ).")


def test_groups_larger_than_the_model_are_refused_before_anything_runs() -> None:
    anatomy = tiny_model().anatomy
    count = anatomy.n_layers * anatomy.n_heads
    check_sizes(anatomy, HeadAblation(), count // 2, 3)
    check_sizes(anatomy, HeadAblation(), count, 0)
    check_sizes(anatomy, HeadAblation(), count, 3, disjoint=False)
    with pytest.raises(ConfigError, match=f"the model has {count} heads"):
        check_sizes(anatomy, HeadAblation(), count + 1, 0)
    with pytest.raises(ConfigError, match="random=0"):
        check_sizes(anatomy, HeadAblation(), count // 2 + 1, 1)


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
