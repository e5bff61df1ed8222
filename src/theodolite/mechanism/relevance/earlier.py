"""Which earlier directions a later one comes from, and which of them speak against it.

Relevance has a sign. An earlier direction whose mean is positive promotes the later one, one whose
mean is negative suppresses it, and one that does both on different prompts shows a small mean made
of two large parts. Random directions of the same depth, at right angles to those that are asked
for, are traced in the same passes; without them a large stream makes every direction look busy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.directions.direction import Direction, basis_of
from theodolite.mechanism.relevance.adjacent import signed_shares
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.relevance import relevance
from theodolite.mechanism.relevance.result import Floats, Relevance
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

RANDOM: Final = 20
QUANTILE: Final = 0.95
REST: Final = "rest"
FLOOR: Final = "19 of 20 random directions"


@dataclass(frozen=True, eq=False)
class Earlier:
    """Relevance of later directions by earlier direction, beside random ones of the same depth.

    Args:
        relevance: traced to the earlier directions.
        random: relevance of random directions, all positions together, axes (prompt, draw, target).
    """

    relevance: Relevance
    random: Floats

    def floors(self) -> list[float | None]:
        """Return what the mean of 19 of 20 random directions stays below in size, by target.

        None where there is no room for random directions beside those that were asked for.
        """
        if not self.random.shape[1]:
            return [None] * self.random.shape[2]
        found = np.quantile(np.abs(self.random.mean(0)), QUANTILE, axis=0)
        return [float(value) for value in found]

    def measurements(self) -> list[Measurement]:
        """Return mean relevance by earlier direction and target, with intervals by goal.

        The floor has the sign of the value: either way it says how far random directions get.
        """
        parts, rest = self.relevance.split()
        each, floors, found = parts.sum(1), self.floors(), []
        for t, target in enumerate(self.relevance.targets):
            for s, source in enumerate(self.relevance.sources):
                values = each[:, s, t]
                size = floors[t]
                floor = (
                    None if size is None else Floor(FLOOR, float(np.copysign(size, values.mean())))
                )
                found.append(self._mean(source, target, values, floor, None))
            if self.relevance.backend != "leave_one_out":
                why = "what the earlier directions do not span has no floor"
                found.append(self._mean(REST, target, rest[..., t].sum(1), None, why))
        return found

    def _mean(
        self, source: str, target: str, values: Floats, floor: Floor | None, reason: str | None
    ) -> Measurement:
        return mean(
            f"relevance/from/{source}/{target}",
            values.tolist(),
            clusters=self.relevance.goals,
            unit=self.relevance.unit,
            floor=floor,
            seed=self.relevance.seed,
            reason=reason,
        )

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per target and earlier direction, and one for the rest.

        `promotes` and `suppresses` are the means of what is above and below 0 prompt by prompt, and
        add up to `relevance`; `clear` is whether the interval leaves out 0 and the mean is larger
        than that of 19 of 20 random directions.
        """
        parts, rest = self.relevance.split()
        table = np.concatenate([parts, rest[:, :, None]], axis=2)
        shares, floors = signed_shares(parts.sum(1).mean(0)), self.floors()
        measured = {m.name: m for m in self.measurements()}
        rows = []
        for t, target in enumerate(self.relevance.targets):
            for s, source in enumerate((*self.relevance.sources, REST)):
                own = measured.get(f"relevance/from/{source}/{target}")
                if own is None or own.value is None:
                    continue
                values, groups = table[:, :, s, t].sum(1), table[:, :, s, t].mean(0)
                known = source != REST
                rows.append(
                    {
                        "target": target,
                        "source": source,
                        "hidden_index": self.relevance.hidden_index,
                        "source_hidden_index": self.relevance.boundaries[0],
                        "relevance": own.value,
                        "low": own.low,
                        "high": own.high,
                        "random": floors[t] if known else None,
                        "clear": _clear(own),
                        "promotes": float(np.clip(values, 0.0, None).mean()),
                        "suppresses": float(np.clip(values, None, 0.0).mean()),
                        "signed_share": float(shares[s, t]) if known else None,
                        **{f"relevance_{g}": float(groups[i]) for i, g in enumerate(GROUPS)},
                        "n": own.n,
                    }
                )
        return rows


def _clear(found: Measurement) -> bool | None:
    """Return whether a mean differs from 0 and exceeds its floor; None where that is unknown."""
    if found.value is None or found.low is None or found.high is None or found.floor is None:
        return None
    return found.low * found.high > 0 and abs(found.value) > abs(found.floor.value)


def trace_earlier(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Direction],
    to: Sequence[Direction],
    *,
    random: int = RANDOM,
    seed: int = 0,
    **options: Any,
) -> Earlier:
    """Trace later directions back to earlier ones, however many layers lie between them.

    Args:
        model, prompts, targets: as for `relevance`.
        to: directions of one smaller hidden_index.
        random: most random directions of that depth that stand beside them.
        seed: of these directions.
        options: as for `relevance`.

    Raises: as `relevance`.

    Note: random directions cost nothing with the back ends lrp and integrated_gradients, and passes
        of their own with the others.
    """
    beside = random_beside(to, random, seed=seed)
    both = relevance(model, prompts, targets, to=[*to, *beside], seed=seed, **options)
    parts, _ = both.split()
    return Earlier(both.first_sources(len(to)), parts[:, :, len(to) :].sum(1))


def random_beside(directions: Sequence[Direction], count: int, *, seed: int = 0) -> list[Direction]:
    """Return random directions at right angles to some of one depth, and to each other.

    Returns: as many as asked for, fewer where there are not so many more coordinates.

    Raises: DataError: the directions lie at several depths.
    """
    vectors, depth = basis_of(directions), directions[0].hidden_index
    _, sizes, right = np.linalg.svd(vectors, full_matrices=False)
    own = right[sizes > sizes.max() * 1e-10]
    room = min(count, vectors.shape[1] - len(own))
    drawn = np.random.default_rng(item_seed(seed, "random directions", depth)).standard_normal(
        (room, vectors.shape[1])
    )
    free = np.linalg.qr(np.concatenate([own, drawn]).T)[0].T[len(own) :]
    return [Direction(f"random {i + 1}@L{depth}", depth, row) for i, row in enumerate(free)]
