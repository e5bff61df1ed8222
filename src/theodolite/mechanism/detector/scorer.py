"""The inspect_ai scorer `theodolite/harm_detector`: how harmful each sample's input reads.

inspect score LOG --scorer theodolite/harm_detector -S detector=FOLDER
inspect score LOG --scorer theodolite/harm_detector -S detector=FOLDER -S model=smollm2

The input is read inside the model under test, or, where that one shows no hidden states, inside the
model that the argument `model` names. What the model answers plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState

from theodolite.data.prompts import BENIGN, HARMFUL, Message, Prompt
from theodolite.errors import CapabilityError, TheodoliteError
from theodolite.providers.requests import chat_turns
from theodolite.providers.surface import RequestError, one_sentence
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.detector.detector import Detector
    from theodolite.models.handle import LanguageModel


@metric
def mean_probability() -> Metric:
    """Return the mean probability over all samples."""

    def compute(scores: list[SampleScore]) -> float:
        return _mean([score.score.as_float() for score in scores])

    return compute


@metric
def accuracy() -> Metric:
    """Return the share of samples labelled harmful or benign that the detector calls so."""

    def compute(scores: list[SampleScore]) -> float:
        return _mean([float(s.score.answer == label) for s, label in _labelled(scores)])

    return compute


@metric
def auroc() -> Metric:
    """Return how often a harmful sample scores above a benign one; NaN without both labels."""

    def compute(scores: list[SampleScore]) -> float:
        from theodolite.mechanism.probes.calibration import auroc as area

        pairs = [(s.score.as_float(), label == HARMFUL) for s, label in _labelled(scores)]
        found = area(*zip(*pairs)) if pairs else None
        return math.nan if found is None else found

    return compute


def _labelled(scores: list[SampleScore]) -> list[tuple[SampleScore, str]]:
    """Return the samples whose metadata label them harmful or benign."""
    labels = [(score, (score.sample_metadata or {}).get("label")) for score in scores]
    return [(score, label) for score, label in labels if label in (HARMFUL, BENIGN)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@scorer(metrics=[mean_probability(), accuracy(), auroc()])
def harm_detector(detector: str, model: str | None = None, force: bool = False) -> Scorer:
    """Score the probability that a sample's input is harmful, as the network reads it.

    Args:
        detector: the folder that `Detector.save` wrote.
        model: a reference of a local model to read the input with; None is the model under test.
        force: also read with another model of the same width than the detector was trained on.

    Raises: PrerequisiteError: the folder holds no detector.
    """
    from theodolite.mechanism.detector.detector import Detector

    with one_sentence():
        found = Detector.load(Path(detector))
    handle = _reader(model)

    async def score(state: TaskState, target: Target) -> Score:
        try:
            reader, prompt = handle(), _prompt(state)
            # In the event loop a forward pass would keep other samples waiting.
            values = await to_thread.run_sync(lambda: found.score(reader, [prompt], force=force))
        except TheodoliteError as error:
            raise RequestError(error) from error
        return _verdict(found, values[0])

    return score


def _verdict(detector: Detector, probability: float) -> Score:
    place = {"hidden_index": detector.hidden_index, "position": detector.position}
    return Score(
        value=probability,
        answer=detector.classes[int(probability >= detector.threshold)],
        metadata={**place, "threshold": detector.threshold},
    )


def _prompt(state: TaskState) -> Prompt:
    """Return a sample's input as a prompt."""
    name = str(state.sample_id)
    if isinstance(state.input, str):
        return Prompt(name, text=state.input)
    turns = chat_turns(state.input)
    return Prompt(name, messages=tuple(Message(t["role"], t["content"]) for t in turns))


def _reader(ref: str | None) -> Callable[[], LanguageModel]:
    """Return a function that finds the open model that reads, opening a named one once."""
    opened: list[LanguageModel] = []

    def named() -> LanguageModel:
        from theodolite.models import open_model

        if not opened:
            opened.append(open_model(str(ref)))
        return opened[0]

    return under_test if ref is None else named


def under_test() -> LanguageModel:
    """Return the open handle of the model that inspect evaluates.

    Raises: CapabilityError: it does not come from our provider, so its states cannot be read.
    """
    from inspect_ai.model import get_model

    from theodolite.providers.theodolite import TheodoliteAPI

    model = get_model()
    if not isinstance(model.api, TheodoliteAPI):
        raise CapabilityError(
            f"Reading hidden states of {escape(str(model), 80)}",
            "it is not a local model of this toolkit",
            "Evaluate --model theodolite/REF, or name a reader with -S model=REF",
        )
    return model.api.model
