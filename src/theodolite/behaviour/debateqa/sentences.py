"""What a run found, in sentences, and what nobody should read into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.debateqa.scoring import NAME
from theodolite.measure.measurement import Measurement

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

LIMITS: Final = (
    "What an answer holds is read off a small model's surprise: a perspective in very different "
    "words can count as missing. A scorer counts as validated only beside human ratings.",
    "The word list knows English; an acknowledgement in other words counts as none.",
)


def findings(found: Sequence[Measurement]) -> list[str]:
    """Say the headline in words: what is held, against chance, and whether disputes are named."""
    by_name = {figure.name.removeprefix(f"{NAME}/"): figure for figure in found}
    said = []
    coverage = by_name.get("coverage")
    if coverage is not None and coverage.value is not None and coverage.floor is not None:
        beyond = coverage.low is not None and coverage.low > coverage.floor.value
        said.append(
            f"Answers hold {coverage.value:.0%} of the known perspectives; answers to other "
            f"questions would be said to hold {coverage.floor.value:.0%}"
            + ("." if beyond else ", which is not clearly less.")
        )
    named, wrong, gap = (by_name.get(part) for part in ("da", "da_fpr", "da_j"))
    if named is not None and named.value is not None:
        beside = (
            ""
            if wrong is None or wrong.value is None
            else f", and {wrong.value:.0%} of settled ones"
        )
        said.append(f"They call {named.value:.0%} of debatable questions disputed{beside}.")
    least = None if gap is None else gap.value if gap.low is None else gap.low
    if least is not None and least <= 0:
        said.append("That they tell the two apart is not shown.")
    return said


def who_scored(scorer: LanguageModel) -> str:
    """Say which scoring model it was, to the bit: its fingerprint is of weights and template."""
    dtype = str(scorer.dtype).removeprefix("torch.")
    revision = "" if scorer.revision is None else f"revision {scorer.revision}, "
    return f"Scorer {scorer.name}: {revision}{dtype}, fingerprint {scorer.fingerprint}."
