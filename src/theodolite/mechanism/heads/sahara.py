"""Sahara: grow the group of heads whose absence turns the harmful prompts' states farthest.

Every step scores each remaining head together with all heads already chosen, against the intact
model. So a head that only matters beside another is found, and two heads that do the same thing are
not both taken: steps are no ranks of one map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import Head, HeadAblation, head_name
from theodolite.mechanism.heads.result import ANGLE, HeadScores
from theodolite.mechanism.heads.ships import check_group, head_ships
from theodolite.mechanism.heads.subspace import score_names
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
RUNNERS_UP: Final = 3


@dataclass(frozen=True, eq=False)
class HeadGroup:
    """A group of heads in the order they were chosen.

    Args:
        heads: one per step.
        maps: degrees (or nats), the score of every head together with those chosen before, axes
            (step, layer, unit); NaN for those.
        by: what was scored: the name of an angle, or "kl".
        scores: the head scores of every step; those of the first are the map of single heads.
    """

    heads: tuple[Head, ...]
    maps: Floats
    by: str
    scores: tuple[HeadScores, ...]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per step, with the heads that came next."""
        rows = []
        for step, head in enumerate(self.heads):
            order = self.scores[step].ranking(self.by)
            after = [other for other in order if other != head][:RUNNERS_UP]
            rows.append(
                {
                    "step": step + 1,
                    "layer": head[0],
                    "head": head[1],
                    "score": float(self.maps[step][head]),
                    "runner_up": [[*other, float(self.maps[step][other])] for other in after],
                    "single_rank": self.scores[0].ranking(self.by).index(head) + 1,
                    "by": self.by,
                }
            )
        return rows

    @property
    def names(self) -> tuple[str, ...]:
        """The heads as `layer-head`."""
        return tuple(map(head_name, self.heads))


def sahara(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt] = (),
    *,
    steps: int = 3,
    by: str = ANGLE,
    ablation: HeadAblation | None = None,
    template: str = "auto",
    pre_norm: bool = False,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> HeadGroup:
    """Choose a group of heads greedily, scoring each with all those already out.

    Source: arXiv:2410.13708, section 4.2.

    Args:
        model: an open local model; active interventions act.
        harmful: requests; at least two for an angle.
        benign: scored beside them at every step; they do not decide.
        steps: heads to choose.
        by: an angle's name (see `subspace_scores`), or "kl" for the mean divergence.
        ablation, template, pre_norm, seed: as for `head_ships`; one ablation for all heads.
        journal, progress: of finished layers of every step.

    Raises: as `head_ships`; ConfigError: `steps` is not 1 to the number of heads, or `by` is no
        score; DataError: a single prompt has no angle.
    """
    ablation = ablation or HeadAblation()
    ablation.check(model.anatomy)
    count = model.anatomy.n_layers * ablation.units(model.anatomy)
    if not 1 <= steps <= count:
        raise ConfigError(f"{steps} heads cannot be chosen.", fix=f"Use 1 to {count}.")
    _check_score(by, len(harmful))
    if steps > 1:  # the first step would be lost on what the second cannot do
        check_group(ablation)
        ablation.interventions(model.anatomy, [(0, 0)])
    chosen: list[Head] = []
    every: list[HeadScores] = []
    for _ in range(steps):
        found = head_ships(
            model,
            harmful,
            benign,
            ablation=ablation,
            template=template,
            group=chosen,
            pre_norm=pre_norm,
            journal=journal,
            progress=progress,
            seed=seed,
        )
        order = found.ranking(by)
        if not order:
            raise DataError(
                f"The score {by} is not determined by these prompts.",
                fix="Give prompts that differ, or score by kl.",
            )
        chosen.append(order[0])
        every.append(found)
    return HeadGroup(
        heads=tuple(chosen),
        maps=np.stack([scores.map(by) for scores in every]),
        by=by,
        scores=tuple(every),
    )


def _check_score(by: str, prompts: int) -> None:
    """Refuse a score that so many prompts do not have.

    Raises: ConfigError: naming those there are. DataError: a single prompt has no angle.
    """
    names = ("kl", *score_names(prompts))
    if by == "kl" or by in names:
        return
    if prompts < 2:
        raise DataError(
            "The angle between subspaces needs at least two prompts, and there is one.",
            fix="Give more prompts, or score by kl.",
        )
    raise ConfigError(
        f"There is no score '{escape(by, 40)}' for {prompts} prompts.",
        fix=f"Use {', '.join(names)}.",
    )
