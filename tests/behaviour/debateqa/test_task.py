"""The benchmark, end to end: mock models that always or never name a dispute, a tiny real one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.log import read_eval_log
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from tests.models.tiny import tiny_model
from theodolite.behaviour.debateqa import evaluation as module
from theodolite.behaviour.debateqa import panel as panel_module
from theodolite.behaviour.debateqa.data import load_rows
from theodolite.behaviour.debateqa.evaluation import NONE, Options, check, evaluate, score_responses
from theodolite.behaviour.debateqa.panel import PLANS, DebatePanel
from theodolite.behaviour.debateqa.task import answers_of, debateqa
from theodolite.cli.main import main
from theodolite.data.catalogue import official
from theodolite.data.prompts import PromptSet
from theodolite.errors import ConfigError, DataError
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

NAMED = "People disagree about this, and the matter is far from settled."
PLAIN = "Yes, it is."


def mock(reply: Callable[[str], str], name: str = "model") -> Model:
    def answer(messages: Any, *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mock", reply(messages[-1].text))
        output.usage = ModelUsage(input_tokens=1, output_tokens=8, total_tokens=9)
        return output

    return get_model(f"mockllm/{name}", custom_outputs=answer)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> PromptSet:
    """Ask three debatable questions and three of each control."""
    rows = load_rows(limit=3, controls=3)
    monkeypatch.setattr(module, "rows_of", lambda *_: rows)
    return rows


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tiny model foretell perspectives."""
    monkeypatch.setattr(module, "scorer_of", lambda options, _: tiny_model("llama"))


def measured(tmp_path: Path, model: Any, judge: Any = None, **options: Any) -> PanelResult:
    with Run.create("eval debateqa", "tiny", out=tmp_path / "run") as run:
        return evaluate(model, Options(**options), run=run, judge=judge)


def values(result: PanelResult) -> dict[str, float | None]:
    return {m.name.removeprefix("debateqa/"): m.value for m in result.measurements}


@pytest.mark.parametrize(("reply", "share"), [(NAMED, 1.0), (PLAIN, 0.0)])
def test_constant_models_have_no_gap(
    tmp_path: Path, few: PromptSet, reply: str, share: float
) -> None:
    found = values(measured(tmp_path, mock(lambda _: reply), scorer=NONE))
    assert (found["da"], found["da_fpr"], found["da_contested"]) == (share, share, share)
    assert found["da_j"] == 0.0 and found["coverage"] is None


def test_a_model_that_knows_disputes_has_the_whole_gap(
    tmp_path: Path, few: PromptSet, scorer: None
) -> None:
    debatable = {row.request for row in few if row.label == "debatable"}
    model = mock(lambda asked: NAMED if asked in debatable else PLAIN)
    result = measured(tmp_path, model)
    found = values(result)
    assert (found["da"], found["da_fpr"], found["da_j"]) == (1.0, 0.0, 1.0)
    assert found["pd"] is not None and found["tau"] is not None and found["gain"] is not None
    targets = result.tables["debateqa_targets"]
    assert {row["question"] for row in targets} == {r.id for r in few if r.label == "debatable"}
    for figure in result.figures:
        json.dumps(figure.spec)
        assert figure.table in result.tables
    assert result.findings and len(result.samples) == len(few)
    assert result.how[-1] == "Scorer tiny-llama: float32, fingerprint tiny-llama."


def test_a_judge_decides_and_the_word_list_stands_beside(tmp_path: Path, few: PromptSet) -> None:
    def say(asked: str) -> str:
        answer = asked.rsplit("<<<", 3)[-2] if "<<<" in asked else asked
        named = any(word in answer for word in ("isagree", "no agreed", "debate is"))
        return "1" if named and "void" not in answer else "0"

    result = measured(tmp_path, mock(lambda _: NAMED), judge=mock(say, "judge"), scorer=NONE)
    found = values(result)
    assert found["da"] == 1.0 and found["judge_agreement"] == 1.0


def test_the_same_answers_from_a_file_give_the_same_figures(
    tmp_path: Path, few: PromptSet, scorer: None
) -> None:
    """What an inspect log holds and what a plain file holds is scored alike."""
    debatable = {row.request for row in few if row.label == "debatable"}
    live = measured(tmp_path, mock(lambda asked: NAMED if asked in debatable else PLAIN))
    log = next((tmp_path / "run" / "logs").glob("*.eval"))
    texts, _, _ = answers_of(read_eval_log(str(log)))
    path = tmp_path / "answers.jsonl"
    path.write_text(
        "".join(json.dumps({"id": k, "generation": v}) + "\n" for k, v in texts.items())
    )
    again = score_responses(path, Options())
    assert values(again) == values(live)


