"""What is done to an attention head when it is taken out, and which heads of a model it is done to.

A head is always named (layer, head), counted from 0 and printed `layer-head`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from theodolite.engine.interventions import HeadIntervention
from theodolite.errors import CapabilityError, ConfigError
from theodolite.text.display import escape
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

Head = tuple[int, int]

# Operator -> the targets it has, the default first.
OPERATORS: Final = {
    "undifferentiated": ("q", "k"),
    "scale": ("v",),
    "zero": ("v",),
    "head_mean": ("v", "q", "k"),
    "dataset_mean": ("v",),
    "resample": ("v",),
}
ALIASES: Final = {"ua": "undifferentiated", "sc": "scale"}
# The closed form stands for epsilon 0; the published code multiplies by 1e-5.
EPSILONS: Final = {"undifferentiated": 0.0, "scale": 1e-5}
UNITS: Final = ("head", "kv_group")
# These need reference prompts, whose places after the prompt are not defined.
OF_PROMPTS: Final = ("dataset_mean", "resample")


@dataclass(frozen=True)
class HeadAblation:
    """How a head is taken out (arXiv:2410.13708, sections 3.1 and C; the last three are ours).

    Args:
        operator: "undifferentiated" or "ua" (every position attends evenly to all it can see);
            "scale" or "sc" (the head's output times epsilon); "zero"; "head_mean" (query, key or
            output replaced by the mean over the layer's heads); "dataset_mean" (output replaced by
            its mean over reference prompts, counted from the prompt's end); "resample" (by that of
            a matched reference prompt).
        epsilon: factor of "undifferentiated" (default 0, exact) and "scale" (default 1e-5).
        target: "q", "k" or "v", where the operator has a choice; None takes its first.
        unit: "head", or "kv_group" (all query heads that share one key and value head).
    """

    operator: str = "undifferentiated"
    epsilon: float | None = None
    target: str | None = None
    unit: str = "head"

    @cached_property
    def name(self) -> str:
        """The operator's full name."""
        return ALIASES.get(self.operator, self.operator)

    @cached_property
    def factor(self) -> float:
        """The epsilon in force; 0 for operators that have none."""
        return EPSILONS.get(self.name, 0.0) if self.epsilon is None else float(self.epsilon)

    @cached_property
    def at(self) -> str:
        """The target in force."""
        return self.target or OPERATORS[self.name][0]

    @property
    def facts(self) -> dict[str, Any]:
        """What it does, as records and tables name it."""
        return {
            "operator": self.name,
            "epsilon": self.factor,
            "target": self.at,
            "unit": self.unit,
        }

    @property
    def key(self) -> str:
        """Content key: equal for ablations that do the same."""
        return content_key("head ablation", self.name, self.factor, self.at, self.unit)

    def check(self, anatomy: Anatomy | None = None) -> None:
        """Refuse what is not known, or does not fit a model.

        Args:
            anatomy: of the model; None checks the words alone.

        Raises:
            ConfigError: operator, target, unit or epsilon; it names the accepted values.
        """
        if self.name not in OPERATORS:
            known = (*OPERATORS, *ALIASES)
            raise ConfigError(
                f"There is no head operator '{escape(self.operator, 40)}'.",
                fix=did_you_mean(self.operator, known),
            )
        if self.at not in OPERATORS[self.name]:
            raise ConfigError(
                f"The operator {self.name} has no target '{escape(self.at, 40)}'.",
                fix=f"Use {' or '.join(OPERATORS[self.name])}.",
            )
        if self.unit not in UNITS:
            raise ConfigError(
                f"There is no unit '{escape(self.unit, 40)}'.", fix=f"Use {' or '.join(UNITS)}."
            )
        if self.epsilon is not None and self.name not in EPSILONS:
            raise ConfigError(
                f"The operator {self.name} takes no epsilon.", fix="Leave epsilon out."
            )
        if not abs(self.factor) < float("inf"):
            raise ConfigError(f"epsilon is {self.epsilon}.", fix="Give a finite number.")
        if anatomy is None:
            return
        if self.at == "k" and self.unit == "head" and anatomy.n_kv_heads < anatomy.n_heads:
            raise ConfigError(
                f"Several query heads share each of the {anatomy.n_kv_heads} keys of this model, "
                "so no single head's key can be changed.",
                fix="Use target q, or unit kv_group.",
            )

    def units(self, anatomy: Anatomy) -> int:
        """Return how many units a layer has."""
        return anatomy.n_heads if self.unit == "head" else anatomy.n_kv_heads

    def heads_of(self, anatomy: Anatomy, unit: int) -> tuple[int, ...]:
        """Return the query heads of one unit of a layer."""
        if self.unit == "head":
            return (unit,)
        size = anatomy.n_heads // anatomy.n_kv_heads
        return tuple(range(unit * size, (unit + 1) * size))

    def interventions(self, anatomy: Anatomy, heads: Iterable[Head]) -> list[HeadIntervention]:
        """Return what takes these units out of everything the model computes.

        Args:
            heads: (layer, unit) pairs; each layer gets one intervention.

        Raises:
            ConfigError: a head the model does not have.
            CapabilityError: the operator is defined on prompts only.
        """
        self.check(anatomy)
        if self.name in OF_PROMPTS:
            raise CapabilityError(
                f"Writing text under the operator {self.name}",
                "it is defined at the places of a prompt, not of an answer",
                "Use undifferentiated, scale, zero or head_mean",
            )
        by_layer: dict[int, list[int]] = {}
        for layer, unit in sorted(set(heads)):
            check_head(anatomy, (layer, unit), self.units(anatomy))
            by_layer.setdefault(layer, []).extend(self.heads_of(anatomy, unit))
        return [
            HeadIntervention(
                layer=layer,
                heads=tuple(found),
                operator=self.name,
                epsilon=self.factor,
                target=self.at if self.name == "head_mean" else None,
            )
            for layer, found in by_layer.items()
        ]


