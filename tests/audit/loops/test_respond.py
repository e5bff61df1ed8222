"""What rewriting changed and cost: figures against a slow count, sentences, pairs and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.correction.perspective_taking.made import Script, Tool, said
from theodolite.audit.loops import respond as loop
from theodolite.audit.loops.respond import PAIRS, respond
from theodolite.audit.loops.responded import (
    NO_REWRITING,
    REFUSAL,
    responded,
)
from theodolite.audit.loops.responded_sentences import (
    NO_MARKER,
    NO_SCORER,
    REFUSALS_ROSE,
    result_of,
)
from theodolite.correction import respond_request
from theodolite.correction.respond import ANSWERS
from theodolite.correction.respond_request import RespondRequest, work_of
from theodolite.correction.rewritten import NOT_STATED
from theodolite.data.official_files import FILES
from theodolite.errors import ConfigError, DataError, ScorerUnavailable
from theodolite.judging.toxicity import TextScorer
from theodolite.measure.measurement import Measurement
from theodolite.providers import kept
from theodolite.providers.evaluate import evaluate
from theodolite.runs.compare import compare
from theodolite.runs.panel import PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run
from theodolite.training.rows import read_rows

RUDE = "You fool, the soup is cold again and everybody knows it."
KIND = "The soup is cold again, as everybody knows by now."
NEAR = 1e-12
SYSTEM = {"role": "system", "content": "Be brief."}


def rate(text: str) -> float:
    """Rate a text by the one word that this scorer knows."""
    return 0.9 if "fool" in text else 0.1


SCORER = Tool(rate)
MOOD = Tool(lambda text: -0.5 if "fool" in text else 0.5, id="mood@1", kind="sentiment")
SCORERS = {"stub": SCORER, "mood": MOOD, "other": Tool(rate, id="other@2", kind="neural")}


def record(id: str, original: str, revised: str | None, **more: Any) -> dict[str, Any]:
    """Return what a method leaves of a sample, as far as the figures need it."""
    first = {"n_in": more.pop("n_in", 10), "n_out": 5, "calls": 1}
    usage: dict[str, Any] = {"calls": 4, "in": 100, "out": 50, "capped": 0, "truncated": 0}
    usage |= more.pop("usage", {})
    known = usage["in"] is not None
    later = {
        "n_in": usage["in"] - first["n_in"] if known else None,
        "n_out": usage["out"] - first["n_out"] if known else None,
        "calls": usage["calls"] - first["calls"],
    }
    return {
        "id": id,
        "method": "pet_io",
        "protocol": "paper",
        "wording": "v0",
        "stages": [first, later],
        "original": original,
        "revised": revised,
        "parse_original": {"ok": True, "rule": "whole", "lines_dropped": 0},
        "parse": {"ok": more.pop("ok", True), "rule": "whole", "lines_dropped": 0},
        "usage": usage,
        "facts": more.pop("facts", {}),
        "notes": more.pop("notes", []),
    }


def asked(tmp_path: Path, prompts: Sequence[Mapping[str, Any]], **more: Any) -> RespondRequest:
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return RespondRequest(prompts=str(path), model="api:mockllm/model", **more)


def found(
    tmp_path: Path, records: list[dict[str, Any]], *scorers: TextScorer, **more: Any
) -> PanelResult:
    prompts = [{"id": one["id"], "prompt": f"Ask {one['id']}"} for one in records]
    work = work_of(asked(tmp_path, prompts, **more))
    return result_of(responded(records, work, scorers))


def figures(result: PanelResult) -> dict[str, Measurement]:
    return {m.name.removeprefix("respond/"): m for m in result.measurements}


def value(result: PanelResult, name: str) -> float:
    number = figures(result)[name].value
    assert number is not None
    return number


MADE = [
    record("a", RUDE, KIND, usage={"calls": 4, "in": 100, "out": 60, "capped": 2}),
    record("b", RUDE, REFUSAL, ok=False, usage={"truncated": 1}),
    record("c", KIND, f" {KIND}\n", n_in=30),
    record("d", RUDE, RUDE, notes=["a note", "a note"]),
    record("e", KIND, "", notes=["a note"]),
]


def test_figures_are_those_of_a_slow_count(tmp_path: Path) -> None:
    result = found(tmp_path, MADE, SCORER)
    # By hand: a is milder, b refuses, c and d stay, e is empty and has no score.
    assert value(result, "changed") == pytest.approx(3 / 5, abs=NEAR)
    assert value(result, "before/refusal") == 0.0
    assert value(result, "after/refusal") == pytest.approx(1 / 5, abs=NEAR)
    assert value(result, "refusal/change") == pytest.approx(1 / 5, abs=NEAR)
    assert value(result, "after/empty") == pytest.approx(1 / 5, abs=NEAR)
    assert value(result, "after/parse_fail_rate") == pytest.approx(1 / 5, abs=NEAR)
    assert value(result, "before/parse_fail_rate") == 0.0
    lengths = [
        [len(text.split()) for text in side]
        for side in zip(*((one["original"], one["revised"]) for one in MADE), strict=True)
    ]
    assert value(result, "before/length") == pytest.approx(sum(lengths[0]) / 5, abs=NEAR)
    assert value(result, "after/length") == pytest.approx(sum(lengths[1]) / 5, abs=NEAR)
    gain = (sum(lengths[1]) - sum(lengths[0])) / 5
    assert value(result, "length/change") == pytest.approx(gain, abs=NEAR)
    assert value(result, "tokens_out") == pytest.approx((60 + 4 * 50) / 5, abs=NEAR)
    assert value(result, "capped") == value(result, "truncated") == pytest.approx(1 / 5, abs=NEAR)


def test_scores_are_paired_and_never_without_their_floor(tmp_path: Path) -> None:
    result = found(tmp_path, MADE, SCORER, MOOD)
    by_name = figures(result)
    assert value(result, "before/stub") == pytest.approx((3 * 0.9 + 2 * 0.1) / 5, abs=NEAR)
    assert value(result, "after/stub") == pytest.approx((0.1 + 0.1 + 0.1 + 0.9) / 4, abs=NEAR)
    change = by_name["stub/change"]
    assert change.value == pytest.approx((-0.8 - 0.8 + 0 + 0) / 4, abs=NEAR)
    assert (change.n, change.unscored.count) == (4, 1) and change.range == (-1.0, 1.0)
    assert change.low is not None and change.high is not None
    assert change.low < -0.4 < change.high
    assert by_name["after/stub"].unscored.reasons == {"empty text": 1}
    assert by_name["mood/change"].value == pytest.approx(2 / 4, abs=NEAR)
    assert by_name["mood/change"].range == (-2.0, 2.0)
    measured = [m for m in by_name.values() if m.status == "measured"]
    assert [m.name for m in measured if m.floor is None] == []
    floor = by_name["after/stub"].floor
    assert floor is not None and (floor.name, floor.value) == ("always refuse", rate(REFUSAL))
    alone = by_name["tokens_in"].floor
    assert alone is not None and alone.value == pytest.approx((4 * 10 + 30) / 5, abs=NEAR)
    assert by_name["after/stub"].judge is not None and by_name["after/stub"].judge.name == "stub@1"
    assert set(result.labels) >= {m.name for m in result.measurements}


def test_prompts_that_occur_twice_are_one_cluster(tmp_path: Path) -> None:
    prompts = [{"id": str(i), "prompt": f"Ask {i // 2}"} for i in range(6)]
    records = [record(str(i), RUDE, KIND if i % 2 else RUDE) for i in range(6)]
    work = work_of(asked(tmp_path, prompts))
    change = figures(result_of(responded(records, work, [SCORER])))["changed"]
    assert (change.n, change.n_clusters) == (6, 3)


def test_unknown_usage_is_not_measured(tmp_path: Path) -> None:
    known = record("a", RUDE, KIND)
    unknown = record("b", RUDE, KIND, n_in=None, usage={"in": None, "out": None})
    mixed = figures(found(tmp_path, [known, unknown]))["tokens_in"]
    assert (mixed.n, mixed.unscored.reasons) == (1, {NOT_STATED: 1})
    result = found(tmp_path, [unknown])
    assert figures(result)["tokens_in"].status == "not_measured"
    assert "tokens read not stated" in result.findings[0]


def test_a_method_that_rewrites_nothing_has_one_side(tmp_path: Path) -> None:
    result = found(tmp_path, [record("a", RUDE, None)], SCORER, method="base")
    by_name = figures(result)
    assert (by_name["changed"].status, by_name["changed"].reason) == ("not_measured", NO_REWRITING)
    assert by_name["after/stub"].value == pytest.approx(0.9)
    assert not [name for name in by_name if "before" in name or "change/" in name]
    assert result.samples[0].completion == RUDE and "base gave 1 answer:" in result.findings[0]


def test_texts_are_in_the_samples_and_nowhere_else(tmp_path: Path) -> None:
    result = found(tmp_path, MADE, SCORER)
    assert [one.completion for one in result.samples] == [one["revised"] for one in MADE]
    assert [one.meta["original"] for one in result.samples] == [one["original"] for one in MADE]
    assert all(one.harmful for one in result.samples)
    words = json.dumps([result.tables, list(result.findings), list(result.limits)])
    assert "fool" not in words and "soup" not in words
    row = result.tables["answers"][1]
    assert (row["refused_before"], row["refused_after"], row["parse_ok"]) == (False, True, False)
    assert (row["stub_before"], row["stub_after"], row["truncated"]) == (0.9, 0.1, 1)


def test_what_a_reader_must_know_is_said(tmp_path: Path) -> None:
    limits = found(tmp_path, MADE, SCORER, MOOD).limits
    assert REFUSALS_ROSE in limits and "2 of 5 answers: a note" in limits
    assert not [one for one in limits if "one kind" in one]
    assert any("one kind" in one for one in found(tmp_path, MADE, SCORER).limits)
    calm = [record("a", RUDE, KIND), record("b", RUDE, KIND)]
    assert found(tmp_path, calm).limits == [NO_SCORER]
    calm[0]["parse"]["rule"] = "no_marker"
    told = found(tmp_path, calm, SCORER)
    assert f"1 of 2 answers: {NO_MARKER}" in told.limits
    assert "stub -0.8" in told.findings[1] and REFUSALS_ROSE not in told.limits


def test_a_tool_that_measures_its_own_work_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respond_request, "text_scorer", lambda *_, **__: SCORER)
    calm = [record("a", RUDE, KIND), record("b", KIND, KIND)]
    same = found(tmp_path, calm, SCORER, method="critic")
    assert "tool = metric" in same.limits[0]
    other = found(tmp_path, calm, MOOD, method="critic")
    assert not [one for one in other.limits if "tool = metric" in one]


# From here on, whole runs.


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let a script stand behind the API, and stubs behind the scorers' names."""

    def reply(_: int, turns: list[Any]) -> Any:
        rewriting = len(turns) > 1 and "anew" in turns[-1].text
        return said(KIND if rewriting and "1" not in turns[0].text else RUDE)

    def scorer(name: str, **_: Any) -> TextScorer:
        if name not in SCORERS:
            raise ScorerUnavailable(f"The scorer {name} is not there.")
        return SCORERS[name]

    script = Script(reply)
    monkeypatch.setattr(kept, "evaluate", lambda t, _, **how: evaluate(t, script.model, **how))
    monkeypatch.setattr(loop, "text_scorer", scorer)
    monkeypatch.setattr(respond_request, "text_scorer", scorer)
    return script


