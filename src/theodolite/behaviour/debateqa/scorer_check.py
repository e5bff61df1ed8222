"""Does a scoring model see what an answer holds? A check with answers whose content is known.

The answers are made of the points of view themselves: all of them, the first half, or those of
another question. A scorer whose gains do not tell these apart measures something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.behaviour.debateqa.contexts import CHAT
from theodolite.behaviour.debateqa.data import BUNDLED, load_rows
from theodolite.behaviour.debateqa.perspectives import Scoring, check_scoring, score_perspectives
from theodolite.behaviour.debateqa.rows import TargetScore
from theodolite.behaviour.debateqa.separation import (
    covered_minus_uncovered,
    covered_vs_uncovered,
    matched_vs_mismatched,
    null_calibration,
)
from theodolite.data.debates import PARTIAL_ANSWERS, TARGETS, perspectives_of
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.providers.opening import ModelRequest, identity_of, open_requested
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

COMMAND: Final = "data debates check"
PANEL: Final = "scorer_check"
VERSION: Final = 1
VIEWS: Final = 4
NO_GAIN: Final = Floor("the question alone", 0.0)
WORDS: Final[Mapping[str, str]] = {
    "gain_all": "gain where the answer holds all",
    "gain_held": "gain of what half an answer holds",
    "gain_left_out": "gain of what it leaves out",
    "gain_other": "gain after another question's answer",
    "auc_other": "AUC, own answer against another question's",
    "auc_left_out": "AUC, held against left out",
    "held_minus_left_out": "held less left out",
    "null_covered": "another's answer counts as covered",
}


@dataclass(frozen=True)
class CheckRequest(ModelRequest):
    """What a scoring model is checked with.

    Args:
        model: the scorer.
        source, split, limit: the questions, as in `theodolite eval debateqa`.
        views: perspectives of a question, the first so many; questions with fewer are left out.
        template: `chat`, or `plain` for a scorer without a chat template.
    """

    source: str = BUNDLED
    split: str = "test"
    limit: int | None = None
    views: int = VIEWS
    template: str = CHAT


def check_scorer(
    request: CheckRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Score answers of known content, and say whether gains tell them apart.

    Args:
        out, resume: a new run's folder, or the run to go on with.

    Raises:
        TheodoliteError: the request cannot be met.
        Interrupted: Ctrl-C; finished passes are kept.
    """
    rows = rows_of(request)
    with ExitStack() as active:
        model, inputs = open_requested(request, active)
        model.require("logprobs")
        with Run.begin(
            COMMAND,
            model.name,
            out=out,
            resume=resume,
            config=asdict(request),
            inputs=inputs,
            seed=request.seed,
            model=identity_of(model),
        ) as run:
            subject = cast("LanguageModel", model)
            result = report(subject, rows, request, run=run, progress=progress)
            run.save_panel(PANEL, result, key=str(VERSION))
            run.commit()
            return run, result


def rows_of(request: CheckRequest) -> list[Prompt]:
    """Return the questions, each with so many perspectives.

    Raises:
        ConfigError: a number or the template cannot be used.
        DataError: fewer than two questions have so many perspectives.
    """
    if request.views < 2:
        raise ConfigError(f"`views` is {request.views}.", fix="Give 2 or more.")
    check_scoring(Scoring(template=request.template))
    found = load_rows(
        request.source, split=request.split, limit=request.limit, controls=0, seed=request.seed
    )
    rows = [
        replace(row, meta={PARTIAL_ANSWERS: row.meta[PARTIAL_ANSWERS][: request.views]})
        for row in found
        if len(perspectives_of(row)) >= request.views
    ]
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} of {len(found)} questions have {request.views} perspectives, and the "
            "check needs two.",
            fix="Give fewer `views`, or more questions.",
        )
    return rows


