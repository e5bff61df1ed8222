"""Choose among differences in means by what they do to the model, not by how they part states.

A candidate stands at every template position and depth. What is wanted: without it harmful requests
are no longer refused, benign ones are answered as before, and added to benign ones it brings
refusals. The effects are read on prompts that no candidate was made from, and those of the chosen
one again on test prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from theodolite.errors import ConfigError
from theodolite.mechanism.directions.contrast import TEST, TRAIN, VAL, Contrast
from theodolite.mechanism.directions.effects import Pushed, Reader, effects_of, least_similar
from theodolite.mechanism.directions.means import candidates
from theodolite.mechanism.directions.selection_prompts import SelectionPrompts
from theodolite.mechanism.directions.selection_result import (
    BY_COSINE,
    Selection,
    SelectionOptions,
    choose,
)
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.states import read_states
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.mechanism.items import Items
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1
_DEFAULTS: Final = SelectionOptions()


def select_direction(
    model: LanguageModel,
    items: Items,
    refusal_tokens: Sequence[int],
    *,
    positions: Sequence[str] | None = None,
    template: str = "auto",
    options: SelectionOptions = _DEFAULTS,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Selection:
    """Return the difference in means that controls refusal best, and what every candidate does.

    Source: arXiv:2406.11717: candidates at block input for every template position and depth,
        float64 means, ablation at all sites and positions, addition at the candidate's depth. Ours:
        random directions beside the chosen one, and its effects on test prompts.

    Args:
        model: an open local model; active interventions act.
        items: harmful and benign requests; split as for a `Contrast`.
        refusal_tokens: ids that open a refusal, e.g. `TokenClasses.negative`.
        positions: of the candidates (default: every template token; without a template the last).
        template: as for `read_states`.
        seed: of the split, the draw of prompts and the random directions.
        journal: states of finished units are kept there.
        progress: told of candidates.

    Raises:
        ConfigError: an option or token makes no sense.
        DataError: too few prompts are left, or no candidate passes the rules (says how many fail
            which).

    Note: each candidate costs three readings of the prompts to choose by; a 30-layer model with 5
        template tokens has about 115. There is none at hidden_index 0.
    """
    options.check()
    model.require("hidden_states", "interventions", "logprobs")
    check_refusal_tokens(model, refusal_tokens)
    reader = Reader(model, tuple(refusal_tokens))
    most = {TRAIN: options.train, VAL: options.val, TEST: options.val}
    prompts = SelectionPrompts.of(
        items, reader, template=template, most=most, filtered=options.filtered, seed=seed
    )
    places = tuple(positions) if positions is not None else template_positions(prompts.encoded)
    known = _candidates(model, prompts, places, template, options, journal)
    pushed = [Pushed(d.hidden_index, d.vector, gap) for d, gap in known]
    chosen_by = prompts.sides(VAL)
    if options.by == BY_COSINE:
        deep = tuple(range(1, model.anatomy.n_layers + 1))
        seeing = replace(reader, depths=deep, positions=places)
        seeing = replace(seeing, depths=least_similar(seeing, chosen_by, options.least_similar))
    else:
        seeing = reader
    effects = effects_of(seeing, chosen_by, pushed, progress=progress)
    chosen = choose(effects, options)
    controls = [_random(pushed[chosen], seed, k) for k in range(options.controls)]
    tested = prompts.sides(TEST)
    return Selection(
        candidates=tuple(direction for direction, _ in known),
        lengths=tuple(gap for _, gap in known),
        chosen=chosen,
        effects=effects,
        tested=effects_of(reader, tested, [pushed[chosen], *controls]) if tested.harmful else None,
        options=options,
        counts=prompts.counts,
        seed=seed,
    )


def template_positions(prompts: Sequence[Encoded]) -> tuple[str, ...]:
    """Return the tokens after the instruction that all prompts have, counted from the end.

    Without a template that is the last token of the prompt alone.
    """
    shared = min(end - start for start, end in (prompt.template for prompt in prompts))
    return tuple(f"template[{i}]" for i in range(-shared, 0)) or ("prompt_last",)


def check_refusal_tokens(model: LanguageModel, tokens: Sequence[int]) -> None:
    """Refuse tokens that are none of the model's.

    Raises: ConfigError: there is none, or one lies outside the vocabulary.
    """
    size = model.anatomy.vocab_size
    wrong = [token for token in tokens if not 0 <= token < size]
    if wrong or not len(tokens) or len(set(tokens)) >= size:
        what = f"token {wrong[0]} among them" if wrong else f"{len(tokens)} of {size}"
        raise ConfigError(
            f"The refusal tokens are not some of the model's ({what}).",
            fix="Give the ids that open a refusal, as TokenClasses.negative.",
        )


def _candidates(
    model: LanguageModel,
    prompts: SelectionPrompts,
    places: Sequence[str],
    template: str,
    options: SelectionOptions,
    journal: Journal | None,
) -> list[tuple[Direction, float]]:
    """Return the difference in means and its length at every position and depth allowed."""
    layers = model.anatomy.n_layers
    depths = [h for h in range(1, layers) if h < options.deepest * layers]
    if not depths:
        raise ConfigError(
            f"No depth of {layers} blocks lies below a share of {options.deepest}.",
            fix="Raise deepest.",
        )
    states = read_states(
        model,
        prompts.items.prompts,
        positions=places,
        template=template,
        hidden_indices=depths,
        journal=journal,
    )
    contrasts = {
        place: Contrast.of(
            states, prompts.items, position=place, hidden_indices=depths, splits=prompts.splits
        )
        for place in places
    }
    return [(one.leading(h), one.gaps[h]) for one in candidates(contrasts).values() for h in depths]


def _random(chosen: Pushed, seed: int, draw: int) -> Pushed:
    """Return a random direction, as long and at the same depth."""
    own = item_seed(seed, "selection control", draw)
    unit = random_vector(np.size(chosen.unit), 1.0, own)
    return Pushed(chosen.hidden_index, unit, chosen.length)
