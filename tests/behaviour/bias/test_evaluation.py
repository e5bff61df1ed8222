"""The benchmark, end to end: mock models with a known gap, files, and a tiny real model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError

from tests.behaviour.continuing.made import (
    KIND,
    RUDE,
    World,
    keep_answers,
    sentiment_tool,
    write_answers,
)
from tests.correction.perspective_taking.test_local import wide
from tests.judging.test_classifier_scorer import save
from theodolite.behaviour.bias import evaluation as module
from theodolite.behaviour.bias import panel as panel_module
from theodolite.behaviour.bias.data import load_rows
from theodolite.behaviour.bias.evaluation import Options, check, evaluate, score_responses
from theodolite.behaviour.bias.panel import PLANS, BiasPanel
from theodolite.behaviour.bias.task import bias
from theodolite.behaviour.continuing import scores as scores_module
from theodolite.errors import ConfigError, DataError
from theodolite.measure.group_gaps import ALIKE
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

MEN = {row.request for row in load_rows() if row.category == "men"}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_module, "text_scorer", lambda name, **_: sentiment_tool())


def measured(tmp_path: Path, model: Any, name: str = "run", **options: Any) -> PanelResult:
    given = {"lm": "none", "k": 1, **options}
    with Run.create("eval bias", "tiny", out=tmp_path / name) as run:
        return evaluate(model, Options(**given), run=run, seed=1)


def by_name(result: PanelResult) -> dict[str, Measurement]:
    return {m.name.removeprefix("bias/"): m for m in result.measurements}


def about_men(turns: Sequence[Any]) -> bool:
    return any(text in turn.text for turn in turns for text in MEN)


def unkind_to_men(rude: bool, turns: Sequence[Any]) -> str:
    """Write what is rude about men alone, and about nobody once it has imagined readers."""
    imagined = "Now use what you imagined" in turns[-1].text
    return RUDE if about_men(turns) and not imagined else KIND


def test_a_known_gap_is_found_and_one_that_is_not_there_is_not(tmp_path: Path, stub: None) -> None:
    world = World({}, unkind_to_men)
    result = measured(tmp_path, world.model, methods="raw,base,pet_io", limit=8, n=1)
    found = by_name(result)
    for method in ("raw", "base"):
        m = found[f"{method}/gender/tone/worst"]
        assert m.value == pytest.approx(1.0) and m.floor is not None and m.value > m.floor.value
        assert found[f"{method}/region/tone/worst"].value == 0.0
        assert ALIKE in (found[f"{method}/region/tone/gf"].reason or "")
    assert found["prompts/gender/tone/worst"].value == 0.0
    change = found["pet_io-minus-base/gender/tone/worst"]
    assert change.value == pytest.approx(-1.0)
    assert found["pet_io-minus-base/gender/tone/worst/reduction"].value == pytest.approx(1.0)
    assert found["base/gender/tone/mean"].value == pytest.approx((-0.6 + 0.4) / 2)
    said = " ".join(result.findings)
    assert "gender: continuations by raw, base differ between the groups" in said
    assert "region: by raw, base, pet_io the gap between the groups is not dist" in said
    assert "the prompts alone" not in said


def test_tables_figures_and_labels_are_whole(tmp_path: Path, stub: None) -> None:
    world = World({}, unkind_to_men)
    result = measured(tmp_path, world.model, methods="base,pet_io", limit=3, n=2)
    rows = result.tables["bias_methods_tone"]
    assert [(row["domain"], row["method"]) for row in rows] == [
        ("gender", "base"),
        ("gender", "pet_io"),
        ("region", "base"),
        ("region", "pet_io"),
    ]
    assert rows[0]["gf"] > rows[1]["gf"] and rows[0]["tokens"] == 14 and rows[1]["calls"] == 4
    groups = {
        (row["method"], row["group"]): row["value"] for row in result.tables["bias_by_group_tone"]
    }
    assert groups["base", "men"] == pytest.approx(-0.6)
    assert groups["base", "women"] == pytest.approx(0.4)
    assert [m.name for m in result.measurements[:3]] == [
        "bias/base/gender/tone/gf",
        "bias/pet_io/gender/tone/gf",
        "bias/prompts/gender/tone/gf",
    ]
    for figure in result.figures:
        json.dumps(figure.spec)
        assert figure.table in result.tables
    for m in result.measurements:
        assert m.floor is not None or m.reason
        assert m.name in result.labels
    told = json.dumps([dict(result.tables), list(result.findings)])
    assert RUDE not in told and KIND not in told and not any(text in told for text in MEN)
    with Run.create("eval bias", "tiny", out=tmp_path / "kept") as run:
        run.save_panel("bias", result)


def test_matched_prompts_are_drawn_together() -> None:
    rows = load_rows(limit=3, seed=4)
    pairs = {
        group: {row.pair_id for row in rows if row.category == group}
        for group in rows.values("category")
    }
    assert {len(own) for own in pairs.values()} == {3}
    assert pairs["women"] == pairs["men"] and pairs["ostvale"] == pairs["karthene"]


def test_the_same_answers_from_a_file_give_the_same_figures(
    tmp_path: Path, stub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep_answers(monkeypatch, module)
    world = World({}, unkind_to_men)
    live = measured(tmp_path, world.model, methods="base,pet_io", limit=3, n=1)
    path = write_answers(tmp_path / "answers.jsonl", kept)
    again = by_name(score_responses(path, Options(lm="none"), seed=1))
    costs = ("calls", "tokens_in", "tokens_out", "capped")
    assert again == {k: m for k, m in by_name(live).items() if k.split("/")[-1] not in costs}


def test_no_method_is_called_what_the_prompts_alone_are(tmp_path: Path, stub: None) -> None:
    path = tmp_path / "answers.jsonl"
    row = {"id": load_rows()[0].id, "method": "prompts", "completion": "x"}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="names a method 'prompts'"):
        score_responses(path, Options(lm="none"))


def test_own_prompts_need_groups(tmp_path: Path, stub: None) -> None:
    path = tmp_path / "answers.jsonl"
    row = {"id": "mine", "prompt": "They said", "completion": "yes", "domain": "d"}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="'mine' belongs to no group"):
        score_responses(path, Options(lm="none"))
    source = tmp_path / "own.csv"
    source.write_text("id,prompt,category,domain\na,He said,men,gender\n")
    with pytest.raises(DataError, match="'gender' has the group 'men' alone"):
        check(Options(source=str(source)))
    source.write_text("id,prompt\na,He said\n")
    with pytest.raises(DataError, match="belongs to no group"):
        check(Options(source=str(source)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scorers": "alt_profanity"}, "kind lexical, which says nothing here"),
        ({"scorers": "vadre"}, "no scorer"),
        ({"scorers": "vader,vader"}, "named twice"),
        ({"limit": 0}, "task.limit is 0"),
        ({"pairs": "pairs.jsonl"}, "may be trained on"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        measured(tmp_path, World({}).model, methods="base", **options)
    assert not (tmp_path / "run").exists()


def test_a_judge_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="which no judge is asked for"),
        Run.create("eval bias", "tiny", out=tmp_path / "run") as run,
    ):
        evaluate(World({}).model, Options(), run=run, judge="openai/gpt-4o")


def test_a_classifiers_class_probabilities_are_the_regard(tmp_path: Path) -> None:
    folder = save(tmp_path / "regard", ("negative", "neutral", "positive"))
    world = World({}, unkind_to_men)
    result = measured(
        tmp_path, world.model, methods="base", limit=3, n=1, scorers=f"vader,hf:{folder}#positive"
    )
    found = by_name(result)
    distance = found["base/gender/hf:regard[positive]/l2"]
    assert distance.value is not None and distance.value > 0 and distance.floor is not None
    assert found["prompts/gender/hf:regard[positive]/l1"].value is not None
    assert "base/gender/hf:regard[positive]/gf" not in found
    assert result.tables["bias_methods_hf-regard-positive"][0]["l2"] == distance.value
    named = {"methods": "base", "scorers": f"hf:{folder}#positive"}
    alone = measured(tmp_path, world.model, "alone", limit=2, n=1, **named)
    assert alone.measurements[0].name == "bias/base/gender/hf:regard[positive]/l2"
    assert alone.figures and alone.findings


def test_inspect_users_see_gaps_by_domain(tmp_path: Path, stub: None) -> None:
    world = World({}, unkind_to_men)
    (log,) = inspect_eval(
        bias(limit=2, n=2),
        model=world.model,
        log_dir=str(tmp_path),
        display="none",
        ctl_server=False,
    )
    assert log.status == "success" and log.results is not None
    found = {score.name: score.metrics for score in log.results.scores}
    gaps = {m.name: m.value for m in found["tone"].values() if m.group == "sd"}
    assert gaps == pytest.approx({"gender": 0.5, "region": 0.0})


def test_inspect_users_are_told_in_one_sentence() -> None:
    with pytest.raises(PrerequisiteError, match="kind lexical"):
        bias(scorers="alt_profanity")
    with pytest.raises(PrerequisiteError, match="no method"):
        bias(method="pet_boht")


def test_cost_fits_the_profiles() -> None:
    costs = [BiasPanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 20 < costs[1].seconds <= 5 * 60
    assert costs[1].seconds < costs[2].seconds <= 20 * 60


def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["quick"], limit=2, caps="4,4,3")
    monkeypatch.setattr(panel_module, "PLANS", {"quick": small})
    monkeypatch.setattr(module, "lm_of", lambda options, model=None: model)

    def run_panel(name: str) -> list[dict[str, Any]]:
        with Run.create("audit", "tiny", out=tmp_path / name) as run:
            context = PanelContext(wide(), run, "quick", 0, SilentProgress(), judge="some/judge")
            result = BiasPanel().run(context)
        assert result.findings and result.limits and result.how and result.figures
        return [m.as_dict() for m in result.measurements]

    assert run_panel("a") == run_panel("b")


def test_official_beginnings_bring_their_groups() -> None:
    from theodolite.data.catalogue import official

    try:
        official("perspective-taking/bold_1.5k")
    except DataError:
        pytest.skip("the official rows are not at hand")
    rows = load_rows("bold", limit=4, seed=2)
    assert len(rows) == 20 and {row.meta["domain"] for row in rows} == {"gender", "race"}
    assert len(load_rows("bold")) == 1500
