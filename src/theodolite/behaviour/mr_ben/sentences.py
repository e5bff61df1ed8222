"""The sentences around the figures: how they were made, what they say, and what they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.mr_ben.data import BUNDLED
from theodolite.behaviour.mr_ben.judging import JudgedBy
from theodolite.behaviour.mr_ben.options import NONE, WORDS, Asked, Options
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME, scope
from theodolite.behaviour.mr_ben.scoring import labels as score_labels
from theodolite.data.bundled import bundled_folder
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSet
from theodolite.measure.measurement import Measurement
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.behaviour.mr_ben.refining import Arm

LIMITS: Final = (
    "A constant answer reaches the floor without reading anything; only what lies clearly above it "
    "is skill.",
    "The solutions of MR-Ben are public since 2024: a model may have seen them.",
)
_SMALL: Final = "The bundled set is ours and small; its figures compare with no published ones."
_REFINE: Final = "A figure at the last turn depends on the first: small models often just agree."


def how_asked(
    rows: CritiqueSet, arms: Sequence[Arm], options: Options, judge: str, seed: int
) -> list[str]:
    """Return sentences on what was asked and how."""
    source = escape(options.source, 120)
    if options.source == BUNDLED:
        source = f"bundled, version {bundled_folder('mr_ben')[1]}"
    runs = "" if len(arms) == 1 else f" Runs: {'; '.join(arm.title for arm in arms)}."
    said = [
        f"{_counted(rows)} ({source}); {scope(rows.subjects)}; {options.k_shot} worked examples, "
        f"steps {options.steps_format}, {'with' if options.analysis else 'without'} an analysis; "
        f"greedy, at most {options.max_tokens} tokens, seed {seed}; reasons judged by "
        f"{judge or 'nobody'}.{runs}"
    ]
    said += _examples(arms[0].asked, options)
    oddities = [f"{kind}: {count}" for kind, count in rows.oddities.items()]
    said += [
        f"The files hold oddities that were read all the same ({'; '.join(oddities)})."
    ] * bool(oddities)
    if rows.skipped:
        said.append(
            f"{len(rows.skipped)} rows could not be read and are left out, the first: "
            f"{rows.skipped[0]}"
        )
    return said


def how_read(path: Path | str, rows: CritiqueSet, arm: Arm, judge: str) -> list[str]:
    """Return sentences on answers that were made elsewhere."""
    left = len(rows) - len(arm.asked)
    return [
        f"{len(arm.asked)} answers of {shown(Path(path).name)} to {_counted(rows)}; "
        f"{scope(rows.subjects)}; {left} solutions without an answer left out; reasons judged by "
        f"{judge or 'nobody'}."
    ]


def _counted(rows: CritiqueSet) -> str:
    wrong = sum(not row.gold_correct for row in rows)
    questions = len({(row.subject, row.key) for row in rows})
    return f"{len(rows)} solutions to {questions} questions, {wrong} of them incorrect"


def _examples(asked: Sequence[Asked], options: Options) -> list[str]:
    """Return what the worked examples are like: how many fit, and which verdict they teach."""
    if not options.k_shot:
        return []
    said = []
    fewer = Counter(one.shots for one in asked if one.shots < options.k_shot)
    if fewer:
        listed = ", ".join(f"{shots} for {n}" for shots, n in sorted(fewer.items()))
        said.append(
            f"The context has no room for {options.k_shot} worked examples everywhere: {listed} "
            "solutions; the last ones were left out."
        )
    shares = {
        one.sample.sub_subject: one.incorrect_shots
        for one in asked
        if one.incorrect_shots is not None
    }
    one_sided = [name for name, share in shares.items() if share in (0.0, 1.0)]
    if one_sided:
        said.append(
            f"All worked examples have one verdict in {', '.join(map(shown, one_sided[:12]))}: "
            "they shift what the model says."
        )
    return said


def findings(found: Sequence[Measurement], arms: Sequence[Arm], lost: Sequence[str]) -> list[str]:
    """Say the headline in words: the score beside its floor, and what second thoughts do.

    Args:
        lost: ids of answers that never came back.
    """
    of = {one.name: one for one in found}
    said = []
    if lost:
        said.append(
            f"Incomplete: {len(lost)} answers never came back, the first to {shown(lost[0])}; go "
            "on with --resume."
        )
    said += _score(of.get(f"{NAME}/{MEAN}/mr_score"))
    step = of.get(f"{arms[0].name}/{MEAN}/acc_step")
    if step is not None and step.value is not None and step.floor is not None:
        said.append(
            f"It names the first wrong step of {step.value:.0%} of incorrect solutions; "
            f"{step.floor.name} gives {step.floor.value:.0%}"
            + ("." if _beyond(step) else ", which is not clearly less.")
        )
    gain = of.get(f"{NAME}/refine/gain")
    if gain is not None and gain.value is not None:
        shown_ = gain.low is not None and gain.high is not None and gain.low * gain.high > 0
        said.append(
            f"Second thoughts change right verdicts by {gain.value * 100:+.0f} points"
            + ("." if shown_ else ", which may be chance.")
        )
    hint = of.get(f"{NAME}/prior_gain/acc_step")
    if hint is not None and hint.value is not None:
        said.append(
            f"Told that a solution is wrong, it finds the step {hint.value * 100:+.0f} points more "
            "often than after the placebo."
        )
    return said


def _score(score: Measurement | None) -> list[str]:
    if score is None:
        return []
    if score.value is None:
        ends = (score.unscored.low, score.unscored.high)
        if ends[0] is None or ends[1] is None:
            return []
        floor = "" if score.floor is None else f" A trivial answer reaches {score.floor.value:.1%}."
        return [
            f"MR-Score lies between {ends[0]:.1%} and {ends[1]:.1%}: nobody judged the reasons."
            + floor
        ]
    floor = "" if score.floor is None else f", a trivial answer {score.floor.value:.1%}"
    return [
        f"It reaches an MR-Score of {score.value:.1%}{floor}"
        + ("." if _beyond(score) else "; that it is above that is not shown.")
    ]


def _beyond(figure: Measurement) -> bool:
    """Return whether a figure lies clearly above its floor.

    Where every question has the same outcome there is no interval; a full score is then as clear as
    it can be.
    """
    if figure.floor is None or figure.value is None:
        return False
    low = figure.low if figure.low is not None else 1.0 if figure.value == 1.0 else 0.0
    return low > figure.floor.value


def limits(by: JudgedBy, options: Options) -> list[str]:
    """Return what the figures do not show."""
    said = list(LIMITS)
    if options.source == BUNDLED:
        said.append(_SMALL)
    if by.way == NONE:
        said.append("Nobody judged the reasons: MR-Score and ACC_reason are bounds.")
    if by.way == WORDS:
        said.append(
            "Reasons were judged by word overlap, which accepts few that people accept: read "
            "ACC_reason as a lower bound."
        )
    if options.self_refine:
        said.append(_REFINE)
    return said


def labels() -> dict[str, str]:
    """Return the headline figures in plain words, by name."""
    return score_labels() | {
        f"{NAME}/no_output": "answers that are empty",
        f"{NAME}/truncated": "answers cut by their length",
        f"{NAME}/judge_fail": "judged reasons without a verdict",
        f"{NAME}/refine/gain": "right verdicts gained by second thoughts",
        f"{NAME}/prior_gain/acc_step": "steps found when told of an error, over the placebo",
    }
