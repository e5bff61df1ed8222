"""Modes that write nothing: what a model would say of a solution, read off its log-probabilities.

`verdict` compares "correct" with "incorrect" behind "Solution Correctness:", without any analysis.
`steps` compares every label of the solution, and N/A, behind "First Error Step:". `stepwise` asks
after each step whether all is right so far (see `stepwise.py`). None of them gives a reason, so
MR-Score is known between bounds only.

Trap this file exists for: "Step 1" is how "Step 10" begins. A label whose tokens begin another
label's keeps only the probability that the other one leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.mr_ben.headers import CORRECTNESS, STEP, TITLES
from theodolite.behaviour.mr_ben.mode_figures import cost_row, said
from theodolite.behaviour.mr_ben.mode_results import (
    how_asked,
    steps_result,
    verdict_result,
)
from theodolite.behaviour.mr_ben.options import STEPS, STEPWISE, VERDICT
from theodolite.behaviour.mr_ben.prefix_cost import Prefilled
from theodolite.behaviour.mr_ben.prompts import FORMATS, MOST_SHOTS, PLAIN
from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.behaviour.mr_ben.slots import (
    Slot,
    ids_of,
    require_some,
    score_slots,
    slots_of,
)
from theodolite.data.mr_ben import CORRECT, INCORRECT, Demo
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSample, CritiqueSet
from theodolite.errors import ConfigError, DataError
from theodolite.runs.panel import PanelResult
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.engine.score import Scored
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

METHOD_VERSION: Final = 1
MODES: Final = (VERDICT, STEPS, STEPWISE)
OPENINGS: Final = {VERDICT: f"{TITLES[CORRECTNESS]}:", STEPS: f"{TITLES[STEP]}:"}
NONE: Final = " N/A"
_LEAST: Final = 1e-300


def check_modes(mode: str, *, k_shot: int = 0, steps_format: str = PLAIN) -> None:
    """Refuse a way of asking that does not exist; raises ConfigError."""
    if mode not in MODES:
        raise ConfigError(f"There is no mode {shown(mode)}.", fix=did_you_mean(mode, MODES))
    if not 0 <= k_shot <= MOST_SHOTS:
        raise ConfigError(f"{k_shot} worked examples cannot be shown.", fix="Give k_shot 0 to 3.")
    if steps_format not in FORMATS:
        raise ConfigError(
            f"There is no steps_format {shown(steps_format)}.",
            fix=did_you_mean(steps_format, FORMATS),
        )
    if mode == STEPWISE and (k_shot or steps_format != PLAIN):
        raise ConfigError(
            "The mode stepwise asks after every step, so it shows no worked examples and the steps "
            "as they are.",
            fix="Leave k_shot and steps_format out.",
        )


def score_modes(
    model: LanguageModel,
    rows: CritiqueSet,
    *,
    mode: str,
    k_shot: int = 0,
    steps_format: str = PLAIN,
    demos: Mapping[str, Sequence[Demo]] | None = None,
    run: Run | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PanelResult:
    """Score solutions by a mode that writes nothing.

    Args:
        model: an open local model; active interventions act.
        rows: the solutions (`data.load_rows`). Programs have no labels: only `verdict` reads them.
        mode: `verdict`, `steps` or `stepwise`.
        k_shot: worked examples before each question; fewer where they do not fit.
        steps_format: `plain` or `pylist`, see `task_prompt`.
        demos: the worked examples by sub-subject, needed where `k_shot` is not 0.
        run: finished passes are kept in its journal.
        seed: of folds and bootstraps.

    Raises:
        ConfigError: the mode, the format or the number of examples cannot be used.
        CapabilityError: the model gives no log-probabilities.
        DataError: no solution can be read, or there are not so many examples.
    """
    check_modes(mode, k_shot=k_shot, steps_format=steps_format)
    model.require("logprobs")
    samples = [s for s in rows if mode == VERDICT or (s.labels and not s.coding)]
    if not samples:
        raise DataError(
            f"None of the {len(rows)} solutions can be read by the mode {mode}.",
            fix="Give solutions whose steps are labelled, or use the mode verdict.",
        )
    if mode == STEPWISE:
        from theodolite.behaviour.mr_ben.stepwise import stepwise

        result = stepwise(model, samples, run=run, seed=seed, progress=progress)
    else:
        slots = slots_of(
            model,
            samples,
            demos or {},
            k_shot=k_shot,
            steps_format=steps_format,
            opening=OPENINGS[mode],
            room=_room(model, samples, mode),
        )
        require_some(model, slots)
        kept = {"journal": None if run is None else run.journal, "progress": progress}
        told: dict[str, Any] = {
            "seed": seed,
            "how": [how_asked(mode, k_shot, slots, steps_format)],
        }
        if mode == VERDICT:
            leaning, cost = verdicts(model, slots, **kept)
            result = verdict_result(leaning, cost=[cost_row(mode, k_shot, cost)], **told)
        else:
            located, cost = steps(model, slots, **kept)
            result = steps_result(located, cost=[cost_row(mode, k_shot, cost)], **told)
    left = len(rows) - len(samples)
    if not left:
        return result
    why = f"{left} programs and solutions without labelled steps are no part of this mode."
    return replace(result, limits=[*result.limits, why])


@dataclass(frozen=True)
class Leaning:
    """How far a model leans to one verdict on a solution.

    Args:
        slot: the solution and its prompt.
        margin: log-probability of "correct" minus that of "incorrect", in nats; None where it was
            not read.
    """

    slot: Slot
    margin: float | None


def verdicts(
    model: LanguageModel, slots: Sequence[Slot], **kept: Any
) -> tuple[list[Leaning], Prefilled]:
    """Return how far a model leans to each verdict, and what that reads.

    Args:
        slots: prompts that end at the verdict.
        kept: `journal` and `progress`.
    """
    words = [ids_of(model, f" {word}") for word in (CORRECT, INCORRECT)]
    scored, cost = score_slots(model, slots, lambda _: words, **kept)
    return [
        Leaning(slot, own[0].sum - own[1].sum if own else None)
        for slot, own in zip(slots, scored, strict=True)
    ], cost


@dataclass(frozen=True)
class Located:
    """How likely a model finds each step of a solution the first wrong one.

    Args:
        slot: the solution and its prompt.
        chances: by label, of being named, against all labels and N/A; empty where it was not read.
        none: of N/A, likewise.
    """

    slot: Slot
    chances: Mapping[int, float]
    none: float | None

    @property
    def best(self) -> int | None:
        """The likeliest label; the first of equals."""
        return max(self.chances, key=self.chances.__getitem__) if self.chances else None

    @property
    def row(self) -> Graded:
        """The answer that is likeliest of all: a label, or N/A."""
        if self.none is None or self.best is None:
            return said(self.slot.sample, None)
        right = self.none >= self.chances[self.best]
        return said(self.slot.sample, right, self.best)


def steps(
    model: LanguageModel, slots: Sequence[Slot], **kept: Any
) -> tuple[list[Located], Prefilled]:
    """Return how likely a model names each label, and what that reads.

    Args:
        slots: prompts that end at the first wrong step.
        kept: `journal` and `progress`.
    """

    def completions(sample: CritiqueSample) -> list[tuple[int, ...]]:
        return [*(ids_of(model, f" Step {label}") for label in sample.labels), ids_of(model, NONE)]

    scored, cost = score_slots(model, slots, completions, **kept)
    return [_located(slot, own) for slot, own in zip(slots, scored, strict=True)], cost


def _located(slot: Slot, own: Sequence[Scored]) -> Located:
    if not own:
        return Located(slot, {}, None)
    logs = exact_masses([one.token_ids for one in own], [one.sum for one in own])
    *parts, none = (math.exp(log - max(logs)) for log in logs)
    total = sum(parts) + none
    chances = dict(zip(slot.sample.labels, (part / total for part in parts), strict=True))
    return Located(slot, chances, none / total)


def exact_masses(tokens: Sequence[Sequence[int]], logs: Sequence[float]) -> list[float]:
    """Return the log-probability of saying each text and none of those that go on from it.

    Args:
        tokens: of each text.
        logs: log-probability of beginning with each, in nats.
    """
    left: dict[int, float] = {}
    for i in sorted(range(len(tokens)), key=lambda i: -len(tokens[i])):
        longer = [
            j for j in left if len(tokens[j]) > len(tokens[i])
            and tuple(tokens[j][: len(tokens[i])]) == tuple(tokens[i])
        ]  # fmt: skip
        # As a share of its own mass, which may be far too small for a float.
        gone = sum(math.exp(left[j] - logs[i]) for j in longer)
        left[i] = logs[i] + math.log(max(1 - gone, _LEAST))
    return [left[i] for i in range(len(tokens))]


def _room(model: LanguageModel, samples: Sequence[CritiqueSample], mode: str) -> int:
    """Return the most tokens that a completion takes."""
    labels = {label for sample in samples for label in sample.labels}
    words = [NONE, *(f" Step {label}" for label in labels)]
    if mode == VERDICT:
        words = [f" {word}" for word in (CORRECT, INCORRECT)]
    return max(len(ids_of(model, word)) for word in words)
