"""Directions of a self-organising map: one from the negative mean to each kind of positive state.

The difference in means takes the positive class for one cloud. A map of a few nodes on a grid lays
itself over that cloud, neighbours near each other, and each node less the negative mean is a
direction of its own. With a single node it is the difference in means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.mechanism.directions.estimator import Estimate, estimate_of
from theodolite.mechanism.directions.overlap import leading_components

if TYPE_CHECKING:
    from theodolite.mechanism.directions.contrast import Contrast

Floats = NDArray[np.float64]
_LAST_WIDTH: Final = 0.4  # of the neighbourhood, in steps of the grid


@dataclass(frozen=True)
class SomDirections:
    """Nodes of a map over the positive states, each less the mean of the negative ones.

    Source: arXiv:2511.08379. Ours: the batch form of the map, laid out over the two leading
        components, so that nothing is random and the order of the prompts is no matter.

    Args:
        rows, columns: of the grid; nodes that no state comes nearest to are left out.
        epochs: rounds in which the neighbourhood shrinks from half the grid to a node.
    """

    name: ClassVar[str] = "som"
    rows: int = 3
    columns: int = 3
    epochs: int = 40

    def fit(self, contrast: Contrast, *, seed: int) -> Estimate:
        """See `DirectionEstimator.fit`; the node that parts the classes best leads."""
        if min(self.rows, self.columns, self.epochs) < 1:
            raise ConfigError(
                f"A map of {self.rows} by {self.columns} nodes in {self.epochs} epochs is none.",
                fix="Use at least 1 of each.",
            )
        fitted, positive = contrast.fitting, contrast.positive
        vectors = {}
        for hidden_index in contrast.hidden_indices:
            x = contrast.at(hidden_index)
            nodes, won = self_organised(
                x[fitted & positive], self.rows, self.columns, epochs=self.epochs
            )
            apart = nodes - x[fitted & ~positive].mean(0)
            kept = (won > 0) & apart.any(1)
            vectors[hidden_index] = list(apart[kept])
        return estimate_of(self.name, contrast, vectors, ranked=True)


def self_organised(
    x: Floats, rows: int, columns: int, *, epochs: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Lay a grid of nodes over rows.

    Source: Kohonen's batch map: every node moves to the mean of all rows, weighted by how near
        each row's own node stands on the grid.

    Args:
        x: axes (row, d_model).
        rows, columns: of the grid.
        epochs: rounds; the neighbourhood's width falls geometrically.

    Returns: nodes, axes (node, d_model), and how many rows come nearest to each, axis (node).
    """
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    grid = places.reshape(-1, 2).astype(np.float64)
    apart = ((grid[:, None] - grid[None]) ** 2).sum(-1)
    nodes = _laid_out(x, grid)
    widths = np.geomspace(max(rows, columns, 2) / 2, _LAST_WIDTH, epochs)
    for width in widths:
        near = np.exp(-apart / (2 * width**2))[:, _nearest(x, nodes)]
        nodes = (near @ x) / near.sum(1, keepdims=True)
    return nodes, np.bincount(_nearest(x, nodes), minlength=len(nodes))


def _laid_out(x: Floats, grid: Floats) -> Floats:
    """Return a flat grid through the mean of rows, one deviation wide each way."""
    centre = x.mean(0)
    axes = leading_components(x, 2)
    steps = grid - grid.mean(0)
    steps = steps / np.maximum(np.abs(steps).max(0), 1.0)
    nodes = np.repeat(centre[None], len(grid), axis=0)
    for axis, step in zip(axes, steps.T):
        # A component has no sign of its own: its largest coordinate is taken to be positive.
        turned = axis * np.sign(axis[np.argmax(np.abs(axis))])
        nodes = nodes + np.outer(step * ((x - centre) @ axis).std(), turned)
    return nodes


def _nearest(x: Floats, nodes: Floats) -> NDArray[np.int64]:
    """Return the node nearest to each row; of equally near ones the first."""
    squares = (nodes**2).sum(1) - 2 * x @ nodes.T
    return np.asarray(squares.argmin(1), np.int64)
