"""Answer prompts, rewrite the answers by a method, and measure what that changed and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from theodolite.audit.loops.responded import responded
from theodolite.audit.loops.responded_sentences import result_of
from theodolite.correction.perspective_taking.pairs import Pairs
from theodolite.correction.respond import VERSION, answer_prompts, write_answers
from theodolite.correction.respond_request import RespondRequest, Work, work_of
from theodolite.correction.rewritten import preference_pairs
from theodolite.judging.toxicity import TextScorer
from theodolite.judging.toxicity_registry import JUDGE, text_scorer
from theodolite.providers.opening import identity_of, open_requested
from theodolite.runs.panel import PanelResult, Progress, extended
from theodolite.runs.run import Run

COMMAND: Final = "correct respond"
PANEL: Final = "respond"
PAIRS: Final = "pairs.jsonl"
TRAIN: Final = "train"
MEASURED_ON: Final = "the prompt is of a split that is measured on"
SEVERAL_TURNS: Final = "the prompt is a chat, and a pair has one turn"


def respond(
    request: RespondRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Answer prompts, rewrite the answers, and measure both.

    Args:
        out, resume: a new run's folder, or the run to go on with.

    Returns: the run, whose folder holds `answers.jsonl`, and the result; its samples hold the
        texts.

    Raises:
        TheodoliteError: the request cannot be met.
        Interrupted: Ctrl-C; finished answers are kept.
    """
    work = work_of(request)
    opened = {name: text_scorer(name, seed=request.seed) for name in request.scorers}
    with ExitStack() as active:
        model, inputs = open_requested(request, active)
        model.require("text")
        with Run.begin(
            COMMAND,
            model.name,
            out=out,
            resume=resume,
            config=asdict(request),
            inputs={**inputs, **work.inputs},
            seed=request.seed,
            model=identity_of(model),
        ) as run:
            records = answer_prompts(model, work, run=run, progress=progress)
            scorers = _with_journal(opened, request, run, progress)
            found = responded(records, work, scorers)
            write_answers(run.path, found.answers())
            result = result_of(found)
            if request.pairs:
                result = _with_pairs(result, _pairs(records, work, scorers[0]), run)
            run.save_panel(PANEL, result, key=str(VERSION))
            run.commit()
            return run, result


def _with_journal(
    opened: Mapping[str, TextScorer], request: RespondRequest, run: Run, progress: Progress
) -> list[TextScorer]:
    """Return the scorers, of which the judges keep what they said in the run's journal."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    return [
        text_scorer(name, seed=request.seed, **kept) if name.startswith(JUDGE) else scorer
        for name, scorer in opened.items()
    ]


def _pairs(records: Sequence[Mapping[str, Any]], work: Work, scorer: TextScorer) -> Pairs:
    """Return the pairs of the prompts that may be trained on; the others are counted."""
    prompts = {one.id: one for one in work.prompts}
    dropped: dict[str, int] = {}
    kept = []
    for record in records:
        prompt = prompts[record["id"]]
        reason = None if prompt.split in (None, TRAIN) else MEASURED_ON
        reason = reason or (None if len(prompt.as_messages()) == 1 else SEVERAL_TURNS)
        if reason is None:
            kept.append((record, prompt.request))
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    found = preference_pairs(kept, scorer, split=TRAIN)
    return Pairs(found.rows, {**dropped, **found.dropped})


def _with_pairs(result: PanelResult, pairs: Pairs, run: Run) -> PanelResult:
    path = pairs.write(run.path / PAIRS)
    dropped = [{"reason": reason, "answers": count} for reason, count in pairs.dropped.items()]
    count = len(pairs.rows)
    return extended(
        result,
        tables={"pairs_left_out": dropped},
        findings=[f"For preference training: {count} pair{'' if count == 1 else 's'} in {path}."],
    )
