"""Write the perspectives of a file of questions: rows, review sheet and data card in a run folder.

The rows are a source of `theodolite eval debateqa` as they are; they count as unchecked until the
sheets of people are merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.debateqa.building import wording
from theodolite.behaviour.debateqa.building.inputs import titled, to_json
from theodolite.behaviour.debateqa.building.parsing import NOT_READ
from theodolite.behaviour.debateqa.building.repeats import ALIKE
from theodolite.behaviour.debateqa.building.request import FEWEST, Asked, BuildRequest, asked_of
from theodolite.behaviour.debateqa.building.writing import VERSION, keys_of, task_of
from theodolite.behaviour.debateqa.review import Draft, write_review_sheet
from theodolite.data.debates import PARTIAL_ANSWERS, documents_of, perspectives_of
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.measure.intervals import proportion
from theodolite.providers.kept import finish_samples, kept_records
from theodolite.providers.opening import identity_of, open_requested
from theodolite.runs.atomic import write_text
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.hashing import content_key

COMMAND: Final = "data debates write"
PANEL: Final = "debates"
ROWS, SHEET, CARD = "debates.jsonl", "review.csv", "data_card.json"
AT_ONCE: Final = 64
NO_DOCUMENTS: Final = "no document fits the question"
FEW: Final = f"fewer than {FEWEST} perspectives are left"
SOURCES: Final = "documents"
"""Field of a perspective: the numbers of its documents, from 1, as in the question's `docs`."""


