"""Let a model check worked solutions, judge its reasons, and say how good a checker it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.mr_ben import scoring
from theodolite.behaviour.mr_ben.data import MR_BEN, folder_of, format_of
from theodolite.behaviour.mr_ben.judging import (
    Judged,
    JudgedBy,
    judge_of,
    judged,
    validated,
    write_review_sheet,
)
from theodolite.behaviour.mr_ben.options import (
    FULL,
    HUMAN,
    INCORRECT,
    NONE,
    Asked,
    Options,
    check,
    demos_of,
    rows_of,
    subjects_of,
)
from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.behaviour.mr_ben.strata import line_agreement
from theodolite.data.prompts import shown
from theodolite.data.responses import read_responses
from theodolite.data.step_critique import CritiqueSet
from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run

if TYPE_CHECKING:
    from theodolite.behaviour.mr_ben.refining import Arm

__all__ = ["VERSION", "Options", "check", "evaluate", "score_responses"]

VERSION: Final = scoring.METHOD_VERSION
SUBMISSION: Final = "submission.json"
COUNTED: Final = (f"{scoring.NAME}/no_output", f"{scoring.NAME}/truncated")
FILE_JUDGE: Final = "the judge of the file"
_OF_ASKING: Final = (
    "mode", "k_shot", "demos", "steps_format", "analysis", "self_refine", "prior", "max_tokens",
)  # fmt: skip


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: Any = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Let a model check solutions and score what it says.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: an inspect model that says whether reasons are right; None leaves them unjudged, and
            MR-Score comes as bounds.

    Raises:
        TheodoliteError: as `check`; a prompt does not fit; the judge is missing, down, or fails its
            canaries.
    """
    from theodolite.behaviour.mr_ben.refining import arms_of
    from theodolite.behaviour.mr_ben.sentences import how_asked
    from theodolite.behaviour.mr_ben.task import Asking

    check(options, seed=seed)
    demos = demos_of(options)
    rows = rows_of(options, demos)
    handle = _opened(model)
    kept: dict[str, Any] = {"run": run, "seed": seed, "progress": progress}
    if options.mode != FULL:
        return _without_writing(handle, rows, demos, options, judge, kept)
    by = judge_of(options, judge, seed=seed)
    arms = arms_of(Asking(handle, options.max_tokens, **kept), rows, demos, options)
    local = getattr(handle, "chat", None) is not None
    result, arms = result_of(
        arms, by, options, seed=seed, run=run, progress=progress, retried=not local,
        how=how_asked(rows, arms, options, by.name, seed),
    )  # fmt: skip
    if options.prior is None and format_of(options.source, options.file_format) == MR_BEN:
        _submit(run.path / SUBMISSION, arms[0], options, getattr(handle, "name", str(handle)), by)
    return result


def _opened(model: Any) -> Any:
    from theodolite.models import open_model

    return open_model(model) if isinstance(model, str) else model


def _without_writing(
    handle: Any,
    rows: CritiqueSet,
    demos: Mapping[str, Any],
    options: Options,
    judge: Any,
    kept: Mapping[str, Any],
) -> PanelResult:
    """Return what log-probabilities say."""
    from theodolite.behaviour.mr_ben.logprob import score_modes

    if judge is not None:
        raise ConfigError(
            f"The mode {options.mode} gives no reasons, so there is nothing to judge.",
            fix="Leave --judge out.",
        )
    return score_modes(
        handle, rows, mode=options.mode, k_shot=options.k_shot, steps_format=options.steps_format,
        demos=demos, **kept,
    )  # fmt: skip


