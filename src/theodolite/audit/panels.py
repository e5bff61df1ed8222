"""The panels of the audit, in the order of the report; each is imported only when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from theodolite.errors import ConfigError
from theodolite.runs.panel import Panel
from theodolite.text.suggest import nearest

PANELS: dict[str, str] = {
    "refusal": "theodolite.behaviour.refusal.panel:RefusalPanel",
    "course_correction": "theodolite.behaviour.course_correction.panel:CourseCorrectionPanel",
    "debateqa": "theodolite.behaviour.debateqa.panel:DebatePanel",
    "toxicity": "theodolite.behaviour.toxicity.panel:ToxicityPanel",
    "bias": "theodolite.behaviour.bias.panel:BiasPanel",
    "mr_ben": "theodolite.behaviour.mr_ben.panel:CritiquePanel",
    "preemptive_answers": "theodolite.behaviour.preemptive_answers.panel:PreemptiveAnswersPanel",
    "probes": "theodolite.mechanism.panel:ProbesPanel",
    "heads": "theodolite.mechanism.heads.panel:HeadsPanel",
    "residual_space": "theodolite.mechanism.residual_space.panel:ResidualSpacePanel",
}


def load_panel(name: str) -> Panel:
    """Import and build the panel of this name."""
    module, _, attribute = PANELS[name].partition(":")
    return cast(Panel, getattr(import_module(module), attribute)())


def select_panels(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[str]:
    """Return panel names in report order.

    Raises: ConfigError: an unknown name (the nearest is suggested), or nothing left to run.
    """
    for name in (*only, *skip):
        if name not in PANELS:
            guess = nearest(name, PANELS)
            hint = f"Did you mean {guess}?" if guess else f"Panels: {', '.join(PANELS)}."
            raise ConfigError(f"There is no panel named {name!r}.", fix=hint)
    chosen = [name for name in PANELS if (not only or name in only) and name not in skip]
    if not chosen:
        raise ConfigError("No panel is left to run.", fix="Change --only or --skip.")
    return chosen
