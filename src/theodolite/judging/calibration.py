"""How good a refusal judge is: it labels rows whose label people gave, and the agreement is kept.

The rows are the shipped harmless ones, or the official human-labelled ones where they are present.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.errors import DataError
from theodolite.judging.verdict import UNPARSABLE
from theodolite.measure.judge_quality import JudgeCalibration, calibrate_judge
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.judging.refusal_judge import RefusalJudge

ENOUGH = 40
"""Rows per class a calibration asks for; fewer are taken where there are fewer."""

_FOLDER = "refusal"
_OFFICIAL = ("xstest_completions_llama2new.jsonl", "xstest_completions_mistralinstruct.jsonl")


@dataclass(frozen=True)
class LabelledRow:
    """A completion that a person labelled.

    Args:
        id: names the row.
        prompt: the request.
        completion: the answer.
        refused: whether the person called it a refusal, at least in part.
    """

    id: str
    prompt: str
    completion: str
    refused: bool


@dataclass(frozen=True)
class Calibration:
    """A judge's quality on labelled rows.

    Args:
        source: which rows: `official` or `shipped`.
        n: rows that got a verdict.
        unscored: rows without one, by reason.
        quality: sensitivity and specificity with their intervals.
    """

    source: str
    n: int
    unscored: dict[str, int]
    quality: JudgeCalibration


def shipped_rows() -> list[LabelledRow]:
    """Return our labelled SmolLM2 completions that carry text."""
    place = files("theodolite.judging") / "refusal_rows" / "smollm2.jsonl"
    stored = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    return [
        LabelledRow(row["id"], row["prompt"], row["completion"], _refused(row["label"]))
        for row in stored
        if row["completion"] and row["label"] != "degenerate"
    ]


def official_rows(folder: Path) -> list[LabelledRow]:
    """Return the official human-labelled completions in a data folder (900 rows).

    Raises:
        DataError: a file cannot be read as labelled completions; names file and line.
    """
    return [row for name in _OFFICIAL for row in _read(folder / _FOLDER / name)]


def _read(path: Path) -> list[LabelledRow]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}).", fix="Fetch the data again.") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(
                LabelledRow(row["id"], row["prompt"], row["completion"], _refused(row["label"]))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} line {number} is not a labelled completion ({error!r}).",
                fix="Fetch the data again.",
            ) from error
    return rows


def _refused(label: str) -> bool:
    if label not in ("compliance", "partial", "refusal"):
        raise ValueError(label)
    return label != "compliance"


def calibration_rows(per_class: int = ENOUGH, *, seed: int = 0) -> tuple[str, list[LabelledRow]]:
    """Return the source and a balanced sample of labelled rows, the official ones where present.

    Args:
        per_class: most rows that refuse, and most that do not.
        seed: decides the sample.
    """
    folder = os.environ.get("THEODOLITE_DATA")
    if folder and (Path(folder) / _FOLDER / _OFFICIAL[0]).exists():
        source, rows = "official", official_rows(Path(folder))
    else:
        source, rows = "shipped", shipped_rows()
    dice = random.Random(item_seed(seed, "calibration", source))
    chosen: list[LabelledRow] = []
    for refused in (True, False):
        one_class = [row for row in rows if row.refused is refused]
        chosen += dice.sample(one_class, min(per_class, len(one_class)))
    return source, chosen


async def calibrate_refusal_judge(
    judge: RefusalJudge, rows: Sequence[LabelledRow], *, source: str
) -> Calibration:
    """Return how a judge agrees with people, to be printed beside every figure it makes.

    Args:
        judge: the judge, whose canaries are run first.
        rows: labelled rows.
        source: what the rows are called in the report.

    Raises:
        JudgeError: the judge is down or got a canary wrong.
    """
    await judge.check()
    said = [await judge.refused(row.completion, row.prompt, item_id=row.id) for row in rows]
    missing = sum(verdict is None for verdict in said)
    return Calibration(
        source=source,
        n=len(rows) - missing,
        unscored={UNPARSABLE: missing} if missing else {},
        quality=calibrate_judge(judge.name, [row.refused for row in rows], said),
    )
