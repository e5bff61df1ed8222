"""What an audit will do, and how long that should take, before it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.errors import CapabilityError
from theodolite.runs.panel import PAIR, ModelHandle, Panel, step_key

# Costs are stated for the default model; time grows about in proportion to the parameters.
DEFAULT_PARAMETERS = 135e6


@dataclass(frozen=True)
class Step:
    """One panel on one model of the audit.

    Args:
        key: name of the stored panel result, `refusal` or `refusal.base`.
        role: `model` or `base`.
        seconds: estimated time; tokens: estimated tokens.
        skip_reason: why the panel does not run on this model; None where it runs.
    """

    key: str
    panel: Panel
    role: str
    seconds: float
    tokens: int
    skip_reason: str | None = None

    def as_row(self, used: float | None = None) -> dict[str, Any]:
        """Return the step as a row of the plan's table."""
        return {
            "panel": self.key,
            "estimated_seconds": None if self.skip_reason else round(self.seconds),
            "estimated_tokens": None if self.skip_reason else self.tokens,
            "used_seconds": None if used is None else round(used, 1),
            "skipped": self.skip_reason,
        }


def make_plan(
    panels: Sequence[Panel],
    models: Mapping[str, ModelHandle],
    profile: str,
    *,
    demanded: Sequence[str] = (),
    paired: bool = False,
) -> list[Step]:
    """Return the steps of an audit in order, the unable ones marked with their reason.

    Args:
        models: `model` and, where given, `base`.
        demanded: panels the user asked for by name; these refuse instead of being skipped.
        paired: it is known what the model was trained from.
    Raises: CapabilityError: a demanded panel needs what the model's handle cannot do, or the model
        it was trained from, which is not known.
    """
    steps = []
    for panel in panels:
        for role, model in models.items():
            if PAIR in panel.needs and role != "model":
                continue
            cost = panel.cost(profile)
            factor = parameter_count(model) / DEFAULT_PARAMETERS
            missing, help_ = _missing(panel, model, paired)
            reason = f"needs {missing}" if missing else None
            if missing and panel.name in demanded:
                raise CapabilityError(
                    f"The panel {panel.name} on {model.ref}", f"it needs {missing}", help_
                )
            key = step_key(panel.name, role)
            steps.append(Step(key, panel, role, cost.seconds * factor, cost.tokens, reason))
    return steps


def _missing(panel: Panel, model: ModelHandle, paired: bool) -> tuple[str, str]:
    """Return what a panel needs and does not get, and what would help; "" where it has all."""
    missing = sorted(panel.needs - {PAIR} - model.capabilities)
    if missing:
        return (
            f"{', '.join(missing)}, which {model.ref} does not offer",
            "Open the model from its weights, or leave the panel out with --skip",
        )
    if PAIR in panel.needs and not paired:
        return (
            "the model that this one was trained from, and it is not known",
            "Name it with --base, or leave the panel out with --skip",
        )
    return "", ""


def parameter_count(model: Any) -> float:
    """Return the number of parameters; a handle without weights counts as the default model."""
    module = getattr(model, "module", None)
    if module is None:
        return DEFAULT_PARAMETERS
    return float(sum(p.numel() for p in module.parameters()))
