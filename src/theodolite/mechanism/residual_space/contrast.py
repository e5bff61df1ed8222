"""Contrast spaces: directions of one chat model, where there is no model before training.

The shift is taken between two prompts instead of two models: a request in a wrapper minus the bare
request, or a harmful request minus its benign twin. What is found says where the model tells the
two apart; nothing here says that training put it there, so it is never called residual. Source:
ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.data.styles import PLAIN
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.residual_space.collect import LEAST_PROMPTS, PairedStates
from theodolite.mechanism.residual_space.goals import check_goal_splits, goal_groups
from theodolite.mechanism.residual_space.space import ShiftSpace
from theodolite.mechanism.states import read_states
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

STYLE, HARM = "style", "harm"
KINDS: Final = {
    STYLE: "style contrast",
    HARM: "harm contrast",
}


class ContrastSpace(ShiftSpace):
    """What one model does differently with one prompt than with another."""

    of_training: ClassVar[bool] = False


def collect_contrast(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    kind: str,
    *,
    positions: Sequence[str] = ("prompt_last",),
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> PairedStates:
    """Read the states of prompts that are set against each other in one model.

    Args:
        model: an open local model.
        prompts: labelled, of two classes; each is read once.
        kind: "style" (wrapped minus plain form of one goal) or "harm" (harmful minus benign prompt
            of one pair and style).
        positions, template, hidden_indices, journal, progress: as for `read_states`.

    Returns: one row per wrapped, or harmful, prompt whose counterpart is there: its states are
        `aligned`, those of the counterpart `base`.

    Raises:
        ConfigError: there is no such contrast.
        DataError: fewer than 10 rows, one class only, or a goal in two splits.
        CapabilityError, NumericsError: as for `read_states`.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no contrast {shown(kind)}.", fix=did_you_mean(kind, KINDS))
    rows = tuple(prompts)
    check_goal_splits(rows)
    groups = dict(zip((p.id for p in rows), goal_groups(rows), strict=True))
    matched = _styles(rows) if kind == STYLE else _twins(rows)
    if len(matched) < LEAST_PROMPTS:
        raise DataError(
            f"{len(matched)} prompts have a counterpart, and a space needs {LEAST_PROMPTS}.",
            fix="Give bare forms of the same goals (goal_id), or benign twins (pair_id).",
        )
    used = {p.id for pair in matched for p in pair}
    states = read_states(
        model,
        [p for p in rows if p.id in used],
        positions=positions,
        template=template,
        hidden_indices=hidden_indices,
        journal=journal,
        progress=progress,
    )
    return PairedStates(
        base=states.rows([other.id for _, other in matched]),
        aligned=states.rows([prompt.id for prompt, _ in matched]),
        prompts=tuple(prompt for prompt, _ in matched),
        goals=tuple(groups[prompt.id] for prompt, _ in matched),
        kind=KINDS[kind],
    )


def _styles(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Prompt]]:
    """Return each wrapped prompt with the bare form of its goal."""
    bare = {p.goal_id or p.id: p for p in prompts if _style(p) == PLAIN}
    wrapped = [p for p in prompts if _style(p) != PLAIN]
    return [(p, bare[p.goal_id]) for p in wrapped if p.goal_id is not None and p.goal_id in bare]


def _twins(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Prompt]]:
    """Return each harmful prompt with the benign one of its pair and style."""
    paired = [p for p in prompts if p.pair_id is not None]
    benign = {(p.pair_id, _style(p)): p for p in paired if p.label == BENIGN}
    found = [(p, benign.get((p.pair_id, _style(p)))) for p in paired if p.label == HARMFUL]
    return [(p, twin) for p, twin in found if twin is not None]


def _style(prompt: Prompt) -> str:
    return prompt.style or PLAIN
