"""Let a model go on with beginnings about groups by several methods, and compare the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from theodolite.behaviour.bias import scoring
from theodolite.behaviour.bias.data import load_rows
from theodolite.behaviour.bias.figures import figures
from theodolite.behaviour.bias.options import CONCERN, KINDS, Options
from theodolite.behaviour.bias.sentences import LIMITS, findings
from theodolite.behaviour.continuations import BASE, methods_of, tool_is_metric
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.beginnings import check_trainable
from theodolite.behaviour.continuing.measuring import (
    PLAIN_WORDS,
    answers_of_file,
    answers_of_model,
    beside_scores,
    how_asked,
    how_scored,
    lm_of,
    samples_of,
)
from theodolite.behaviour.continuing.options import BUNDLED, check_asking
from theodolite.behaviour.continuing.scores import (
    Scored,
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
from theodolite.data.prompts import PromptSet, shown
from theodolite.data.toxicity_prompts import DOMAIN
from theodolite.errors import ConfigError, DataError
from theodolite.judging.classifier_scorer import ClassifierScorer
from theodolite.judging.toxicity import TextScorer
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

__all__ = ["NAME", "VERSION", "Options", "check", "evaluate", "rows_of", "score_responses"]

Regard: TypeAlias = Sequence[float] | None
NAME: Final = scoring.NAME
VERSION: Final = scoring.METHOD_VERSION
SENTIMENT_PARTS: Final = ("gf", "sd", "worst", "mean")
REGARD_PARTS: Final = ("l2", "l1")


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: an option does not exist, is out of range, or does not fit the others.
        DataError: the prompts cannot be read, or have no groups.
        ScorerUnavailable: a scorer lacks its package; says how to get it.
    """
    check_asking(options, CONCERN)
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
    """Let a model go on with beginnings by every method, and compare the groups.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: refused; no rubric of a judge tells sentiment or regard.

    Raises: TheodoliteError: as `check`; the model fails.
    """
    from theodolite.models import open_model

    refuse_judge(judge)
    check(options, seed=seed)
    rows = rows_of(options, seed)
    handle = open_model(model) if isinstance(model, str) else model
    kept: dict[str, Any] = {"run": run, "progress": progress}
    answers, scorers = answers_of_model(
        handle, rows, options, CONCERN, KINDS, name=NAME, seed=seed, **kept
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
    refuse_judge(judge)
    rows = rows_of(options, seed)
    answers, scorers = answers_of_file(path, rows, options, KINDS, seed=seed)
    if any(answer.method == scoring.PROMPTS for answer in answers):
        raise DataError(
            f"{shown(path.name)} names a method {scoring.PROMPTS!r}, which is what the figures of "
            "the prompts alone are called.",
            fix="Give the method another name.",
        )
    how = [f"{len(answers)} continuations of {path.name}, {how_scored(scorers)}"]
    return result_of(answers, scorers, options, lm=lm_of(options), seed=seed, how=how)


def refuse_judge(judge: str | None) -> None:
    """Refuse a judge; raises ConfigError where there is one."""
    if judge is not None:
        raise ConfigError(
            "Gaps between groups rest on sentiment or regard, which no judge is asked for.",
            fix="Leave --judge out, and name scorers, e.g. -T scorers=vader,hf:PATH#CLASS.",
        )


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
    """Score continuations and their prompts, and return figures, tables and sentences."""
    scored = score_all(answers, sentiment_of(scorers))
    rows = scored_rows(scored, scorers)
    alone = {answer.prompt.id: answer.prompt for answer in answers}
    asked = [Answer(p, 0, scoring.PROMPTS, p.request) for p in alone.values()]
    prompts = scored_rows(score_all(asked, sentiment_of(scorers)), scorers)
    beside = beside_scores(answers, scorers, options, name=NAME, lm=lm, run=run, progress=progress)
    methods = methods_of(rows)
    found = [
        *scoring.measurements(rows, prompts=prompts, seed=seed),
        *(scoring.changes(rows, seed=seed) if BASE in methods else ()),
        *beside.measurements,
    ]
    domains = list(dict.fromkeys(row.domain for row in rows))
    front = scorers.short[scorers.first.id]
    part = _parts(scorers.kinds[scorers.first.id])[0]
    heads = [
        *(f"{NAME}/{m}/{d}/{front}/{part}" for d in domains for m in (*methods, scoring.PROMPTS)),
        *(f"{NAME}/{method}/refusal" for method in methods),
    ]
    tables = {
        **tables_by_method(found, methods, domains, scorers),
        **{
            part: kept
            for table, own in scoring.tables(rows).items()
            for part, kept in by_scorer(table, own, scorers.short).items()
        },
        f"{NAME}_outcomes": outcomes_of(rows, scorers.short),
        **beside.tables,
    }
    return PanelResult(
        measurements=headlines_first(found, heads),
        tables=tables,
        figures=figures(found, tables, methods, domains, scorers),
        samples=samples_of(scored, [row.group for row in rows], harmful=options.source != BUNDLED),
        findings=[
            *tool_is_metric(tools_of(answers), scorers.kinds),
            *beside.findings,
            *findings(found, methods, domains, front, part),
        ],
        limits=[*scorers.limits(), *LIMITS],
        how=how,
        labels=labels_of(found, scoring.PLAIN_WORDS | PLAIN_WORDS),
    )


def sentiment_of(scorers: Scorers) -> list[TextScorer]:
    """Return the scorers that give a text one number."""
    return [one for one in scorers.named if one.kind == "sentiment"]


def scored_rows(scored: Scored, scorers: Scorers) -> list[scoring.Row]:
    """Return answers as scored rows; of a classifier, its class probabilities are the regard.

    Raises: DataError: a prompt belongs to no domain or group.
    """
    regard = regard_of(scored.answers, scorers)
    found = []
    for place, answer in enumerate(scored.answers):
        domain, group = answer.prompt.meta.get(DOMAIN), answer.prompt.category
        if not isinstance(domain, str) or group is None:
            raise DataError(
                f"The prompt {shown(answer.prompt.id)} belongs to no group.",
                fix="Give its row a category and a domain.",
            )
        own = {name: values[place] for name, values in regard.items()}
        facts = answer.facts(scored.of(place))
        found.append(scoring.Row(domain=domain, group=group, regard=own, **facts))
    return found


def regard_of(answers: Sequence[Answer], scorers: Scorers) -> dict[str, list[Regard]]:
    """Return classifier id -> class probabilities of each answer; None of an empty one."""
    found: dict[str, list[Regard]] = {}
    for one in scorers.named:
        if isinstance(one, ClassifierScorer):
            texts = list(dict.fromkeys(one.text for one in answers if one.text.strip()))
            known: Mapping[str, Any] = dict(zip(texts, one.probabilities(texts).tolist()))
            found[one.id] = [known.get(answer.text) for answer in answers]
    return found


def outcomes_of(rows: Sequence[scoring.Row], scorers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what each continuation adds to a mean, for comparing two runs; gaps are no means."""
    found = refusal_outcomes(rows, NAME)
    for row in rows:
        for scorer, score in row.scores.items():
            front = f"{NAME}/{row.method}/{row.domain}/{scorers[scorer]}"
            found += outcome_rows(f"{front}/mean", [(row.prompt, row.sample, score, row.goal)])
    return found


def tables_by_method(
    found: Sequence[Measurement],
    methods: Sequence[str],
    domains: Sequence[str],
    scorers: Scorers,
) -> dict[str, list[dict[str, Any]]]:
    """Return one table per scorer: one row per domain and method."""
    tables = {}
    for scorer, short in scorers.short.items():
        parts = _parts(scorers.kinds[scorer])
        tables[table_name(f"{NAME}_methods", short)] = [
            row
            for domain in domains
            for row in method_rows(
                found,
                {method: f"{NAME}/{method}/{domain}/{short}" for method in methods},
                parts,
                beside={method: f"{NAME}/{method}" for method in methods},
                domain=domain,
                scorer=scorer,
            )
        ]
    return tables


def _parts(kind: str) -> tuple[str, ...]:
    return SENTIMENT_PARTS if kind == "sentiment" else REGARD_PARTS
