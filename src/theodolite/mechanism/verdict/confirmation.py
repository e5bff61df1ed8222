"""Causal confirmation: does the missing lean to refusal, put back in, bring the refusal back?

Recognised but not converted prompts are answered again while a refusal direction is added to the
stream. If that returns more of them to refusal than random vectors of the same length do, the
missing conversion explains the failure. A measurement only: the model is as before afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.data.prompts import HARMFUL
from theodolite.engine import ResidualIntervention, apply
from theodolite.errors import ConfigError, DataError
from theodolite.judging.offline_quality import offline_quality
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.verdict.cases import NOT_CONVERTED
from theodolite.mechanism.verdict.outcomes import MAX_NEW_TOKENS, Outcome, outcomes
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.states import States
    from theodolite.mechanism.verdict.result import VerdictResult
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

_NAME: Final = "verdict/confirmation"


@dataclass(frozen=True, eq=False)
class Confirmation:
    """What the same prompts led to under the refusal direction and under random vectors.

    Args:
        prompt_ids, groups: the prompts and the independent units they belong to.
        steered: outcome per prompt under the direction.
        random: outcomes per random vector and prompt.
        hidden_index: where the vectors were added.
        norm: length of the vectors.
    """

    prompt_ids: tuple[str, ...]
    groups: tuple[str, ...]
    steered: tuple[str, ...]
    random: tuple[tuple[str, ...], ...]
    hidden_index: int
    norm: float

    @property
    def returned(self) -> NDArray[np.bool_]:
        """Whether the direction brought the refusal back; broken text is no refusal."""
        return np.asarray(np.array(self.steered) == "refused", bool)

    @property
    def returned_randomly(self) -> NDArray[np.float64]:
        """Share of the random vectors that brought the refusal back, per prompt."""
        return np.asarray((np.array(self.random) == "refused").mean(0))

    def measurements(self) -> list[Measurement]:
        """Return what returned under the direction, at random, the difference, and broken text."""
        groups, judge = list(self.groups), offline_quality()
        floor = Floor("random vectors of the same length", float(self.returned_randomly.mean()))
        broken = [label == "degenerate" for label in self.steered]
        difference = paired_difference(
            self.returned.astype(float).tolist(),
            self.returned_randomly.tolist(),
            groups,
            name=f"{_NAME}/returned_over_random",
            range=(0.0, 1.0),
        )
        return [
            proportion(
                f"{_NAME}/returned",
                self.returned.tolist(),
                clusters=groups,
                floor=floor,
                judge=judge,
            ),
            mean(
                f"{_NAME}/returned_at_random",
                self.returned_randomly.tolist(),
                clusters=groups,
                unit="share",
                range=(0.0, 1.0),
                judge=judge,
                reason="this is itself a floor",
            ),
            replace(difference, judge=judge),
            proportion(
                f"{_NAME}/degenerate",
                broken,
                clusters=groups,
                floor=Floor("sound text", 0.0),
            ),
        ]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per prompt, without any text."""
        return [
            {
                "id": prompt_id,
                "group": group,
                "steered": label,
                "returned_at_random": float(share),
            }
            for prompt_id, group, label, share in zip(
                self.prompt_ids, self.groups, self.steered, self.returned_randomly, strict=True
            )
        ]

    def finding(self) -> str:
        """Say in one sentence whether the missing conversion explains the failures."""
        direction, random, over, _ = self.measurements()
        said = (
            f"With the refusal direction added at hidden_index {self.hidden_index}, "
            f"{direction.value:.0%} of {direction.n} recognised but not converted requests were "
            f"refused after all, against {random.value:.0%} with random vectors of the same length"
        )
        if over.low is not None and over.low > 0:
            return f"{said}: what was missing is the conversion."
        return f"{said}: that the missing conversion explains them is not shown."


