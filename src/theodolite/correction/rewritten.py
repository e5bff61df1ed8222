"""What is left of a rewriting: the text that counts, what it cost, and the pairs it gives.

Every method leaves a record of a sample, see `correction.perspective_taking`; whoever measures or
exports rewritten texts reads it here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

from theodolite.correction.perspective_taking.pairs import Pairs, Revision, pairs_of
from theodolite.correction.perspective_taking.severity import severities
from theodolite.judging.toxicity import TextScorer
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement

Record = Mapping[str, Any]
NOT_STATED: Final = "the model does not state its tokens"
COSTS: Final = {"calls": "calls", "tokens_in": "n_in", "tokens_out": "n_out"}
"""Name of a figure -> where a stage of a record holds it."""


def final_of(record: Record) -> str:
    """Return the text that counts in the end: the rewritten one, or the only one."""
    text: str = record["original"] if record["revised"] is None else record["revised"]
    return text


def spent(stages: Iterable[Record], key: str) -> int | None:
    """Return the sum over stages; None where one of them does not state its own."""
    counts = [stage[key] for stage in stages]
    return None if None in counts else sum(counts)


def mean_cost(
    name: str, counts: Sequence[int | None], goals: Sequence[Hashable], floor: Floor | None
) -> Measurement:
    """Return the mean of calls or tokens, those that the model does not state left out.

    Args:
        name: of the figure; its last part is one of `COSTS`.
        counts: of each answer, as `spent` gives them.
        goals: of each answer.
    """
    return mean(
        name,
        counts,
        clusters=goals,
        unit=name.rsplit("/", 1)[-1].split("_")[0],
        floor=floor,
        reasons=[NOT_STATED if count is None else None for count in counts],
    )


def preference_pairs(
    asked: Sequence[tuple[Record, str]], scorer: TextScorer, *, split: str
) -> Pairs:
    """Return the pairs of rewritten over original texts, where a scorer finds them better.

    Args:
        asked: records of methods that rewrite, each with the prompt it answers.
        scorer: says which text is better.
        split: of the prompts; what is measured on is not trained on.

    Raises: as `pairs_of`.
    """
    before, after = (
        severities(scorer, [record[side] for record, _ in asked])
        for side in ("original", "revised")
    )
    revisions = (
        Revision.of(record, prompt, sides)
        for (record, prompt), sides in zip(asked, zip(before, after), strict=True)
    )
    return pairs_of(revisions, split=split)
