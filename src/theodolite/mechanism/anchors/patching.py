"""Put the neutral chat's states into the attacked one, block by block and place by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.engine.suffix import SuffixSweep
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.mechanism.anchors.pairs import Pair
    from theodolite.models.handle import LanguageModel

SPAN, STEPS, SLOT, EVERYWHERE = "span", "steps", "slot", "everywhere"


def places_of(pair: Pair) -> dict[str, tuple[int, ...]]:
    """Return the tokens that are patched together, by name; step ends only where there are any."""
    found = {SPAN: tuple(range(*pair.span)), SLOT: (pair.slot,)}
    return found | ({STEPS: pair.steps} if pair.steps else {})


def patched(model: LanguageModel, pair: Pair, places: Mapping[str, Sequence[int]]) -> torch.Tensor:
    """Return the end of the attacked chat with the neutral chat's stream put in at one depth.

    Args:
        model: an open local model; active interventions act in both chats.
        pair: chats of equal length.
        places: name -> tokens that are replaced together, at the planted span or after it.

    Returns: output of the final norm at the slot, axes (layer, place, d_model); the stream entering
        block `layer` is what is replaced.

    Raises: ConfigError: a place lies before the span, where both chats are equal anyway.
    """
    start = pair.span[0]
    for name, tokens in places.items():
        if not tokens or min(tokens) < start or max(tokens) > pair.slot:
            raise ConfigError(
                f"The place {name} holds no token of the chat from the planted span on.",
                fix=f"Use tokens {start} to {pair.slot}.",
            )
    sweep = SuffixSweep(model, [pair.attacked], prefix=start)
    other = SuffixSweep(model, [pair.neutral], prefix=start)
    masks = torch.zeros(len(places), 1, sweep.lengths[0], 1, dtype=torch.bool)
    for row, tokens in enumerate(places.values()):
        masks[row, 0, [token - start for token in tokens]] = True
    masks = masks.to(model.device)
    found = []
    for layer in range(model.anatomy.n_layers):
        intact, new = (one.values(layer)[None] for one in (sweep, other))
        variants = torch.where(masks.to(intact.device), new, intact)
        found.append(sweep.run(layer, variants, logits=False).final[:, 0])
    return torch.stack(found)