def write_debates(
    request: BuildRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Write the perspectives of questions.

    Args:
        out, resume: a new run's folder, or the run to go on with.

    Returns: the run, whose folder holds `debates.jsonl`, `review.csv` and `data_card.json`; and the
        result in counts.

    Raises:
        TheodoliteError: the request cannot be met, or no question is left with perspectives.
        Interrupted: Ctrl-C; finished questions are kept.
    """
    asked = asked_of(request)
    with ExitStack() as active:
        model, inputs = open_requested(request, active)
        model.require("text")
        with Run.begin(
            COMMAND,
            model.name,
            out=out,
            resume=resume,
            config=asdict(request),
            inputs={**inputs, **asked.inputs},
            seed=request.seed,
            model=identity_of(model),
        ) as run:
            records = records_of(model, asked, run=run, progress=progress)
            identity = {"model": model.ref, "fingerprint": model.fingerprint}
            result = write_folder(asked, records, identity, run.path)
            run.save_panel(PANEL, result, key=str(VERSION))
            run.commit()
            return run, result


def records_of(
    model: Any, asked: Asked, *, run: Run, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Return the record of every question that has documents, in order."""
    keys = keys_of(model, asked)
    finish_samples(
        model,
        keys,
        lambda ids, keep: task_of(ids, asked, keep),
        run=run,
        at_once=AT_ONCE,
        label="Questions",
        seed=asked.request.seed,
        progress=progress,
    )
    return kept_records(run, keys)


def write_folder(
    asked: Asked, records: Sequence[Mapping[str, Any]], written_by: Mapping[str, Any], folder: Path
) -> PanelResult:
    """Write rows, sheet and card of what was written; return it in counts.

    Raises: DataError: no question is left with perspectives; the card says why.
    """
    rows = rows_of(asked, records)
    card = card_of(asked, records, rows, written_by)
    write_text(folder / CARD, strict_dumps(card, indent=1) + "\n")
    if not rows:
        raise DataError(
            f"No question is left with {FEWEST} perspectives; {folder / CARD} counts the reasons.",
            fix="Use a more capable model, other documents, or more tries.",
        )
    write_rows(folder / ROWS, rows)
    write_review_sheet(folder / SHEET, drafts_of(rows))
    return report(asked, card, rows, folder)


def rows_of(asked: Asked, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per question that keeps enough perspectives, as DebateQA's own files have it."""
    by_id = {question.id: question for question in asked.questions}
    rows = []
    for record in records:
        views = [view for view in record["views"] if view["why"] is None]
        if len(views) >= FEWEST:
            question = by_id[record["id"]]
            read = [to_json(document) for document in asked.chosen[question.id]]
            rows.append(_row(question, views, read))
    return rows


def _row(
    question: Prompt, views: Sequence[Mapping[str, Any]], read: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    named = {"id": question.id, "question": question.request}
    about = {"source": question.source, "category": question.category, "split": question.split}
    return {
        **named,
        **{name: value for name, value in about.items() if value is not None},
        "reviewed": False,
        PARTIAL_ANSWERS: [
            {
                "point_of_view": view["text"],
                "explanation": view["explanation"],
                SOURCES: list(view["documents"]),
            }
            for view in views
        ],
        "docs": list(read),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, all ASCII: no terminal that shows the file obeys it."""
    write_text(path, "".join(f"{strict_dumps(dict(row))}\n" for row in rows))


def drafts_of(rows: Sequence[Mapping[str, Any]]) -> list[Draft]:
    """Return the perspectives of rows as people are to check them."""
    drafts = []
    for row in rows:
        prompt = Prompt(row["id"], text=row["question"], meta=dict(row))
        read = documents_of(prompt)
        drafts += [
            Draft(
                prompt.id,
                index,
                one.point_of_view,
                one.explanation,
                titled(read, [n for n in one.meta.get(SOURCES, ()) if 1 <= n <= len(read)]),
            )
            for index, one in enumerate(perspectives_of(prompt))
        ]
    return drafts


def card_of(
    asked: Asked,
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    written_by: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the data card: counts, reasons of rejections, and what decided the result."""
    views = [view for record in records for view in record["views"]]
    lost = len(asked.questions) - len(records)
    kept = {row["id"] for row in rows}
    perspectives = sum(len(row[PARTIAL_ANSWERS]) for row in rows)
    few = sum(view["why"] is None for r in records if r["id"] not in kept for view in r["views"])
    return {
        "version": [VERSION, wording.VERSION],
        "written_by": dict(written_by),
        "settings": asked.request.decides | {"trusted": list(asked.request.trusted)},
        "same_view": {
            "asked_from_cosine": ALIKE if asked.request.entailment else None,
            "dropped": "equal words, or entailment in both directions by the writing model"
            if asked.request.entailment
            else "equal words",
        },
        "reviewed": False,
        "documents": {
            "usable": len(asked.library),
            "left_out": dict(asked.library.left_out),
        },
        "questions": {
            "asked": len(asked.questions) + asked.repeated,
            "kept": len(rows),
            "left_out": _counted(
                {
                    "repeats an earlier question": asked.repeated,
                    NO_DOCUMENTS: lost,
                    FEW: len(records) - len(rows),
                }
            ),
        },
        "views": {
            "listed": len(views),
            "perspectives": perspectives,
            "left_out": _counted(Counter(view["why"] for view in views if view["why"]))
            | _counted({"its question was left out": few}),
        },
        "answers": {
            "calls": sum(record["calls"] for record in records),
            NOT_READ: sum(record["unread"] for record in records),
            "cut at a cap": sum(record["capped"] for record in records),
        },
        "key": content_key([dict(row) for row in rows]),
    }


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items()) if count}


def report(
    asked: Asked, card: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path
) -> PanelResult:
    """Return what was written, in counts."""
    kept = {row["id"] for row in rows}
    fact = "a fact of what was written, not of its quality"
    ids = [question.id for question in asked.questions]
    listed, stand = card["views"]["listed"], card["views"]["perspectives"]
    left_out = [
        {"what": what, "reason": reason, "count": count}
        for what in ("documents", "questions", "views")
        for reason, count in card[what]["left_out"].items()
    ]
    return PanelResult(
        measurements=[
            proportion("debates/questions", [name in kept for name in ids], reason=fact),
        ],
        tables={
            "debates_left_out": left_out,
            "debates": [
                {
                    "id": row["id"],
                    "perspectives": len(row[PARTIAL_ANSWERS]),
                    "documents": len(row["docs"]),
                }
                for row in rows
            ],
        },
        findings=[
            f"{len(rows)} of {len(ids)} questions have perspectives, {stand} in all, of {listed} "
            f"views that {card['written_by']['model']} listed.",
            f"Nobody has checked them: give {folder / SHEET} to two reviewers, then run "
            f"`theodolite data debates merge {folder} SHEET SHEET`.",
        ],
        limits=[
            "Whether a perspective is grounded in its documents is for people to say; a model that "
            "writes views may also leave one out."
        ],
        labels={"debates/questions": "questions that keep two or more perspectives"},
    )
