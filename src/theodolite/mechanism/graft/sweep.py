"""Grafting: put the stream of a friendly prompt's last token into another prompt, layer by layer.

If a refusal is decided at some depth, replacing the stream below it changes what follows and
replacing it above does not find the decision any more. What a graft does is read at the first token
to come, beside controls that a donor has to beat: the state of another prompt of the same class, a
random vector of the donor's length (which leaves the range of streams and wrecks the model), and a
random step as large as the donor's. A prompt's own state must change nothing at any depth; that is
checked in every sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.engine.budget import row_budget
from theodolite.execution import Unit, map_units
from theodolite.mechanism.graft.effects import Effects
from theodolite.mechanism.graft.grafting import generate_grafted, grafted
from theodolite.mechanism.graft.plan import (
    SAME_CLASS,
    Options,
    Plan,
    cluster_of,
    depths,
    make_plan,
)
from theodolite.mechanism.graft.result import GraftResult
from theodolite.mechanism.lens.token_classes import TokenClasses
from theodolite.mechanism.states import States

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

__all__ = ["GraftResult", "generate_grafted", "graft_sweep", "grafted"]


def graft_sweep(
    model: LanguageModel,
    recipients: Sequence[Prompt],
    donors: Sequence[Prompt] | States,
    *,
    classes: TokenClasses,
    hidden_indices: Literal["all"] | Sequence[int] = "all",
    kinds: Sequence[str] = ("mean",),
    mode: str = "replace",
    alpha: float = 1.0,
    direction: torch.Tensor | None = None,
    window: int = 1,
    controls: bool = True,
    template: str = "auto",
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> GraftResult:
    """Graft donors' states into recipients at every depth and read the first token to come.

    Source: arXiv:2406.05644; controls, intervals and the exact cached sweep are ours.

    Args:
        model: an open local model; active interventions act.
        recipients: prompts whose last token's stream is replaced.
        donors: prompts, or their states at `prompt_last` (of a model with the same width).
        classes: tokens that open friendly answers and refusals.
        hidden_indices: 0 (embeddings) to n_layers.
        kinds: "mean" (mean state of all donors), "fixed" (the first donor), "matched" (the donor
            whose prompt has the nearest number of tokens).
        mode: "replace", "interpolate" (the share `alpha` of the way) or "project" (only the
            component along `direction`).
        direction: axes (d_model), or (n_layers + 1, d_model) for one per hidden_index.
        window: graft at so many consecutive hidden indices, beginning with the one named.
        controls: also graft the state of another recipient of the same label, a random vector of
            the length of the first kind's donor (not in mode "project"), and the recipient's own
            state moved as far as that donor moves it, along a random direction.
        template: "chat", "none" or "auto", for recipients and donors alike.
        seed: of partners and random vectors.
        journal, progress: of finished depths; a sweep can be stopped and resumed.

    Raises:
        CapabilityError, ConfigError: the model shows no hidden states; an option does not fit.
        DataError: there are no recipients or donors, or their widths differ.
        NumericsError: a result is not finite, or an own state changed something.
    """
    model.require("hidden_states", "interventions")
    indices = depths(model, hidden_indices)
    options = Options(
        classes=classes,
        kinds=tuple(kinds),
        mode=mode,
        alpha=alpha,
        direction=direction,
        window=window,
        controls=controls,
        template=template,
        seed=seed,
    )
    options.check(model)
    plan = make_plan(model, recipients, donors, indices, options, journal)
    parts = _neighbours(indices, model, plan)
    units = [Unit(plan.key(model, part), part, len(part)) for part in parts]
    work = Effects(model, plan)
    results = map_units(units, work, journal=journal, progress=progress, label="graft")
    return _result(model, recipients, plan, indices, results)


def _neighbours(indices: Sequence[int], model: LanguageModel, plan: Plan) -> list[tuple[int, ...]]:
    """Cut the depths into units: neighbours share passes until a pass has rows enough."""
    longest = max(len(item.ids) for item in plan.encoded)
    rows = len(plan.encoded) * len(plan.names)
    step = max(1, row_budget(model, longest) // rows) if plan.options.window == 1 else 1
    return [tuple(indices[i : i + step]) for i in range(0, len(indices), step)]


def _result(
    model: LanguageModel,
    recipients: Sequence[Prompt],
    plan: Plan,
    indices: tuple[int, ...],
    results: Sequence[Mapping[str, Any]],
) -> GraftResult:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([np.asarray(result[name]) for result in results])

    names = plan.names[:-1]
    arrays = {name: joined(name) for name in ("log_odds", "refusing", "kl", "top")}
    if SAME_CLASS in names:  # a recipient that is alone in its class has no such control
        alone = [i for i, partner in enumerate(plan.partners) if partner == i]
        for name in ("log_odds", "refusing", "kl"):
            arrays[name][:, names.index(SAME_CLASS), alone] = np.nan
    intact = {name: np.asarray(results[0][f"intact_{name}"]) for name in arrays if name != "kl"}
    seen = sorted({int(token) for token in (*arrays["top"].flat, *intact["top"])})
    return GraftResult(
        **arrays,
        intact_log_odds=intact["log_odds"],
        intact_refusing=intact["refusing"],
        intact_top=intact["top"],
        own_error=joined("own_error"),
        hidden_indices=indices,
        donors=names,
        sources={name: _sources(name, plan) for name in names},
        prompt_ids=tuple(prompt.id for prompt in recipients),
        clusters=tuple(cluster_of(prompt) for prompt in recipients),
        words={token: model.tokenizer.decode([token]) for token in seen},
        refusing_tokens=tuple(t for t in seen if t in set(plan.options.classes.negative)),
        classes=plan.options.classes.name,
        n_layers=model.anatomy.n_layers,
        mode=plan.options.mode,
        alpha=plan.options.alpha,
        window=plan.options.window,
        seed=plan.options.seed,
    )


def _sources(name: str, plan: Plan) -> tuple[str, ...]:
    """Return the id of the donor of each recipient."""
    donors, count = plan.donors.prompt_ids, len(plan.encoded)
    if name == "matched":
        return tuple(donors[place] for place in plan.matched)
    if name == SAME_CLASS:
        return tuple(plan.encoded[place].prompt_id for place in plan.partners)
    one = {"mean": f"mean of {len(donors)}", "fixed": donors[0]}
    return (one.get(name, "random"),) * count
