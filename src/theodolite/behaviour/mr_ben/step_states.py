"""Read the stream at chosen tokens of each prompt, every prompt at tokens of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.engine.budget import token_budget
from theodolite.engine.capture import Reader, Request
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.plan import plan_batches
from theodolite.execution import Unit, map_units
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1
SITE: Final = "resid_post"


def states_at(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    tokens: Sequence[Sequence[int]],
    layers: Sequence[int],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the output of blocks at tokens of prompts.

    Args:
        model: an open local model; active interventions act.
        prompts: as tokens.
        tokens: the places that are read of each prompt.
        layers: blocks, ascending.
        journal: finished passes are kept there.

    Returns: axes (place, layer, d_model), the places of the first prompt first.

    Raises: NumericsError: a value is not finite.
    """
    width = model.anatomy.d_model
    if not prompts:
        return np.zeros((0, len(layers), width), np.float32)
    most = max(map(len, tokens))
    request = Request((SITE,), tuple(layers), tuple(range(most)), "float32")
    sequences = [one.ids for one in prompts]
    budget = token_budget(model, max(map(len, sequences)))
    limits = [shareable(model, len(ids)) for ids in sequences]
    # Equal prompts may still be read at other places.
    kinds = [tuple(own) for own in tokens]
    batches = plan_batches(sequences, budget, limits=limits, kinds=kinds)
    common = [model.fingerprint, interventions_key(model), list(layers)]
    units = []
    for batch in batches:
        rows = [(prompts[i].key, list(tokens[i])) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("states at tokens", METHOD_VERSION, common, rows, shape)
        units.append(Unit(key, batch.items, len(batch.items)))
    targets = [[(token, place, 1.0) for place, token in enumerate(own)] for own in tokens]
    plans = dict(zip((unit.key for unit in units), batches))
    reader = Reader(model, prompts, targets, request, plans)

    def work(unit: Unit) -> dict[str, Any]:
        values = reader.read(plans[unit.key])[SITE].numpy()
        own = [values[row, :, : len(tokens[item])] for row, item in enumerate(unit.items)]
        # Axes (layer, place, d_model) of each prompt, one after the other by place.
        return {"states": np.concatenate(own, axis=1)}

    found: dict[int, NDArray[np.float32]] = {}
    results = map_units(units, work, journal=journal, progress=progress, label="states")
    for unit, result in zip(units, results, strict=True):
        ends = np.cumsum([len(tokens[item]) for item in unit.items])
        parts = np.split(np.asarray(result["states"], np.float32), ends[:-1], axis=1)
        found.update(zip(unit.items, parts, strict=True))
    every = np.concatenate([found[place] for place in range(len(prompts))], axis=1)
    return np.ascontiguousarray(every.transpose(1, 0, 2))
