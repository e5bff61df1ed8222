"""Change activations while a model runs: heads, directions, the residual stream, MLP outputs.

An intervention is data. `apply` turns it into hooks that are removed exactly when the context ends,
also under an exception; nothing is written to the weights. They compose in the order given.
Positions are absolute places of a prompt and its answer, resolved for every row of every pass, so
prefix sharing, padding and decoding do not change what is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from theodolite.engine.intervention_base import (
    NAMED_POSITIONS,
    STREAM_SITES,
    Change,
    Intervention,
    Positions,
    touched,
)
from theodolite.engine.intervention_fields import known, shaped
from theodolite.engine.intervention_lines import DirectionIntervention, SubspaceIntervention
from theodolite.errors import ConfigError
from theodolite.models.attention import require_interface

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

__all__ = [
    "KINDS",
    "NAMED_POSITIONS",
    "STREAM_SITES",
    "Change",
    "DirectionIntervention",
    "HeadIntervention",
    "Intervention",
    "MlpIntervention",
    "Positions",
    "ResidualIntervention",
    "SubspaceIntervention",
    "apply",
    "interventions_key",
    "shareable",
    "touched",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadIntervention(Intervention):
    """Change what attention heads read, or their outputs before the output projection.

    Args:
        heads: indices of query heads.
        operator: "zero"; "scale" (multiply by `epsilon`); "replace" (by `vector`);
            "undifferentiated" (queries times `epsilon` after norm and rotation: at 0 every position
            takes the mean of the values it can see); "head_mean" (`target` becomes the mean over
            the block's heads, arXiv:2410.13708, section C).
        epsilon: factor of "scale" and "undifferentiated".
        vector: new head outputs, axes (head, head_dim) in the order of `heads`.
        target: of "head_mean": "q" (queries), "k" (keys; only where no two heads share one) or "v"
            (head outputs, the default).
    """

    KIND = "head"
    OPERATORS = ("zero", "scale", "replace", "undifferentiated", "head_mean")
    SITES = ("head_z", "head_q", "head_k")

    heads: tuple[int, ...]
    epsilon: float = 0.0
    vector: torch.Tensor | None = None
    target: str | None = None

    @property
    def at(self) -> str:
        """The site that is changed."""
        if self.operator == "undifferentiated":
            return "head_q"
        if self.operator == "head_mean":
            return {"q": "head_q", "k": "head_k"}.get(self.target or "v", "head_z")
        return "head_z"

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`.

        Raises: CapabilityError: the family does not show what its attention reads.
        """
        super().check(anatomy)
        for head in self.heads:
            if not 0 <= head < anatomy.n_heads:
                raise ConfigError(
                    f"heads names head {head}, and the model has {anatomy.n_heads} heads.",
                    fix=f"Use 0 to {anatomy.n_heads - 1}.",
                )
        if not self.heads:
            raise ConfigError("heads is empty.", fix="Name at least one head.")
        if self.operator == "replace":
            shaped("vector", self.vector, (len(self.heads), anatomy.head_dim))
        if self.target is not None:
            if self.operator != "head_mean":
                raise ConfigError(
                    f"target does not belong to the operator {self.operator}.",
                    fix="Leave it out, or use the operator head_mean.",
                )
            known("target", self.target, ("q", "k", "v"))
        if self.at == "head_k" and anatomy.n_kv_heads < anatomy.n_heads:
            raise ConfigError(
                f"target is 'k', and this model's {anatomy.n_heads} heads share "
                f"{anatomy.n_kv_heads} keys.",
                fix="Use target q or v.",
            )
        if self.at != "head_z":
            require_interface(anatomy)

    @property
    def factor(self) -> float | None:
        """What the heads' values are multiplied by; None where they are replaced."""
        if self.operator == "zero":
            return 0.0
        return self.epsilon if self.operator in ("scale", "undifferentiated") else None

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""
        heads = list(self.heads)
        factor = self.factor

        def fn(value: torch.Tensor) -> torch.Tensor:
            new = value.reshape(*value.shape[:-1], anatomy.n_heads, -1).clone()
            if factor is not None:
                new[..., heads, :] = new[..., heads, :] * factor
            elif self.operator == "replace" and self.vector is not None:
                new[..., heads, :] = self.vector.to(value)
            else:
                new[..., heads, :] = new.mean(-2, keepdim=True)
            return new.flatten(-2)

        return fn


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualIntervention(Intervention):
    """Add a vector to the stream, replace it by one, or move it towards one.

    Args:
        vector: axes (d_model).
        site: resid_pre, attn_out, mlp_out or resid_post.
        operator: "add" (adds `alpha * vector`); "replace"; "interpolate" (moves by the share
            `alpha` of the way to the vector).
        alpha: factor of "add" and "interpolate".
    """

    KIND = "residual"
    OPERATORS = ("add", "replace", "interpolate")
    SITES = STREAM_SITES

    vector: torch.Tensor
    site: str = "resid_post"
    alpha: float = 1.0

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.site

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`."""
        super().check(anatomy)
        shaped("vector", self.vector, (anatomy.d_model,))

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""

        def fn(value: torch.Tensor) -> torch.Tensor:
            vector = self.vector.to(value)
            if self.operator == "replace":
                return vector.expand_as(value)
            step = vector if self.operator == "add" else vector - value
            return value + self.alpha * step

        return fn


@dataclass(frozen=True, eq=False, kw_only=True)
class MlpIntervention(Intervention):
    """Silence or scale what a block's MLP adds to the stream.

    Args:
        operator: "zero"; "scale" (multiply by `epsilon`).
        epsilon: factor of "scale".
    """

    KIND = "mlp"
    OPERATORS = ("zero", "scale")
    SITES = ("mlp_out",)

    epsilon: float = 0.0

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""
        factor = self.epsilon if self.operator == "scale" else 0.0
        return lambda value: value * factor


KINDS: dict[str, type[Intervention]] = {
    kind.KIND: kind
    for kind in (
        HeadIntervention,
        DirectionIntervention,
        SubspaceIntervention,
        ResidualIntervention,
        MlpIntervention,
    )
}


@contextmanager
def apply(model: LanguageModel, *interventions: Intervention) -> Iterator[LanguageModel]:
    """Let interventions act on everything the model computes inside the context.

    Args:
        model: an open local model.
        interventions: act in the order given; contexts nest.

    Raises:
        CapabilityError: the model cannot be changed.
        ConfigError: an intervention does not fit the model; nothing was changed.

    Note: capture, next_token, score, generate and SuffixSweep respect them. A bare forward of the
        module outside the engine knows no prompt, so it accepts positions "all" only. They lie
        on the module: other threads that use the model feel them too.
    """
    model.require("interventions")
    for intervention in interventions:
        intervention.check(model.anatomy)
    before = model.interventions
    with ExitStack() as hooks:
        for intervention in interventions:
            hooks.enter_context(intervention.entered(model.anatomy))
        model.interventions = (*before, *interventions)
        try:
            yield model
        finally:
            model.interventions = before


def interventions_key(model: LanguageModel) -> list[str]:
    """Return the keys of the active interventions, for content keys of results."""
    return [intervention.key for intervention in model.interventions]


def shareable(model: LanguageModel, prompt_length: int, more: Sequence[Intervention] = ()) -> int:
    """Return how many leading tokens of a prompt may be computed together with other prompts.

    Args:
        model: its active interventions count.
        prompt_length: in tokens.
        more: interventions that act on this prompt beside the active ones.

    Note: never the last one; nor those a negative index may name, for it depends on the length.
    """
    limit = prompt_length - 1
    for intervention in (*model.interventions, *more):
        if not isinstance(intervention.positions, str):
            negative = [index for index in intervention.positions if index < 0]
            limit = min(limit, prompt_length + min(negative, default=0))
    return max(limit, 0)
