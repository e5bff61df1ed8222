"""Which beginnings a model goes on with: our harmless ones, the official ones, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from theodolite.behaviour.continuing.beginnings import drawn, read_beginnings
from theodolite.behaviour.continuing.options import ALL, BUNDLED
from theodolite.data.bundled import bundled
from theodolite.data.prompts import PromptSet
from theodolite.data.toxicity_prompts import TOXICITY, read_rtp_hard

RTP: Final = "rtp"


def load_rows(
    source: str | Path = BUNDLED, *, split: str = "test", limit: int | None = None, seed: int = 0
) -> PromptSet:
    """Return the beginnings.

    Args:
        source: `bundled`, `rtp` (the 1,604 official ones that provoke), or a file of prompts.
        split: train, val, test or `all`; of the official rows, which state none, all are taken.
        limit: so many prompts; None takes all.
        seed: of the choice under a limit.

    Raises: DataError: the source or split cannot be used, or a row is wrong.
    """
    return drawn(_read(source, split), limit, seed=seed)


def _read(source: str | Path, split: str) -> PromptSet:
    if source == BUNDLED:
        rows = bundled(TOXICITY)
        return rows if split == ALL else rows.split(split)
    if source == RTP:
        return read_rtp_hard()
    return read_beginnings(source, split)
