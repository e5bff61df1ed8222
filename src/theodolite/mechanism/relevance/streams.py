"""The stream of a batch of prompts between two depths, run whole or begun again from below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.engine.entering import Returns, passing
from theodolite.engine.passes import Rows, run_pass
from theodolite.errors import NumericsError
from theodolite.mechanism.relevance.query import Query, read_weights
from theodolite.models.taps import write
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

Enter = Callable[[Tensor], Tensor]


@dataclass
class Passage:
    """Some prompts on their way from the query's source to its targets; no block above is run.

    Args:
        model: an open local model.
        query: what is asked.
        encoded: the prompts, one row each, padded at the right.
    """

    model: LanguageModel
    query: Query
    encoded: Sequence[Encoded]
    weights: Tensor = field(init=False)
    _returns: Returns = field(init=False)

    def __post_init__(self) -> None:
        """Lay out where the stream is read."""
        self.weights = read_weights(self.encoded, self.query.position).to(self.model.device)
        self._returns = Returns(self.model.anatomy)

    def stream(self) -> dict[int, Tensor]:
        """Run the prompts from their tokens on.

        Returns: by depth: at the source a leaf (under `torch.enable_grad`, with a gradient to
            come), at the boundaries and the targets what follows from it; axes (row, position,
            d_model).
        """
        found: dict[int, Tensor] = {}
        source, top = self.query.source, self.query.hidden_index

        def leaf(value: Tensor) -> Tensor:
            found[source] = value.detach().clone().requires_grad_(torch.is_grad_enabled())
            return found[source]

        with self._returns.noting():
            self._run({*self.query.boundaries, top} - {source}, leaf, found, 1)
        self._require_finite(found[top])
        return found

    def onward(self, values: Tensor, times: int) -> Tensor:
        """Run other streams from the source to the targets.

        Args:
            values: the stream at the source, axes (time * row, position, d_model).
            times: how often the prompts are repeated.

        Returns: the stream at the targets, same axes. Call `stream` first.
        """
        found: dict[int, Tensor] = {}
        aside = self.model.anatomy.blocks[: self.query.source]
        with passing(aside, self._returns.blocks[: self.query.source]):
            self._run({self.query.hidden_index}, lambda _: values, found, times)
        return found[self.query.hidden_index]

    def read(self, stream: Tensor) -> Tensor:
        """Return the states that are read, float64, axes (row, d_model).

        Args:
            stream: at the targets, axes (time * row, position, d_model).
        """
        weights = self.weights.repeat(len(stream) // len(self.weights), 1)
        return torch.einsum("bt,btd->bd", weights, stream.double())

    def _run(self, depths: set[int], enter: Enter, found: dict[int, Tensor], times: int) -> None:
        anatomy = self.model.anatomy
        rows = Rows(
            [prompt.ids for prompt in self.encoded] * times,
            [None] * (len(self.encoded) * times),
            [len(prompt) for prompt in self.encoded] * times,
        )
        taps = {depth: anatomy.tap(depth - 1, "resid_post") for depth in depths}
        with write(anatomy.tap(self.query.source, "resid_pre"), enter):
            run_pass(self.model, rows, taps=taps, sink=found.__setitem__, finish=False)

    def _require_finite(self, stream: Tensor) -> None:
        states = self.read(stream.detach())
        bad = (~torch.isfinite(states).all(1)).nonzero()
        if len(bad):
            raise NumericsError(
                f"The stream of prompt '{escape(self.encoded[int(bad[0])].prompt_id, 80)}' is not "
                f"finite in layer {self.query.hidden_index - 1}.",
                fix="Use dtype bfloat16 or float32, and check the adapter.",
            )