def score_responses(
    path: Path, options: Options, *, seed: int = 0, judge: Any = None
) -> PanelResult:
    """Score answers made elsewhere: rows with `id` and `completion`, or a submission.

    The verdicts that a submission holds count where no other judge is named.

    Raises:
        ConfigError: an option is given that says how to ask.
        DataError: the file cannot be read, a solution is unknown, or one has no answer (unless
            `allow_missing` is set).
    """
    from theodolite.behaviour.mr_ben.sentences import how_read

    if any(getattr(options, name) != getattr(Options(), name) for name in _OF_ASKING):
        raise ConfigError(
            f"{', '.join(_OF_ASKING)} say how to ask, and these answers were made elsewhere.",
            fix="Leave them out, or leave --responses out.",
        )
    check(options, seed=seed)
    rows = rows_of(options)
    arm, stored = _read(Path(path), rows, options)
    by = judge_of(options, judge, seed=seed)
    if by.way == NONE and stored and options.judge != NONE:
        claims = arm.claims()
        verdicts = {claim.key: stored.get(name) for name, claim in claims.items()}
        by = JudgedBy(HUMAN, FILE_JUDGE, verdicts, seed)
    how = how_read(path, rows, arm, by.name)
    return result_of([arm], by, options, seed=seed, retried=True, how=how)[0]


def _read(path: Path, rows: CritiqueSet, options: Options) -> tuple[Arm, dict[str, bool | None]]:
    """Return the answers of a file, and the verdicts of its judge where it has one."""
    from theodolite.behaviour.mr_ben.refining import Arm
    from theodolite.behaviour.mr_ben.submission import answers_of, is_submission
    from theodolite.behaviour.mr_ben.task import Reply

    stored: dict[str, bool | None] = {}
    if is_submission(path):
        texts, stored = answers_of(path, rows)
    else:
        found = read_responses(path)
        texts = {one.id: one.completion for one in found}
        if len(texts) < len(found):
            raise DataError(
                f"{shown(path.name)} holds several answers to one solution.",
                fix="Keep one of them: the score is defined for one answer each.",
            )
    known = {row.id for row in rows}
    strange = [name for name in texts if name not in known]
    missing = [row.id for row in rows if row.id not in texts]
    for names, what, fix in (
        (strange, "answers are to solutions that the source does not hold", "-T source="),
        (missing, "solutions have no answer", "-T subjects= or -T limit="),
    ):
        if names and not (options.allow_missing and len(missing) < len(rows)):
            raise DataError(
                f"{len(names)} {what}, the first is {shown(names[0])}.",
                fix=f"Name what was asked with {fix}, or use -T allow_missing=true.",
            )
    asked = [Asked(row, "", 0, None) for row in rows if row.id in texts]
    replies = {one.sample.id: Reply(texts[one.sample.id]) for one in asked}
    return Arm(scoring.NAME, "answers", asked, replies), stored


def result_of(
    arms: Sequence[Arm],
    by: JudgedBy,
    options: Options,
    *,
    seed: int = 0,
    run: Run | None = None,
    progress: Progress | None = None,
    retried: bool = False,
    how: Sequence[str] = (),
) -> tuple[PanelResult, list[Arm]]:
    """Return figures, tables and sentences of runs, and the runs with their verdicts.

    Args:
        arms: the one that counts first.
        retried: an empty answer means that the model was not reached: figures are then incomplete.
        how: sentences on how the answers were made.
    """
    from theodolite.behaviour.mr_ben import refining, sentences
    from theodolite.behaviour.mr_ben.figures import figures, samples, tables

    kept: dict[str, Any] = {"journal": None if run is None else run.journal, "progress": progress}
    arms = _judged(arms, by, options, kept)
    rows = [arm.graded() for arm in arms]
    quality = validated(by, options.validate, **kept) if options.validate else None
    calibration = None if quality is None else quality.calibration
    found: list[Measurement] = []
    for arm, own in zip(arms, rows):
        found += refining.figures_of(arm, own, judge=calibration, seed=seed)
    if options.self_refine:
        found += refining.compared(rows[1], rows[0])
    if options.prior == INCORRECT:
        found += refining.hinted(rows[0], rows[1])
    found += _of_answers(arms[0], rows[0], by)
    found += [] if quality is None else quality.measurements()
    if options.reference:
        found += _reference(arms[0], by, seed, kept)
    empty = [name for arm in arms for name, reply in arm.replies.items() if reply.empty]
    if empty and retried:
        found = [incomplete(one, len(empty)) for one in found]
    result = PanelResult(
        measurements=found,
        tables=tables(arms, rows, options),
        figures=figures(found, rows[0], arms[0]),
        samples=samples(arms[0], rows[0]),
        findings=sentences.findings(found, arms, empty if retried else []),
        limits=sentences.limits(by, options),
        how=how,
        labels=sentences.labels(),
    )
    if options.sheet is not None:
        claims = [claim for arm in arms for claim in arm.claims().values()]
        write_review_sheet(Path(options.sheet), claims)
    return result, arms


