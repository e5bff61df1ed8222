"""A repair without training: keep what a style does to the stream within the range of bare text.

The style's direction is the mean difference between harmful requests in the style and bare ones,
with what tells harm from its benign twins taken out of it. Along it, states are clamped to the
range that bare benign requests have; everything else passes. It acts while the model runs and is
written into no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import Style, styled
from theodolite.errors import DataError
from theodolite.mechanism.directions.direction import Direction, Floats
from theodolite.mechanism.states import States, read_states
from theodolite.mechanism.steering.benign import BenignStates
from theodolite.mechanism.steering.edits import Edit, intervene
from theodolite.mechanism.triggers.replies import first_token_odds
from theodolite.runs.progress import SilentProgress

if TYPE_CHECKING:
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

POSITION: Final = "prompt_last"
# Where a clamp is tried, as shares of the depth.
SHARES: Final = (0.25, 0.4, 0.55, 0.7)


@dataclass(frozen=True, eq=False)
class StyleClamp:
    """A clamp and the states it was made from.

    Args:
        edit: what is done to the stream.
        benign: states of bare benign requests, whose range it keeps to.
        separations: hidden_index -> log-odds of a refusal, harmful less benign requests in the
            styles, with the clamp at that depth; 0 stands for no clamp.
    """

    edit: Edit
    benign: BenignStates
    separations: Mapping[int, float]

    @property
    def hidden_index(self) -> int:
        """Where it acts."""
        return self.edit.directions[0].hidden_index

    def words(self) -> str:
        """Say where it acts and what it was chosen by."""
        told = ", ".join(f"{depth} {value:+.2f}" for depth, value in self.separations.items())
        return (
            f"Clamp of the style's direction at hidden_index {self.hidden_index}, chosen on goals "
            f"that nothing is measured on by the refusal log-odds of harmful less benign requests "
            f"in the style (nats by depth, 0 without a clamp: {told})."
        )


def style_clamp(
    model: LanguageModel,
    styles: Sequence[Style],
    fitted: tuple[Sequence[Prompt], Sequence[Prompt]],
    chosen: tuple[Sequence[Prompt], Sequence[Prompt]],
    classes: TokenClasses,
    *,
    depths: Sequence[int] | None = None,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> StyleClamp:
    """Find the directions of styles and the depth at which clamping them helps most.

    Args:
        styles: the weak ones; each gets a direction of its own.
        fitted: harmful and benign bare requests that directions and ranges are read from.
        chosen: harmful and benign bare requests that the depth is chosen on.
        classes: tokens that open a refusal or a friendly reply.
        depths: hidden indices to try (default: a quarter to two thirds of the depth).
        template, journal: as for `read_states`.

    Raises: DataError: a class is empty.
    """
    if not all(side for pair in (fitted, chosen) for side in pair):
        raise DataError("A class of requests is empty.", fix="Give harmful and benign requests.")
    kept: dict[str, Any] = {"template": template, "journal": journal, "progress": progress}
    tried = tuple(depths or _depths(model))
    harmful, benign = fitted
    worn = {each.name: _in_style(harmful, each) for each in styles}
    read = [*harmful, *benign, *(prompt for prompts in worn.values() for prompt in prompts)]
    states = read_states(model, read, positions=(POSITION,), hidden_indices=tried, **kept)
    edits = {
        depth: Edit(
            [_direction(states, depth, harmful, benign, own, name) for name, own in worn.items()],
            mode="clamp",
            layers="own",
        )
        for depth in tried
    }
    ranges = BenignStates.read(model, benign, list(edits.values()), position=POSITION, **kept)
    asked = [[p for each in styles for p in _in_style(side, each)] for side in chosen]
    progress = kept.pop("progress") or SilentProgress()
    progress.start("clamps", len(edits))
    separations = {0: _separation(model, asked, classes, kept)}
    for depth, edit in edits.items():
        with intervene(model, edit, ranges):
            separations[depth] = _separation(model, asked, classes, kept)
        progress.advance()
    best = max(tried, key=lambda depth: separations[depth])
    return StyleClamp(edits[best], ranges, separations)


def _depths(model: LanguageModel) -> list[int]:
    top = model.anatomy.n_layers
    return sorted({min(max(1, round(share * top)), top) for share in SHARES})


def _in_style(prompts: Sequence[Prompt], wrapper: Style) -> list[Prompt]:
    return list(styled(PromptSet("bare", tuple(prompts)), [wrapper]))


def _direction(
    states: States,
    depth: int,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    worn: Sequence[Prompt],
    name: str,
) -> Direction:
    """Return what a style adds to harmful requests, without what tells harm apart."""
    bare, plain, wrapped = (
        states.rows([p.id for p in side]).at(depth, POSITION).mean(0)
        for side in (harmful, benign, worn)
    )
    return Direction(
        f"{name}@L{depth}",
        depth,
        _without(wrapped - bare, bare - plain),
        "style contrast",
        POSITION,
        states.fingerprint,
    )


def _without(vector: Floats, other: Floats) -> Floats:
    """Return the part of a vector at right angles to another."""
    length = float(other @ other)
    return vector - (vector @ other) / length * other if length > 0 else vector


def _separation(
    model: LanguageModel,
    asked: Sequence[Sequence[Prompt]],
    classes: TokenClasses,
    kept: Mapping[str, Any],
) -> float:
    """Return the mean refusal log-odds of harmful requests less those of benign ones."""
    harmful, benign = (first_token_odds(model, side, classes, **kept) for side in asked)
    return float(np.mean(harmful) - np.mean(benign))
