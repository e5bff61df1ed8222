"""What each head writes along the direction that parts harmful from benign states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.errors import ConfigError
from theodolite.mechanism.heads.attribution import (
    DirectionAttribution,
    refusal_direction_attribution,
)
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.ranking import HeadRanking
from theodolite.mechanism.heads.ships import twins_of
from theodolite.mechanism.requests import TRAIN
from theodolite.runs.panel import PanelResult, extended

if TYPE_CHECKING:
    from theodolite.mechanism.explain import Subject
    from theodolite.mechanism.heads.ablation import HeadAblation
    from theodolite.models.anatomy import Anatomy

DIRECTION: Final = "direction"


def along_direction(
    subject: Subject, ablation: HeadAblation, kept: Mapping[str, Any]
) -> DirectionAttribution:
    """Return what each head writes along the direction that the bundled train part gives.

    Raises: ConfigError: there are no benign requests to take off, or heads are taken out by groups
        and cannot be held against single ones.
    """
    if ablation.unit != "head":
        raise ConfigError(
            "The direction ranks single heads.", fix="Leave out task.unit or task.against."
        )
    requests = subject.requests
    if not requests.benign:
        raise ConfigError(
            "The direction parts harmful from benign requests, and there are no benign ones.",
            fix="Give some with --benign FILE.",
        )
    twins = twins_of(requests.harmful, requests.benign)
    asked = (requests.harmful, tuple(twins or requests.benign))
    train = bundled("refusal").split(TRAIN)
    sides = [[p for p in train if p.label == label] for label in (HARMFUL, BENIGN)]
    encoded = [
        encode_framed(subject.model, prompts, subject.template) for prompts in (*sides, *asked)
    ]
    groups = [
        [prompt.goal_id or prompt.pair_id or item.key for prompt, item in zip(side, items)]
        for side, items in zip(asked, encoded[2:])
    ]
    return refusal_direction_attribution(
        subject.model,
        *encoded,
        clusters=(groups[0], groups[1]),
        paired=twins is not None,
        **kept,
    )


def ranking_by_direction(found: DirectionAttribution, anatomy: Anatomy) -> HeadRanking:
    """Return the heads in the order of what they write; layers above the direction are absent."""
    order = found.ranking()
    return HeadRanking(
        name=DIRECTION,
        heads=tuple(order),
        scores=tuple(float(found.difference.mean[head]) for head in order),
        n_heads=anatomy.n_layers * anatomy.n_heads,
        n_prompts=len(found.harmful_ids),
    )


def with_direction(result: PanelResult, found: DirectionAttribution) -> PanelResult:
    """Add what each head writes along the direction."""
    measurements = found.measurements()
    return extended(
        result,
        measurements=measurements,
        tables={"heads_direction": found.rows()},
        how=[
            f"{DIRECTION}: the difference of mean states at hidden_index "
            f"{found.direction.hidden_index}, from the bundled set's train part; what a head "
            "writes along it is no ablation."
        ],
        labels={m.name: "share of the separation that heads write" for m in measurements},
    )
