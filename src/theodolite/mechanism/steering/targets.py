"""The directions that edits go along: refusal by any estimator, or components of a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.errors import ConfigError
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.direction import Direction, parse_component
from theodolite.mechanism.directions.estimator import ESTIMATORS, class_gap, estimator
from theodolite.mechanism.directions.learned import (
    CONE,
    RDO,
    LearningOptions,
    learn_directions,
)
from theodolite.mechanism.directions.means import DifferenceInMeans
from theodolite.mechanism.directions.overlap import angle, chance_cosine
from theodolite.mechanism.directions.refusal import fitting_requests, refusal_items
from theodolite.mechanism.directions.selection import select_direction
from theodolite.mechanism.directions.selection_result import SelectionOptions
from theodolite.mechanism.residual_space.components import named_components
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import Subject

REFUSAL: Final = "refusal"
SELECTION: Final = "selection"
# A shift takes two models: its directions are the components of a residual space.
ON_STATES: Final = tuple(name for name in ESTIMATORS if name != "shift_svd")
WAYS: Final = (*ON_STATES, SELECTION, RDO, CONE)
# Requests of each class that one step of learning reads, at most.
_BATCH: Final = 8
_DIMENSIONS: Final = 2


@dataclass(frozen=True, eq=False)
class Target:
    """A direction, and the length that pushing along it counts in.

    Args:
        direction: the unit vector.
        length: between the mean harmful and the mean benign training state at its depth.
    """

    direction: Direction
    length: float

    @property
    def name(self) -> str:
        """Of the direction."""
        return self.direction.name


@dataclass(frozen=True)
class Search:
    """How much the ways that ask the model itself may cost.

    Args:
        requests: of each class, that selection chooses by and that rdo and cone learn from.
        steps: of rdo and cone, at most.
    """

    requests: int
    steps: int


def check_targets(names: Sequence[str], ways: Sequence[str]) -> None:
    """Refuse names of directions or estimators that there are not.

    Args:
        names: `refusal`, or components.
        ways: estimators of the refusal direction.

    Raises: ConfigError: naming the word.
    """
    for name in names:
        if name != REFUSAL:
            parse_component(name)
    for way in ways:
        if way not in WAYS:
            raise ConfigError(
                f"There is no way {escape(way, 60)!r} to find the refusal direction.",
                fix=did_you_mean(way, WAYS),
            )
    for words, what in ((names, "target"), (ways, "estimator")):
        if not words or len(set(words)) < len(words):
            raise ConfigError(
                f"task.{what} names nothing, or one thing twice.", fix="Name each once."
            )


def find_targets(
    subject: Subject,
    contrast: Contrast,
    names: Sequence[str],
    ways: Sequence[str],
    *,
    tokens: Sequence[int],
    search: Search,
    space: str | None,
    seed: int,
    **kept: Any,
) -> tuple[list[Target], list[str]]:
    """Return the directions that were asked for, and where they come from in words.

    Args:
        contrast: states of training requests at all depths.
        names: `refusal`, or components, see `named_components`.
        ways: the estimators that the refusal direction is asked of, each one direction (a cone
            its basis); those on states at the depth where the difference in means parts best.
        tokens: ids that open a refusal.
        search: bounds the cost of selection, rdo and cone.
        space: as for `named_components`.
        kept: journal and progress.
    """
    found: list[Direction] = []
    told: list[str] = []
    if REFUSAL in names:
        found += _refusal(subject, contrast, ways, tokens, search, seed, kept)
        told.append(
            "Refusal is the way from benign to harmful requests of the bundled train part, by "
            f"{', '.join(ways)}; on states at the depth where the difference in means parts "
            "requests to choose by best, of selection at the depth it chose."
        )
    components = [name for name in names if name != REFUSAL]
    if components:
        more, where = named_components(
            subject, components, space=space, position=contrast.position, seed=seed, **kept
        )
        found += more
        told.append(where)
    lengths = {h: _distance(contrast, h) for h in {d.hidden_index for d in found}}
    return [Target(d, lengths[d.hidden_index]) for d in found], told


def angles(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Return one row per pair of directions: cosine, degrees, and what chance gives."""
    return [
        {
            "first": a.name,
            "second": b.name,
            "same_depth": a.direction.hidden_index == b.direction.hidden_index,
            "cosine": (cosine := float(a.direction.vector @ b.direction.vector)),
            "degrees": float(angle(cosine)),
            "cosine_floor": chance_cosine(a.direction.vector.size),
        }
        for a, b in combinations(targets, 2)
    ]


def _refusal(
    subject: Subject,
    contrast: Contrast,
    ways: Sequence[str],
    tokens: Sequence[int],
    search: Search,
    seed: int,
    kept: Mapping[str, Any],
) -> Iterator[Direction]:
    """Yield what each estimator gives, in the order asked."""
    means = DifferenceInMeans().fit(contrast, seed=seed)
    narrow = contrast.narrowed((means.best,))
    for way in ways:
        if way in ON_STATES:
            yield estimator(way).fit(narrow, seed=seed).leading(means.best)
        elif way == SELECTION:
            yield _selected(subject, contrast.position, tokens, search, seed, kept)
        else:
            start = means.leading(means.best)
            yield from _learned(subject, way, start, means.gaps[means.best], search, seed, kept)


def _selected(
    subject: Subject,
    position: str,
    tokens: Sequence[int],
    search: Search,
    seed: int,
    kept: Mapping[str, Any],
) -> Direction:
    chosen = select_direction(
        subject.model,
        refusal_items(),
        tokens,
        positions=(position,),
        template=subject.template,
        options=SelectionOptions(val=search.requests, controls=0),
        seed=seed,
        **kept,
    ).direction
    return replace(chosen, name=f"{SELECTION}@L{chosen.hidden_index}", method=SELECTION)


def _learned(
    subject: Subject,
    way: str,
    start: Direction,
    length: float,
    search: Search,
    seed: int,
    kept: Mapping[str, Any],
) -> Sequence[Direction]:
    harmful, benign = (
        in_pairs(fitting_requests(label))[: search.requests] for label in (HARMFUL, BENIGN)
    )
    return learn_directions(
        subject.model,
        harmful,
        benign,
        start,
        length,
        dimensions=1 if way == RDO else _DIMENSIONS,
        template=subject.template,
        options=LearningOptions(batch=_BATCH, most_steps=search.steps),
        seed=seed,
        progress=kept["progress"],
    ).directions


def _distance(contrast: Contrast, hidden_index: int) -> float:
    return float(np.linalg.norm(class_gap(contrast, hidden_index)))