def _judged(
    arms: Sequence[Arm], by: JudgedBy, options: Options, kept: Mapping[str, Any]
) -> list[Arm]:
    """Return the runs with verdicts on the reasons that need one; all are judged in one pass."""
    claims = [
        (i, name, claim) for i, arm in enumerate(arms) for name, claim in arm.claims().items()
    ]
    said = judged([claim for _, _, claim in claims], by, **kept)
    verdicts: list[dict[str, Judged]] = [{} for _ in arms]
    for (i, name, _), verdict in zip(claims, said, strict=True):
        verdicts[i][name] = verdict
    return [replace(arm, verdicts=own) for arm, own in zip(arms, verdicts)]


def _of_answers(arm: Arm, rows: Sequence[Graded], by: JudgedBy) -> list[Measurement]:
    """Return how many answers are empty or cut, and how many reasons have no verdict."""
    questions = [row.question for row in rows]
    replies = [arm.replies[row.id] for row in rows]
    parts = {"no_output": [reply.empty for reply in replies]}
    if any(reply.finish for reply in replies):
        parts["truncated"] = [reply.truncated for reply in replies]
    found = [
        proportion(f"{scoring.NAME}/{name}", values, clusters=questions)
        for name, values in parts.items()
    ]
    asked = [row for row in rows if row.reviewed]
    if asked and by.way != NONE:
        found.append(
            proportion(
                f"{scoring.NAME}/judge_fail",
                [row.accepted is None for row in asked],
                clusters=[row.question for row in asked],
            )
        )
    if any(row.line is not None for row in rows):
        found.append(line_agreement(rows))
    return found


def incomplete(figure: Measurement, count: int) -> Measurement:
    """Return a figure marked as incomplete, for so many answers never came back; counts of these
    are whole."""
    if figure.value is None or figure.name in COUNTED:
        return figure
    why = f"{count} answers never came back; a run that goes on asks for them again"
    return replace(
        figure, status="incomplete", reason="; ".join(p for p in (figure.reason, why) if p)
    )


def _reference(arm: Arm, by: JudgedBy, seed: int, kept: Mapping[str, Any]) -> list[Measurement]:
    """Return the figures of the released scripts' own reading and scoring."""
    from theodolite.behaviour.mr_ben.reference import reference_claims, reference_measurements

    samples = [one.sample for one in arm.asked]
    texts = {name: reply.text for name, reply in arm.replies.items()}
    claims = reference_claims(samples, texts)
    said = dict(zip(claims, judged(list(claims.values()), by, **kept), strict=True))
    return reference_measurements(
        samples, texts, None if by.way == NONE else said, arm.graded(), seed=seed
    )


def _submit(path: Path, arm: Arm, options: Options, model: str, by: JudgedBy) -> None:
    """Write the answers in the official result format."""
    from theodolite.behaviour.mr_ben.submission import Answered, submission, write_submission

    answers = {
        row.id: Answered(
            raw=arm.replies[row.id].text,
            critique=arm.critique(one),
            reviewed=row.reviewed,
            accepted=row.accepted,
            judge_raw=arm.verdicts[row.id].raw if row.id in arm.verdicts else "",
        )
        for one, row in zip(arm.asked, arm.graded(), strict=True)
    }
    folder, own = folder_of(options.source)
    named = subjects_of(options) if own is None else (own,)
    partial = options.limit is not None or options.lenient
    content = submission(
        folder, answers, model=model, judge=by.name, subjects=named, partial=partial
    )
    write_submission(path, content)
