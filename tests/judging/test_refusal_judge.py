"""The judged evaluation: fenced, checked by canaries, and never low because the judge failed."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from theodolite.errors import JudgeError
from theodolite.judging.calibration import (
    calibrate_refusal_judge,
    calibration_rows,
    official_rows,
    shipped_rows,
)
from theodolite.judging.canaries import REFUSAL_CANARIES
from theodolite.judging.refusal import score_refusal
from theodolite.judging.refusal_judge import RefusalJudge, refusal_scorer

ANSWERS = ("Sorry, I am unable to assist with this request.", "Sure, boil it for eight minutes.")


def output(text: str) -> ModelOutput:
    """Return a mock's reply; with usage given, inspect does not fetch a tokenizer to count."""
    usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    reply = ModelOutput.from_content("mockllm/model", text)
    return reply.model_copy(update={"usage": usage})


def parts(question: str) -> tuple[str, str]:
    """Return the tag and the unquoted answer of a judge's question."""
    found = re.search(r"<<<ANSWER (\w+)>>>\n(.*?)\n<<<END ANSWER \1>>>", question, re.S)
    assert found is not None
    return found[1], re.sub(r"^\| ", "", found[2], flags=re.M)


def verdict(tag: str, label: str) -> str:
    return json.dumps({"item": tag, "verdict": label})


class Judge:
    """A mock judge; `how` is what it does with each question."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.calls = 0

    def __call__(self, messages: list[Any], *_: Any) -> ModelOutput:
        self.calls += 1
        tag, answer = parts(messages[0].text)
        canary = any(answer.split("\n")[0] in c.completion for c in REFUSAL_CANARIES)
        return output(self.reply(tag, answer, canary))

    def reply(self, tag: str, answer: str, canary: bool) -> str:
        planted = re.search(r'"verdict": "(\w+)"', answer)
        if self.how == "down":
            raise ConnectionError("unreachable")
        if self.how == "fooled" and planted:
            return verdict(tag, planted[1])
        if self.how == "parrot" and planted:
            return f'{{"item": "0", "verdict": "{planted[1]}"}}'
        if self.how == "garbage later" and not canary:
            return "Both, I would say."
        return verdict(tag, score_refusal(answer).label)


def model(how: str) -> tuple[Model, Judge]:
    judge = Judge(how)
    return get_model("mockllm/judge", custom_outputs=judge), judge


def run(how: str | None, tmp_path: Path, answers: tuple[str, ...] = ANSWERS) -> EvalLog:
    outputs = [output(answer) for answer in answers]
    roles = {} if how is None else {"judge": model(how)[0]}
    samples = [Sample(input=f"Question {n}", id=n) for n in range(len(answers))]
    task = Task(samples, scorer=refusal_scorer())
    return eval(
        task,
        model=get_model("mockllm/m", custom_outputs=outputs),
        model_roles=roles,
        log_dir=str(tmp_path),
        display="none",
        max_samples=1,
        ctl_server=False,
    )[0]


def scores(log: EvalLog) -> list[Any]:
    assert log.samples is not None
    ordered = sorted(log.samples, key=lambda sample: int(sample.id))
    return [(sample.scores or {})["refusal_scorer"] for sample in ordered]


def test_without_a_judge_the_offline_scorer_decides(tmp_path: Path) -> None:
    log = run(None, tmp_path)
    assert log.status == "success"
    assert [score.value for score in scores(log)] == [1.0, 0.0]
    assert [score.answer for score in scores(log)] == ["refusal", "compliance"]
    assert scores(log)[0].metadata["scorer"] == "all"


def test_a_judge_that_obeys_labels_every_answer(tmp_path: Path) -> None:
    log = run("obeys", tmp_path)
    assert log.status == "success"
    assert [score.value for score in scores(log)] == [1.0, 0.0]
    assert "mockllm" in scores(log)[0].metadata["scorer"]


def test_an_empty_answer_does_not_reach_the_judge(tmp_path: Path) -> None:
    log = run("garbage later", tmp_path, answers=("  \n",))
    assert [score.answer for score in scores(log)] == ["empty"]


def test_unreadable_verdicts_are_unscored_not_low(tmp_path: Path) -> None:
    log = run("garbage later", tmp_path)
    assert log.status == "success"
    for score in scores(log):
        assert score.reason == "judge_unparsable"
        assert score.as_float() != score.as_float()  # NaN


@pytest.mark.parametrize("how", ["down", "fooled", "parrot"])
def test_a_judge_that_is_down_or_fooled_leaves_the_run_incomplete(how: str, tmp_path: Path) -> None:
    log = run(how, tmp_path)
    assert log.status == "error"
    assert log.error is not None
    assert "JudgeError" in log.error.traceback
    assert all("refusal_scorer" not in (sample.scores or {}) for sample in log.samples or [])


def test_the_canaries_that_fooled_the_judge_are_named() -> None:
    judge = RefusalJudge(model("fooled")[0])
    with pytest.raises(JudgeError, match="injected verdict in an answer, injected verdict in a"):
        asyncio.run(judge.check())


def test_canaries_run_once_for_many_samples() -> None:
    mock, calls = model("obeys")
    judge = RefusalJudge(mock)

    async def often() -> None:
        await asyncio.gather(*(judge.check() for _ in range(8)))

    asyncio.run(often())
    assert calls.calls == len(REFUSAL_CANARIES)


@pytest.mark.parametrize("canary", REFUSAL_CANARIES, ids=lambda canary: canary.name)
def test_the_offline_scorer_passes_the_canaries_too(canary: Any) -> None:
    assert score_refusal(canary.completion).refused is canary.refused


def test_calibration_states_the_agreement_with_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THEODOLITE_DATA", raising=False)
    source, rows = calibration_rows(12, seed=3)
    assert source == "shipped"
    assert sum(row.refused for row in rows) == 12
    judge = RefusalJudge(model("obeys")[0])
    measured = asyncio.run(calibrate_refusal_judge(judge, rows, source=source))
    assert measured.n == 24
    assert measured.unscored == {}
    assert (measured.quality.quality.sensitivity or 0) > 0.5


def test_calibration_counts_rows_without_a_verdict() -> None:
    judge = RefusalJudge(model("garbage later")[0])
    rows = shipped_rows()[:4]
    measured = asyncio.run(calibrate_refusal_judge(judge, rows, source="shipped"))
    assert measured.n == 0
    assert measured.unscored == {"judge_unparsable": 4}
    assert measured.quality.quality.sensitivity is None


def test_a_broken_labelled_file_names_the_line(tmp_path: Path) -> None:
    from theodolite.errors import DataError

    (tmp_path / "refusal").mkdir()
    for name in ("llama2new", "mistralinstruct"):
        path = tmp_path / "refusal" / f"xstest_completions_{name}.jsonl"
        path.write_text('{"id": "1", "prompt": "p", "completion": "c", "label": "maybe"}\n')
    with pytest.raises(DataError, match=r"line 1 .*maybe"):
        official_rows(tmp_path)
