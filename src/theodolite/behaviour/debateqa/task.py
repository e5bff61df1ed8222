"""The inspect task `theodolite/debateqa`: answer questions on which people differ, and others.

inspect eval theodolite/debateqa --model theodolite/smollm2 --limit 20
inspect eval theodolite/debateqa --model openai/gpt-4o-mini -T perspectives=true -T scorer=smollm2
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    mean,
    metric,
    scorer,
)
from inspect_ai.solver import TaskState, generate

from theodolite.behaviour.debateqa.data import BUNDLED, check_mode, load_rows, reading
from theodolite.behaviour.debateqa.modes import CLOSED
from theodolite.behaviour.debateqa.prompts import PLAIN, check_style, put
from theodolite.behaviour.debateqa.retrieval import Index, read_folder
from theodolite.behaviour.debateqa.rows import AnswerRow
from theodolite.behaviour.debateqa.scoring import METHOD_VERSION
from theodolite.data.debates import DEBATABLE, SETTLED
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError
from theodolite.judging.dispute import DisputeJudge
from theodolite.judging.dispute_words import says_disputed
from theodolite.providers.log_samples import samples_of
from theodolite.providers.surface import one_sentence

MAX_TOKENS: Final = 256
MAX_CONNECTIONS: Final = 64
DOCS: Final = 4
DOC_WORDS: Final = 200
SCORER: Final = "dispute_awareness"
WORD_LIST: Final = "word list"


@task
def debateqa(
    source: str = BUNDLED,
    split: str = "test",
    mode: str = CLOSED,
    folder: str | None = None,
    docs: int = DOCS,
    doc_words: int = DOC_WORDS,
    style: str = PLAIN,
    max_tokens: int = MAX_TOKENS,
    limit: int | None = None,
    controls: int | None = None,
    perspectives: bool = False,
    scorer: str = "smollm2",
    seed: int = 0,
) -> Task:
    """Ask debatable and settled questions; score whether answers say that people differ.

    Args:
        source, split: where questions come from; see `data.load_rows`.
        mode: `closed`, or what is read before: `gold_docs`, `balanced_docs`, `one_sided_docs`
            (documents of the rows), `retrieved` (the best of `folder`, a folder of texts).
        docs, doc_words: how many documents, and words of each at most.
        style: `plain`, `brief`, `detail` or `views`.
        max_tokens: length of an answer.
        limit, controls: so many debatable questions, and settled ones; None takes all.
        perspectives: also score, one answer at a time, how well a local model (`scorer`) foretells
            each perspective after the answer.
        seed: of everything that is drawn.
    """
    with one_sentence():
        rows = load_rows(source, split=split, limit=limit, controls=controls, seed=seed)
        extra = [perspective_diversity(scorer)] if perspectives else []
        return debate_task(
            list(rows), mode=mode, folder=folder, docs=docs, doc_words=doc_words, style=style,
            max_tokens=max_tokens, seed=seed, extra=extra,
        )  # fmt: skip


def debate_task(
    rows: Sequence[Prompt],
    *,
    mode: str = CLOSED,
    folder: str | None = None,
    docs: int = DOCS,
    doc_words: int = DOC_WORDS,
    style: str = PLAIN,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    extra: Sequence[Scorer] = (),
) -> Task:
    """Return the task on any questions; arguments as for `debateqa`.

    Raises:
        ConfigError: a mode, style or number does not exist.
        DataError: a question lacks the documents that the mode needs.
    """
    check_asking(mode, folder, docs, doc_words, style, max_tokens)
    index = None if folder is None else Index(read_folder(folder))
    how: dict[str, Any] = {"count": docs, "words": doc_words, "index": index, "seed": seed}
    samples = []
    for row in rows:
        read = reading(row, mode, **how)
        samples.append(
            Sample(
                id=row.id,
                input=put(row.request, style, read),
                target=row.label or "",
                metadata={
                    "question": row.request,
                    "label": row.label,
                    "goal_id": row.goal_id or row.id,
                    "topic": row.category,
                    "stances": [document.stance for document in read],
                    "row": row.to_json() if extra else None,
                },
            )
        )
    return Task(
        dataset=MemoryDataset(samples, name="debateqa"),
        solver=generate(),
        scorer=[dispute_awareness(seed=seed), *extra],
        config=GenerateConfig(
            max_tokens=max_tokens, temperature=0.0, max_connections=MAX_CONNECTIONS
        ),
        version=METHOD_VERSION,
        name="debateqa",
    )


def check_asking(
    mode: str, folder: str | None, docs: int, doc_words: int, style: str, max_tokens: int
) -> None:
    """Refuse a mode, style or number that does not exist; raises ConfigError."""
    check_mode(mode, folder)
    check_style(style)
    for name, value in (("docs", docs), ("doc_words", doc_words), ("max_tokens", max_tokens)):
        if value < 1:
            raise ConfigError(f"`{name}` is {value}.", fix="Give 1 or more.")


@metric
def da() -> Metric:
    """Return the share of debatable questions whose answer says that people differ."""
    return _share_of(DEBATABLE)


@metric
def da_fpr() -> Metric:
    """Return the share of settled questions whose answer says so."""
    return _share_of(SETTLED)


def _share_of(label: str) -> Metric:
    def compute(scores: list[SampleScore]) -> float:
        own = [s for s in scores if (s.sample_metadata or {}).get("label") == label]
        known = [v for v in (s.score.as_float() for s in own) if not math.isnan(v)]
        return sum(known) / len(known) if known else math.nan

    return compute


@scorer(metrics=[da(), da_fpr()])
def dispute_awareness(seed: int = 0) -> Scorer:
    """Score 1 where the answer itself says that its question is disputed, else 0.

    The model in the role `judge` decides where there is one (`--model-role judge=...`), else a word
    list; what the latter says is kept either way.
    """
    judges: dict[int, DisputeJudge] = {}

    async def score(state: TaskState, target: Target) -> Score:
        from inspect_ai.model import get_model, model_roles

        own = state.output.completion
        words = says_disputed(own)
        notes: dict[str, Any] = {"scorer": WORD_LIST, "lexical": words}
        if "judge" not in model_roles():
            return Score(value=float(words), metadata=notes)
        model = get_model(role="judge", required=True)
        judge = judges.setdefault(id(model.api), DisputeJudge(model, seed=seed))
        await judge.check()
        question = str(state.metadata["question"])
        verdict = await judge.label(own, question, item_id=str(state.sample_id))
        notes |= {"scorer": judge.name, "prob": verdict.prob}
        if verdict.disputed is None:
            return Score.unscored(reason=verdict.reason, metadata=notes)
        return Score(value=float(verdict.disputed), metadata=notes)

    return score


@scorer(metrics={"gain": [mean()], "pd": [mean()]})
def perspective_diversity(scorer: str = "smollm2") -> Scorer:
    """Score how well a local model foretells each perspective after an answer, one at a time.

    Without answers to other questions there is no null and no coverage; `theodolite eval debateqa`
    has both.
    """
    opened: list[Any] = []

    async def score(state: TaskState, target: Target) -> Score:
        from anyio import to_thread

        row = Prompt.from_json(state.metadata["row"])
        if row.label != DEBATABLE:
            return Score.unscored(reason="settled questions have no perspectives")

        def compute() -> tuple[float, float] | None:
            from theodolite.behaviour.debateqa.perspectives import Scoring, score_perspectives

            if not opened:
                from theodolite.models import open_model

                opened.append(open_model(scorer))
            answers = {row.id: state.output.completion}
            found = score_perspectives(opened[0], [row], answers, Scoring(nulls=0))
            gains = [g for g in (r.gain for r in found.gains if r.scored) if g is not None]
            pds = [r.ppl for r in found.pd if r.scored]
            return (sum(gains) / len(gains), sum(pds) / len(pds)) if gains and pds else None

        values = await to_thread.run_sync(compute)
        if values is None:
            return Score.unscored(reason="no perspective to score")
        return Score(value={"gain": values[0], "pd": values[1]})

    return score


def answers_of(log: EvalLog) -> tuple[dict[str, str], list[AnswerRow], dict[str, list[Any]]]:
    """Return the answers of a log, what is known of each, and the stances that were read."""
    samples = samples_of(log)
    texts = {str(s.id): s.output.completion for s in samples}
    stances = {str(s.id): list((s.metadata or {}).get("stances") or []) for s in samples}
    return texts, [_row(sample) for sample in samples], stances


def _row(sample: EvalSample) -> AnswerRow:
    facts = sample.metadata or {}
    common: dict[str, Any] = {
        "question": str(sample.id),
        "label": facts.get("label") or DEBATABLE,
        "goal_id": facts.get("goal_id"),
        "topic": facts.get("topic"),
        "empty": not sample.output.completion.strip(),
    }
    score = (sample.scores or {}).get(SCORER)
    if score is None:
        return AnswerRow(**common, da_reason="the sample failed")
    notes = score.metadata or {}
    lexical = None if notes.get("scorer") == WORD_LIST else notes.get("lexical")
    common |= {"da_lexical": lexical, "da_prob": notes.get("prob")}
    if math.isnan(score.as_float()):
        return AnswerRow(**common, da_reason=score.reason or "no verdict")
    return AnswerRow(**common, da=bool(score.as_float()))
