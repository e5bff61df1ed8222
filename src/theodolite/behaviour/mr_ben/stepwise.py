"""Ask after each step whether all is right so far; the first "no" is the first wrong step.

All answers of a solution come from one pass over it (see `forks.py`): nothing is written, and a
solution of n steps costs about as much as one prompt, not n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.behaviour.mr_ben.mode_figures import (
    Ranking,
    areas,
    cost_row,
    fixed_elsewhere,
    grid,
    said,
    solutions,
    verdict_figures,
)
from theodolite.behaviour.mr_ben.mode_results import (
    LIMITS,
    areas_in_words,
    facts,
    findings,
    how_asked,
    how_fixed,
)
from theodolite.behaviour.mr_ben.options import STEPWISE
from theodolite.behaviour.mr_ben.prefix_cost import Prefilled
from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME
from theodolite.behaviour.mr_ben.slots import (
    OneStage,
    Slot,
    fitted,
    require_some,
    whole_questions,
)
from theodolite.behaviour.mr_ben.strata import strata
from theodolite.behaviour.mr_ben.walks import Walk, walk_of
from theodolite.data.step_critique import CritiqueSample
from theodolite.judging.yes_no import yes_no_tokens, yes_share
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure, PanelResult

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

NATURAL: Final = 0.5
_ROOM: Final = 1  # the answer's first token
_AROUND: Final = (-2, -1, 0, 1, 2)


@dataclass(frozen=True)
class Walked:
    """What a model says after each step of a solution.

    Args:
        walk: the solution, cut at its steps.
        encoded: the prompt with all of it; None where that does not fit.
        right: probability of yes against no, by step; empty where nothing was read.
    """

    walk: Walk
    encoded: Encoded | None
    right: tuple[float, ...]

    @property
    def lowest(self) -> float | None:
        """How sure it is of the whole solution: of the step it doubts most."""
        return min(self.right) if self.right else None

    def first_below(self, threshold: float) -> int | None:
        """Return the label of the first step behind which it is less sure than that; else None."""
        return next(
            (
                label
                for label, p in zip(self.walk.labels, self.right, strict=False)
                if p < threshold
            ),
            None,
        )


def stepwise(
    model: LanguageModel,
    samples: Sequence[CritiqueSample],
    *,
    run: Run | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PanelResult:
    """Return figures, tables and sentences of solutions asked about after each step.

    Args:
        model: an open local model; active interventions act.
        samples: solutions with labels.
        run: finished passes are kept in its journal.
        seed: of folds and bootstraps.

    Raises:
        ConfigError: yes and no begin with the same token.
        DataError: no solution fits into the model's context.
    """
    journal = None if run is None else run.journal
    found, cost = walked(model, samples, journal=journal, progress=progress)
    slots = [Slot(one.walk.sample, one.encoded, 0) for one in found]
    told = [how_asked(STEPWISE, 0, slots)]
    return stepwise_result(found, seed=seed, how=told, cost=[cost_row(STEPWISE, 0, cost)])


def walked(
    model: LanguageModel,
    samples: Sequence[CritiqueSample],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> tuple[list[Walked], Prefilled]:
    """Return how sure a model is after each step, and what that reads.

    Args:
        samples: solutions with labels, in any order.

    Raises: as `stepwise`.
    """
    from theodolite.behaviour.mr_ben.forks import fork_logits

    yes, no = yes_no_tokens(model)
    walks = [walk_of(sample) for sample in samples]
    prompts = prompts_of(model, walks)
    ends = [None if own is None else own[-1] for own in prompts]
    require_some(model, [Slot(s, end, 0) for s, end in zip(samples, ends, strict=True)])
    roots: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        if prompts[place] is not None:
            roots.setdefault(sample.sub_subject or sample.subject, []).append(place)
    if progress is not None:
        progress.start("steps", sum(map(len, roots.values())))
    stage = None if progress is None else OneStage(progress)
    right: list[tuple[float, ...]] = [()] * len(samples)
    cost = Prefilled()
    for places in roots.values():
        texts = [own for p in places if (own := prompts[p]) is not None]
        keys = [samples[p].key for p in places]
        budget = whole_questions(model, [(own[-1], (0,)) for own in texts], keys)
        logits, more = fork_logits(
            model, texts, [*yes, *no], batch_tokens=budget, journal=journal, progress=stage
        )
        cost += more
        for place, values in zip(places, logits, strict=True):
            table = np.array(values)
            shares = yes_share(table[:, : len(yes)], table[:, len(yes) :])
            right[place] = tuple(float(share) for share in shares)
    return [Walked(*each) for each in zip(walks, ends, right, strict=True)], cost


def prompts_of(model: LanguageModel, walks: Sequence[Walk]) -> list[list[Encoded] | None]:
    """Return the prompt behind each step of each solution; None where the longest does not fit."""
    chats = [
        [{"role": "user", "content": walk.asked(step)}]
        for walk in walks
        for step in range(len(walk))
    ]
    encoded = iter(fitted(model, chats, _ROOM, continued=False))
    found: list[list[Encoded] | None] = []
    for walk in walks:
        own = [next(encoded) for _ in range(len(walk))]
        known = [one for one in own if one is not None]
        found.append(known if len(known) == len(own) else None)
    return found


def stepwise_result(
    found: Sequence[Walked],
    *,
    seed: int = 0,
    how: Sequence[str] = (),
    cost: Sequence[dict[str, Any]] = (),
) -> PanelResult:
    """Return figures, tables and sentences of what was said after each step."""
    name = f"{NAME}/{STEPWISE}"
    samples = [one.walk.sample for one in found]
    lowest = [one.lowest for one in found]
    blank = [said(sample, None) for sample in samples]

    def at(threshold: float) -> list[Graded]:
        return [_judged(row, one, threshold) for row, one in zip(blank, found, strict=True)]

    natural = at(NATURAL)
    every = [share for one in found for share in one.right]
    fixed, thresholds = fixed_elsewhere(at, grid(every), NATURAL, seed=seed)
    measured = [
        *areas(name, "auroc", solutions(samples, lowest), seed=seed),
        *areas(name, "step_auroc", steps_ranked(found), seed=seed),
        *verdict_figures(natural, f"{name}/at_half", seed=seed),
        *verdict_figures(fixed, f"{name}/at_fixed", seed=seed),
    ]
    table = [
        {
            **facts(one.walk.sample, one.encoded, 0),
            "steps": len(one.walk),
            "lowest": one.lowest,
            "step_at_half": row.step,
            "step_at_fixed": other.step,
        }
        for one, row, other in zip(found, natural, fixed, strict=True)
    ]
    return PanelResult(
        measurements=measured,
        tables={
            "mr_ben_stepwise": table,
            "mr_ben_after_each_step": step_rows(found),
            "mr_ben_strata": strata(fixed),
            "mr_ben_prefilled": cost,
        },
        figures=[_around_the_error(found)],
        findings=findings(measured, name),
        limits=[*LIMITS, _LIMIT],
        how=[*how, how_fixed(thresholds, "probability")],
        labels=areas_in_words(measured)
        | {
            f"{name}/{MEAN}/auroc": "right solutions told from wrong ones by the most doubted step",
            f"{name}/{MEAN}/step_auroc": "first wrong steps told from right ones",
            f"{name}/at_fixed/{MEAN}/mcc": "verdict at a threshold from other questions (MCC)",
            f"{name}/at_fixed/{MEAN}/acc_step": "first doubted step is the first wrong one",
        },
    )


_LIMIT: Final = (
    "The question after each step is about all before it, so steps behind the first wrong one are "
    "wrong too and are left out of the figures of steps."
)


def steps_ranked(found: Sequence[Walked]) -> list[Ranking]:
    """Return steps by subject: right ones should lie above first wrong ones, place is the floor."""
    by_subject: dict[str, list[tuple[float | None, bool, str, float]]] = {}
    for one in found:
        sample = one.walk.sample
        rows = by_subject.setdefault(sample.subject, [])
        right = one.right or (None,) * len(one.walk)
        for place, (wrong, p) in enumerate(zip(one.walk.wrong, right, strict=True)):
            if wrong is not None:
                rows.append((p, not wrong, f"{sample.subject}/{sample.key}", float(place)))
    return [
        Ranking(
            subject,
            scores=[row[0] for row in rows],
            labels=[row[1] for row in rows],
            questions=[row[2] for row in rows],
            plain=[row[3] for row in rows],
            plain_name="the step's place alone",
        )
        for subject, rows in by_subject.items()
        if rows
    ]


def step_rows(found: Sequence[Walked]) -> list[dict[str, Any]]:
    """Return a row per step that was read; no text."""
    return [
        {
            "id": one.walk.sample.id,
            "subject": one.walk.sample.subject,
            "step": label,
            "place": place,
            "right_so_far": p,
            "first_wrong": wrong,
        }
        for one in found
        for place, (label, p, wrong) in enumerate(
            zip(one.walk.labels, one.right, one.walk.wrong, strict=False)
        )
    ]


def _judged(row: Graded, one: Walked, threshold: float) -> Graded:
    if not one.right:
        return row
    step = one.first_below(threshold)
    return replace(row, correct=step is None, step=step, flags=())


def _around_the_error(found: Sequence[Walked]) -> Figure:
    """Draw how sure the model is around the first wrong step, beside the same places elsewhere."""
    shares: dict[int, list[tuple[float, str]]] = {offset: [] for offset in _AROUND}
    elsewhere: list[float] = []
    for one in found:
        sample = one.walk.sample
        if sample.gold_correct:
            elsewhere += one.right
        elif sample.gold_step in one.walk.labels:
            first = one.walk.labels.index(sample.gold_step)
            for place, p in enumerate(one.right):
                if place - first in shares:
                    shares[place - first].append((p, f"{sample.subject}/{sample.key}"))
    base = Floor("steps of right solutions", float(np.mean(elsewhere))) if elsewhere else None
    names = {
        0: "first wrong step",
        -1: "one before",
        -2: "two before",
        1: "one after",
        2: "two after",
    }
    return Figure(
        name="mr_ben_around_the_error",
        title="How sure the model is around the first wrong step",
        caption="Mean probability of yes to whether all is right so far, over wrong solutions, "
        "with 95 % intervals over questions. A model that checks the steps drops at the first "
        "wrong one; one that only tires of long solutions drops everywhere. The tick is the mean "
        "over all steps of right solutions.",
        spec=grouped_rates(
            [names[offset] for offset in _AROUND],
            {
                "wrong solutions": [
                    mean(
                        names[offset],
                        [p for p, _ in rows],
                        clusters=[question for _, question in rows],
                        unit="share",
                        range=(0.0, 1.0),
                        floor=base,
                    )
                    if rows
                    else None
                    for offset, rows in shares.items()
                ]
            },
            axis_title="probability of yes",
            value_range=(0.0, 1.0),
        ),
        table="mr_ben_after_each_step",
    )