def report(
    scorer: LanguageModel,
    rows: Sequence[Prompt],
    request: CheckRequest,
    *,
    run: Run | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Return figures, one table and sentences of one scorer."""
    measured: list[Measurement] = []
    table = []
    for target in TARGETS:
        scoring = Scoring(target=target, template=request.template, nulls=1)
        own = _figures(scorer, rows, scoring, request, run, progress)
        measured += [replace(one, name=f"{PANEL}/{target}/{name}") for name, one in own.items()]
        table += [
            {"target": target, "figure": WORDS[name], "n": one.n, "value": one.value}
            | {"low": one.low, "high": one.high, "floor": one.floor.value if one.floor else None}
            for name, one in own.items()
        ]
    return PanelResult(
        measurements=measured,
        tables={PANEL: table},
        findings=[_finding(target, measured) for target in TARGETS],
        limits=[
            "The answers repeat points of view word for word; answers in other words are harder to "
            "see through."
        ],
        how=[
            f"{len(rows)} questions ({request.source}) x {request.views} perspectives, each "
            "foretold after the points of view of all, of the first half, or of another question; "
            "gains in nats per token over the question alone, intervals over questions."
        ],
        labels={
            f"{PANEL}/{target}/{name}": f"{target}: {words}"
            for target in TARGETS
            for name, words in WORDS.items()
        },
    )


def _figures(
    scorer: LanguageModel,
    rows: Sequence[Prompt],
    scoring: Scoring,
    request: CheckRequest,
    run: Run | None,
    progress: Progress | None,
) -> dict[str, Measurement]:
    """Return the figures of one target."""
    half = request.views // 2
    kept: dict[str, Any] = {"journal": None if run is None else run.journal, "progress": progress}

    def scored(count: int, nulls: int) -> tuple[TargetScore, ...]:
        answers = {
            row.id: "\n".join(view.point_of_view for view in perspectives_of(row)[:count])
            for row in rows
        }
        how = replace(scoring, nulls=nulls)
        return score_perspectives(scorer, rows, answers, how, seed=request.seed, **kept).gains

    every, part = scored(request.views, scoring.nulls), scored(half, 0)
    included = {(row.question, row.index): row.index < half for row in part}
    held = [row for row in part if row.index < half]
    left_out = [row for row in part if row.index >= half]
    others = [(gain, row.goal) for row in every for gain in row.null_gains]
    seed = request.seed
    return {
        "gain_all": _mean([(row.gain, row.goal) for row in every], seed),
        "gain_held": _mean([(row.gain, row.goal) for row in held], seed),
        "gain_left_out": _mean([(row.gain, row.goal) for row in left_out], seed),
        "gain_other": _mean(others, seed),
        "auc_other": matched_vs_mismatched(every, seed=seed),
        "auc_left_out": covered_vs_uncovered(part, included, seed=seed),
        "held_minus_left_out": covered_minus_uncovered(part, included, seed=seed),
        "null_covered": null_calibration(every, seed=seed),
    }


def _mean(gains: Sequence[tuple[float | None, str]], seed: int) -> Measurement:
    values, goals = zip(*gains, strict=True)
    return mean("gain", values, clusters=goals, unit="nats", floor=NO_GAIN, seed=seed)


def _finding(target: str, measured: Sequence[Measurement]) -> str:
    """Say whether the scorer tells answers apart, by its intervals."""
    by_name = {figure.name: figure for figure in measured}
    told = []
    for name, what in (
        ("auc_other", "an answer to the question from one to another question"),
        ("auc_left_out", "what an answer holds from what it leaves out"),
    ):
        figure = by_name[f"{PANEL}/{target}/{name}"]
        if figure.value is None:
            continue
        clear = figure.low is not None and figure.low > 0.5
        told.append(
            f"{'tells' if clear else 'is not shown to tell'} {what} (AUC {figure.value:.2f})"
        )
    return f"By {target} the scorer {', and '.join(told)}." if told else f"{target}: not measured."
