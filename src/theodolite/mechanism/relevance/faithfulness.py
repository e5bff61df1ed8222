"""Is a token map true to the model: take away what it calls relevant, and look at the score.

Two curves per map: the score as the most relevant of the user's tokens go first, and as the least
relevant do. A faithful map keeps them apart; the area between them is its figure, and the area
between a random order and its reverse is the floor. Beside it stands the correlation with what each
token does when it alone is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.relevance.neutral import user_tokens
from theodolite.mechanism.relevance.query import Query, make_query
from theodolite.mechanism.relevance.removal import Variant, check_removal, scores_without
from theodolite.mechanism.relevance.result import Floats, Relevance
from theodolite.mechanism.states import encode_for_states
from theodolite.models.positions import resolve_position
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

SHARES = (0.1, 0.2, 0.4, 0.7)
DRAWS = 4
Order = list[int]


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How the scores fall as tokens are taken away in the order of some maps.

    Args:
        maps: names of the maps, as "lrp/attnlrp".
        targets: their names.
        removal: "neutral" or "mask".
        shares: of the user's tokens that were taken away.
        curves: scores, axes (map, end, prompt, share, target); ends are most and least relevant
            first.
        random: the same for random orders and their reverses, axes (draw, end, prompt, share,
            target).
        scores: of the whole prompts, axes (prompt, target).
        correlations: of each map with leaving tokens out one by one, axes (map, prompt, target);
            NaN where either is constant. None without an exact map.
        shuffled: the same of shuffled relevance; or None.
        goals: clusters of the prompts.
        seed: of random orders.
    """

    maps: tuple[str, ...]
    targets: tuple[str, ...]
    removal: str
    shares: tuple[float, ...]
    curves: Floats
    random: Floats
    scores: Floats
    correlations: Floats | None
    shuffled: Floats | None
    goals: tuple[str, ...]
    seed: int

    def areas(self) -> Floats:
        """Return the area between the curves in mean absolute scores; axes (map, prompt, target).

        Positive: taking away what the map calls most relevant lowers the score first.
        """
        return self._area(self.curves)

    def random_areas(self) -> Floats:
        """Return the same of random orders, axes (draw, prompt, target)."""
        return self._area(self.random)

    def _area(self, curves: Floats) -> Floats:
        gaps = curves[:, 1] - curves[:, 0]
        edges = np.array([0.0, *self.shares, 1.0])
        padded = np.pad(gaps, ((0, 0), (0, 0), (1, 1), (0, 0)))  # no gap at nothing and at all
        areas = np.trapezoid(padded, edges, axis=2)
        size = np.abs(self.scores).mean(0)
        return np.asarray(areas / np.where(size > 0, size, 1.0))

    def measurements(self) -> list[Measurement]:
        """Return areas beside those of random orders, and correlations, with intervals by goal."""
        areas, chance, found = self.areas(), self.random_areas(), []
        for m, name in enumerate(self.maps):
            for t, target in enumerate(self.targets):
                floor = Floor("a random order", float(chance[:, :, t].mean()))
                found.append(
                    mean(
                        f"relevance/faithfulness/{name}/{target}/{self.removal}",
                        areas[m, :, t].tolist(),
                        clusters=self.goals,
                        unit="mean absolute scores",
                        floor=floor,
                        seed=self.seed,
                    )
                )
                if self.correlations is not None and self.shuffled is not None:
                    found.append(self._correlation(m, t))
        return found

    def _correlation(self, m: int, t: int) -> Measurement:
        assert self.correlations is not None and self.shuffled is not None  # noqa: S101 - checked
        values = self.correlations[m, :, t]
        chance = self.shuffled[m, :, t]
        shuffled = chance[np.isfinite(chance)]
        return mean(
            f"relevance/correlation with leaving out/{self.maps[m]}/{self.targets[t]}",
            [float(v) if np.isfinite(v) else None for v in values],
            clusters=self.goals,
            unit="correlation",
            range=(-1.0, 1.0),
            reasons=[None if np.isfinite(v) else "a map is constant" for v in values],
            floor=Floor("shuffled relevance", float(shuffled.mean())) if len(shuffled) else None,
            seed=self.seed,
        )

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per map, target and share: mean scores over prompts."""
        chance = self.random.mean((0, 1, 2))
        return [
            {
                "map": name,
                "target": target,
                "removal": self.removal,
                "share": share,
                "most_relevant_first": float(self.curves[m, 0, :, s, t].mean()),
                "least_relevant_first": float(self.curves[m, 1, :, s, t].mean()),
                "random": float(chance[s, t]),
                "whole": float(self.scores[:, t].mean()),
            }
            for m, name in enumerate(self.maps)
            for t, target in enumerate(self.targets)
            for s, share in enumerate(self.shares)
        ]


def faithfulness(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Direction],
    maps: Sequence[Relevance],
    *,
    exact: Relevance | None = None,
    removal: str = "neutral",
    shares: Sequence[float] = SHARES,
    draws: int = DRAWS,
    force: bool = False,
    seed: int = 0,
) -> Faithfulness:
    """Take tokens away in the order of maps, from both ends, and in random orders.

    Args:
        model: the one the maps were made on.
        prompts, targets: those of the maps, in their order.
        maps: relevance to tokens, of several back ends, say.
        exact: relevance of the back end leave_one_out, to correlate the maps with.
        removal: "neutral" (another token stands in) or "mask" (no later token sees it).
        shares: of the user's tokens, between 0 and 1, ascending. The token that is read stays.
        draws: random orders per prompt.
        force: the targets may be of another model of the same width, as for `relevance`.
        seed: of the random orders.

    Raises:
        ConfigError: shares or removal are not usable.
        DataError: the maps are of other prompts, targets or models, or not of tokens.
        CapabilityError: see `removal.check_removal`.

    Note: 2 passes per map, target, prompt and share, and as many per random order; equal ones once.
    """
    check_removal(model, removal)
    _check(model, prompts, targets, maps, exact, shares)
    span = maps[0].targets == ("span",)
    position = maps[0].position
    query = make_query(
        *(model, targets, "tokens"), span=span, position=position, boundaries=(), force=force
    )
    encoded = encode_for_states(model, prompts, template=maps[0].template)
    places = [_removable(prompt, query) for prompt in encoded]
    orders = _orders(prompts, places, maps, query.n_targets, draws, seed)
    curves, scores = _curves(model, query, encoded, orders, shares, removal)
    ranked = curves[: len(orders) - draws].reshape(len(maps), query.n_targets, *curves.shape[1:])
    own_target = np.stack([ranked[:, t, ..., t] for t in range(query.n_targets)], axis=-1)
    correlations = shuffled = None
    if exact is not None:
        correlations = np.stack([_correlations(each, exact, places) for each in maps])
        shuffled = np.stack([_correlations(each, exact, places, seed=seed) for each in maps])
    return Faithfulness(
        maps=tuple(f"{m.backend}/{m.rules}" if m.rules else m.backend for m in maps),
        targets=maps[0].targets,
        removal=removal,
        shares=tuple(float(share) for share in shares),
        curves=own_target,
        random=curves[len(orders) - draws :],
        scores=scores,
        correlations=correlations,
        shuffled=shuffled,
        goals=maps[0].goals,
        seed=seed,
    )


def _check(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Direction],
    maps: Sequence[Relevance],
    exact: Relevance | None,
    shares: Sequence[float],
) -> None:
    if not maps:
        raise DataError("There are no maps to test.", fix="Give at least one.")
    edges = [0.0, *shares, 1.0]
    if not shares or any(a >= b for a, b in pairwise(edges)):
        raise ConfigError(
            "The shares of tokens to take away do not ascend between 0 and 1.",
            fix="Give numbers like 0.1 0.2 0.4.",
        )
    names = tuple(target.name for target in targets)
    for each in (*maps, *([exact] if exact is not None else [])):
        if (
            each.tokens is None
            or each.prompt_ids != tuple(prompt.id for prompt in prompts)
            or each.targets not in (names, ("span",))
            or each.targets != maps[0].targets
            or each.fingerprint != model.fingerprint
            or (each.position, each.template) != (maps[0].position, maps[0].template)
        ):
            raise DataError(
                f"A map of the back end {each.backend} is not of these prompts' tokens, these "
                "targets and this model.",
                fix="Make all maps with one list of prompts, one of targets and one model.",
            )


def _removable(prompt: Encoded, query: Query) -> list[int]:
    """Return the user's tokens that may go: not the first of all, not those that are read."""
    stays = {0, *resolve_position(prompt, query.position)}
    return [place for place in user_tokens(prompt) if place not in stays]


