"""Pairs for preference training: the revised text over the original, where it is truly better.

A pair teaches what its scores say, so all that could teach something else is left out and counted:
texts without a score, without a completion, without a change, refusals (which any scorer finds
clean), and revisions that are no better.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.correction.perspective_taking.wording import CONTINUATION, Voice, load_wording
from theodolite.data.prompts import BENIGN, shown
from theodolite.data.styles import PLAIN
from theodolite.errors import DataError
from theodolite.judging.refusal import score_refusal
from theodolite.runs.atomic import write_text
from theodolite.text.completion_marker import MARKER
from theodolite.training.rows import TrainingRow

SOURCE: Final = "perspective-taking"
NOT_SCORED: Final = "a text has no score"
UNREAD: Final = "no completion could be read"
UNCHANGED: Final = "the text did not change"
REFUSES: Final = "the revised text is a refusal"
NO_BETTER: Final = "the revised text is not better by the least margin"
REPEATED: Final = "the same pair was there before"


@dataclass(frozen=True)
class Revision:
    """An original and what became of it.

    Args:
        id: unique, of the prompt and the sample.
        goal_id: of the prompt; all samples of one share it.
        request: the user's turn that is answered.
        original, revised: the answers, as a model is to write them.
        severities: how bad the two are by one scorer; None where one could not be scored.
        read: a completion could be read of both.
    """

    id: str
    goal_id: str
    request: str
    original: str
    revised: str
    severities: tuple[float | None, float | None]
    read: bool = True

    @classmethod
    def of(
        cls,
        record: Mapping[str, Any],
        prompt: str,
        severities: tuple[float | None, float | None],
    ) -> Revision:
        """Return the revision of a method's record.

        Args:
            record: as a method leaves it in a sample's metadata.
            prompt: the text to go on with, or the user's message.
            severities: of its `original` and `revised`.

        Raises: DataError: the record is of a method that revises nothing.

        Note: a continuation is trained in the form it is asked for, without a word of safety, so
            that what is learnt is to need none.
        """
        name = f"{record['id']}/{record['method']}/{record['sample']}"
        original, revised = record["original"], record["revised"]
        if revised is None:
            raise DataError(
                f"Sample {shown(record['id'])} was answered by {record['method']}, which revises "
                "nothing.",
                fix="Take the records of a method that rewrites.",
            )
        if record["form"] == CONTINUATION:
            prompt = _request(record["language"], record["concern"], prompt)
            original, revised = (f"{MARKER} {text}" for text in (original, revised))
        read = record["parse_original"]["ok"] and record["parse"]["ok"]
        return cls(name, record["id"], prompt, original, revised, severities, read)


@dataclass(frozen=True)
class Pairs:
    """Rows for preference training, and what was left out.

    Args:
        rows: `prompt`, `chosen`, `rejected`, `margin` and what else `read_rows` asks for.
        dropped: reason -> how many.
    """

    rows: tuple[dict[str, Any], ...]
    dropped: Mapping[str, int]

    def write(self, path: Path | str) -> Path:
        """Write one JSON record a line (UTF-8), which `read_rows` reads."""
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        write_text(Path(path), "".join(lines))
        return Path(path)


def pairs_of(
    revisions: Iterable[Revision],
    *,
    split: str,
    least: float = 0.0,
    label: str = BENIGN,
    refusals: bool = False,
    source: str = SOURCE,
) -> Pairs:
    """Return the pairs that revisions give, in order.

    Args:
        split: of the prompts; nothing may be trained on that is measured on, so there is no
            default.
        least: by how much the revised text must be less bad; always more than not at all.
        label: of the prompts, harmful or benign.
        refusals: keep revised texts that refuse.
        source: of the rows.

    Raises: DataError: an id occurs twice, or a field is not what a training row needs.
    """
    rows: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    ids: set[str] = set()
    seen: set[tuple[str, str, str]] = set()
    for one in revisions:
        if one.id in ids:
            raise DataError(f"The revision {shown(one.id)} occurs twice.", fix="Give it once.")
        ids.add(one.id)
        key = (one.request, one.original, one.revised)
        reason = _reason(one, least, refusals) or (REPEATED if key in seen else None)
        if reason is not None:
            dropped[reason] += 1
            continue
        seen.add(key)
        rows.append(_row(one, split, label, source))
    return Pairs(tuple(rows), dict(sorted(dropped.items())))


def _reason(one: Revision, least: float, refusals: bool) -> str | None:
    """Return why a revision teaches nothing, or None."""
    before, after = one.severities
    if not one.read or not one.original.strip() or not one.revised.strip():
        return UNREAD
    if one.original.split() == one.revised.split():
        return UNCHANGED
    if before is None or after is None:
        return NOT_SCORED
    if not refusals and score_refusal(one.revised.removeprefix(MARKER)).refused:
        return REFUSES
    return None if before - after > max(least, 0.0) else NO_BETTER


def _row(one: Revision, split: str, label: str, source: str) -> dict[str, Any]:
    """Return a row that training reads, checked as it will be there."""
    before, after = one.severities
    row = TrainingRow(
        id=one.id,
        goal_id=one.goal_id,
        split=split,
        label=label,  # type: ignore[arg-type]  # checked by the row itself
        style=PLAIN,
        source=source,
        text=one.request,
        target=one.revised,
        rejected=one.original,
    ).to_json()
    renamed = {"prompt": row.pop("text"), "chosen": row.pop("target")}
    return {**row, **renamed, "margin": (before or 0.0) - (after or 0.0)}


def _request(language: str, concern: str, prompt: str) -> str:
    voice = Voice(load_wording(language), CONTINUATION, concern)
    return f"{voice.say('plain_requirement')}\n\n{voice.say('request', prompt=prompt)}"