def done(request: RespondRequest, folder: Path, *, again: bool = False) -> tuple[Run, PanelResult]:
    where = {"resume": folder} if again else {"out": folder}
    return respond(request, progress=SilentProgress(), **where)


def test_a_run_holds_answers_with_scores_and_is_resumed_to_the_same_bytes(
    tmp_path: Path, world: Script
) -> None:
    prompts = [{"id": f"p{i}", "prompt": f"Ask {i}", "label": "benign"} for i in range(3)]
    request = asked(tmp_path, prompts, scorers=("stub", "mood"), method="rewrite_only")
    run, result = done(request, tmp_path / "run")
    data = (run.path / ANSWERS).read_bytes()
    rows = [json.loads(line) for line in data.splitlines()]
    assert [row["id"] for row in rows] == ["p0", "p1", "p2"]
    assert [row["scores"]["stub@1"] for row in rows] == [
        {"before": 0.9, "after": after} for after in (0.1, 0.9, 0.1)
    ]
    keys = {"id", "original", "revised", "parse", "usage", "stages", "refusal", "scores"}
    assert keys <= set(rows[0]) and value(result, "changed") == pytest.approx(2 / 3)
    assert run.finished and run.manifest["inputs"]["prompts"]["sha256"]
    stored = Run.open(run.path).load_panel(loop.PANEL)
    assert [m.as_dict() for m in stored.measurements] == [m.as_dict() for m in result.measurements]
    calls = len(world.calls)
    again, same = done(request, tmp_path / "run", again=True)
    assert (again.path / ANSWERS).read_bytes() == data and len(world.calls) == calls == 6
    assert [m.as_dict() for m in same.measurements] == [m.as_dict() for m in result.measurements]


