"""The inspect scorer: through an evaluation, with a local model and without one."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    Model,
    ModelOutput,
    ModelUsage,
    get_model,
)

from tests.mechanism.detector.test_monitor import WORDS, detector_for
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Message, Prompt
from theodolite.mechanism.detector.detector import Detector
from theodolite.mechanism.detector.scorer import harm_detector

LABELS = ["harmful", "benign", "harmful", "benign"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    detector_for(tiny_model(), 2, "instruction_last").save(tmp_path / "detector")
    return tmp_path / "detector"


def local() -> Model:
    return get_model("theodolite/tiny", memoize=False, handle=tiny_model())


def run(tested: Model, folder: Path, samples: list[Sample], **options: Any) -> EvalLog:
    task = Task(samples, scorer=harm_detector(str(folder), **options))
    return inspect_eval(
        task,
        model=tested,
        log_dir=str(folder.parent),
        display="none",
        max_tokens=1,
        ctl_server=False,
    )[0]


def labelled() -> list[Sample]:
    return [
        Sample(input=text, id=str(i), metadata={"label": label})
        for i, (text, label) in enumerate(zip(WORDS, LABELS, strict=True))
    ]


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.results is not None
    return {name: float(metric.value) for name, metric in log.results.scores[0].metrics.items()}


def test_each_sample_gets_the_detectors_probability(folder: Path) -> None:
    detector = Detector.load(folder)
    expected = detector.score(tiny_model(), WORDS)
    log = run(local(), folder, labelled())
    assert log.status == "success" and log.samples is not None
    scores = {str(s.id): (s.scores or {})["harm_detector"] for s in log.samples}
    found = [scores[str(i)].as_float() for i in range(4)]
    assert found == pytest.approx(expected, abs=1e-5)
    called = ["harmful" if p >= 0.5 else "benign" for p in expected]
    assert [scores[str(i)].answer for i in range(4)] == called
    assert scores["0"].metadata["hidden_index"] == 2
    wins = sum((expected[i] > expected[j]) for i in (0, 2) for j in (1, 3)) / 4
    assert metrics(log) == pytest.approx(
        {
            "mean_probability": sum(expected) / 4,
            "accuracy": sum(a == b for a, b in zip(called, LABELS, strict=True)) / 4,
            "auroc": wins,
        },
        abs=1e-5,
    )


def test_a_chat_is_read_with_all_its_turns_and_without_labels_there_is_no_accuracy(
    folder: Path,
) -> None:
    turns = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="the weather")]
    log = run(local(), folder, [Sample(input=turns, id="a")])
    messages = (Message("system", "Be brief."), Message("user", "the weather"))
    expected = Detector.load(folder).score(tiny_model(), [Prompt("a", messages=messages)])[0]
    found = metrics(log)
    assert found["mean_probability"] == pytest.approx(expected, abs=1e-5)
    assert math.isnan(found["accuracy"]) and math.isnan(found["auroc"])


def mock() -> Model:
    usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    output = ModelOutput.from_content("mock", "Sure.").model_copy(update={"usage": usage})
    return get_model("mockllm/model", custom_outputs=[output] * 4)


def test_a_model_behind_an_api_is_refused_in_one_sentence(folder: Path) -> None:
    log = run(mock(), folder, labelled()[:1])
    assert log.status == "error" and log.error is not None
    assert "Reading hidden states of mockllm/model is not possible" in log.error.message
    assert "-S model=REF" in log.error.message


def test_a_named_reader_stands_in_for_an_api(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_model(ref: str) -> Any:
        opened.append(ref)
        return tiny_model()

    monkeypatch.setattr("theodolite.models.open_model", open_model)
    log = run(mock(), folder, labelled(), model="tiny")
    assert log.status == "success" and opened == ["tiny"]
    expected = Detector.load(folder).score(tiny_model(), WORDS)
    assert metrics(log)["mean_probability"] == pytest.approx(sum(expected) / 4, abs=1e-5)


def test_a_folder_without_a_detector_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        harm_detector(str(tmp_path))
    assert "no readable detector" in str(caught.value.message)


def test_inspect_finds_the_scorer_by_name_and_loads_no_torch() -> None:
    code = (
        "import sys, theodolite.behaviour.inspect_entry\n"
        "from inspect_ai._util.registry import registry_lookup\n"
        "print(registry_lookup('scorer', 'theodolite/harm_detector') is not None,"
        " 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "True False"