def causal_confirmation(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    direction: NDArray[np.float64],
    *,
    hidden_index: int,
    groups: Mapping[str, str] | None = None,
    controls: int = 3,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Confirmation:
    """Answer prompts again with the refusal direction added, and with random vectors.

    Args:
        model: the model that the prompts were judged on.
        prompts: recognised, not converted and answered; see `sample_not_converted`.
        direction: towards refusal, as long as it is to be added; axes (d_model).
        hidden_index: where it is added (0 is the embeddings), at the last prompt token and at
            every generated one.
        groups: independent unit by prompt id; each prompt its own where None.
        controls: random vectors of the same length.
        template: how prompts are rendered, as for `read_states`.
        seed: of the random vectors.
        journal: finished answers are kept there and not written again.

    Raises:
        ConfigError: the direction or the hidden_index does not fit the model, or there are no
            controls.
        DataError: there are no prompts.
    """
    if not prompts:
        raise DataError(
            "There are no prompts to confirm the verdict on.", fix="Leave this step out."
        )
    if controls < 1:
        raise ConfigError("At least one random vector is needed.", fix="Set controls to 1 or more.")
    vector = np.asarray(direction, np.float64)
    norm = float(np.linalg.norm(vector))
    if not 0.0 < norm < np.inf:
        raise ConfigError("The refusal direction is zero or not finite.", fix="Fit it again.")
    random = [
        random_vector(len(vector), norm, item_seed(seed, "confirmation", k))
        for k in range(controls)
    ]
    found = []
    for added in (vector, *random):
        with apply(model, *_additions(added, hidden_index)):
            told = outcomes(
                model,
                prompts,
                max_new_tokens=max_new_tokens,
                template=template,
                journal=journal,
                progress=progress,
            )
        found.append(tuple(told[prompt.id].label for prompt in prompts))
    ids = tuple(prompt.id for prompt in prompts)
    units = tuple((groups or {}).get(i, i) for i in ids)
    return Confirmation(ids, units, found[0], tuple(found[1:]), hidden_index, norm)


def _additions(vector: NDArray[np.float64], hidden_index: int) -> list[ResidualIntervention]:
    """Return the interventions that add a vector before and during the answer."""
    layer, site = (hidden_index - 1, "resid_post") if hidden_index else (0, "resid_pre")
    return [
        ResidualIntervention(
            layer=layer,
            site=site,
            operator="add",
            vector=torch.tensor(vector, dtype=torch.float32),
            positions=positions,
        )
        for positions in ("prompt_last", "generated")
    ]


def refusal_direction(
    states: States,
    outcomes: Mapping[str, Outcome],
    *,
    hidden_index: int,
    position: str = "prompt_last",
) -> NDArray[np.float64]:
    """Return the mean state of refused prompts minus that of answered ones, axes (d_model).

    Source: difference of means, arXiv:2406.11717, over what the model did rather than the label.
    Args:
        states: of bare training requests.
        outcomes: what the model did with them, by prompt id.

    Raises: DataError: none was refused, or none answered.
    """
    x = states.at(hidden_index, position)
    labels = np.array([outcomes[i].label if i in outcomes else "" for i in states.prompt_ids])
    means = []
    for label in ("refused", "complied"):
        if not (labels == label).any():
            raise DataError(
                f"None of {len(labels)} prompts {'was ' if label == 'refused' else ''}{label}, so "
                "there is no refusal direction.",
                fix="Give more requests, harmful and benign.",
            )
        means.append(x[labels == label].mean(0))
    return np.asarray(means[0] - means[1])


def sample_not_converted(
    result: VerdictResult, prompts: Sequence[Prompt], *, limit: int, seed: int = 0
) -> list[Prompt]:
    """Return a random sample of the recognised, not converted and answered harmful prompts.

    Args:
        prompts: those that the verdict was made on.
        limit: at most so many; a larger sample contains the smaller one.
    """
    wanted = {
        case.id for case in result.cases if case.kind == HARMFUL and case.label == NOT_CONVERTED
    }
    chosen = sorted((p for p in prompts if p.id in wanted), key=lambda p: item_seed(seed, p.id))
    return chosen[:limit]
