"""One pair of models, looked at from every side: the space, what it tells apart, and what it reads.

Everything is fitted on training goals in training styles. What is reported is of test goals, in
these styles and in others that nothing was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.data.styles import PLAIN
from theodolite.errors import DataError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.probes.text_floors import text_scores
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.residual_space.collect import PairedStates, collect_pair
from theodolite.mechanism.residual_space.dynamics import Carried, Dynamics, carried, dynamics
from theodolite.mechanism.residual_space.naming import Naming, choose_labels, token_pulls, validate
from theodolite.mechanism.residual_space.probe_result import ProbeTable
from theodolite.mechanism.residual_space.probe_table import probe_table
from theodolite.mechanism.residual_space.scores import areas
from theodolite.mechanism.residual_space.space import ResidualSpace, ShiftSpace
from theodolite.mechanism.residual_space.style_cells import Floats, StyleDesign
from theodolite.mechanism.residual_space.style_table import (
    StyleTable,
    style_table,
    within_styles,
)
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.models.pair import ModelPair
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

HARM, REFUSED = "harmful", "refused"
RANDOM: Final = 200
WORDS: Final = ("tfidf_svm", "character_svm")


@dataclass(frozen=True)
class Depth:
    """How much is looked at.

    Args:
        components: of each depth, named and set against styles.
        followed: of the depth where the first component tells most, followed through the blocks.
        preset: of the space: "default" or "reference".
        position: where prompts are read.
        resamples: of goals, for intervals.
        quality: whether the linear map is judged on held-out goals.
    """

    components: int = 5
    followed: int = 4
    preset: str = "default"
    position: str = "prompt_last"
    resamples: int = 1000
    quality: bool = True


@dataclass(frozen=True, eq=False)
class Study:
    """What was found of a pair, or of a contrast within one model.

    Args:
        paired: the states of all prompts; of one model, the same states twice.
        space: fitted on the training part.
        probes: components as detectors, by what is told apart; the first is the semantic label.
        words: AUROC on test prompts of harm read off their words alone.
        named: the components that were set against styles.
        styles, naming: of them; None where prompts do not stand in styles, and `no_styles` is why.
        dominant: the first component at the depth that training goals choose; None where the space
            is empty.
        dynamics: of the components followed; None where the space is empty.
        carried: how the components of one depth stand to those of the next.
    """

    paired: PairedStates
    space: ShiftSpace
    probes: Mapping[str, ProbeTable]
    words: float
    named: tuple[Direction, ...]
    styles: StyleTable | None
    naming: Naming | None
    no_styles: str
    dominant: str | None
    dynamics: Dynamics | None
    carried: Carried

    @property
    def harm(self) -> ProbeTable:
        """The table of components that tell harmful from benign prompts."""
        return self.probes[HARM]

    @property
    def followed(self) -> tuple[Direction, ...]:
        """The components followed through the blocks, the dominant one first."""
        if self.dynamics is None:
            return ()
        return tuple(self.space[name] for name in self.dynamics.names)


def study(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    depth: Depth | None = None,
    *,
    refused: Mapping[str, bool | None] | None = None,
    template: str = "auto",
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Study:
    """Fit the residual space of a pair and look at it from every side.

    Args:
        pair: the model before and after training.
        prompts: as `study_prompts` gives them.
        depth: how much is looked at.
        refused: whether the aligned model refuses a prompt, by id; None leaves this label out, and
            so does a part where it refuses all or none.
        template, journal, progress: as for `read_states`.
        seed: of every draw.

    Raises: DataError, NumericsError: as `collect_pair` and `ResidualSpace.fit`.
    """
    depth = depth or Depth()
    kept: dict[str, Any] = {"journal": journal, "progress": progress}
    paired = collect_pair(pair, prompts, positions=(depth.position,), template=template, **kept)
    space = ResidualSpace.fit(
        paired.part(TRAIN), preset=depth.preset, quality=depth.quality, seed=seed
    )
    return look_at(
        *(pair.aligned, paired, space, depth),
        refused=refused,
        template=template,
        seed=seed,
        **kept,
    )


def look_at(
    model: LanguageModel,
    paired: PairedStates,
    space: ShiftSpace,
    depth: Depth,
    *,
    refused: Mapping[str, bool | None] | None,
    template: str,
    seed: int,
    **kept: Any,
) -> Study:
    """Look at a fitted space from every side.

    Args:
        model: whose directions they are.
        paired: the states of all prompts; its `aligned` ones are the model's.
        space: fitted on training goals.
        depth, refused, template, seed: as for `study`.
        kept: journal and progress.
    """
    table: dict[str, Any] = {
        "components": depth.components, "resamples": depth.resamples, "seed": seed
    }  # fmt: skip
    probes = {HARM: probe_table(space, paired, **table)}
    if refused is not None and _has_both(paired, refused):
        asked = [i for i, prompt in enumerate(paired.prompts) if prompt.id in refused]
        probes[REFUSED] = probe_table(space, paired.select(asked), refused, label=REFUSED, **table)
    named = tuple(d for h in space.hidden_indices for d in space.directions(h, depth.components))
    styles, naming, why = _against_styles(model, paired, named, depth, seed)
    dominant = first_of_best_depth(paired, space) or probes[HARM].dominant
    return Study(
        paired=paired,
        space=space,
        probes=probes,
        words=words_area(paired),
        named=named,
        styles=styles,
        naming=naming,
        no_styles=why,
        dominant=dominant,
        dynamics=_followed(model, paired, space, dominant, depth, template, seed, kept),
        carried=carried(
            {layer.hidden_index: layer.components[: depth.components] for layer in space.layers}
        ),
    )


def first_of_best_depth(paired: PairedStates, space: ShiftSpace) -> str | None:
    """Return the first component that tells harm best within a style, on training goals.

    Styles move prompts along every direction, so over all styles together little else is seen.

    Returns: None where the space is empty, or training prompts do not stand in styles.
    """
    train = paired.part(TRAIN)
    try:
        design = StyleDesign.of(train.prompts, goals=train.goals)
    except DataError:
        return None
    firsts = [d for h in space.hidden_indices for d in space.directions(h, 1)]
    if not firsts:
        return None
    told = within_styles(design, _projected(train, firsts, space.position)).mean(0)
    return firsts[int(np.abs(told - 0.5).argmax())].name


def _has_both(paired: PairedStates, refused: Mapping[str, bool | None]) -> bool:
    """Return whether either part holds prompts that are refused and others that are not."""
    for name in (TRAIN, TEST):
        rows = zip(paired.prompts, paired.parts, strict=True)
        known = {refused.get(prompt.id) for prompt, part in rows if part == name}
        if not {True, False} <= known:
            return False
    return True


def words_area(paired: PairedStates) -> float:
    """Return the AUROC on test prompts of harm read off their words, by the better of two ways."""
    train, test = paired.part(TRAIN), paired.part(TEST)
    texts = [[prompt.request for prompt in part.prompts] for part in (train, test)]
    labels = [part.harmful.astype(np.int64) for part in (train, test)]
    found = [text_scores(name, texts[0], labels[0], texts[1]) for name in WORDS]
    return float(areas(np.stack(found, axis=1), labels[1]).max())


def _against_styles(
    model: LanguageModel,
    paired: PairedStates,
    named: Sequence[Direction],
    depth: Depth,
    seed: int,
) -> tuple[StyleTable | None, Naming | None, str]:
    """Return the style table of test goals and the names chosen on training goals."""
    if not named:
        return None, None, "the space is empty"
    parts = {name: paired.part(name) for name in (TRAIN, TEST)}
    fitted = {prompt.style or PLAIN for prompt in parts[TRAIN].prompts}
    new = {prompt.style or PLAIN for prompt in parts[TEST].prompts} - fitted
    try:
        designs = {
            name: StyleDesign.of(part.prompts, goals=part.goals, held_out=sorted(new))
            for name, part in parts.items()
        }
    except DataError as error:
        return None, None, error.message
    along = {name: _projected(part, named, depth.position) for name, part in parts.items()}
    random = {name: _random(part, named, depth.position, seed) for name, part in parts.items()}
    names, depths = [d.name for d in named], [d.hidden_index for d in named]
    styles = style_table(
        designs[TEST],
        along[TEST],
        names,
        depths,
        random=random[TEST],
        sides=np.where(within_styles(designs[TRAIN], along[TRAIN]).mean(0) < 0.5, -1.0, 1.0),
        seed=item_seed(seed, "styles"),
        resamples=depth.resamples,
    )
    labels = choose_labels(designs[TRAIN], along[TRAIN], depths, random[TRAIN])
    raised, lowered = token_pulls(model, np.stack([d.vector for d in named]))
    accuracy = validate(
        labels, names, designs[TEST], along[TEST], seed=seed, resamples=depth.resamples
    )
    naming = Naming(
        names=tuple(names),
        hidden_indices=tuple(depths),
        labels=tuple(labels),
        accuracy=tuple(accuracy),
        raised=tuple(raised),
        lowered=tuple(lowered),
        words={},
    )
    return styles, naming, ""


def _projected(part: PairedStates, directions: Sequence[Direction], position: str) -> Floats:
    """Return what the aligned model's states have along directions, axes (direction, prompt)."""
    states = {h: part.aligned.at(h, position) for h in {d.hidden_index for d in directions}}
    return np.stack([d.projections(states[d.hidden_index]) for d in directions])


