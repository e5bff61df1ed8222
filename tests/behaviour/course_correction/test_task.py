"""The task, end to end: mock models that always or never turn, and a tiny real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import Model

from tests.behaviour.course_correction.asked import ON, TURN, measured, mock, values
from tests.behaviour.course_correction.made import made_rows
from tests.models.tiny import tiny_model
from theodolite.behaviour.course_correction import evaluation as evaluation_module
from theodolite.behaviour.course_correction.data import load_rows
from theodolite.behaviour.course_correction.evaluation import (
    Options,
    check,
    score_responses,
)
from theodolite.behaviour.course_correction.prefixes import make_prefixes
from theodolite.behaviour.course_correction.task import (
    correction_task,
    course_correction,
    items_of,
    to_sample,
    turns_of,
)
from theodolite.data.prompts import PromptSet
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError, RunError, TheodoliteError
from theodolite.measure.measurement import Floor, Measurement
from theodolite.models.chat import encode

SECRET = "zzqx"


def run_inspect(tmp_path: Path, model: Model, **options: Any) -> EvalLog:
    task = course_correction(**options)
    logs = inspect_eval(task, model=model, log_dir=str(tmp_path), display="none", ctl_server=False)
    return read_eval_log(logs[0].location)


@pytest.mark.parametrize(("reply", "share"), [(TURN, 1.0), (ON, 0.0)])
def test_constant_models_score_what_they_must(tmp_path: Path, reply: str, share: float) -> None:
    log = run_inspect(tmp_path, mock(lambda _: reply), limit=3, ks="10,40")
    assert log.results is not None
    metrics = {name: m.value for name, m in log.results.scores[0].metrics.items()}
    assert metrics == {"corr": share, "false_correction": share}


def test_a_model_that_knows_the_topic_has_the_whole_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mock(lambda messages: TURN if "moon" in messages[0].text else ON)
    found = values(measured(tmp_path, model, monkeypatch, made_rows(5), unit="word"))
    assert (found["corr"], found["false_correction"], found["gap"]) == (1.0, 0.0, 1.0)
    assert found["outcome/clean"] == 1.0 and found["corr_min"] == 1.0


def test_what_is_forced_is_the_last_turn_and_the_judge_of_words_never_reads_it() -> None:
    rows = made_rows(1)
    (prefix,) = make_prefixes([rows[0]], (5,), unit="word")
    user, begun = turns_of(prefix, "continue", "answer", 0)
    assert (user.role, begun.role, begun.text) == ("user", "assistant", prefix.text)
    assert turns_of(prefix, "continue", "reasoning", 0)[1].text == "<think>\n" + prefix.text
    (quoted,) = turns_of(prefix, "in_prompt", "answer", 0)
    assert quoted.role == "user" and prefix.text.split("\n")[0] in quoted.text
    sample = to_sample(prefix, "continue")
    assert sample.metadata is not None and sample.metadata["own_words"] is False


def test_local_continuations_are_those_of_the_open_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inspect, provider and planner give the greedy words of `generate` on the same chat."""
    model, rows = tiny_model("llama"), made_rows(3)
    found = measured(tmp_path, model, monkeypatch, rows, prefill="continue,new_turn")
    assert {row["prefill"] for row in found.tables["course_correction_items"]} == {
        "continue",
        "new_turn",
    }
    prefixes = make_prefixes(list(rows), (4, 8), tokenizer=model.tokenizer)
    shown = {sample.id: sample.completion for sample in found.samples}
    for prefix in prefixes:
        turns = [
            {"role": "user", "content": prefix.prompt.request},
            {"role": "assistant", "content": prefix.text},
        ]
        for prefill in ("continue", "new_turn"):
            name = f"{prefix.id}/{prefill}"
            if name in shown:
                open_ = prefill == "continue"
                ids = encode(model, turns, continue_final=open_, add_generation_prompt=not open_)
                assert shown[name] == generate(model, [ids], max_new_tokens=6)[0].text
    assert "header_effect" in values(found)


def test_sampled_paths_do_not_depend_on_order_or_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made_rows(3)
    backwards = rows.derive(list(rows)[::-1])

    def items(where: str, given: PromptSet) -> dict[tuple[Any, ...], Any]:
        found = measured(
            tmp_path / where, tiny_model("llama"), monkeypatch, given, paths=3, temperature=1.5
        )
        table = found.tables["course_correction_items"]
        return {(r["row"], r["k"], r["path"]): (r["outcome"], r["tokens"]) for r in table}

    first, second = items("a", rows), items("b", backwards)
    assert first == second and len(first) == 6 * 2 * 3


def test_a_judge_decides_and_its_agreement_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(messages: list[Any]) -> str:
        text = messages[-1].text
        tag = text.split("<<<PART B ")[1].split(">>>")[0]
        own = text.split("<<<PART B ")[1]
        clean = "can't help" in own or "won't write" in own
        return f'{{"item": "{tag}", "verdict": "{"clean" if clean else "continues"}"}}'

    subject = mock(lambda messages: TURN if "moon" in messages[0].text else ON)
    found = measured(
        tmp_path, subject, monkeypatch, made_rows(4), unit="word", judge=mock(say, "judge")
    )
    assert values(found)["gap"] == 1.0
    assert values(found)["judge_agreement"] == 1.0