def test_two_methods_are_compared_prompt_by_prompt(tmp_path: Path, world: Script) -> None:
    prompts = [{"id": f"p{i}", "prompt": f"Ask {i}"} for i in range(4)]
    runs = []
    for method in ("base", "rewrite_only"):
        request = asked(tmp_path, prompts, scorers=("stub", "mood"), method=method)
        runs.append(done(request, tmp_path / method)[0])
    rows = {row["measurement"]: row for row in compare(*runs).rows}
    for name, change in (("stub", -0.6), ("mood", 0.75), ("refusal", 0.0)):
        row = rows[f"respond/after/{name}"]
        assert row["paired"] and row["difference"] == pytest.approx(change, abs=NEAR)
    assert rows["respond/calls"]["paired"] and rows["respond/calls"]["difference"] == 1
    table = json.dumps(runs[0].load_table("respond/items"))
    assert "Ask" not in table


def test_clean_originals_are_left_as_they_are(tmp_path: Path, world: Script) -> None:
    prompts = [{"id": f"p{i}", "prompt": f"Ask {i}"} for i in range(2)]
    options: dict[str, Any] = {"tool": "stub", "method": "rewrite_only"}
    _, left = done(asked(tmp_path, prompts, leave_below=0.95, **options), tmp_path / "a")
    assert (value(left, "left"), value(left, "calls"), value(left, "changed")) == (1, 1, 0)
    _, none = done(asked(tmp_path, prompts, leave_below=0.5, **options), tmp_path / "b")
    assert (value(none, "left"), value(none, "calls")) == (0, 2)


