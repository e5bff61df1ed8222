"""What each head alone does to the success of attacks, beside the score that ranks the heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.measure.measurement import Measurement
from theodolite.measure.rank_agreement import spearman
from theodolite.mechanism.heads.ablation import Head, HeadAblation, head_name
from theodolite.mechanism.heads.asr import attack_success
from theodolite.mechanism.heads.asr_result import AsrResult

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class HeadAsrMap:
    """The success of attacks with one head out at a time.

    Args:
        result: one condition per head, after the intact model.
        heads: in the order of the conditions.
        scores: what the heads were ranked by, where known.
    """

    result: AsrResult
    heads: tuple[Head, ...]
    scores: Mapping[Head, float]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per head; p-values are adjusted over the heads (Holm)."""
        rows = self.result.frame()[1:]
        return [
            {"layer": layer, "head": head, "score": self.scores.get((layer, head)), **row}
            for (layer, head), row in zip(self.heads, rows, strict=True)
        ]

    def raising(self) -> list[Head]:
        """Return the heads shown to raise success when out, after Holm's adjustment at 5 %."""
        rows = zip(self.heads, self.frame(), strict=True)
        return [head for head, row in rows if row["change"] > 0 and row["p_holm"] <= LEVEL]

    def correlation(self) -> Measurement:
        """Return Spearman's rank correlation of scores and success rates over the heads."""
        rates = self.result.success[1:].mean((1, 2)).tolist()
        scores = [self.scores.get(head) for head in self.heads]
        return spearman(scores, rates, name="heads/asr/score_vs_asr", what="heads")

    def measurements(self) -> list[Measurement]:
        """Return the intact rate and the correlation; the heads' own rates are in `frame`."""
        return [self.result.rate(self.result.names[0]), self.correlation()]


def head_asr_map(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    heads: Sequence[Head],
    ablation: HeadAblation | None = None,
    *,
    scores: Mapping[Head, float] | None = None,
    opinions: int = 0,
    **options: Any,
) -> HeadAsrMap:
    """Take out one head after the other, and measure how often attacks succeed.

    Source: arXiv:2410.13708, section 4; the paired tests and the correlation are ours.

    Args:
        model, prompts, ablation, opinions: see `attack_success`.
        heads: (layer, unit) pairs to try, each once.
        scores: what ranks them, e.g. the mean KL of each head; NaN or missing where unknown.
        options: further options of `attack_success`.

    Raises:
        ConfigError, CapabilityError, DataError: see `attack_success`.

    Note: writes an answer to each prompt for every head; heads share batches where prompts are few.
    """
    tried = tuple(dict.fromkeys((int(layer), int(unit)) for layer, unit in heads))
    groups = {head_name(head): [head] for head in tried}
    result = attack_success(model, prompts, groups, ablation, opinions=opinions, **options)
    return HeadAsrMap(result, tried, dict(scores or {}))