def check_head(anatomy: Anatomy, head: Head, units: int | None = None) -> None:
    """Refuse a head the model does not have.

    Raises:
        ConfigError: naming it and the range.
    """
    layer, unit = head
    count = anatomy.n_heads if units is None else units
    if not (0 <= layer < anatomy.n_layers and 0 <= unit < count):
        raise ConfigError(
            f"There is no head {layer}-{unit}.",
            fix=f"Layers are 0 to {anatomy.n_layers - 1}, heads 0 to {count - 1}.",
        )


def parse_heads(text: str | Sequence[str]) -> list[Head]:
    """Read heads written `layer-head`, comma-separated.

    Raises:
        ConfigError: naming the part that cannot be read.
    """
    words = text.split(",") if isinstance(text, str) else text
    found = []
    for word in (w.strip() for w in words):
        match = re.fullmatch(r"(\d{1,4})-(\d{1,4})", word)
        if match is None:
            raise ConfigError(
                f"'{escape(word, 40)}' is not a head.", fix="Write layer-head, e.g. 18-8."
            )
        found.append((int(match[1]), int(match[2])))
    return found


def head_name(head: Head) -> str:
    """Return the name of a head, `layer-head`."""
    return f"{head[0]}-{head[1]}"


def parameter_fraction(anatomy: Anatomy, heads: Iterable[Head], ablation: HeadAblation) -> float:
    """Return the share of the model's parameters that taking these units out for good would edit.

    Args:
        heads: (layer, unit) pairs.
        ablation: "undifferentiated" edits the query (or key) weights of a head, every other
            operator its part of the output projection; biases are left out. Where a family makes
            queries in two steps (multi-head latent attention) they count as made in one.

    Returns: edited parameters by all parameters, tied ones counted once.
    """
    ablation.check(anatomy)
    chosen = sorted(set(heads))
    for head in chosen:
        check_head(anatomy, head, ablation.units(anatomy))
    # A key head is one, however many queries share it.
    edited = sum(
        1 if ablation.at == "k" else len(ablation.heads_of(anatomy, unit)) for _, unit in chosen
    )
    module_parameters = {id(p): p.numel() for p in anatomy.decoder.parameters()}
    module_parameters |= {id(p): p.numel() for p in anatomy.lm_head.parameters()}
    return edited * anatomy.head_dim * anatomy.d_model / sum(module_parameters.values())
