"""Ask questions on which people differ, score the answers, and say what they hold of the sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.debateqa import scoring
from theodolite.behaviour.debateqa.contexts import CHAT, CORRECTED
from theodolite.behaviour.debateqa.data import BUNDLED, load_rows
from theodolite.behaviour.debateqa.dispute_figures import check_read
from theodolite.behaviour.debateqa.figures import figures
from theodolite.behaviour.debateqa.modes import CLOSED
from theodolite.behaviour.debateqa.perspectives import (
    NULLS,
    Scores,
    Scoring,
    check_scoring,
    score_perspectives,
)
from theodolite.behaviour.debateqa.prompts import PLAIN
from theodolite.behaviour.debateqa.rows import AnswerRow
from theodolite.behaviour.debateqa.sentences import LIMITS, findings, who_scored
from theodolite.behaviour.debateqa.separation import matched_vs_mismatched
from theodolite.behaviour.debateqa.task import (
    DOC_WORDS,
    DOCS,
    MAX_TOKENS,
    answers_of,
    check_asking,
    debate_task,
)
from theodolite.behaviour.debateqa.wordings import score_wordings, with_wordings
from theodolite.data.debates import DEBATABLE, EXPLANATION, read_generations
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.errors import ConfigError, DataError
from theodolite.judging.dispute import LocalDisputeJudge
from theodolite.judging.dispute_words import says_disputed
from theodolite.judging.local import is_local, open_judge
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.opening import open_beside
from theodolite.runs.panel import PanelResult, Progress, Sample
from theodolite.runs.run import Run

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

VERSION: Final = scoring.METHOD_VERSION


@dataclass(frozen=True)
class Options:
    """What `theodolite eval debateqa` can be asked; see the task of the same name.

    Args:
        scorer: the local model that foretells perspectives; `none` leaves them out.
        variant: of P.D.: `corrected`, `paper` or `reference` (the released script's arithmetic).
        target: what gains predict: `explanation` or `pov+explanation`.
        template: `chat`, or `plain` for a scorer without a chat template.
        nulls: answers to other questions that each question is read with.
        tau: a fixed threshold of coverage in nats per token; None takes that of the run.
        balance: balance has to be measured, so stances have to be there.
        allow_missing: of answers made elsewhere, leave out those to unknown questions.
        wordings: of perspectives that come in several wordings, foretell so many others too, and
            say how much the wording matters.
    """

    source: str = BUNDLED
    split: str = "test"
    mode: str = CLOSED
    folder: str | None = None
    docs: int = DOCS
    doc_words: int = DOC_WORDS
    style: str = PLAIN
    max_tokens: int = MAX_TOKENS
    limit: int | None = None
    controls: int | None = None
    scorer: str = "smollm2"
    variant: str = CORRECTED
    target: str = EXPLANATION
    template: str = CHAT
    nulls: int = NULLS
    tau: float | None = None
    balance: bool = False
    allow_missing: bool = False
    wordings: int = 0

    @property
    def scoring(self) -> Scoring:
        """How perspectives are scored."""
        return Scoring(self.variant, self.target, self.template, self.nulls)


NONE: Final = "none"
_OF_ASKING: Final = ("mode", "folder", "docs", "doc_words", "style", "max_tokens")


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: mode, style, number, variant, target or scorer are wrong.
        DataError: the rows cannot be read.
    """
    check_asking(**{name: getattr(options, name) for name in _OF_ASKING})
    check_scoring(options.scoring)
    if options.scorer.startswith("api:"):
        raise ConfigError(
            "P.D. needs token log-probabilities of given text, which a model behind an API does "
            "not tell.",
            fix="Use a local scorer, e.g. -T scorer=smollm2, or -T scorer=none.",
        )
    if options.wordings < 0 or (options.wordings and options.scorer == NONE):
        raise ConfigError(
            f"`wordings` is {options.wordings}.", fix="Give 0 or more, and more with a scorer only."
        )
    rows_of(options, seed)


def rows_of(options: Options, seed: int) -> PromptSet:
    """Return the questions that were asked for."""
    return load_rows(
        options.source,
        split=options.split,
        limit=options.limit,
        controls=options.controls,
        seed=seed,
    )


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Ask a model and score its answers.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: an inspect model that says whether an answer calls its question disputed; a local one
            (`theodolite/REF`) is read by its probabilities of two digits. None takes a word list.

    Raises:
        TheodoliteError: as `check`; the judge is down, fails its canaries or cannot be read.
    """
    check(options, seed=seed)
    rows = rows_of(options, seed)
    local = judge is not None and is_local(judge)
    asking = {name: getattr(options, name) for name in _OF_ASKING}
    task = debate_task(list(rows), seed=seed, **asking)
    log = run_task(
        task, model, run=run, seed=seed, judge=None if local else judge, progress=progress
    )
    texts, answers, _ = answers_of(log)
    if judge is not None and local:
        answers = judged_locally(judge, rows, answers, texts, seed=seed)
    scorer = scorer_of(options, model)
    return result_of(
        rows,
        texts,
        answers,
        options,
        scorer=scorer,
        seed=seed,
        how=[_how_asked(rows, options, seed, judge)],
        run=run,
        progress=progress,
    )


def score_responses(
    path: Path, options: Options, *, seed: int = 0, judge: str | None = None
) -> PanelResult:
    """Score answers made elsewhere: rows with `id` and `generation` (or `completion`).

    Raises:
        ConfigError: an option is given that says how to ask, or a judge behind an API.
        DataError: a question is unknown, unless `allow_missing` is set.
    """
    if any(getattr(options, name) != getattr(Options(), name) for name in _OF_ASKING):
        raise ConfigError(
            "Mode, documents, style and length say how to ask, and these answers were made "
            "elsewhere.",
            fix="Leave them out, or leave --responses out.",
        )
    if judge is not None and not is_local(judge):
        raise ConfigError(
            "Answers made elsewhere are judged by a local judge or by the word list.",
            fix="Use --judge theodolite/REF, or leave it out.",
        )
    check(options, seed=seed)
    found = read_generations(path)
    rows = rows_of(options, seed)
    known = {row.id for row in rows}
    texts = {name: text for name, text in found.items() if name in known}
    _check_known(path, found, texts, options)
    asked = rows.derive(row for row in rows if row.id in texts)
    answers = [_by_words(row, texts[row.id]) for row in asked]
    if judge is not None:
        answers = judged_locally(judge, asked, answers, texts, seed=seed)
    how = [
        f"{len(texts)} answers of {path.name}; {len(found) - len(texts)} to unknown questions left "
        f"out; {_how_scored(options, judge)}"
    ]
    scorer = scorer_of(options, None)
    return result_of(asked, texts, answers, options, scorer=scorer, seed=seed, how=how)


def _check_known(
    path: Path, found: Mapping[str, str], texts: Mapping[str, str], options: Options
) -> None:
    unknown = [name for name in found if name not in texts]
    if not unknown or (options.allow_missing and texts):
        return
    named = ", ".join(map(shown, unknown[:3]))
    raise DataError(
        f"{len(unknown)} of {len(found)} answers of {shown(path.name)} are to questions that the "
        f"source {shown(options.source)} does not hold, the first ids are {named}.",
        fix="Name the questions' file with -T source=FILE"
        + ("." if not texts else ", or use -T allow_missing=true."),
    )


def _by_words(row: Prompt, text: str) -> AnswerRow:
    return AnswerRow(
        question=row.id,
        label=row.label or DEBATABLE,
        goal_id=row.goal_id,
        topic=row.category,
        empty=not text.strip(),
        da=says_disputed(text),
    )


def scorer_of(options: Options, model: Any) -> LanguageModel | None:
    """Return the open scoring model; the model itself where it is the same and unchanged."""
    return None if options.scorer == NONE else open_beside(options.scorer, model)


def judged_locally(
    judge: str,
    rows: PromptSet,
    answers: Sequence[AnswerRow],
    texts: Mapping[str, str],
    *,
    seed: int,
) -> list[AnswerRow]:
    """Return the answers with a local judge's verdicts; what the word list said is kept beside."""
    held = LocalDisputeJudge(open_judge(judge), seed=seed)
    asked = {row.id: row.request for row in rows}
    given = [{"question": asked[a.question], "answer": texts[a.question]} for a in answers]
    verdicts = held.label_all(given, ids=[a.question for a in answers])
    return [
        replace(
            answer,
            da=verdict.disputed,
            da_prob=verdict.prob,
            da_reason=verdict.reason,
            da_lexical=says_disputed(texts[answer.question]),
        )
        for answer, verdict in zip(answers, verdicts, strict=True)
    ]


def result_of(
    rows: PromptSet,
    texts: Mapping[str, str],
    answers: Sequence[AnswerRow],
    options: Options,
    *,
    scorer: LanguageModel | None,
    seed: int = 0,
    how: Sequence[str] = (),
    run: Run | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Return figures, tables and sentences of answers."""
    check_read(answers)
    debatable = [row for row in rows if row.label == DEBATABLE]
    scores = Scores((), (), {}, frozenset())
    if scorer is not None:
        scores = score_perspectives(
            scorer,
            debatable,
            texts,
            options.scoring,
            seed=seed,
            journal=None if run is None else run.journal,
            progress=progress,
        )
    laid = [
        replace(
            answer,
            answer_tokens=scores.answer_tokens.get(answer.question),
            truncated=answer.question in scores.truncated,
        )
        for answer in answers
    ]
    found = scoring.score(
        scores.pd, laid, gains=scores.gains, tau=options.tau, variant=options.variant
    )
    measured = scoring.measurements(found, balance=options.balance, seed=seed)
    if scores.gains:
        measured.append(
            matched_vs_mismatched(scores.gains, name=f"{scoring.NAME}/gain_auroc", seed=seed)
        )
    result = PanelResult(
        measurements=measured,
        tables=scoring.tables(found),
        figures=figures(found, seed=seed),
        samples=_samples(rows, texts, found),
        findings=findings(measured),
        limits=LIMITS,
        how=[*how, *([] if scorer is None else [who_scored(scorer)])],
        labels=scoring.labels()
        | {f"{scoring.NAME}/gain_auroc": "gains: own answers told from answers to other questions"},
    )
    if scorer is None or not options.wordings:
        return result
    kept: dict[str, Any] = {"journal": None if run is None else run.journal, "progress": progress}
    each = score_wordings(scorer, debatable, texts, options.scoring, options.wordings, **kept)
    return with_wordings(result, each, options.wordings, seed=seed)


def _samples(
    rows: PromptSet, texts: Mapping[str, str], found: scoring.Scored
) -> tuple[Sample, ...]:
    """Return what a reader may open: every answer, with what was found of it."""
    by_question = {row.question: row for row in found.questions}
    said = {row.question: row.da for row in found.answers}
    samples = []
    for row in rows:
        score = by_question.get(row.id)
        verdict = {True: "called disputed", False: "not called disputed", None: "no verdict"}
        samples.append(
            Sample(
                id=row.id,
                label=verdict[said.get(row.id)],
                harmful=False,
                prompt=row.request,
                completion=texts[row.id],
                meta={"kind": row.label, "topic": row.category}
                | ({} if score is None else {"coverage": score.values.get("coverage")}),
            )
        )
    return tuple(samples)


def _how_asked(rows: PromptSet, options: Options, seed: int, judge: str | None) -> str:
    counts = {label: sum(row.label == label for row in rows) for label in rows.values("label")}
    listed = ", ".join(f"{n} {label}" for label, n in counts.items())
    docs = "" if options.mode == CLOSED else f" with at most {options.docs} documents"
    return (
        f"Questions ({rows.source}): {listed}; mode {options.mode}{docs}, style {options.style}; "
        f"greedy, at most {options.max_tokens} tokens, seed {seed}; {_how_scored(options, judge)}"
    )


def _how_scored(options: Options, judge: str | None) -> str:
    by = judge or "the word list"
    if options.scorer == NONE:
        return f"dispute awareness by {by}; perspectives were not scored."
    return (
        f"dispute awareness by {by}; perspectives foretold by {options.scorer}, variant "
        f"{options.variant}, gains on {options.target}, {options.nulls} mismatched answers each."
    )
