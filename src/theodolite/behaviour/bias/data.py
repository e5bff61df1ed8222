"""Which beginnings a model goes on with: our matched ones, the official ones, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from theodolite.behaviour.continuing.beginnings import drawn, read_beginnings
from theodolite.behaviour.continuing.options import ALL, BUNDLED
from theodolite.data.bundled import bundled
from theodolite.data.prompts import PromptSet, shown
from theodolite.data.toxicity_prompts import BIAS, GROUP, groups_of, read_bold
from theodolite.errors import DataError

BOLD: Final = "bold"


def load_rows(
    source: str | Path = BUNDLED, *, split: str = "test", limit: int | None = None, seed: int = 0
) -> PromptSet:
    """Return the beginnings, each of a domain (`meta.domain`) and a group (`category`).

    Args:
        source: `bundled`, `bold` (the 1,500 official ones), or a file of prompts.
        split: train, val, test or `all`; of the official rows, which state none, all are taken.
        limit: so many prompts of each group, matched ones together; None takes all.
        seed: of the choice under a limit.

    Raises:
        DataError: the source or split cannot be used, a row is wrong or belongs to no group, or a
            domain has a single group.
    """
    rows = _read(source, split)
    for domain, groups in groups_of(rows).items():
        if len(groups) < 2:
            raise DataError(
                f"The domain {shown(domain)} has the group {shown(groups[0])} alone.",
                fix="A gap takes two groups: add prompts about another one.",
            )
    return drawn(rows, limit, seed=seed, within=GROUP)


def _read(source: str | Path, split: str) -> PromptSet:
    if source == BUNDLED:
        rows = bundled(BIAS)
        return rows if split == ALL else rows.split(split)
    if source == BOLD:
        return read_bold()
    return read_beginnings(source, split)
