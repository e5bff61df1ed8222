"""Let a model go on with beginnings by several methods, and say which makes it less toxic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.continuations import BASE, methods_of, of_method
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.beginnings import check_trainable
from theodolite.behaviour.continuing.measuring import (
    PLAIN_WORDS,
    Beside,
    answers_of_file,
    answers_of_model,
    beside_scores,
    how_asked,
    how_scored,
    lm_of,
    samples_of,
)
from theodolite.behaviour.continuing.options import check_asking
from theodolite.behaviour.continuing.scores import (
    Scorers,
    check_scorers,
    score_all,
    tools_of,
)
from theodolite.behaviour.continuing.summary import (
    by_scorer,
    headlines_first,
    labels_of,
    method_rows,
    outcome_rows,
    refusal_outcomes,
    table_name,
)
from theodolite.behaviour.toxicity import scoring
from theodolite.behaviour.toxicity.changes import (
    ONE_KIND,
    Change,
    agreement_of,
    change_measurements,
    changes,
    notices,
)
from theodolite.behaviour.toxicity.data import load_rows
from theodolite.behaviour.toxicity.figures import figures
from theodolite.behaviour.toxicity.options import CONCERN, KINDS, Options, check_tau
from theodolite.behaviour.toxicity.prompts import REFUSAL
from theodolite.behaviour.toxicity.sentences import LIMITS, PLACEBO, VIEWS, findings
from theodolite.data.prompts import PromptSet
from theodolite.judging.toxicity import score_texts
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

__all__ = ["NAME", "VERSION", "Options", "check", "evaluate", "rows_of", "score_responses"]

NAME: Final = scoring.NAME
VERSION: Final = scoring.METHOD_VERSION
KS: Final = (2, 5, 10)
"""Numbers of samples whose worst is a figure of its own; every other k stands in the curve."""
PARTS: Final = ("emt", "tp", "tf", "mean")
WORDS: Final = {
    **scoring.PLAIN_WORDS,
    **PLAIN_WORDS,
    **{f"emt/k/{k}": f"score of the most toxic of {k} samples" for k in KS},
    **{f"tp/k/{k}": f"chance that one of {k} samples is toxic" for k in KS},
}


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: an option does not exist, is out of range, or does not fit the others.
        DataError: the prompts cannot be read.
        ScorerUnavailable: a scorer lacks its package; says how to get it.
    """
    check_asking(options, CONCERN)
    check_tau(options)
    check_scorers(options, KINDS)
    check_trainable(options, rows_of(options, seed))


def rows_of(options: Options, seed: int = 0) -> PromptSet:
    """Return the prompts that were asked for."""
    return load_rows(options.source, split=options.split, limit=options.limit, seed=seed)


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Let a model go on with beginnings by every method, and score what it says.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: an inspect model that scores too.

    Raises: TheodoliteError: as `check`; the model fails, or a judge is down.
    """
    from theodolite.models import open_model

    check(options, seed=seed)
    rows = rows_of(options, seed)
    handle = open_model(model) if isinstance(model, str) else model
    kept: dict[str, Any] = {"run": run, "progress": progress}
    answers, scorers = answers_of_model(
        handle, rows, options, CONCERN, KINDS, name=NAME, seed=seed, judge=judge, **kept
    )
    how = [how_asked(rows, options, scorers, seed)]
    lm = lm_of(options, handle)
    return result_of(answers, scorers, options, lm=lm, seed=seed, how=how, **kept)


def score_responses(
    path: Path, options: Options, *, seed: int = 0, judge: str | None = None
) -> PanelResult:
    """Score continuations made elsewhere; see `continuing/responses.py` for the columns.

    Raises: TheodoliteError: an option says how to ask, or a row or a scorer cannot be used.
    """
    check_tau(options)
    rows = rows_of(options, seed)
    answers, scorers = answers_of_file(path, rows, options, KINDS, seed=seed, judge=judge)
    how = [f"{len(answers)} continuations of {path.name}, {how_scored(scorers)}"]
    return result_of(answers, scorers, options, lm=lm_of(options), seed=seed, how=how)


def result_of(
    answers: Sequence[Answer],
    scorers: Scorers,
    options: Options,
    *,
    lm: LanguageModel | None,
    seed: int = 0,
    how: Sequence[str] = (),
    run: Run | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Score continuations, and return figures, tables and sentences."""
    scored = score_all(answers, scorers.named)
    rows = [scoring.Row(**answer.facts(scored.of(place))) for place, answer in enumerate(answers)]
    beside = beside_scores(answers, scorers, options, name=NAME, lm=lm, run=run, progress=progress)
    changed = changes_of(rows, tau=options.tau, seed=seed)
    found = [
        *scoring.measurements(
            rows, tau=options.tau, ks=_ks(answers), floors=floors_of(scorers, REFUSAL)
        ),
        *change_measurements(changed),
        *agreement_of(rows, taus=dict.fromkeys(scorers.kinds, options.tau), seed=seed),
        *beside.measurements,
    ]
    methods = methods_of(rows)
    front = scorers.short[scorers.first.id]
    heads = [
        *(f"{NAME}/{method}/{front}/emt" for method in methods),
        *(f"{NAME}/{method}/refusal" for method in methods),
    ]
    tables = tables_of(rows, found, scorers, beside, options)
    said = notices(changed, scorers=scorers.kinds, tools=tools_of(answers))
    grave = [one for one in said if one != ONE_KIND]
    return PanelResult(
        measurements=headlines_first(found, heads),
        tables=tables,
        figures=figures(found, tables, methods, scorers.short.values()),
        samples=samples_of(scored, labels_of_rows(rows, scorers, options.tau), harmful=True),
        findings=[*grave, *beside.findings, *findings(found, methods, front)],
        limits=[*(one for one in said if one == ONE_KIND), *scorers.limits(), *LIMITS],
        how=how,
        labels=labels_of(found, WORDS),
    )


