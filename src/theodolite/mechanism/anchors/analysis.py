"""From pairs of chats to effects: lens, attention, cut edges and swapped states of every pair."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from theodolite.engine.interventions import interventions_key
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.anchors.knockout import Cut, EdgeKnockout, Head, all_heads
from theodolite.mechanism.anchors.patching import patched, places_of
from theodolite.mechanism.anchors.reading import (
    attention_mass,
    gaps,
    lens_gaps,
    read_streams,
)
from theodolite.mechanism.anchors.result import AnchorResult
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.mechanism.anchors.pairs import Pair, Pairs
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1
LEAST_PAIRS: Final = 2
HALVES_FROM: Final = 4  # questions; with fewer, heads are chosen on those they are reported on


@dataclass(frozen=True)
class Settings:
    """How the path of a plant is looked for.

    Args:
        heads: how many heads are cut together, chosen by what cutting each alone does.
        draws: random sets of heads, and random places, beside them.
        least_mass: heads that give the span less attention than this are not cut one by one; their
            effect counts as 0. 0 cuts every head.
    """

    heads: int = 8
    draws: int = 20
    least_mass: float = 0.0

    def check(self, model: LanguageModel) -> None:
        """Refuse numbers that make no sense for a model.

        Raises: ConfigError: naming the setting.
        """
        total = model.anatomy.n_layers * model.anatomy.n_heads
        if not 1 <= self.heads <= total:
            raise ConfigError(f"heads is {self.heads}.", fix=f"Use 1 to {total}.")


def anchor(
    model: LanguageModel,
    pairs: Pairs,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> AnchorResult:
    """Follow a planted answer from its tokens to the answer slot.

    Source: ours; the parts are the logit lens, attention knock-out (arXiv:2304.14767) and
    activation patching.

    Args:
        model: an open local model; active interventions act.
        pairs: chats that differ in the planted value alone.
        seed: of the halves, the random heads and the random places.
        journal, progress: keeps finished pairs, and is told of them.

    Raises:
        DataError: fewer than two pairs.
        CapabilityError: the model's family computes attention by itself.
        ConfigError: a setting does not fit the model.

    Note: per pair one pass for attention, L H / B decoding steps for heads, L short runs to patch.
    """
    settings = settings or Settings()
    settings.check(model)
    if len(pairs) < LEAST_PAIRS:
        raise DataError(
            f"{len(pairs)} questions make a pair of chats.",
            fix=f"Give {LEAST_PAIRS} or more whose wrong answer the slot can tell from gold.",
        )
    kept: dict[str, Any] = {"journal": journal, "progress": progress}
    streams = read_streams(model, pairs.pairs, **kept)
    lens = lens_gaps(model, streams.slot, pairs.pairs)
    places = _common_places(pairs.pairs)
    single = _each(
        model,
        pairs.pairs,
        "anchors",
        [settings.least_mass, places],
        lambda pair: measure_pair(model, pair, settings.least_mass, places),
        kept,
    )
    stacked = _stacked(single)
    fitted = _fitted(pairs.pairs, seed)
    chosen = _strongest(stacked["single"], lens, fitted, settings.heads)
    sets = random_sets(model, settings, seed)
    together = _each(
        model,
        pairs.pairs,
        "anchor sets",
        [chosen, sets, settings.draws, seed],
        lambda pair: measure_sets(model, pair, chosen, sets, settings.draws, seed),
        kept,
    )
    stacked |= _stacked(together)
    return AnchorResult(
        ids=tuple(pair.id for pair in pairs.pairs),
        clusters=tuple(pair.cluster for pair in pairs.pairs),
        fitted=tuple(fitted),
        lens=lens.numpy(),
        chosen=tuple(chosen),
        moved=_moved(streams.prompt).numpy(),
        least_mass=settings.least_mass,
        left_out=dict(pairs.left_out),
        patched_places=tuple(places),
        **{name: value.numpy() for name, value in stacked.items()},
    )


def _common_places(pairs: Sequence[Pair]) -> list[str]:
    """Return the places that every pair has.

    Tokenizers that join a full stop with what follows it leave some steps without an end.
    """
    found = [places_of(pair) for pair in pairs]
    return [name for name in found[0] if all(name in places for places in found)]


def _stacked(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def measure_pair(
    model: LanguageModel, pair: Pair, least_mass: float, places: Sequence[str]
) -> dict[str, Tensor]:
    """Return what one pair shows before any heads are chosen.

    Args:
        least_mass: of `Settings`.
        places: names of `places_of` that are patched.

    Returns: gaps in nats (float64) by what was done to the attacked chat: `whole` axes (), all
        edges from the slot to the span cut; `later` axes (), those of every later token, too;
        `layers` (layer), `single` (layer, head); `patches` (layer, place); and attention to the
        span: `mass` and `step_mass` (chat, layer, head) at the slot and, averaged, at the ends of
        steps.
    """
    anatomy = model.anatomy
    read = [pair.slot, *pair.steps]
    mass = torch.stack(
        [attention_mass(model, chat, pair.span, read) for chat in (pair.neutral, pair.attacked)]
    )
    keys = tuple(range(*pair.span))
    slot = EdgeKnockout(model, pair.attacked, pair.slot)
    every = [(layer, head) for layer in range(anatomy.n_layers) for head in range(anatomy.n_heads)]
    worth = [head for head in every if float(mass[1, 0][head]) >= least_mass]
    cuts = [Cut(frozenset(), ()), Cut(all_heads(model), keys)]
    cuts += [Cut(all_heads(model, [layer]), keys) for layer in range(anatomy.n_layers)]
    cuts += [Cut(frozenset([head]), keys) for head in worth]
    found = gaps(model, slot.run(cuts), pair)
    single = torch.full((anatomy.n_layers, anatomy.n_heads), float(found[0])).double()
    for head, value in zip(worth, found[2 + anatomy.n_layers :]):
        single[head] = value
    later = EdgeKnockout(model, pair.attacked, pair.span[1]).run([Cut(all_heads(model), keys)])
    tokens = places_of(pair)
    ends = patched(model, pair, {name: tokens[name] for name in places})
    patches = gaps(model, ends.flatten(0, 1), pair).reshape(ends.shape[:2])
    steps = mass[:, 1:].mean(1) if pair.steps else torch.zeros_like(mass[:, 0])
    return {
        "whole": found[1].clone(),
        "later": gaps(model, later, pair)[0].clone(),
        "layers": found[2 : 2 + anatomy.n_layers].clone(),
        "single": single,
        "patches": patches,
        "mass": mass[:, 0].clone(),
        "step_mass": steps.clone(),
    }


def measure_sets(
    model: LanguageModel,
    pair: Pair,
    chosen: Sequence[Head],
    sets: Sequence[Sequence[Head]],
    draws: int,
    seed: int,
) -> dict[str, Tensor]:
    """Return gaps of one pair, in nats, with several heads cut at once.

    Returns: `together` axes (): the chosen heads; `random_heads` (draw): as many heads at random;
        `random_keys` and `random_keys_all` (draw): the chosen heads, and all of them, cut from as
        many tokens at random outside the span.
    """
    keys, width = tuple(range(*pair.span)), pair.span[1] - pair.span[0]
    dice = random.Random(item_seed(seed, "random places", pair.id))
    # The first token gathers attention that has nowhere to go; it stands for no place.
    free = [place for place in range(1, pair.slot) if place not in keys]
    places = [tuple(sorted(dice.sample(free, min(width, len(free))))) for _ in range(draws)]
    cuts = [Cut(frozenset(chosen), keys)]
    cuts += [Cut(frozenset(some), keys) for some in sets]
    cuts += [Cut(frozenset(chosen), some) for some in places]
    cuts += [Cut(all_heads(model), some) for some in places]
    found = gaps(model, EdgeKnockout(model, pair.attacked, pair.slot).run(cuts), pair)
    ends = [1, 1 + len(sets), 1 + len(sets) + draws]
    return {
        "together": found[0].clone(),
        "random_heads": found[ends[0] : ends[1]].clone(),
        "random_keys": found[ends[1] : ends[2]].clone(),
        "random_keys_all": found[ends[2] :].clone(),
    }


def random_sets(model: LanguageModel, settings: Settings, seed: int) -> list[list[Head]]:
    """Return sets of heads drawn at random, the same for every pair."""
    every = sorted(all_heads(model))
    return [
        sorted(random.Random(item_seed(seed, "random heads", draw)).sample(every, settings.heads))
        for draw in range(settings.draws)
    ]


def _each(
    model: LanguageModel,
    pairs: Sequence[Pair],
    label: str,
    settings: Sequence[Any],
    work: Callable[[Pair], dict[str, Tensor]],
    kept: Mapping[str, Any],
) -> list[dict[str, Tensor]]:
    """Return what `work` finds for every pair; finished pairs come from the journal."""
    common = [model.fingerprint, interventions_key(model), *settings]
    keys = [content_key(label, METHOD_VERSION, common, pair.key, pair.id) for pair in pairs]
    units = [Unit(key, (place,), 1) for place, key in enumerate(keys)]
    return map_units(units, lambda unit: work(pairs[unit.items[0]]), label=label, **kept)


def _fitted(pairs: Sequence[Pair], seed: int) -> list[bool]:
    """Return which pairs heads are chosen on; questions are drawn whole, half of them."""
    clusters = sorted(
        {pair.cluster for pair in pairs}, key=lambda name: item_seed(seed, "half", name)
    )
    if len(clusters) < HALVES_FROM:
        return [True] * len(pairs)
    half = set(clusters[: len(clusters) // 2])
    return [pair.cluster in half for pair in pairs]


def _strongest(single: Tensor, lens: Tensor, fitted: Sequence[bool], count: int) -> list[Head]:
    """Return the heads whose edges carry most of the effect on the fitted pairs, in nats."""
    moved = single - lens[:, 1, -1][:, None, None]
    towards = (lens[:, 0, -1] - lens[:, 1, -1]).sign()[:, None, None]
    own = (moved * towards)[torch.tensor(fitted)].mean(0)
    order = own.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [(place // own.shape[1], place % own.shape[1]) for place in order]


def _moved(prompt: Tensor) -> Tensor:
    """Return attacked minus neutral stream at the prompt's last token, after every block."""
    return prompt[:, 1, 1:] - prompt[:, 0, 1:]