def _orders(
    prompts: Sequence[Prompt],
    places: Sequence[Sequence[int]],
    maps: Sequence[Relevance],
    n_targets: int,
    draws: int,
    seed: int,
) -> list[list[Order]]:
    """Return in which orders tokens go, axes (order, prompt): map by map, target by target, random.

    Most relevant first.
    """
    orders = [
        [_ranked(each, i, target, own) for i, own in enumerate(places)]
        for each in maps
        for target in range(n_targets)
    ]
    for draw in range(draws):
        seeds = [item_seed(seed, "removal", prompt.id, draw) for prompt in prompts]
        orders.append([_shuffled(own, s) for own, s in zip(places, seeds, strict=True)])
    return orders


def _ranked(relevance: Relevance, prompt: int, target: int, places: Sequence[int]) -> Order:
    values = relevance.of_prompt(prompt)[list(places), target]
    return [places[i] for i in np.argsort(-values, kind="stable")]


def _shuffled(places: Sequence[int], seed: int) -> Order:
    return [int(place) for place in np.random.default_rng(seed).permutation(list(places))]


def _curves(
    model: LanguageModel,
    query: Query,
    encoded: Sequence[Encoded],
    orders: Sequence[Sequence[Order]],
    shares: Sequence[float],
    removal: str,
) -> tuple[Floats, Floats]:
    """Return scores, axes (order, end, prompt, share, target), and those of whole prompts."""
    variants: dict[Variant, int] = {(i, ()): i for i in range(len(encoded))}
    shape = (len(orders), 2, len(encoded), len(shares))
    index = np.zeros(shape, np.int64)
    for o, end, i, s in np.ndindex(*shape):
        order = orders[o][i] if end == 0 else orders[o][i][::-1]
        gone = tuple(sorted(order[: round(shares[s] * len(order))]))
        index[o, end, i, s] = variants.setdefault((i, gone), len(variants))
    found = scores_without(model, query, encoded, list(variants), removal).numpy()
    return found[index], found[: len(encoded)]


def _correlations(
    relevance: Relevance, exact: Relevance, places: Sequence[Sequence[int]], seed: int | None = None
) -> Floats:
    """Return the correlation over each prompt's tokens, axes (prompt, target)."""
    found: Floats = np.full(relevance.scores.shape, np.nan)
    for i, own in enumerate(places):
        rows = list(own)
        if seed is not None:
            rows = _shuffled(own, item_seed(seed, "shuffled relevance", relevance.prompt_ids[i]))
        ours, theirs = relevance.of_prompt(i)[rows], exact.of_prompt(i)[list(own)]
        for t in range(found.shape[1]):
            if len(own) > 2 and ours[:, t].std() > 0 and theirs[:, t].std() > 0:
                found[i, t] = np.corrcoef(ours[:, t], theirs[:, t])[0, 1]
    return found
