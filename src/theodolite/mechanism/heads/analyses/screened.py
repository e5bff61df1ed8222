"""Only the heads that a rough score puts in front, and what that choice may have missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.measure.measurement import Measurement
from theodolite.mechanism.heads.ablation import Head, HeadAblation
from theodolite.mechanism.heads.screening import (
    Certificate,
    audit_sample,
    certify,
    fisher_screen,
    survivors,
)

if TYPE_CHECKING:
    from theodolite.mechanism.heads.result import HeadScores
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


@dataclass(frozen=True)
class Screened:
    """The heads that are scored exactly.

    Args:
        kept: those that the rough score puts in front, and all of the last layer.
        audited: some of the others, drawn at random.
        k: size of the ranking that is to be right.
        prompts: requests behind the rough scores.
    """

    kept: tuple[Head, ...]
    audited: tuple[Head, ...]
    k: int
    prompts: int

    @property
    def heads(self) -> tuple[Head, ...]:
        """All of them."""
        return tuple(sorted({*self.kept, *self.audited}))

    def certificate(self, scores: HeadScores) -> Certificate:
        """Return what the choice is worth, by the exact scores."""
        return certify(scores.kl[scores.harmful], self.kept, self.audited, self.k)


def screened_heads(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    ablation: HeadAblation,
    *,
    keep: int,
    audit: int,
    cotangents: int,
    seed: int,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Screened:
    """Choose the heads to score exactly.

    Args:
        encoded: harmful requests.
        keep: size of the ranking that is to be right; at most a half of the heads.
        audit: heads drawn from the others.
        cotangents: backward passes of the rough score.
        seed: of both draws.
    """
    rough = fisher_screen(
        model,
        encoded,
        ablation,
        cotangents=cotangents,
        seed=seed,
        journal=journal,
        progress=progress,
    )
    k = min(keep, rough[0].size)
    kept = survivors(rough, k)
    audited = audit_sample(rough, kept, audit, seed=seed)
    return Screened(tuple(kept), tuple(audited), k, len(encoded))


def told(chosen: Screened, found: Certificate) -> tuple[Measurement, dict[str, Any], str]:
    """Return the certificate as a measurement, a row of a table, and a sentence."""
    measurement = Measurement(
        name="heads/screening/missed",
        value=float(found.at_most),
        unit="heads",
        n=found.audited,
        reason=str(found),
    )
    row = {
        "k": found.k,
        "kept": len(chosen.kept),
        "audited": found.audited,
        "missed": len(found.missed),
        "rest": found.rest,
        "at_most": found.at_most,
        "level": found.level,
        "no_miss": found.certified,
    }
    said = (
        f"Screening: rough scores on {chosen.prompts} harmful requests chose {len(chosen.kept)} "
        f"heads, {found.audited} of the other {found.rest} were drawn to check that; "
        f"{found}."
    )
    return measurement, row, said
