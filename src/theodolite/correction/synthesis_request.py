"""What a synthesis is asked, which rows it is made of, and what came of it, in counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.correction.cut_points import DEPTHS, JITTER
from theodolite.correction.preference_synthesis import (
    GROUPS,
    Synthesis,
    SynthesisOptions,
)
from theodolite.data.bundled import bundled
from theodolite.data.catalogue import identify
from theodolite.data.forced_replies import SET, drawn, read_replies, reply_of
from theodolite.data.prompts import HARMFUL, PromptSet, shown
from theodolite.data.records import read_bytes
from theodolite.errors import DataError
from theodolite.measure.intervals import proportion
from theodolite.providers.opening import ModelRequest
from theodolite.runs.panel import PanelResult

BUNDLED: Final = "bundled"
TEST: Final = "test"


@dataclass(frozen=True)
class SynthesisRequest(ModelRequest):
    """What preference groups are made of.

    Args:
        model: the aligned model that writes; it is named in the card.
        prompts: a file of requests with harmful replies, and benign ones with good replies; None
            takes the train split of the bundled harmless set.
        limit: so many harmful rows, and benign ones.
        depths, jitter, opener, own_turn, new_tokens, tries, graft, benign, breaks:
            see `SynthesisOptions`.
    """

    model: str = "smollm2-aligned"
    prompts: str | None = None
    limit: int | None = None
    depths: tuple[float, ...] = DEPTHS
    jitter: float = JITTER
    opener: float = 0.5
    own_turn: float = 0.2
    new_tokens: int = 96
    tries: int = 3
    graft: bool = True
    benign: bool = True
    breaks: int = 3

    @property
    def options(self) -> SynthesisOptions:
        """The options of the synthesis itself."""
        names = SynthesisOptions.__dataclass_fields__
        return SynthesisOptions(**{name: getattr(self, name) for name in names})


def rows_of(source: str | None, limit: int | None = None, *, seed: int = 0) -> PromptSet:
    """Return the rows that groups are made of.

    Raises:
        DataError: the file is one that is measured on, its rows are all test rows, a row has no
            reply, or the limit leaves none.
    """
    if limit is not None and limit < 1:
        raise DataError(f"A limit of {limit} leaves no row.", fix="Give 1 or more.")
    if source is None or source == BUNDLED:
        rows = bundled(SET).split("train")
    else:
        known = identify(read_bytes(Path(source)))
        if known is not None and known.part == "course-correction":
            raise DataError(
                f"{shown(source)} is the official test file, and what is measured on is not "
                "trained on.",
                fix="Give other requests with harmful replies.",
            )
        found = read_replies(source)
        rows = found.derive(row for row in found if row.split != TEST)
    for row in rows:
        reply_of(row)
    return drawn(rows, limit, seed=seed)


def synthesis_report(made: Synthesis, rows: PromptSet, folder: Path) -> PanelResult:
    """Return what was written, in counts; the folder holds the groups."""
    card = made.card
    kept = {group.id for group in made.groups}
    harmful = [row for row in rows if row.label == HARMFUL]
    counts = card["groups"]
    return PanelResult(
        measurements=[
            proportion(
                "synthesis/kept",
                [row.id in kept for row in harmful],
                clusters=[row.goal_id or row.id for row in harmful],
                reason="a fact of this synthesis, not of a model's quality",
            )
        ],
        tables={
            "dropped": [{"reason": reason, "rows": n} for reason, n in card["dropped"].items()],
            "groups": [
                {
                    "id": group.id,
                    "label": group.label,
                    "split": group.split,
                    "replies": len(group.replies),
                    "opener_id": group.opener_id,
                    "triggers": ",".join(reply.trigger_id or "own" for reply in group.cuts),
                    "cuts": ",".join(str(reply.cut) for reply in group.cuts),
                }
                for group in made.groups
            ],
        },
        findings=[
            f"{counts['harmful']} harmful groups and {counts['benign']} benign ones, "
            f"{card['pairs']} pairs, written by {card['written_by']['model']}, which refuses "
            f"{card['bare_requests_refused']:.0%} of the bare requests; they are in "
            f"{folder / GROUPS}.{_grafted(card)}"
        ],
        labels={"synthesis/kept": "harmful rows that became a group"},
    )


def _grafted(card: Mapping[str, Any]) -> str:
    """Say how many corrections the model could not write itself."""
    if not card["grafted"]:
        return ""
    return (
        f" {card['grafted']} of {card['corrections']} corrections are a trigger and the safe "
        "reply, because the model never turned round there by itself."
    )
