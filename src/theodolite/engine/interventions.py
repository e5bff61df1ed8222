"""Change activations while a model runs: heads, directions, the residual stream, MLP outputs.

An intervention is data. `apply` turns it into hooks that are removed exactly when the context ends,
also under an exception; nothing is written to the weights. They compose in the order given.
Positions are absolute places of a prompt and its answer, resolved for every row of every pass, so
prefix sharing, padding and decoding do not change what is touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from theodolite.engine.intervention_fields import digest, known, shaped
from theodolite.engine.passes import PassContext, current_pass
from theodolite.engine.placing import hooked
from theodolite.errors import CapabilityError, ConfigError
from theodolite.models.attention import require_interface
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

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
class DirectionIntervention(Intervention):
    """Change the component of a stream vector along one direction.

    Args:
        direction: axes (d_model); its length does not matter, its unit vector is used.
        site: resid_pre, attn_out, mlp_out or resid_post.
        operator: "ablate" (remove the component); "add" (add `alpha` unit vectors); "clamp" (set
            the component to `alpha`).
        alpha: in the units of the stream.
    """

    KIND = "direction"
    OPERATORS = ("ablate", "add", "clamp")
    SITES = STREAM_SITES

    direction: torch.Tensor
    site: str = "resid_post"
    alpha: float = 0.0

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.site

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`."""
        super().check(anatomy)
        shaped("direction", self.direction, (anatomy.d_model,))
        if not float(self.direction.norm()) > 0.0:
            raise ConfigError("direction is the zero vector.", fix="Give a vector with a length.")

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""
        wide = self.direction.double()
        unit: torch.Tensor = wide / wide.norm()
        target = 0.0 if self.operator == "ablate" else self.alpha

        def fn(value: torch.Tensor) -> torch.Tensor:
            # bfloat16 keeps 8 bits: the component is found and removed in float32.
            exact = value if value.dtype == torch.float64 else value.float()
            u = unit.to(exact.device, exact.dtype)
            if self.operator == "add":
                new = exact + self.alpha * u
            else:
                new = exact + (target - (exact * u).sum(-1, keepdim=True)) * u
            return new.to(value.dtype)

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
    for kind in (HeadIntervention, DirectionIntervention, ResidualIntervention, MlpIntervention)
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
