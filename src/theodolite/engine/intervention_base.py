"""What all interventions share: a block, an operator, and the positions it is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from theodolite.engine.intervention_fields import digest, known
from theodolite.engine.passes import PassContext, current_pass
from theodolite.engine.placing import hooked
from theodolite.errors import CapabilityError, ConfigError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

Positions = str | tuple[int, ...]
NAMED_POSITIONS = ("all", "prompt", "generated", "prompt_last")
STREAM_SITES = ("resid_pre", "attn_out", "mlp_out", "resid_post")
Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervention:
    """What all kinds share.

    Args:
        layer: block, 0 to n_layers - 1.
        operator: one of the kind's `OPERATORS`.
        positions: "all"; "prompt" (every prompt token); "generated" (every token after the
            prompt); "prompt_last"; or indices, negative ones counted from the prompt's end.
    """

    KIND: ClassVar[str]
    OPERATORS: ClassVar[tuple[str, ...]]
    SITES: ClassVar[tuple[str, ...]]

    layer: int
    operator: str
    positions: Positions = "all"

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.SITES[0]

    @property
    def key(self) -> str:
        """Content key: equal for equal interventions."""
        parts: list[Any] = [self.KIND]
        for item in fields(self):
            value = getattr(self, item.name)
            parts.append([item.name, digest(value) if torch.is_tensor(value) else value])
        return content_key(json.loads(json.dumps(parts)))

    def check(self, anatomy: Anatomy) -> None:
        """Refuse what does not fit the model.

        Raises: ConfigError: naming the field.
        """
        known("operator", self.operator, self.OPERATORS)
        known("site", self.at, self.SITES)
        if not 0 <= self.layer < anatomy.n_layers:
            raise ConfigError(
                f"layer is {self.layer}, and the model has {anatomy.n_layers} layers.",
                fix=f"Use 0 to {anatomy.n_layers - 1}.",
            )
        if isinstance(self.positions, str):
            known("positions", self.positions, NAMED_POSITIONS)
        elif not self.positions:
            raise ConfigError("positions is empty.", fix="Name at least one position.")

    def change(self, anatomy: Anatomy) -> Change:
        """Return the function from site values (row, position, width) to new ones."""
        raise TypeError("use one of the kinds of intervention")

    def entered(self, anatomy: Anatomy) -> AbstractContextManager[None]:
        """Return the context in which the change acts on every forward of the model."""
        where = None if self.positions == "all" else self.touched
        return hooked(anatomy, self.layer, self.at, self.change(anatomy), where)

    def touched(self) -> torch.Tensor:
        """Return which tokens of the running pass are changed; bool, axes (row, position).

        Raises: CapabilityError: the forward was not started by the engine.
        """
        context = current_pass.get()
        if context is None:
            raise CapabilityError(
                f"An intervention at positions {self.positions!r}",
                "this forward was not started by the engine, so it has no prompt",
                'Use capture, score or generate, or positions "all"',
            )
        return touched(self.positions, context)


def touched(positions: Positions, context: PassContext) -> torch.Tensor:
    """Return which tokens of a pass an intervention changes; bool, axes (row, position)."""
    place = context.positions
    prompt = context.prompt_lengths[:, None]
    if positions == "all":
        return place >= 0
    if positions == "prompt":
        return (place >= 0) & (place < prompt)
    if positions == "generated":
        return place >= prompt
    if positions == "prompt_last":
        return place == prompt - 1
    mask = torch.zeros_like(place, dtype=torch.bool)
    for index in cast("tuple[int, ...]", positions):
        mask |= place == (index if index >= 0 else prompt + index)
    return mask & (place >= 0) & (place < prompt)
