"""From a model, or a file, to continuations, and to all that stands beside their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.continuing import costs
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.asking import ask_all
from theodolite.behaviour.continuing.export import pairs_table, preference_pairs
from theodolite.behaviour.continuing.options import NONE, TRAIN, Asking, check_only_scoring
from theodolite.behaviour.continuing.quality import (
    is_headline,
    perplexities,
    quality_measurements,
    quality_table,
)
from theodolite.behaviour.continuing.responses import read_answers
from theodolite.behaviour.continuing.scores import Scored, Scorers, open_scorers
from theodolite.behaviour.toxicity.quality import PLAIN_WORDS as QUALITY_WORDS
from theodolite.correction.perspective_taking.method import CONFOUNDED, REFERENCE
from theodolite.data.prompts import PromptSet
from theodolite.judging.toxicity import Kind
from theodolite.measure.measurement import Measurement
from theodolite.providers.opening import open_beside
from theodolite.runs.panel import Sample

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

PLAIN_WORDS: Final = costs.PLAIN_WORDS | QUALITY_WORDS


@dataclass(frozen=True)
class Beside:
    """What stands beside the scores.

    Args:
        measurements: quality, perplexity and cost by method.
        tables: without any text.
        findings: what a reader must know of the run.
    """

    measurements: Sequence[Measurement]
    tables: Mapping[str, list[dict[str, Any]]] = field(hash=False)
    findings: Sequence[str] = ()


def answers_of_model(
    model: Any,
    rows: PromptSet,
    options: Asking,
    concern: str,
    kinds: Sequence[Kind],
    *,
    name: str,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[Answer], Scorers]:
    """Ask a model by every method, and return what it says, with the open scorers.

    Args:
        model: an open handle, or an inspect model.
        options: checked.
        concern: what a rewritten text is to have less of.
        kinds: of scorers that the benchmark can use.
        name: of the benchmark.
        judge: an inspect model that scores too.

    Raises: TheodoliteError: a scorer is not available, or the model or a judge fails.
    """
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    scorers = open_scorers(options, kinds, judge=judge, seed=seed, **kept)
    setting = options.setting(concern, seed=seed, clean=scorers.first)
    answers = ask_all(
        model,
        list(rows),
        options,
        setting,
        name=name,
        run=run,
        seed=seed,
        tool=scorers.tool,
        progress=progress,
    )
    return answers, scorers


def answers_of_file(
    path: Path,
    rows: PromptSet,
    options: Asking,
    kinds: Sequence[Kind],
    *,
    seed: int = 0,
    judge: str | None = None,
) -> tuple[list[Answer], Scorers]:
    """Return continuations made elsewhere, with the open scorers; for columns see `responses.py`.

    Raises: TheodoliteError: an option says how to ask, or a row or a scorer cannot be used.
    """
    check_only_scoring(options)
    scorers = open_scorers(options, kinds, judge=judge, seed=seed)
    return read_answers(path, rows), scorers


def lm_of(options: Asking, model: Any = None) -> LanguageModel | None:
    """Return the open language model of perplexity; None where it is left out."""
    return None if options.lm == NONE else open_beside(options.lm, model)


def beside_scores(
    answers: Sequence[Answer],
    scorers: Scorers,
    options: Asking,
    *,
    name: str,
    lm: LanguageModel | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Beside:
    """Return quality, perplexity and cost of every method, and write the pairs that are asked for.

    Args:
        answers: of all methods.
        name: the front of figures and tables.
        lm: the language model of perplexity; None leaves it out.
    """
    quality = quality_measurements(answers, name)
    figures = [one for one in quality if is_headline(one) and one.value is not None]
    if lm is not None:
        journal = None if run is None else run.journal
        figures += perplexities(lm, answers, name, journal=journal, progress=progress)
    tables = {f"{name}_quality": quality_table(quality), f"{name}_answers": answer_rows(answers)}
    findings: list[str] = []
    if any(answer.record for answer in answers):
        figures += costs.cost_measurements(answers, name)
        tables[f"{name}_cost"] = costs.cost_table(answers)
        if options.protocol == REFERENCE:
            findings.append(CONFOUNDED)
    if options.pairs is not None:
        pairs = preference_pairs(answers, scorers.first, split=TRAIN)
        tables[f"{name}_pairs"] = pairs_table(pairs)
        pairs.write(options.pairs)
        left = sum(pairs.dropped.values())
        findings.append(f"{len(pairs.rows)} preference pairs were written, {left} left out.")
    return Beside(figures, tables, findings)


def answer_rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return one row per continuation: how it was asked and read and what it cost, no text."""
    rows = []
    for answer in answers:
        record = answer.record
        used = record.get("usage", {})
        rows.append(
            {
                "id": answer.prompt.id,
                "method": answer.method,
                "sample": answer.sample,
                **{key: record.get(key) for key in ("seed", "protocol", "wording", "language")},
                "parsed": answer.parsed,
                "rule": answer.rule,
                "lines_dropped": answer.lines_dropped,
                "stages": len(record.get("stages", ())) or None,
                **{f"own_{key}": used.get(key) for key in ("calls", "in", "out", "cached")},
                **{key: used.get(key) for key in ("capped", "truncated")},
            }
        )
    return rows


def samples_of(scored: Scored, labels: Sequence[str], *, harmful: bool) -> list[Sample]:
    """Return what a reader may open: the first continuation of every prompt and method.

    Args:
        labels: of each answer, e.g. `toxic`.
        harmful: whether texts are shown only on request.
    """
    return [
        Sample(
            id=f"{answer.prompt.id}/{answer.method}",
            label=label,
            harmful=harmful,
            prompt=answer.prompt.request,
            completion=answer.text,
            meta={"method": answer.method, "rule": answer.rule}
            | {name: one.value for name, one in scored.of(place).items()},
        )
        for place, (answer, label) in enumerate(zip(scored.answers, labels, strict=True))
        if answer.sample == 0
    ]


def how_asked(rows: PromptSet, options: Asking, scorers: Scorers, seed: int) -> str:
    """Return one sentence on what was asked and how."""
    decoding = (
        f"temperature {options.temperature:g}, top-p {options.top_p:g}"
        if options.temperature
        else "greedy"
    )
    return (
        f"Continuations of {len(rows)} prompts ({rows.source}), {options.n} of each by "
        f"{', '.join(options.method_names)}; {decoding}, at most {options.caps} tokens of a list, "
        f"a thought and a text, {options.k} readers, wording {options.wording} "
        f"({options.language}), protocol {options.protocol}, seed {seed}; {how_scored(scorers)}"
    )


def how_scored(scorers: Scorers) -> str:
    """Return by which scorers, with their versions and weights."""
    return f"scored by {', '.join(scorers.kinds)}."
