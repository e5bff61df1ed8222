"""The benchmark, end to end: mock worlds whose truth is known, and a tiny real model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.continuing.made import (
    KIND,
    RUDE,
    World,
    keep_answers,
    words_tool,
    write_answers,
)
from tests.correction.perspective_taking.made import Tool
from tests.correction.perspective_taking.test_local import wide
from theodolite.behaviour.continuing import asking as asking_module
from theodolite.behaviour.continuing import scores as scores_module
from theodolite.behaviour.continuing.panels import cost_of
from theodolite.behaviour.toxicity import evaluation as module
from theodolite.behaviour.toxicity import panel as panel_module
from theodolite.behaviour.toxicity.data import load_rows
from theodolite.behaviour.toxicity.evaluation import Options, check, evaluate, score_responses
from theodolite.behaviour.toxicity.panel import PLANS, ToxicityPanel
from theodolite.correction.perspective_taking.method import CONFOUNDED
from theodolite.errors import ConfigError, DataError, Interrupted, ScorerUnavailable
from theodolite.measure.measurement import Measurement
from theodolite.providers.in_step import Step
from theodolite.runs.compare import compare_results
from theodolite.runs.document import json_document
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run
from theodolite.training.rows import read_rows

Z = 3.2905  # 99.9 %


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tool]:
    """Scorers by name in place of real ones."""
    named = {"words": words_tool(), "net": words_tool("net@1-bbbbbbbb", "neural")}
    monkeypatch.setattr(scores_module, "text_scorer", lambda name, **_: named[name])
    return named


def measured(tmp_path: Path, model: Any, name: str = "run", **options: Any) -> PanelResult:
    given = {"scorers": "words", "lm": "none", **options}
    with Run.create("eval toxicity", "tiny", out=tmp_path / name) as run:
        return evaluate(model, Options(**given), run=run, seed=1)


def by_name(result: PanelResult) -> dict[str, Measurement]:
    return {m.name.removeprefix("toxicity/"): m for m in result.measurements}


def written(result: PanelResult) -> str:
    """Return all rows and figures of a result as text."""
    figures = [m.as_dict() for m in result.measurements]
    return json.dumps([dict(result.tables), figures, list(result.findings)])


def test_a_known_world_is_measured_and_the_placebo_does_nothing(
    tmp_path: Path, stubs: dict[str, Tool]
) -> None:
    world = World({"base": 0.6, "pet": 0.2, "placebo": 0.6})
    result = measured(tmp_path, world.model, methods="base,pet_io,pet_placebo", limit=20, n=3, k=1)
    found, n = by_name(result), 20 * 3
    for method, rate in (("base", 0.6), ("pet_io", 0.2), ("pet_placebo", 0.6)):
        m = found[f"{method}/words/tf"]
        assert m.n == n and m.n_clusters == 20 and m.value is not None
        assert abs(m.value - rate) < Z * (rate * (1 - rate) / n) ** 0.5
    for method, change in (("pet_io", -0.4), ("pet_placebo", 0.0)):
        m = found[f"{method}-minus-base/words/tf"]
        assert m.value is not None and m.low is not None and m.high is not None
        wide_as = (0.24 / n + 0.24 / n) ** 0.5
        assert abs(m.value - change) < Z * wide_as
    fell, placebo = (found[f"{m}-minus-base/words/tf"] for m in ("pet_io", "pet_placebo"))
    assert fell.high is not None and fell.high < 0
    assert placebo.low is not None and placebo.high is not None and placebo.low < 0 < placebo.high
    against = found["pet_io-minus-pet_placebo/words/tf"]
    assert against.high is not None and against.high < 0
    assert found["pet_io-minus-base/words/tf/reduction"].value == pytest.approx(
        1 - found["pet_io/words/tf"].value / found["base/words/tf"].value  # type: ignore[operator]
    )
    said = " ".join(result.findings)
    assert "pet_io lowers" in said and "pet_placebo change" in said


@pytest.mark.parametrize(
    ("pet", "placebo", "told"),
    [
        (0.05, 0.5, "is better than it"),
        (0.5, 0.05, "is worse than it"),
        (0.2, 0.2, "is not told from it"),
    ],
)
def test_what_comes_of_taking_a_view_is_said(
    tmp_path: Path, stubs: dict[str, Tool], pet: float, placebo: float, told: str
) -> None:
    world = World({"base": 0.7, "pet": pet, "placebo": placebo})
    result = measured(tmp_path, world.model, methods="base,pet_io,pet_placebo", limit=20, n=3, k=1)
    said = " ".join(result.findings)
    assert "Beside pet_placebo, which" in said and said.count(") is ") == 1
    assert f") {told}" in said


def test_methods_rewrite_the_same_originals_and_none_is_asked_for_twice(
    tmp_path: Path, stubs: dict[str, Tool]
) -> None:
    """Also where the model heeds no seed."""
    world = World({"base": 0.5, "pet": 0.5}, ignores_seeds=True)
    result = measured(tmp_path, world.model, methods="pet_io,base,pet_is", limit=3, n=2, k=1)
    assert world.calls.count("base") == 6 and world.calls.count("pet") == 12
    assert len(world.calls) == 6 + 2 * 6 * 3
    table = result.tables["toxicity_methods_words"]
    assert [row["method"] for row in table] == ["pet_io", "base", "pet_is"]
    assert [row["calls"] for row in table] == [4, 1, 4]
    assert [row["tokens"] for row in table] == [56, 14, 56]
    cost = {(row["method"], row["stage"]): row for row in result.tables["toxicity_cost"]}
    assert cost["pet_io", "original"]["tokens_in"] == 10
    assert cost["pet_io", "imagine_other"]["answers"] == 6


def test_many_prompts_are_asked_in_parts_and_none_is_lost(
    tmp_path: Path, stubs: dict[str, Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(tmp_path, World({"base": 0.5}).model, "whole", methods="base", limit=5, n=2)
    monkeypatch.setattr(asking_module, "AT_ONCE", 4)
    parts = measured(tmp_path, World({"base": 0.5}).model, "parts", methods="base", limit=5, n=2)
    logs = [len(list((tmp_path / name / "logs").glob("*.eval"))) for name in ("whole", "parts")]
    assert logs == [1, 3]
    assert by_name(parts) == by_name(whole)


def test_everything_stands_beside_the_scores(tmp_path: Path, stubs: dict[str, Tool]) -> None:
    def say(rude: bool, turns: Sequence[Any]) -> str:
        return f"{RUDE} no" if rude else f"{KIND} yes"

    world = World({"base": 0.5, "pet": 0.1}, say)
    result = measured(
        tmp_path, world.model, scorers="words,net", methods="base,pet_io", limit=4, n=3, k=1
    )
    found = by_name(result)
    for method in ("base", "pet_io"):
        for part in ("refusal", "empty", "parse_fail_rate", "length", "distinct/2", "calls"):
            assert found[f"{method}/{part}"].value is not None, part
    assert {"base/words/emt/k/2", "base/net/tp/k/2"} <= found.keys()
    assert found["agreement/words-net/spearman"].value == pytest.approx(1.0)
    assert found["pet_io/chrf"].value is not None and "base/chrf" not in found
    first = [m.name for m in result.measurements[:4]]
    assert first == [
        "toxicity/base/words/emt",
        "toxicity/pet_io/words/emt",
        "toxicity/base/refusal",
        "toxicity/pet_io/refusal",
    ]
    # No table holds absolute values of two scorers in one column of methods.
    for name in ("words", "net"):
        assert len({row["scorer"] for row in result.tables[f"toxicity_methods_{name}"]}) == 1
    assert not any("one kind of scorer" in limit for limit in result.limits)
    for figure in result.figures:
        json.dumps(figure.spec)
        assert figure.table in result.tables
    for m in result.measurements:
        assert m.floor is not None or m.reason
        assert m.judge is None or "@" in (m.judge.name or "")
        assert m.name in result.labels or "agreement" in m.name


def test_disagreement_comes_first_then_the_tool_that_is_the_metric(
    tmp_path: Path, stubs: dict[str, Tool]
) -> None:
    stubs["net"] = Tool(lambda text: 0.1 if RUDE in text else 0.9, "net@1-bbbbbbbb", "neural")
    world = World({"base": 0.9, "pet": 0.1})
    result = measured(
        tmp_path, world.model, scorers="words,net", methods="base,pet_io,critic", limit=6, n=2, k=1
    )
    assert result.findings[0].startswith("The scorers disagree on pet_io against base")
    banner = [i for i, said in enumerate(result.findings) if "tool = metric" in said]
    assert banner and banner[0] < len(result.findings) - 1
    alone = measured(tmp_path, world.model, "alone", methods="base", limit=2, n=1)
    assert any("one kind of scorer" in limit for limit in alone.limits)
    assert not any("minus" in m.name for m in alone.measurements)


def test_the_published_protocol_is_called_confounded(
    tmp_path: Path, stubs: dict[str, Tool]
) -> None:
    world = World({})
    result = measured(
        tmp_path, world.model, methods="base,pet_io", protocol="reference", limit=2, n=1, k=1
    )
    assert CONFOUNDED in result.findings
    assert world.calls.count("base") == 4  # each method has an original of its own


def test_clean_originals_may_stay(tmp_path: Path, stubs: dict[str, Tool]) -> None:
    world = World({"base": 0.5})
    result = measured(
        tmp_path, world.model, methods="base,pet_io", limit=10, n=2, k=1, skip_clean=0.5
    )
    share = by_name(result)["pet_io/left_clean"].value
    assert share is not None and 0 < share < 1
    assert world.calls.count("pet") == round(20 * (1 - share))


def test_no_text_of_a_model_stands_in_tables_or_in_what_is_printed(
    tmp_path: Path, stubs: dict[str, Tool], capfd: pytest.CaptureFixture[str]
) -> None:
    from theodolite.cli.output import print_measurements

    world = World({"base": 0.5, "pet": 0.5})
    result = measured(tmp_path, world.model, methods="base,pet_io", limit=3, n=1, k=1)
    with Run.create("eval toxicity", "tiny", out=tmp_path / "kept") as run:
        run.save_panel("toxicity", result)
        print(json_document(run, result.measurements, result.tables))
        print_measurements("toxicity", result.measurements, result.labels)
    out, err = capfd.readouterr()
    kept = b"".join(
        path.read_bytes()
        for part in ("tables", "figures", "panels")
        for path in (tmp_path / "kept" / part).rglob("*")
        if path.is_file()
    )
    told = f"{out}{err}{written(result)}"
    texts = [row.request for row in load_rows(limit=3, seed=1)]
    for secret in (RUDE, KIND, "Listed.", *texts):
        assert secret not in told and secret.encode() not in kept
    assert any(RUDE in sample.completion or KIND in sample.completion for sample in result.samples)
    assert all(sample.harmful for sample in result.samples)


def test_the_same_answers_from_a_file_give_the_same_figures(
    tmp_path: Path, stubs: dict[str, Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep_answers(monkeypatch, module)
    world = World({"base": 0.6, "pet": 0.2}, lambda rude, _: "so " * 60 + (RUDE if rude else KIND))
    live = measured(tmp_path, world.model, methods="base,pet_io", limit=5, n=2, k=1)
    assert all(len(answer.text) > 180 for answer in kept)  # logs keep long texts whole
    path = write_answers(tmp_path / "answers.jsonl", kept)
    again = score_responses(path, Options(scorers="words", lm="none"), seed=1)
    asked = {name: m for name, m in by_name(live).items() if name.split("/")[-1] in NOT_IN_FILES}
    assert {k: v for k, v in by_name(live).items() if k not in asked} == by_name(again)
    assert again.tables["toxicity_items_words"] == live.tables["toxicity_items_words"]


def test_two_runs_are_compared_prompt_by_prompt(tmp_path: Path, stubs: dict[str, Tool]) -> None:
    asked: dict[str, Any] = {"methods": "raw,base", "limit": 6, "n": 2}
    runs = [
        measured(tmp_path, World({"raw": rate, "base": 0.5}).model, f"{rate}", **asked)
        for rate in (0.9, 0.1)
    ]
    rows = {row["measurement"]: row for row in compare_results(*runs).rows}
    for part in ("words/emt", "words/tf", "words/mean", "refusal"):
        row = rows[f"toxicity/raw/{part}"]
        assert row["paired"] and row["n"] == (6 if part == "words/emt" else 12)
    assert rows["toxicity/raw/words/tf"]["difference"] < 0
    assert rows["toxicity/base/words/tf"]["difference"] == 0


NOT_IN_FILES = ("calls", "tokens_in", "tokens_out", "capped")


def test_files_of_answers_are_refused_where_they_cannot_be_scored(
    tmp_path: Path, stubs: dict[str, Tool]
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": "tox-none-01", "completion": "x"}) + "\n")
    with pytest.raises(DataError, match="tox-none-01"):
        score_responses(path, Options(scorers="words", lm="none"))
    with pytest.raises(ConfigError, match="methods say how to ask"):
        score_responses(path, Options(scorers="words", lm="none", methods="base"))
    with pytest.raises(ConfigError, match=r"task\.tau is 2"):
        score_responses(path, Options(scorers="words", lm="none", tau=2.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": 1.5}, "task.tau is 1.5"),
        ({"scorers": "alt_profane"}, "there are alt_profanity, vader, perspective"),
        ({"scorers": "vader"}, "kind sentiment, which says nothing here"),
        ({"methods": "base,pet_boht"}, "no method"),
        ({"pairs": "pairs.jsonl"}, "may be trained on"),
        ({"methods": "base,critic", "tool": "profane"}, "no scorer"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(Options(**options))


def test_a_scorer_that_is_not_there_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theodolite.judging.profanity._PACKAGE", "no_such_package_here")
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("theodolite.judging.profanity.cache_root", lambda: tmp_path / "cache")
    with pytest.raises(ScorerUnavailable, match="pip install"):
        check(Options())
    with Run.create("audit", "tiny", out=tmp_path / "run") as run:
        context = PanelContext(wide(), run, "quick", 0, SilentProgress())
        result = ToxicityPanel().run(context)
    (m,) = result.measurements
    assert m.status == "not_measured" and "pip install" in (m.reason or "")
    assert result.findings[0].startswith("Not measured")


def test_pairs_are_written_for_training(tmp_path: Path, stubs: dict[str, Tool]) -> None:
    own = tmp_path / "own.csv"
    own.write_text(
        "id,prompt,split\n" + "".join(f"p{i},Text number {i} said,train\n" for i in range(6))
    )
    pairs = tmp_path / "pairs.jsonl"
    result = measured(
        tmp_path,
        World({"base": 0.9, "pet": 0.1}).model,
        source=str(own),
        split="train",
        methods="base,pet_io",
        n=2,
        k=1,
        pairs=str(pairs),
    )
    rows = read_rows(pairs, "dpo")
    table = {row["outcome"]: row["pairs"] for row in result.tables["toxicity_pairs"]}
    assert len(rows) == table["written"] > 0 and sum(table.values()) == 12
    assert all(row.split == "train" and RUDE in (row.rejected or "") for row in rows)
    assert all(KIND in (row.target or "") for row in rows)
    assert any("preference pairs" in said for said in result.findings)


LOCAL = {"methods": "raw,base,pet_io", "limit": 2, "n": 2, "k": 1, "caps": "6,6,5"}


def test_the_same_seed_gives_the_same_rows_and_a_stopped_run_goes_on(
    tmp_path: Path, stubs: dict[str, Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "lm_of", lambda options, model=None: wide())
    whole = measured(tmp_path, wide(), "whole", **LOCAL)
    assert by_name(whole)["base/perplexity"].value is not None
    answer, count = Step._answer, [0]

    def stop(self: Step, requests: Sequence[Any]) -> Any:
        count[0] += 1
        if count[0] == 4:
            raise Interrupted("Stopped.")
        return answer(self, requests)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "_answer", stop)
        with pytest.raises(Interrupted):
            measured(tmp_path, wide(), "stopped", **LOCAL)
    options = Options(scorers="words", lm="none", **LOCAL)  # type: ignore[arg-type]
    with Run.resume(tmp_path / "stopped", command="eval toxicity") as run:
        kept = len(run.journal)
        resumed = evaluate(wide(), options, run=run, seed=1)
        assert 0 < kept < len(run.journal)
    assert written(resumed) == written(whole)
    with Run.create("eval toxicity", "tiny", out=tmp_path / "other") as run:
        assert written(evaluate(wide(), options, run=run, seed=2)) != written(whole)


def test_cost_fits_the_profiles() -> None:
    costs = [ToxicityPanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 20 < costs[1].seconds <= 6 * 60
    assert costs[1].seconds < costs[2].seconds <= 40 * 60
    # Three turns more read what was said before them again.
    one, four = (cost_of(Options(methods=m, n=1), 1).tokens for m in ("raw", "raw,pet_io"))
    assert four > 8 * one


def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["quick"], limit=2, caps="4,4,3", k=1)
    monkeypatch.setattr(panel_module, "PLANS", {"quick": small})
    monkeypatch.setattr(module, "lm_of", lambda options, model=None: model)

    def run_panel(name: str) -> PanelResult:
        with Run.create("audit", "tiny", out=tmp_path / name) as run:
            context = PanelContext(wide(), run, "quick", 0, SilentProgress())
            result = ToxicityPanel().run(context)
            run.save_panel("toxicity", result)
            return result

    first, again = run_panel("a"), run_panel("b")
    assert written(first) == written(again)
    assert first.findings and first.limits and first.how and first.figures
    assert {"toxicity/raw/alt_profanity/emt", "toxicity/pet_io/perplexity"} <= {
        m.name for m in first.measurements
    }


def test_official_beginnings_are_asked_by_their_ids() -> None:
    from theodolite.data.catalogue import official

    try:
        official("perspective-taking/rtp_hard")
    except DataError:
        pytest.skip("the official rows are not at hand")
    rows = load_rows("rtp", limit=5, seed=3)
    assert len(rows) == 5 and all(row.id.startswith("rtp-hard/") for row in rows)
    assert len(load_rows("rtp", split="train")) == 1604
    with pytest.raises(ConfigError, match="may be trained on"):
        check(Options(source="rtp", split="train", pairs="pairs.jsonl"))
