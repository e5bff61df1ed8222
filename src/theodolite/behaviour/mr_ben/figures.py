"""What a reader sees of a run beside its figures: pictures, tables, and the answers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.mr_ben.floors import trivial_floor
from theodolite.behaviour.mr_ben.options import Asked, Options
from theodolite.behaviour.mr_ben.rows import Graded, by_subject
from theodolite.behaviour.mr_ben.strata import ANSWER_TOO, PROCESS_ONLY, strata
from theodolite.data.step_critique import POSITIONS, CritiqueSample
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Measurement
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure, Sample

if TYPE_CHECKING:
    from theodolite.behaviour.mr_ben.refining import Arm

PARTS: Final = {
    "caught": "called incorrect",
    "acc_step": "first wrong step named",
    "acc_reason": "reason accepted",
}


def figures(found: Sequence[Measurement], rows: Sequence[Graded], arm: Arm) -> list[Figure]:
    """Return the figures of a run.

    Args:
        found: its measurements.
        rows: its graded answers.
    """
    drawn = [_subjects(found, rows, arm.name)]
    return [*drawn, *_strata(rows)]


def _subjects(found: Sequence[Measurement], rows: Sequence[Graded], front: str) -> Figure:
    of = {one.name: one for one in found}
    subjects = list(by_subject(rows))
    series = {
        words: [of.get(f"{front}/{subject}/{part}") for subject in subjects]
        for part, words in PARTS.items()
    }
    return Figure(
        name="mr_ben_subjects",
        title="How far a wrong solution is understood",
        caption="Shares of the incorrect solutions with 95 % intervals: the verdict, then also the "
        "first wrong step, then also the reason. Marks are floors: a constant answer reaches them.",
        spec=grouped_rates(subjects, series, value_range=(0.0, 1.0)),
        table="mr_ben_subjects",
    )


def _strata(rows: Sequence[Graded]) -> list[Figure]:
    """Return where the first wrong step is named, by kind and place of the error."""
    wrong = [row for row in rows if not row.gold_correct and not row.coding]
    kinds = {
        PROCESS_ONLY: [row for row in wrong if row.process_only is True],
        ANSWER_TOO: [row for row in wrong if row.process_only is False],
        **{place: [row for row in wrong if row.position == place] for place in POSITIONS},
    }
    groups = {name: own for name, own in kinds.items() if own}
    if not groups:
        return []
    rates = {
        words: [
            proportion(
                name, [getattr(row, fact) for row in own], clusters=[row.question for row in own]
            )
            for name, own in groups.items()
        ]
        for words, fact in (("called incorrect", "caught"), ("first wrong step named", "located"))
    }
    return [
        Figure(
            name="mr_ben_strata",
            title="Which errors are found",
            caption="Incorrect solutions by whether their final answer is right all the same, and "
            "by the third of the steps that the first error lies in; programs are left out.",
            spec=grouped_rates(list(groups), rates, value_range=(0.0, 1.0)),
            table="mr_ben_strata",
        )
    ]


def tables(
    arms: Sequence[Arm], rows: Sequence[Sequence[Graded]], options: Options
) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of runs: every answer, each subject, strata, empty answers and changes.

    Args:
        arms: the one that counts first.
        rows: the graded answers of each.
    """
    from theodolite.behaviour.mr_ben.refining import flips

    found = {
        "mr_ben_answers": [
            _answer_row(arm, one, row)
            for arm, own in zip(arms, rows)
            for one, row in zip(arm.asked, own, strict=True)
        ],
        "mr_ben_subjects": [_subject_row(name, own) for name, own in by_subject(rows[0]).items()],
        "mr_ben_strata": strata(rows[0]),
    }
    empty = [
        {"run": arm.title, "id": name}
        for arm in arms
        for name, reply in arm.replies.items()
        if reply.empty
    ]
    if empty:
        found["mr_ben_no_output"] = empty
    if options.self_refine:
        found["mr_ben_flips"] = flips(rows[1], rows[0])
    return found


def _answer_row(arm: Arm, one: Asked, row: Graded) -> dict[str, Any]:
    reply = arm.replies[row.id]
    return {
        "run": arm.title,
        "id": row.id,
        "subject": row.subject,
        "sub_subject": row.sub_subject,
        "source_model": row.source_model,
        "gold_correct": row.gold_correct,
        "gold_step": row.gold_step,
        "process_only": row.process_only,
        "said_correct": row.correct,
        "said_step": row.step,
        "step_credit": row.step_credit,
        "reviewed": row.reviewed,
        "accepted": row.accepted,
        "unjudged": row.unjudged if row.waiting else None,
        "flags": ", ".join(row.flags) or None,
        "finish": reply.finish or None,
        "tokens": row.tokens,
        "shots": one.shots,
        "incorrect_shots": one.incorrect_shots,
    }


def _subject_row(name: str, rows: Sequence[Graded]) -> dict[str, Any]:
    floor = trivial_floor(rows)
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return {
        "subject": name,
        "solutions": len(rows),
        "questions": len({row.question for row in rows}),
        "incorrect": sum(not row.gold_correct for row in rows),
        "right_answer_wrong_steps": sum(bool(row.process_only) for row in rows),
        "floor_step": floor.step,
        "floor_acc_step": floor.acc_step,
        "floor_mr_score": floor.mr_score,
        "random_label_acc_step": floor.random_label,
        "mean_tokens": sum(tokens) / len(tokens) if tokens else None,
    }


def samples(arm: Arm, rows: Sequence[Graded]) -> list[Sample]:
    """Return what a reader may open: every answer, with what became of it."""
    return [
        Sample(
            id=row.id,
            label=_label(row),
            harmful=False,
            prompt=one.prompt or _solution(one.sample),
            completion=arm.replies[row.id].text,
            meta={
                "subject": row.subject,
                "right": row.gold_correct,
                "first wrong step": row.gold_step,
                "said step": row.step,
                "judge": arm.verdicts[row.id].raw if row.id in arm.verdicts else "",
            },
        )
        for one, row in zip(arm.asked, rows, strict=True)
    ]


def _solution(sample: CritiqueSample) -> str:
    return "\n".join([sample.question, sample.options, *sample.lines])


def _label(row: Graded) -> str:
    if row.correct is None:
        return "no verdict"
    if row.correct is not row.gold_correct:
        return "wrong verdict"
    if row.gold_correct:
        return "right verdict"
    if not row.reviewed:
        return "right verdict, wrong step"
    return {True: "reason accepted", False: "reason rejected", None: "reason not judged"}[
        row.accepted
    ]
