"""The task, end to end: with a mock model, a tiny one, and a few requests to a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from tests.models.tiny import tiny_model
from theodolite.behaviour.refusal.data import load_requests
from theodolite.behaviour.refusal.evaluation import Options, evaluate
from theodolite.behaviour.refusal.task import items_of, refusal
from theodolite.data.prompts import PromptSet
from theodolite.models import open_model
from theodolite.runs.run import Run

REFUSAL = "I'm sorry, but I can't help with that request."
ANSWER = "Sure. Here is a short overview of the topic, with the main points in order."


def mock(reply: Callable[[str], str]) -> Model:
    """Return a model that answers each request by a rule."""

    def answer(messages: Any, *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mock", reply(messages[-1].text))
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    return get_model("mockllm/model", custom_outputs=answer)


def careful(prompts: PromptSet) -> Model:
    """Return a model that refuses exactly the harmful requests."""
    harmful = {prompt.request for prompt in prompts if prompt.label == "harmful"}
    return mock(lambda words: REFUSAL if words in harmful else ANSWER)


def run_inspect(tmp_path: Path, model: Model, **options: Any) -> EvalLog:
    logs = inspect_eval(
        refusal(**options), model=model, log_dir=str(tmp_path), display="none", ctl_server=False
    )
    return read_eval_log(logs[0].location)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (mock(lambda _: REFUSAL), {"harmful_refused": 1.0, "benign_refused": 1.0, "gap": 0.0}),
        (mock(lambda _: ANSWER), {"harmful_refused": 0.0, "benign_refused": 0.0, "gap": 0.0}),
        (careful(load_requests()), {"harmful_refused": 1.0, "benign_refused": 0.0, "gap": 1.0}),
    ],
)
def test_trivial_and_perfect_models_score_what_they_must(
    tmp_path: Path, model: Model, expected: dict[str, float]
) -> None:
    log = run_inspect(tmp_path, model, limit=20)
    assert log.results is not None
    metrics = log.results.scores[0].metrics
    assert {name: metric.value for name, metric in metrics.items()} == expected


def test_items_carry_what_the_figures_need(tmp_path: Path) -> None:
    prompts = load_requests(limit=4, styles="plain,quiz")
    log = run_inspect(tmp_path, careful(prompts), limit=4, styles="plain,quiz")
    items = items_of(log)
    assert [item.id for item in items] == list(prompts.ids)
    for item, prompt in zip(items, prompts, strict=True):
        assert (item.label, item.style) == (prompt.label, prompt.style)
        assert (item.goal_id, item.pair_id) == (prompt.goal_id, prompt.pair_id)
        assert item.refused is (prompt.label == "harmful") and item.confidence is not None


def test_a_failed_sample_is_unscored_and_not_a_compliance(tmp_path: Path) -> None:
    def fail(words: str) -> str:
        if words == load_requests().prompts[0].request:
            raise RuntimeError("gone")
        return ANSWER

    logs = inspect_eval(
        refusal(limit=4),
        model=mock(fail),
        log_dir=str(tmp_path),
        display="none",
        fail_on_error=False,
        ctl_server=False,
    )
    first = items_of(logs[0])[0]
    assert first.verdict is None and first.refused is None and first.reason


def test_a_bad_option_is_one_sentence() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        refusal(styles="no_such_style")
    assert "no_such_style" in str(caught.value.message)


def test_evaluate_returns_figures_tables_and_samples(tmp_path: Path) -> None:
    with Run.create("eval refusal", "tiny", out=tmp_path / "run") as run:
        result = evaluate(
            tiny_model(), Options(limit=6, styles="plain,quiz", max_tokens=4), run=run
        )
        run.save_panel("refusal", result)
        again = run.load_panel("refusal")
    names = [measurement.name for measurement in result.measurements]
    assert names[:3] == ["refusal/harmful", "refusal/benign", "refusal/gap"]
    assert len(names) == len(set(names))
    assert len(result.samples) == 12 and {s.harmful for s in result.samples} == {True, False}
    assert [m.as_dict() for m in again.measurements] == [m.as_dict() for m in result.measurements]
    assert result.findings and result.limits and result.how
    shown = repr(result.tables) + repr([m.as_dict() for m in result.measurements])
    assert not any(sample.prompt in shown for sample in result.samples)


def test_a_real_model_answers_six_requests(tmp_path: Path) -> None:
    model = open_model("smollm2")
    with Run.create("eval refusal", "smollm2", out=tmp_path / "run") as run:
        result = evaluate(model, Options(limit=6, max_tokens=4), run=run)
        again = evaluate(model, Options(limit=6, max_tokens=4), run=run)
    assert [m.n for m in result.measurements[:2]] == [3, 3]
    assert [s.completion for s in again.samples] == [s.completion for s in result.samples]
    assert all(sample.completion.strip() for sample in result.samples)
