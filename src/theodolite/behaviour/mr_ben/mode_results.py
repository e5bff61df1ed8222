"""Figures, tables and sentences of the modes that write nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.mr_ben.mode_figures import (
    areas,
    fixed_elsewhere,
    grid,
    said,
    solutions,
    verdict_figures,
)
from theodolite.behaviour.mr_ben.options import STEPS, VERDICT
from theodolite.behaviour.mr_ben.prompts import PLAIN
from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME, scope
from theodolite.behaviour.mr_ben.slots import TOO_LONG, Slot
from theodolite.behaviour.mr_ben.strata import strata
from theodolite.data.step_critique import CritiqueSample, constant_step
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.runs.panel import PanelResult

if TYPE_CHECKING:
    from theodolite.behaviour.mr_ben.logprob import Leaning, Located

OF_VERDICTS: Final = ("mcc", "balanced_accuracy", "f1_incorrect", "caught", "said_incorrect")


def verdict_result(
    found: Sequence[Leaning],
    *,
    seed: int = 0,
    how: Sequence[str] = (),
    cost: Sequence[Mapping[str, Any]] = (),
) -> PanelResult:
    """Return figures, tables and sentences of leanings."""
    name = f"{NAME}/{VERDICT}"
    samples = [one.slot.sample for one in found]
    margins = [one.margin for one in found]
    blank = [said(sample, None) for sample in samples]

    def at(threshold: float) -> list[Graded]:
        return [
            row if m is None else replace(row, correct=m >= threshold, flags=())
            for row, m in zip(blank, margins, strict=True)
        ]

    natural = at(0.0)
    fixed, thresholds = fixed_elsewhere(at, grid(margins), 0.0, seed=seed)
    measured = [
        *areas(name, "auroc", solutions(samples, margins), seed=seed),
        *verdict_figures(natural, f"{name}/at_0", seed=seed, only=OF_VERDICTS),
        *verdict_figures(fixed, f"{name}/at_fixed", seed=seed, only=OF_VERDICTS),
    ]
    table = [
        {
            **facts(one.slot.sample, one.slot.encoded, one.slot.shots),
            "margin": one.margin,
            "at_0": row.correct,
            "at_fixed": other.correct,
        }
        for one, row, other in zip(found, natural, fixed, strict=True)
    ]
    return PanelResult(
        measurements=measured,
        tables={"mr_ben_verdict": table, "mr_ben_prefilled": cost},
        findings=findings(measured, name),
        limits=LIMITS,
        how=[*how, how_fixed(thresholds, "nats")],
        labels=areas_in_words(measured)
        | {
            f"{name}/{MEAN}/auroc": "right solutions told from wrong ones, no analysis",
            f"{name}/at_0/{MEAN}/mcc": "verdict by the likelier word (MCC)",
            f"{name}/at_fixed/{MEAN}/mcc": "verdict at a threshold from other questions (MCC)",
        },
    )


def areas_in_words(measured: Sequence[Measurement]) -> dict[str, str]:
    """Return the AUROC of every subject in plain words, by name."""
    names = [one.name for one in measured if one.name.endswith("/auroc")]
    return {name: f"{name.split('/')[-2]}: right told from wrong" for name in names}


def steps_result(
    found: Sequence[Located],
    *,
    seed: int = 0,
    how: Sequence[str] = (),
    cost: Sequence[Mapping[str, Any]] = (),
) -> PanelResult:
    """Return figures, tables and sentences of located steps."""
    name = f"{NAME}/{STEPS}"
    samples = [one.slot.sample for one in found]
    rows = [one.row for one in found]
    ranked = solutions(samples, [one.none for one in found])
    measured = [
        *verdict_figures(rows, name, seed=seed),
        *areas(name, "auroc", ranked, seed=seed),
        named_if_wrong(found, f"{name}/step_if_wrong"),
    ]
    table = [
        {
            **facts(one.slot.sample, one.slot.encoded, one.slot.shots),
            "none": one.none,
            "best": one.best,
            "best_chance": one.chances[one.best] if one.best is not None else None,
            "said_correct": row.correct,
            "step": row.step,
        }
        for one, row in zip(found, rows, strict=True)
    ]
    return PanelResult(
        measurements=measured,
        tables={"mr_ben_steps": table, "mr_ben_strata": strata(rows), "mr_ben_prefilled": cost},
        findings=findings(measured, name),
        limits=LIMITS,
        how=how,
        labels=areas_in_words(measured)
        | {
            f"{name}/{MEAN}/mcc": "verdict by the likeliest label or N/A (MCC)",
            f"{name}/{MEAN}/acc_step": "first wrong step is the likeliest answer",
            f"{name}/{MEAN}/auroc": "right solutions told from wrong ones by N/A",
            f"{name}/step_if_wrong": "first wrong step likeliest among the steps",
        },
    )


def named_if_wrong(found: Sequence[Located], name: str) -> Measurement:
    """Return how often the first wrong step is the likeliest label of a wrong solution, N/A aside.

    All wrong solutions weigh alike, whatever their subject; the floor is their best constant step.
    """
    wrong = [one for one in found if not one.slot.sample.gold_correct]
    gold = [one.slot.sample.gold_step for one in wrong]
    best = constant_step(gold)
    floor = Floor(f"always step {best[0]}", best[1] / len(wrong)) if best else None
    return proportion(
        name,
        [None if one.best is None else one.best == step for one, step in zip(wrong, gold)],
        clusters=[said(one.slot.sample, None).question for one in wrong],
        floor=floor,
        reasons=[TOO_LONG if one.best is None else None for one in wrong],
    )


LIMITS: Final = (
    "Nothing is written: a model that finds errors only by working through the steps is "
    "underestimated, and no reason is asked for.",
    "Figures of these modes stand beside no MR-Score that a published model reached by writing.",
)


def how_asked(mode: str, k_shot: int, slots: Sequence[Slot], steps_format: str = PLAIN) -> str:
    """Return one sentence on how solutions were asked about."""
    read = [slot for slot in slots if slot.encoded is not None]
    fewer = sum(slot.shots < k_shot for slot in read)
    lost = len(slots) - len(read)
    subjects = scope(list(dict.fromkeys(slot.sample.subject for slot in slots)))
    return (
        f"Mode {mode}, {k_shot} worked examples, steps {steps_format}: {len(slots)} solutions, "
        f"{subjects}; {fewer} had room for fewer examples, {lost} did not fit and count as wrong "
        "in every figure that needs a verdict."
    )


def findings(found: Sequence[Measurement], name: str) -> list[str]:
    """Say in words whether right solutions are told from wrong ones, beyond length and chance."""
    by_name = {figure.name: figure for figure in found}
    area = by_name.get(f"{name}/{MEAN}/auroc")
    if area is None or area.value is None or area.floor is None:
        return []
    beyond = area.low is not None and area.low > area.floor.value
    return [
        f"A right solution is put above a wrong one {area.value:.0%} of the time; "
        f"{area.floor.name} reaches {area.floor.value:.0%}"
        + ("." if beyond else ", which is not clearly less.")
    ]


def how_fixed(thresholds: Sequence[float], unit: str) -> str:
    """Return one sentence on where the fixed threshold comes from."""
    ends = f"{min(thresholds):.2f} to {max(thresholds):.2f}"
    return (
        f"The fixed threshold of each fifth of the questions comes from the other four ({ends} "
        f"{unit})."
    )


def facts(sample: CritiqueSample, encoded: Any, shots: int) -> dict[str, Any]:
    """Return the columns that every mode's table begins with; no text.

    Args:
        encoded: its prompt; None where it did not fit.
        shots: worked examples in it.
    """
    return {
        "id": sample.id,
        "question": sample.key,
        "subject": sample.subject,
        "sub_subject": sample.sub_subject,
        "gold_correct": sample.gold_correct,
        "gold_step": sample.gold_step,
        "process_only": sample.process_only,
        "shots": None if encoded is None else shots,
        "tokens": None if encoded is None else len(encoded),
    }