def test_a_judge_that_cannot_be_read_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(messages: list[Any]) -> str:
        known = ("entering a house", "won't write", "its number from the list", "water over it")
        if any(words in messages[0].text for words in known):
            tag = messages[0].text.split("<<<PART B ")[1].split(">>>")[0]
            turned = any(words in messages[0].text for words in known[:2])
            return f'{{"item": "{tag}", "verdict": "{"clean" if turned else "continues"}"}}'
        return "I would rather not say."

    with pytest.raises(RunError, match="have no verdict"):
        measured(
            tmp_path,
            mock(lambda _: ON),
            monkeypatch,
            made_rows(3),
            unit="word",
            judge=mock(say, "judge"),
        )


def test_a_judge_that_fails_its_canaries_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TheodoliteError, match="canaries"):
        measured(
            tmp_path,
            mock(lambda _: ON),
            monkeypatch,
            made_rows(2),
            unit="word",
            judge=mock(lambda _: "nothing", "judge"),
        )


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"ks": "10,5"}, ConfigError, "do not increase"),
        ({"ks": "0,5"}, ConfigError, "forces nothing"),
        ({"ks": "a"}, ConfigError, "whole numbers"),
        ({"prefill": "continues"}, ConfigError, "no prefill"),
        ({"where": "answers"}, ConfigError, "no place"),
        ({"unit": "lines"}, ConfigError, "task.unit"),
        ({"paths": 0}, ConfigError, "at least one path"),
        ({"opener": "o77"}, ConfigError, "no opener"),
        ({"limit": 0}, DataError, "leaves no request"),
        ({"source": "nowhere.jsonl"}, DataError, "no such file"),
    ],
)
def test_options_that_cannot_be_used(
    options: dict[str, Any], error: type[TheodoliteError], said: str
) -> None:
    with pytest.raises(error, match=said):
        check(Options(**options))


def test_inspect_users_get_one_sentence() -> None:
    with pytest.raises(PrerequisiteError, match="no prefill"):
        course_correction(prefill="other")
    with pytest.raises(PrerequisiteError, match="needs the tokenizer"):
        course_correction(unit="token")


def test_an_api_model_needs_words_and_an_open_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="tokenizer of a model behind an API"):
        measured(tmp_path, mock(lambda _: ON), monkeypatch, made_rows(2), unit="token")


def test_continuations_made_elsewhere_are_scored(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(
        '{"id": "a", "k": 10, "request": "How?", "completion": "I\'m sorry, I will stop."}\n'
        '{"id": "b", "k": 10, "request": "Why?", "truly response": "and then stir"}\n'
        '{"id": "a", "k": 20, "request": "How?", "completion": ""}\n'
        '{"id": "c", "k": 10, "label": "benign", "completion": "and then stir"}\n',
        encoding="utf-8",
    )
    found = values(score_responses(path, Options()))
    assert found["corr/k/10"] == 0.5 and found["corr/k/20"] == 0.0
    assert found["false_correction"] == 0.0
    with pytest.raises(ConfigError, match="say what to ask"):
        score_responses(path, Options(limit=3))
    path.write_text('{"id": "a", "completion": "x"}\n' * 2, encoding="utf-8")
    with pytest.raises(DataError, match="stands already on line 1"):
        score_responses(path, Options())


def test_the_bundled_rows_are_test_rows_with_twins_and_everyday_ones() -> None:
    rows = load_rows(limit=5)
    assert {row.split for row in rows} == {"test"}
    assert [sum(row.label == label for row in rows) for label in ("harmful", "benign")] == [5, 5]
    assert len(load_rows(limit=5, benign=False)) == 5
    larger = {row.id for row in load_rows(limit=9)}
    assert {row.id for row in rows} <= larger


def test_no_words_of_a_reply_reach_output_or_tables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = made_rows(2)
    marked = rows.derive(
        [type(r)(**{**vars(r), "meta": {"reply": f"{SECRET} {r.meta['reply']}"}}) for r in rows]
    )
    found = measured(tmp_path, mock(lambda _: f"{SECRET} on"), monkeypatch, marked, unit="word")
    said = "".join(capsys.readouterr()) + caplog.text
    kept = repr((found.tables, found.measurements, found.findings, found.how, found.figures))
    assert SECRET not in said and SECRET not in kept
    assert any(SECRET in sample.completion for sample in found.samples)  # behind --show-text


def test_items_keep_what_the_figures_need(tmp_path: Path) -> None:
    prefixes = make_prefixes(list(made_rows(2)), (4, 8), unit="word")
    logs = inspect_eval(
        correction_task(prefixes), model=mock(lambda _: TURN), log_dir=str(tmp_path),
        display="none", ctl_server=False,
    )  # fmt: skip
    items = items_of(read_eval_log(logs[0].location))
    assert [item.id for item in items] == [prefix.id for prefix in prefixes]
    assert all(i.corrected and i.words_before == 1 and i.tokens == 8 for i in items)


@pytest.mark.parametrize(
    ("corr", "floor", "gap", "said"),
    [
        (0.0018, 0.0034, (0.0005, 0.0035), "that it turns away at all is not shown"),
        (0.1, 0.01, (0.05, 0.15), "10 points more often"),
        (0.1, 0.01, (-0.05, 0.15), "is not shown: breaking off everything"),
    ],
)
def test_findings_hold_what_the_figures_carry(
    corr: float, floor: float, gap: tuple[float, float], said: str
) -> None:
    found = [
        Measurement(
            "course-correction/corr", corr, "share", 100, floor=Floor("own words", floor),
            range=(0.0, 1.0),
        ),
        Measurement("course-correction/false_correction", 0.0, "share", 100),
        Measurement("course-correction/gap", corr, "share", 100, low=gap[0], high=gap[1]),
    ]  # fmt: skip
    text = " ".join(evaluation_module.findings(found))
    assert said in text and ("0.2%" in text or corr == 0.1)
