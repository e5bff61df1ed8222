"""What is explained, and in whose terms: the question every back end of relevance answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction, basis_of
from theodolite.models.positions import check_position, resolve_position
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

Floats = NDArray[np.float64]
GROUPS = ("template", "user", "last")


@dataclass(frozen=True, eq=False)
class Query:
    """Targets at one depth, and the terms they are traced back to.

    Args:
        hidden_index: depth of the targets, 1 to n_layers.
        vectors: their unit vectors, axes (target, d_model).
        span: the target is the length of the projection on their span, one number.
        position: where the stream is read.
        source: depth that relevance is traced back to; 0 is the embeddings.
        basis: earlier directions there, axes (source, d_model); None traces to tokens.
        boundaries: depths on the way at which the sum is checked, ascending, the source first.
    """

    hidden_index: int
    vectors: Floats
    span: bool
    position: str | int
    source: int
    basis: Floats | None
    boundaries: tuple[int, ...]

    @property
    def n_targets(self) -> int:
        """How many numbers are explained per prompt."""
        return 1 if self.span else len(self.vectors)

    @property
    def key(self) -> str:
        """Content key of the question."""
        basis = None if self.basis is None else self.basis.tolist()
        where = (self.hidden_index, self.span, self.position, self.source, self.boundaries)
        return content_key("relevance query", self.vectors.tolist(), basis, where)

    def scores(self, states: Tensor) -> Tensor:
        """Return what is explained, of the states that were read.

        Args:
            states: axes (row, d_model).

        Returns: float64, axes (row, target).
        """
        wide = states.double()
        vectors = torch.from_numpy(self.vectors).to(wide.device)
        if not self.span:
            return wide @ vectors.T
        # An orthonormal basis of the span: P h = (h Q) Q^T whatever angles the vectors have.
        _, sizes, right = torch.linalg.svd(vectors, full_matrices=False)
        kept = right[sizes > sizes.max() * 1e-10]
        lengths: Tensor = torch.linalg.vector_norm(wide @ kept.T, dim=-1, keepdim=True)
        return lengths

    def coordinates(self, states: Tensor) -> Tensor:
        """Return the least-squares coordinates of states in the earlier directions.

        Args:
            states: axes (..., d_model).

        Returns: float64, axes (..., source); what they leave over is states less
            coordinates @ basis.
        """
        assert self.basis is not None  # noqa: S101 - asked by back ends for such queries only
        inverse = torch.from_numpy(np.linalg.pinv(self.basis)).to(states.device)
        return states.double() @ inverse


def make_query(
    model: LanguageModel,
    targets: Sequence[Direction],
    to: str | Sequence[Direction],
    *,
    span: bool,
    position: str | int,
    boundaries: Sequence[int],
    force: bool = False,
) -> Query:
    """Check targets and sources against a model and each other.

    Args:
        to: "tokens", or earlier directions of one depth.
        span, position, boundaries: as in `Query`; the source is always among the boundaries.
        force: also take directions of another model of the same width.

    Raises:
        ConfigError: a depth does not exist or lies in the wrong order, or `to` is not known.
        DataError: directions of several depths, of another width or of another model.
    """
    check_position(position)
    vectors, top = basis_of(targets), targets[0].hidden_index
    _check_depth(model, top, 1)
    basis, source = None, 0
    if isinstance(to, str):
        if to != "tokens":
            raise ConfigError(
                f"Relevance cannot be traced to {shown(to)}.",
                fix='Use "tokens", or give directions of an earlier hidden_index.',
            )
    else:
        basis, source = basis_of(to), to[0].hidden_index
        _check_depth(model, source, 0)
        if source >= top:
            raise ConfigError(
                f"The earlier directions lie at hidden_index {source}, the targets at {top}.",
                fix="Give directions of a smaller hidden_index.",
            )
    for direction in (*targets, *(() if isinstance(to, str) else to)):
        _check_fits(model, direction, force)
    asked = tuple(sorted({source, *boundaries}))
    for boundary in asked:
        _check_depth(model, boundary, 0)
        if not source <= boundary < top:
            raise ConfigError(
                f"Relevance from hidden_index {top} back to {source} does not pass hidden_index "
                f"{boundary}.",
                fix=f"Use {source} to {top - 1}.",
            )
    return Query(top, vectors, span, position, source, basis, asked)


def read_weights(encoded: Sequence[Encoded], position: str | int) -> Tensor:
    """Return how much of each token the read-out takes; float64, axes (row, position)."""
    weights = torch.zeros(len(encoded), max(map(len, encoded)), dtype=torch.float64)
    for row, prompt in enumerate(encoded):
        places = resolve_position(prompt, position)
        weights[row, list(places)] = 1.0 / len(places)
    return weights


def token_groups(prompt: Encoded, position: str | int) -> NDArray[np.int8]:
    """Return which of `GROUPS` each token belongs to: the last one read, the user's, the rest."""
    groups = np.zeros(len(prompt), np.int8)
    if prompt.instruction is not None:
        groups[slice(*prompt.instruction)] = 1
    groups[max(resolve_position(prompt, position))] = 2
    return groups


def group_masks(encoded: Sequence[Encoded], position: str | int) -> Tensor:
    """Return which tokens are in which group; float64, axes (row, position, group)."""
    masks = torch.zeros(len(encoded), max(map(len, encoded)), len(GROUPS), dtype=torch.float64)
    for row, prompt in enumerate(encoded):
        groups = torch.from_numpy(token_groups(prompt, position).astype(np.int64))
        masks[row, torch.arange(len(groups)), groups] = 1.0
    return masks


def _check_depth(model: LanguageModel, depth: int, lowest: int) -> None:
    if not lowest <= depth <= model.anatomy.n_layers:
        raise ConfigError(
            f"There is nothing to explain at hidden_index {depth}: {model.name} has "
            f"{model.anatomy.n_layers} layers.",
            fix=f"Use {lowest} to {model.anatomy.n_layers}.",
        )


def _check_fits(model: LanguageModel, direction: Direction, force: bool) -> None:
    if len(direction.vector) != model.anatomy.d_model:
        raise DataError(
            f"The direction {shown(direction.name)} has {len(direction.vector)} numbers, and the "
            f"stream of {model.name} has {model.anatomy.d_model}.",
            fix="Use directions that were found on this model.",
        )
    if direction.model not in ("", model.fingerprint) and not force:
        raise DataError(
            f"The direction {shown(direction.name)} was found on another model (fingerprint "
            f"{shown(direction.model[:12])}) than {shown(model.name)} as it was opened "
            f"({shown(model.fingerprint[:12])}).",
            fix="Use directions of this model, or pass force=True (-T force=true) to see how far "
            "these carry.",
        )
