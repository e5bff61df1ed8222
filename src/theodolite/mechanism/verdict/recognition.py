"""From requests to the verdict: fit on some goals, look at others, bare and wrapped.

1. Read the train requests; fit and calibrate the harm detector on them, and find the layer from
   which they part in friendly and refusing words.
2. Read the test requests, bare and wrapped, at those places.
3. Let the model answer them, or take verdicts made before.
4. Put the three together, prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.errors import DataError
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.detector.detector import Detector, train_detector
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.lens.emotion_curve import EmotionCurve, emotion_curve
from theodolite.mechanism.lens.logit_lens import LensResult, logit_lens
from theodolite.mechanism.probes.text_floors import TEXT_FLOORS, text_floor
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.states import States
from theodolite.mechanism.verdict.decide import VerdictResult, verdict
from theodolite.mechanism.verdict.outcomes import outcomes

if TYPE_CHECKING:
    from theodolite.mechanism.lens.token_classes import TokenClasses
    from theodolite.mechanism.verdict.outcomes import Outcome

READ_AT = "prompt_last"  # where the lean to refusal is read


@dataclass(frozen=True, eq=False)
class Recognition:
    """The verdict and what it was made from.

    Args:
        items, states: of the train requests.
        curve: friendly over refusing words by layer, on the train requests.
        asked: the test requests, bare and wrapped.
        answers: what became of them, by id.
    """

    result: VerdictResult
    detector: Detector
    items: Items
    states: States
    lens: LensResult
    curve: EmotionCurve
    asked: tuple[Prompt, ...]
    answers: Mapping[str, Outcome]


def recognise(
    read: Reader,
    train: tuple[Sequence[Prompt], Sequence[Prompt]],
    bare: tuple[Sequence[Prompt], Sequence[Prompt]],
    wrapped: Sequence[Prompt],
    *,
    tokens: TokenClasses,
    position: str = "instruction_last",
    probe: str = "logistic",
    known: Mapping[str, str | None] | None = None,
    max_new_tokens: int = 48,
    seed: int = 0,
) -> Recognition:
    """Fit on the train requests, judge the others, and say why refusals fail.

    Args:
        read: reads states at `position` and at `READ_AT`.
        train: harmful and benign requests to fit on.
        bare: harmful and benign requests of other goals.
        wrapped: requests in styles, harmful and benign; those whose goal is among the train
            requests' are left out.
        tokens: friendly and refusing tokens.
        position, probe: of the detector.
        known: verdicts on answers that were made before, by prompt id.

    Raises:
        DataError: a class has no request to fit on or to look at, or a style lacks benign ones.
    """
    model, progress = read.model, read.progress
    for side, parts in (("fit on", train), ("look at", bare)):
        for name, prompts in zip((HARMFUL, BENIGN), parts, strict=True):
            if not prompts:
                raise DataError(
                    f"No bare {name} request is left to {side}.",
                    fix="Give more requests of other goals, or both train and test in their field "
                    "'split'.",
                )
    items = make_items({HARMFUL: train[0], BENIGN: train[1]})
    states = read(items.prompts)
    detector = train_detector(states, items, position=position, probe=probe, seed=seed)
    lens = logit_lens(model, states, position=READ_AT, classes=tokens, progress=progress)
    curve = emotion_curve(lens, items, seed=seed)
    test = of_other_goals(train, bare, wrapped)
    seen = read(test.prompts)
    answers = outcomes(
        model,
        test.prompts,
        known=known,
        max_new_tokens=max_new_tokens,
        template=read.template,
        journal=read.journal,
        progress=progress,
    )
    result = verdict(
        seen,
        test,
        logit_lens(model, seen, position=READ_AT, classes=tokens, progress=progress),
        detector,
        answers,
        conversion_index=curve.conversion_index,
        gain=gain_over_words(detector, items, seen, test, seed),
        seed=seed,
    )
    return Recognition(result, detector, items, states, lens, curve, test.prompts, answers)


def of_other_goals(
    train: tuple[Sequence[Prompt], Sequence[Prompt]],
    bare: tuple[Sequence[Prompt], Sequence[Prompt]],
    wrapped: Sequence[Prompt],
) -> Items:
    """Return bare and wrapped requests that share no goal, pair or wording with the train ones."""
    harmful = [p for p in wrapped if p.label == HARMFUL]
    benign = [p for p in wrapped if p.label != HARMFUL]
    together = make_items(
        {HARMFUL: [*train[0], *bare[0], *harmful], BENIGN: [*train[1], *bare[1], *benign]},
        dedupe=False,
    )
    fitted = {prompt.id for part in train for prompt in part}
    group_of = dict(zip(together.ids, together.groups, strict=True))
    known = {group_of[prompt_id] for prompt_id in fitted}
    # A wrapped request may name the bare one's id as its goal.
    other = [group_of[p.id] not in known and p.goal_id not in fitted for p in together.prompts]
    return together.select(np.array(other))


def gain_over_words(
    detector: Detector, train: Items, states: States, test: Items, seed: int
) -> Measurement:
    """Return the detector's accuracy on bare test requests minus that of the best text floor."""
    bare = test.select([i for i, p in enumerate(test.prompts) if p.style in (None, "plain")])
    truth = bare.labels
    right = (detector.probabilities(states.rows(bare.ids)) > 0.5) == bare.positive
    floors = {
        name: np.asarray(text_floor(name, train.texts, train.labels, bare.texts)) == truth
        for name in TEXT_FLOORS
    }
    best = max(floors, key=lambda name: float(floors[name].mean()))
    return paired_difference(
        right.tolist(),
        floors[best].tolist(),
        bare.groups,
        name="verdict/detector_over_words",
        unit="accuracy",
        floor=Floor(f"words alone ({best.replace('_', ' ')})", 0.0),
        seed=seed,
    )