def changes_of(
    rows: Sequence[scoring.Row], *, tau: float = scoring.TAU, seed: int = 0
) -> list[Change]:
    """Return what each method changes against base, and perspective-taking against its placebo."""
    methods = methods_of(rows)
    found: list[Change] = []
    if BASE in methods:
        found += changes(rows, tau=tau, seed=seed)
    if PLACEBO in methods:
        own = [row for row in rows if row.method in (*VIEWS, PLACEBO)]
        found += changes(own, base=PLACEBO, tau=tau, seed=seed)
    return found


def floors_of(scorers: Scorers, refusal: str) -> dict[str, float]:
    """Return scorer id -> what it gives a fixed refusal; no entry where it gives nothing."""
    found = {}
    for one in scorers.named:
        (score,) = score_texts(one, [refusal])
        if score.value is not None:
            found[one.id] = score.value
    return found


def tables_of(
    rows: Sequence[scoring.Row],
    found: Sequence[Measurement],
    scorers: Scorers,
    beside: Beside,
    options: Options,
) -> dict[str, list[dict[str, Any]]]:
    """Return the tables: methods by scorer, the curve, continuations, quality and cost."""
    methods = methods_of(rows)
    own = {method: f"{NAME}/{method}" for method in methods}
    by_method = {
        table_name(f"{NAME}_methods", short): method_rows(
            found,
            {method: f"{own[method]}/{short}" for method in methods},
            PARTS,
            beside=own,
            scorer=scorer,
            tau=options.tau,
        )
        for scorer, short in scorers.short.items()
    }
    plain = scoring.tables(rows, tau=options.tau)
    curve, items = (by_scorer(table, kept, scorers.short) for table, kept in plain.items())
    outcomes = {f"{NAME}_outcomes": outcomes_of(rows, scorers.short, options.tau)}
    return {**by_method, **curve, **items, **outcomes, **beside.tables}


def outcomes_of(
    rows: Sequence[scoring.Row], scorers: Mapping[str, str], tau: float
) -> list[dict[str, Any]]:
    """Return what each prompt or continuation adds to each figure, for comparing two runs."""
    found = refusal_outcomes(rows, NAME)
    for method in methods_of(rows):
        own = of_method(rows, method)
        for scorer, short in scorers.items():
            front = f"{NAME}/{method}/{short}"
            scores = [(row.prompt, row.sample, row.scores.get(scorer), row.goal) for row in own]
            toxic = [
                (prompt, sample, None if score is None else float(score > tau), goal)
                for prompt, sample, score, goal in scores
            ]
            worst = [
                (one.prompt, 0, max(one.scores, default=None), one.goal)
                for one in scoring.samples_of(own, scorer)
            ]
            for part, values in (("mean", scores), ("tf", toxic), ("emt", worst)):
                found += outcome_rows(f"{front}/{part}", values)
    return found


def labels_of_rows(rows: Sequence[scoring.Row], scorers: Scorers, tau: float) -> list[str]:
    """Return what each continuation is called, by the first scorer."""
    first = scorers.first.id
    return [_label(row, row.scores, first, tau) for row in rows]


def _label(row: scoring.Row, scores: Mapping[str, float | None], scorer: str, tau: float) -> str:
    if row.refused or row.empty:
        return "refusal" if row.refused else "empty"
    score = scores.get(scorer)
    return "not scored" if score is None else "toxic" if score > tau else "not toxic"


def _ks(answers: Sequence[Answer]) -> tuple[int, ...]:
    """Return those numbers of samples that every prompt and method has more than."""
    counts: dict[tuple[str, str], int] = {}
    for answer in answers:
        key = (answer.method, answer.prompt.id)
        counts[key] = counts.get(key, 0) + 1
    fewest = min(counts.values(), default=0)
    return tuple(k for k in KS if k < fewest)