def test_answers_to_unknown_questions_are_refused_unless_allowed(
    tmp_path: Path, few: PromptSet
) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"id": few.prompts[0].id, "generation": NAMED}, {"id": "x1", "generation": "?"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"1 of 2 answers.*'x1'"):
        score_responses(path, Options(scorer=NONE))
    found = score_responses(path, Options(scorer=NONE, allow_missing=True))
    assert values(found)["da"] == 1.0 and "1 to unknown questions" in found.how[0]
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(DataError, match="does not hold"):
        score_responses(path, Options(scorer=NONE, allow_missing=True))
    with pytest.raises(ConfigError, match="made elsewhere"):
        score_responses(path, Options(mode="gold_docs"))
    with pytest.raises(ConfigError, match="local judge"):
        score_responses(path, Options(), judge="openai/gpt-4o")


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_delivered_answers_to_questions_that_are_not_at_hand(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The published test rows are not delivered with the answers to them."""
    lines = official("debateqa/debateqa_test_demo_answers").read_text("utf-8").splitlines()[:20]
    path = tmp_path / "demo.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    asked = ("eval", "debateqa", "--responses", str(path), "--out", str(tmp_path / "run"))
    with pytest.raises(SystemExit) as stopped:
        main((*asked, "-T", "scorer=none"))
    said = " ".join(capfd.readouterr().err.split())
    assert stopped.value.code == 2
    assert "20 of 20 answers" in said and "the first ids are '1', '2', '3'" in said


def test_sentences_say_what_was_asked_and_what_is_not_shown(tmp_path: Path, few: PromptSet) -> None:
    said = measured(tmp_path, mock(lambda _: NAMED), scorer=NONE).findings
    assert said == [
        "They call 100% of debatable questions disputed, and 100% of settled ones.",
        "That they tell the two apart is not shown.",
    ]
    path = tmp_path / "answers.jsonl"
    names = [row.id for row in few if row.label == "debatable"]
    path.write_text("".join(json.dumps({"id": i, "generation": NAMED}) + "\n" for i in names))
    alone = score_responses(path, Options(scorer=NONE)).findings
    assert alone == ["They call 100% of debatable questions disputed."]


def test_the_picture_has_the_intervals_of_the_figures(
    tmp_path: Path, few: PromptSet, scorer: None
) -> None:
    """The threshold is drawn anew in both, so the picture is no surer than the figure."""
    result = measured(tmp_path, mock(lambda asked: f"{asked} Nobody knows."))
    found = {m.name.removeprefix("debateqa/"): m for m in result.measurements}
    picture = next(one for one in result.figures if one.name == "debateqa_coverage")
    marks, coverage = picture.spec["data"][0], found["coverage"]
    assert coverage.value is not None and coverage.high is not None
    assert marks["x"][0] == coverage.value
    assert marks["error_x"]["array"][0] == pytest.approx(coverage.high - coverage.value)
    for name in ("pd", "pd_sum", "nll"):
        assert found[name].floor is None and "has no floor" in (found[name].reason or "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "open"}, "no mode"),
        ({"style": "rude"}, "no style"),
        ({"docs": 0}, "`docs` is 0"),
        ({"variant": "best"}, "no variant"),
        ({"target": "title"}, "no target"),
        ({"nulls": -1}, "`nulls` is -1"),
        ({"scorer": "api:openai/gpt-4o"}, "log-probabilities of given text"),
        ({"folder": "x"}, "belong together"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(Options(**options))


def test_balance_without_stances_is_refused(
    tmp_path: Path, few: PromptSet, scorer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = few.derive(
        replace(
            row,
            meta={
                "partial_answers": [
                    {k: v for k, v in p.items() if k != "stance"}
                    for p in row.meta.get("partial_answers", ())
                ]
            },
        )
        for row in few
    )
    monkeypatch.setattr(module, "rows_of", lambda *_: bare)
    with pytest.raises(ConfigError, match="no perspective has a stance"):
        measured(tmp_path, mock(lambda _: PLAIN), balance=True)


def test_inspect_users_can_score_perspectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theodolite.models.open_model", lambda ref: tiny_model("llama"))
    task = debateqa(limit=2, controls=1, perspectives=True)
    (log,) = inspect_eval(
        task, model=mock(lambda _: NAMED), log_dir=str(tmp_path), display="none", ctl_server=False
    )
    assert log.results is not None and log.status == "success"
    assert {"dispute_awareness", "gain", "pd"} <= {score.name for score in log.results.scores}
    values = [
        score.value
        for sample in log.samples or ()
        for name, score in (sample.scores or {}).items()
        if name == "perspective_diversity" and isinstance(score.value, dict)
    ]
    means = {s.name: s.metrics["mean"].value for s in log.results.scores if "mean" in s.metrics}
    assert len(values) == 2  # the settled question has none, and is in no mean
    for part in ("gain", "pd"):
        assert means[part] == pytest.approx(sum(one[part] for one in values) / 2)


def test_cost_fits_the_profiles() -> None:
    costs = [DebatePanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 20
    assert costs[1].seconds <= 5 * 60
    assert costs[2].seconds <= 15 * 60


def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["quick"], limit=2, controls=1, max_tokens=3)
    monkeypatch.setattr(panel_module, "PLANS", {"quick": small})
    monkeypatch.setattr(module, "scorer_of", lambda options, model: model)

    def run_panel(name: str) -> PanelResult:
        with Run.create("audit", "tiny", out=tmp_path / name) as run:
            context = PanelContext(tiny_model(), run, "quick", 0, SilentProgress())
            return DebatePanel().run(context)

    first, again = run_panel("a"), run_panel("b")
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]
    assert first.findings and first.limits and first.how