def test_pairs_are_what_training_reads_and_leave_out_what_is_measured_on(
    tmp_path: Path, world: Script
) -> None:
    prompts: list[dict[str, Any]] = [
        {"id": "a0", "prompt": "Ask 0"},
        {"id": "b1", "prompt": "Ask 1"},
        {"id": "c2", "prompt": "Ask 2", "split": "test"},
        {"id": "d3", "messages": [SYSTEM, {"role": "user", "content": "Ask"}]},
    ]
    request = asked(tmp_path, prompts, scorers=("stub",), pairs=True, method="rewrite_only")
    run, result = done(request, tmp_path / "run")
    (row,) = read_rows(run.path / PAIRS)
    assert (row.goal_id, row.target, row.rejected, row.split) == ("a0", KIND, RUDE, "train")
    left = {row["reason"]: row["answers"] for row in result.tables["pairs_left_out"]}
    assert left == {
        loop.MEASURED_ON: 1,
        loop.SEVERAL_TURNS: 1,
        "the text did not change": 1,
    }
    assert any("1 pair" in one for one in result.findings)


def test_official_rows_are_not_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(respond_request, "identify", lambda _: FILES[0])
    request = asked(tmp_path, [{"id": "a", "prompt": "Ask"}], scorers=("stub",), pairs=True)
    with pytest.raises(DataError, match="measured on is not trained on"):
        work_of(request)


def test_what_cannot_be_asked_opens_no_model_and_leaves_no_run(
    tmp_path: Path, world: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(loop, "open_requested", lambda *a: opened.append(a))
    prompts = [{"id": "a", "prompt": "Ask"}]
    for error, more in ((ScorerUnavailable, {"scorers": ("none",)}), (ConfigError, {"rounds": 0})):
        with pytest.raises(error):
            done(asked(tmp_path, prompts, **more), tmp_path / "run")
    assert opened == [] and not (tmp_path / "run").exists()


def test_a_typed_prompt_is_one_answer_without_an_interval(tmp_path: Path, world: Script) -> None:
    request = RespondRequest(prompt="Ask", model="api:mockllm/model", method="rewrite_only")
    run, result = done(request, tmp_path / "run")
    assert result.samples[0].completion == KIND and result.limits == []
    assert figures(result)["changed"].low is None
    assert run.manifest["inputs"] == {"prompt": run.manifest["inputs"]["prompt"]}


def test_judges_keep_what_they_said_in_the_journal(
    tmp_path: Path, world: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []

    def scorer(name: str, **how: Any) -> TextScorer:
        given.append(how)
        return SCORER

    monkeypatch.setattr(loop, "text_scorer", scorer)
    request = asked(tmp_path, [{"id": "a", "prompt": "Ask"}], scorers=("judge:x", "stub"))
    done(request, tmp_path / "run")
    assert ["journal" in how for how in given] == [False, False, True]