def _random(
    part: PairedStates, directions: Sequence[Direction], position: str, seed: int
) -> dict[int, Floats]:
    """Return projections on random unit vectors by depth, axes (draw, prompt)."""
    width = part.aligned.values.shape[-1]
    drawn = np.random.default_rng(item_seed(seed, "random directions", width))
    vectors = drawn.standard_normal((RANDOM, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    depths = sorted({d.hidden_index for d in directions})
    return {h: vectors @ part.aligned.at(h, position).T for h in depths}


def _followed(
    model: LanguageModel,
    paired: PairedStates,
    space: ShiftSpace,
    dominant: str | None,
    depth: Depth,
    template: str,
    seed: int,
    kept: Mapping[str, Any],
) -> Dynamics | None:
    """Return what every block adds along the components of the dominant one's depth."""
    if dominant is None or not depth.followed:
        return None
    at = space[dominant].hidden_index
    # Styles add along every direction; bare requests show what the request itself adds.
    test = paired.part(TEST)
    bare = [i for i, p in enumerate(test.prompts) if (p.style or PLAIN) == PLAIN]
    chosen = test.select(bare) if _both(test, bare) else test
    return dynamics(
        model,
        chosen.prompts,
        space.directions(at, depth.followed),
        chosen.goals,
        position=depth.position,
        template=template,
        seed=seed,
        **kept,
    )


def _both(part: PairedStates, rows: Sequence[int]) -> bool:
    return {part.prompts[i].label for i in rows} >= {HARMFUL, BENIGN}
