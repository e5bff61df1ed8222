"""Edits: what is done to a model along directions, at which blocks, sites and positions.

An edit is data. It becomes interventions of the engine, which act while prompts are read and while
answers are written, on all rows of a batch or, as variants, on each row its own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from theodolite.data.prompts import shown
from theodolite.engine import (
    DirectionIntervention,
    ObliqueIntervention,
    SubspaceIntervention,
    apply,
)
from theodolite.engine.intervention_fields import digest
from theodolite.engine.interventions import NAMED_POSITIONS, STREAM_SITES
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction, Floats
from theodolite.mechanism.directions.eraser import Eraser
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.engine import Intervention
    from theodolite.mechanism.directions.estimator import Estimate
    from theodolite.mechanism.steering.benign import BenignStates
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

Place: TypeAlias = tuple[int, str]
"""A block and one of its sites."""

# Mode -> what its alpha is.
MODES: Final = {
    "subtract": "unit vectors",
    "add": "unit vectors",
    "ablate": "share",
    "affine": "share",
    "clamp": "share",
    "rank_k": "share",
    "erase": "share",
}
ON_BENIGN: Final = ("affine", "clamp")
_UNIT: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Edit:
    """What is done to the stream along directions.

    Source: arXiv:2502.09674 for "subtract" at the output of every block, arXiv:2406.11717 for
        "ablate" at all sites, arXiv:2411.09003 for "affine"; "clamp" is ours.

    Args:
        directions: one or more; see `along` for bare vectors.
        mode: "subtract" and "add" (`alpha` unit vectors); "ablate" (remove the component); "affine"
            (set it to that of the mean benign state); "clamp" (bring it into the range of the
            benign states); "rank_k" (remove all that lies in the span of the directions); "erase"
            (what the erasers of an estimate do, see `erasing`).
        layers: "all" blocks, "own" (each direction where it lives: the stream after block
            hidden_index - 1, or the embeddings), or blocks from 0.
        sites: sites of every block; "all" are the embeddings and the outputs of every attention
            and MLP, all that writes to the stream. "own" layers have one site each.
        positions: "all", "prompt", "prompt_last" or "generated"; also while answers are written.
        alpha: of "subtract" and "add" in units of the stream, at every place once; of the others
            the share of the way (1 is all). At 0 an edit changes nothing.
        quantiles: the range of "clamp", as shares of the benign states.
        label: what tables call it; "" is made up from the rest.
        erasers: of "erase" alone: hidden_index -> what is done there, for each direction's depth.

    Raises:
        ConfigError: a word or number that is not possible.
        DataError: there are no directions, or they differ in width.

    Note: several directions at one place are removed together, as their span, in "ablate" and
        "affine" too; the other modes take them in turn.
    """

    directions: Sequence[Direction]
    mode: str = "ablate"
    layers: Literal["all", "own"] | tuple[int, ...] = "all"
    sites: Literal["all"] | tuple[str, ...] = ("resid_post",)
    positions: str = "all"
    alpha: float = 1.0
    quantiles: tuple[float, float] = (0.05, 0.95)
    label: str = ""
    erasers: Mapping[int, Eraser] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("directions", "layers", "sites"):
            value = getattr(self, name)
            if not isinstance(value, str):
                object.__setattr__(self, name, tuple(value))
        self._check_words()
        widths = {direction.vector.size for direction in self.directions}
        if len(widths) != 1:
            what = "differ in width" if widths else "are none"
            raise DataError(f"The directions {what}.", fix="Give one or more of one model.")
        if not math.isfinite(self.alpha):
            raise ConfigError(f"alpha is {self.alpha}.", fix="Give a finite number.")
        low, high = self.quantiles
        if not 0 <= low < high <= 1:
            raise ConfigError(
                f"The quantiles {low} and {high} are no range.", fix="Give two shares, low first."
            )

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.short + ("" if self.alpha == 1.0 else f" x {self.alpha:g}")

    @property
    def short(self) -> str:
        """Its name without its strength."""
        names = [direction.name for direction in self.directions]
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return self.label or f"{self.mode} {told}"

    def at(self, alpha: float) -> Edit:
        """Return the same edit of another strength; its label stays."""
        return replace(self, alpha=alpha)

    def family(self) -> str:
        """Return a key that edits share which differ in strength alone."""
        vectors = [[d.hidden_index, digest(torch.from_numpy(d.vector))] for d in self.directions]
        words = [self.mode, self.layers, self.sites, self.positions, self.quantiles, self.label]
        parts = [
            [h, *(digest(torch.from_numpy(x)) for x in (one.centre, one.along, one.reads))]
            for h, one in sorted(self.erasers.items())
        ]
        return content_key("edit family", vectors, words, *([parts] if parts else []))

    @property
    def needs_benign(self) -> bool:
        """Whether benign states decide what it does."""
        return self.mode in ON_BENIGN

    def places(self, anatomy: Anatomy) -> tuple[Place, ...]:
        """Return the places where it acts, in the order in which the model computes."""
        if self.layers == "own":
            return tuple(sorted({_home(d) for d in self.directions}, key=_order))
        if self.sites == "all":
            chosen = range(anatomy.n_layers) if self.layers == "all" else self.layers
            start = [(0, "resid_pre")] if 0 in chosen else []
            return (*start, *((n, s) for n in sorted(chosen) for s in ("attn_out", "mlp_out")))
        blocks = range(anatomy.n_layers) if self.layers == "all" else self.layers
        every = {(int(layer), site) for layer in blocks for site in self.sites}
        return tuple(sorted(every, key=_order))

    def interventions(
        self, anatomy: Anatomy, benign: BenignStates | None = None
    ) -> list[Intervention]:
        """Return what the engine does, in the order in which the model computes.

        Args:
            benign: states of benign prompts at `places`; needed by "affine" and "clamp".

        Raises:
            ConfigError: there are no benign states; a layer or a width does not fit the model.
        """
        if self.needs_benign and benign is None:
            raise ConfigError(
                f"The mode {self.mode} needs benign states, and none were given.",
                fix="Give `BenignStates.read(model, prompts, [edit])`.",
            )
        found = [
            item
            for place in self.places(anatomy)
            for item in self._at(place, self._directions_at(place), benign)
        ]
        for item in found:
            item.check(anatomy)
        return found

    def _directions_at(self, place: Place) -> tuple[Direction, ...]:
        if self.layers != "own":
            return tuple(self.directions)
        return tuple(d for d in self.directions if _home(d) == place)

    def _at(
        self, place: Place, directions: Sequence[Direction], benign: BenignStates | None
    ) -> list[Intervention]:
        """Return what is done at one place."""
        where: dict[str, Any] = {"layer": place[0], "site": place[1], "positions": self.positions}
        units = [torch.from_numpy(direction.vector) for direction in directions]
        if self.mode == "erase":
            found = [self.erasers[d.hidden_index] for d in directions]
            return [
                ObliqueIntervention(
                    centre=torch.from_numpy(one.centre),
                    along=torch.from_numpy(one.along),
                    reads=torch.from_numpy(one.reads),
                    share=self.alpha,
                    **where,
                )
                for one in found
            ]
        if self.mode in ("subtract", "add"):
            where |= {"operator": self.mode, "alpha": self.alpha}
            return [DirectionIntervention(direction=u, **where) for u in units]
        if self.mode == "clamp":
            assert benign is not None  # noqa: S101 - see `interventions`
            ranges = [benign.range(place, d.vector, self.quantiles) for d in directions]
            where |= {"operator": "bound", "share": self.alpha}
            return [
                DirectionIntervention(direction=u, low=low, high=high, **where)
                for u, (low, high) in zip(units, ranges, strict=True)
            ]
        mean = benign.mean(place) if self.mode == "affine" and benign is not None else None
        operator = "ablate" if mean is None else "affine"
        where |= {"operator": operator, "share": self.alpha}
        if len(units) > 1:
            center = None if mean is None else torch.from_numpy(mean)
            return [SubspaceIntervention(basis=torch.stack(units), mean=center, **where)]
        alpha = 0.0 if mean is None else float(mean @ directions[0].vector)
        return [DirectionIntervention(direction=units[0], alpha=alpha, **where)]

    def _check_words(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(
                f"There is no mode {shown(str(self.mode))}.", fix=did_you_mean(self.mode, MODES)
            )
        if self.positions not in NAMED_POSITIONS:
            raise ConfigError(
                f"There are no positions {shown(str(self.positions))}.",
                fix=did_you_mean(str(self.positions), NAMED_POSITIONS),
            )
        depths = [direction.hidden_index for direction in self.directions]
        if (self.mode == "erase") != bool(self.erasers) or (
            self.mode == "erase"
            and (self.layers != "own" or sorted(depths) != sorted(self.erasers))
        ):
            raise ConfigError(
                "The mode erase and erasers, one for each direction's own depth, go together.",
                fix="Make the edit with `erasing(estimate)`.",
            )
        wrong = isinstance(self.layers, str) and self.layers not in ("all", "own")
        if wrong or not self.layers:
            raise ConfigError("layers names no block.", fix='Give "all", "own" or blocks.')
        if self.sites == "all" and self.layers != "own":
            return
        if self.layers == "own" and self.sites != ("resid_post",):
            raise ConfigError(
                'layers "own" has one site for each direction.', fix="Leave sites out."
            )
        for site in self.sites or ("",):
            if site not in STREAM_SITES:
                raise ConfigError(
                    f"The site {shown(str(site))} is not in the stream.",
                    fix=did_you_mean(str(site), STREAM_SITES),
                )


@contextmanager
def intervene(
    model: LanguageModel, edit: Edit, benign: BenignStates | None = None
) -> Iterator[LanguageModel]:
    """Let an edit act on everything the model computes inside the context.

    Args:
        benign: see `Edit.interventions`.

    Raises: as `Edit.interventions` and `apply`.
    """
    with apply(model, *edit.interventions(model.anatomy, benign)):
        yield model


def random_edits(edit: Edit, count: int = 20, *, seed: int = 0) -> list[Edit]:
    """Return the control of an edit: the same, along random directions of the same length.

    Args:
        edit: what the controls stand beside.
        count: of random edits.
        seed: of the directions.

    Returns: edits labelled `random 1`, `random 2`, ...; where several directions act at one place,
        so do as many random ones, at right angles to each other.
    """
    found = []
    for draw in range(count):
        rng = np.random.default_rng(item_seed(seed, "random edit", draw))
        places = [d.hidden_index if edit.layers == "own" else 0 for d in edit.directions]
        drawn: dict[int, Iterator[Floats]] = {}
        for place in sorted(set(places)):
            gaussian = rng.standard_normal((edit.directions[0].vector.size, places.count(place)))
            drawn[place] = iter(np.linalg.qr(gaussian)[0].T)
        directions = tuple(
            replace(d, name=f"random@L{d.hidden_index}", vector=next(drawn[place]))
            for d, place in zip(edit.directions, places, strict=True)
        )
        erasers = {
            d.hidden_index: Eraser.projection(d.vector[None], edit.erasers[d.hidden_index].centre)
            for d in directions
            if edit.erasers
        }
        label = f"random {draw + 1}"
        found.append(replace(edit, directions=directions, erasers=erasers, label=label))
    return found


def erasing(estimate: Estimate, *, label: str = "", **options: Any) -> Edit:
    """Return the edit that does what the erasers of an estimate do, at every depth that has one.

    Source: arXiv:2306.03819 for "leace": no linear probe reads the class from the states that the
        eraser was fitted on.

    Args:
        estimate: of a method that is an affine map, as "leace".
        options: of the edit: positions, alpha.

    Raises: ConfigError: the estimate has no erasers.

    Note: random edits beside it take a random direction away about the same centre.
    """
    if not estimate.erasers:
        raise ConfigError(
            f"{estimate.method} erases nothing: it has no erasers.",
            fix='Use the estimator "leace".',
        )
    return Edit(
        [estimate.leading(h) for h in estimate.erasers],
        "erase",
        layers="own",
        label=label or f"erase {estimate.method}",
        erasers=estimate.erasers,
        **options,
    )


def along(vectors: ArrayLike, *, hidden_index: int = 0, name: str = "vector") -> list[Direction]:
    """Return bare vectors as directions.

    Args:
        vectors: axes (d_model) or (direction, d_model); one of another length than 1 is normalised,
            with a warning.
        hidden_index: where they live, which layers "own" alone asks for.
        name: of the directions; more than one are numbered.

    Raises: DataError: a vector is zero or not finite, or there is none.
    """
    rows = np.atleast_2d(np.asarray(vectors, np.float64))
    if rows.ndim != 2 or not rows.size:
        raise DataError("There are no vectors.", fix="Give axes (direction, d_model).")
    names = [name] if len(rows) == 1 else [f"{name} {i + 1}" for i in range(len(rows))]
    made = [Direction(n, hidden_index, row, "given") for n, row in zip(names, rows, strict=True)]
    lengths = np.linalg.norm(rows, axis=1)
    furthest = int(np.abs(lengths - 1).argmax())
    if abs(lengths[furthest] - 1) > _UNIT:
        warnings.warn(
            f"The direction {shown(names[furthest])} has the length {lengths[furthest]:.4g}; its "
            "unit vector is used.",
            stacklevel=2,
        )
    return made


def _home(direction: Direction) -> Place:
    """Return the place where a direction lives."""
    index = direction.hidden_index
    return (index - 1, "resid_post") if index else (0, "resid_pre")


def _order(place: Place) -> tuple[int, int]:
    return place[0], STREAM_SITES.index(place[1])
