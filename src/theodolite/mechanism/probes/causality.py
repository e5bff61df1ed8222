"""Are the directions that probes read used by the network, or only readable?

At one layer the direction is taken out of the stream of harmful prompts, at all positions, or the
distance between the classes is put into that of benign prompts; the rest of the network runs on
from there. What counts is the change of refusal log-odds at the end of the prompt, beside random
directions that change every state by the same length. A measurement only: nothing is kept of the
changed network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.engine import SuffixSweep, next_token
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.eraser import Eraser
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.lens.token_classes import TokenClasses, refusal_log_odds
from theodolite.mechanism.probes.causality_result import ADDITION, REMOVAL, CausalityResult, Effect
from theodolite.mechanism.probes.held_out import Floats, fit_apart
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.states import States, encode_for_states, read_states
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1
ERASE: Final = ("projection", "leace")
Change = Callable[[torch.Tensor], torch.Tensor]
# A sweep keeps every state of its prompts, so they come in portions.
_AT_ONCE: Final = 16


def probe_causality(
    model: LanguageModel,
    directions: Mapping[int, Floats],
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    classes: TokenClasses,
    *,
    hidden_indices: Sequence[int] | None = None,
    fitted_on: tuple[States, Items] | None = None,
    position: str = "instruction_last",
    template: str = "auto",
    controls: int = 8,
    erase: str = "projection",
    seed: int = 0,
    progress: Progress | None = None,
) -> CausalityResult:
    """Take directions out of harmful prompts and put them into benign ones, layer by layer.

    Source: erasing as in arXiv:2306.03819; controls of equal size and the labels are ours.
    Args:
        directions: hidden_index -> a direction in raw coordinates, axes (d_model).
        harmful, benign: prompts the directions were not fitted on.
        classes: tokens that open a friendly answer or a refusal.
        hidden_indices: which of the directions (default: all).
        fitted_on: states and items that say how far apart the classes lie, and that the eraser is
            fitted on (default: the prompts' own).
        position: where the directions were read.
        template, progress: as for `read_states`.
        controls: random directions per place, at least two; of three, an effect must lie 5 standard
            deviations beyond theirs to count, of eight 2.5.
        erase: "projection" takes out the component along the direction; "leace" takes out what any
            linear probe could read at `position`, changing the states least.
        seed: of the random directions.

    Returns: the changes per place and prompt; `label` says what they show.

    Raises:
        CapabilityError: the model does not let its stream be changed.
        ConfigError: an unknown option, or a place without a direction.
        DataError: a direction does not fit the model, or a class of prompts is empty.

    Note: exact: the blocks below are unaffected and not run again. Deterministic.
    """
    model.require("hidden_states", "interventions", "logprobs")
    indices = tuple(sorted(directions) if hidden_indices is None else hidden_indices)
    _check(model, directions, indices, harmful, benign, controls, erase)
    items = make_items({HARMFUL: harmful, BENIGN: benign}, dedupe=False)
    read = read_states(
        model, items.prompts, positions=(position,), template=template, hidden_indices=indices
    )
    states, fitted = fitted_on or (read, items)
    how = (position, controls, erase, seed)
    plans = [_Plan.of(states, fitted, index, directions[index], *how) for index in indices]
    sides = {REMOVAL: items.select(items.positive), ADDITION: items.select(~items.positive)}
    effects = {
        kind: _effect(model, chosen, kind, plans, classes, template, progress)
        for kind, chosen in sides.items()
    }
    return CausalityResult(
        hidden_indices=indices,
        removal=effects[REMOVAL],
        addition=effects[ADDITION],
        projections=_projections(read, plans, position, (*harmful, *benign)),
        alphas=np.array([plan.alpha for plan in plans]),
        position=position,
        erase=erase,
        classes=classes.name,
        model=model.name,
        seed=seed,
    )


def probe_directions(
    states: States,
    items: Items,
    *,
    position: str = "instruction_last",
    probe: str = "logistic",
    hidden_indices: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[int, Floats]:
    """Return the direction of a probe at each place, in raw coordinates, for `probe_causality`.

    Args:
        states: hold every item.
        items: two classes.
        probe: a linear one of `PROBES`.
        hidden_indices: default: all that were read but the embeddings.

    Raises: ConfigError: the probe has no direction, or a place was not read.
    """
    rows = states.rows(items.ids)
    known = [h for h in states.hidden_indices if h > 0]
    found = {}
    for index in known if hidden_indices is None else hidden_indices:
        x = rows.at(index, position)
        linear = fit_apart(probe, x, items.labels, items.groups, x[:1], seed=seed).direction()
        if linear is None:
            raise ConfigError(f"The probe '{probe}' has no direction.", fix="Use a linear probe.")
        found[index] = np.asarray(linear[0], np.float64)
    return found


@dataclass(frozen=True, eq=False)
class _Plan:
    """The changes made at one place.

    Args:
        unit: the direction, of length 1, axes (d_model).
        random: directions of length 1, axes (control, d_model).
        alpha: distance of the class means along the direction, from benign to harmful.
        eraser: takes out the concept; None takes out the component.
    """

    hidden_index: int
    unit: Floats
    random: Floats
    alpha: float
    eraser: Eraser | None

    @classmethod
    def of(
        cls,
        states: States,
        items: Items,
        index: int,
        direction: Floats,
        position: str,
        controls: int,
        erase: str,
        seed: int,
    ) -> _Plan:
        """Measure the distance and draw the random directions."""
        x = states.rows(items.ids).at(index, position)
        unit = direction / np.linalg.norm(direction)
        apart = x[items.positive].mean(0) - x[~items.positive].mean(0)
        seeds = [item_seed(seed, "random direction", index, k) for k in range(controls)]
        random = np.stack([random_vector(len(unit), 1.0, one) for one in seeds])
        labels = items.positive.astype(np.int64)
        eraser = Eraser.leace(x, labels) if erase == "leace" else None
        return cls(index, unit, random, float(apart @ unit), eraser)

    def changes(self, kind: str) -> list[Change]:
        """Return the change along the direction, then one of the same size per random one."""
        own = self._added if kind == ADDITION else self._removed

        def along(control: int) -> Change:
            random = torch.from_numpy(self.random[control])

            def fn(x: torch.Tensor) -> torch.Tensor:
                size: torch.Tensor = (own(x) - x).norm(dim=-1, keepdim=True)
                return x + size * random.to(x)

            return fn

        return [own, *(along(control) for control in range(len(self.random)))]

    def _added(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * torch.from_numpy(self.unit).to(x)

    def _removed(self, x: torch.Tensor) -> torch.Tensor:
        if self.eraser is None:
            unit = torch.from_numpy(self.unit).to(x)
            return x - (x @ unit)[..., None] * unit
        centre, along, reads = (
            torch.from_numpy(part).to(x)
            for part in (self.eraser.centre, self.eraser.along, self.eraser.reads)
        )
        return x - ((x - centre) @ reads.T) @ along


def _effect(
    model: LanguageModel,
    items: Items,
    kind: str,
    plans: Sequence[_Plan],
    classes: TokenClasses,
    template: str,
    progress: Progress | None,
) -> Effect:
    """Make one kind of change at every place and compare with the intact model."""
    encoded = encode_for_states(model, items.prompts, template=template)
    intact = _refusal(next_token(model, encoded), classes)
    if progress is not None:
        progress.start(f"causality, {kind}", len(encoded) * len(plans))
    variants = 1 + len(plans[0].random)
    found = np.zeros((2, len(plans), variants, len(encoded)))
    for portion in _portions(encoded):
        top = max(plan.hidden_index for plan in plans) == model.anatomy.n_layers
        sweep = SuffixSweep(
            model, [encoded[i] for i in portion], sites=("resid_post",) if top else ()
        )
        for place, plan in enumerate(plans):
            logits = _changed(sweep, plan.hidden_index, plan.changes(kind))
            found[:, place, :, portion] = np.moveaxis(_refusal(logits, classes), -1, 0)
            if progress is not None:
                progress.advance(len(portion))
    moved = found - intact[:, None, None]
    return Effect(
        kind=kind,
        prompt_ids=items.ids,
        groups=items.groups,
        intact=intact[0],
        intact_mass=intact[1],
        change=moved[0, :, 0],
        mass=moved[1, :, 0],
        random=moved[0, :, 1:],
        random_mass=moved[1, :, 1:],
    )


def _portions(encoded: Sequence[Encoded]) -> Iterator[list[int]]:
    """Yield the prompts in portions of similar length."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
    for begin in range(0, len(order), _AT_ONCE):
        yield order[begin : begin + _AT_ONCE]


def _changed(sweep: SuffixSweep, hidden_index: int, changes: Sequence[Change]) -> torch.Tensor:
    """Return the logits after changes at all positions, axes (variant, prompt, vocab).

    Note: the stream after a block is the input of the next one; only the last has none.
    """
    top = sweep.model.anatomy.n_layers
    last = hidden_index == top
    layer, site = (top - 1, "resid_post") if last else (hidden_index, "resid_pre")

    def every(values: torch.Tensor) -> torch.Tensor:
        return torch.stack([change(values.float()) for change in changes])

    shared = every(sweep.values(layer, site, prefix=True)[0]) if sweep.prefix else None
    logits = sweep.run(layer, every(sweep.values(layer, site)), site=site, prefix=shared).logits
    assert logits is not None  # noqa: S101 - asked for by default
    # Some models pad their output layer beyond the vocabulary.
    return logits[..., : sweep.model.anatomy.vocab_size]


def _refusal(logits: torch.Tensor, classes: TokenClasses) -> Floats:
    """Return log-odds for a refusal and probability of refusing tokens, axes (2, ...)."""
    logprobs = logits.float().log_softmax(-1)
    odds = -refusal_log_odds(logprobs, classes)
    mass = logprobs[..., list(classes.negative)].exp().sum(-1)
    return torch.stack([odds, mass]).double().cpu().numpy()


def _projections(
    states: States, plans: Sequence[_Plan], position: str, prompts: Sequence[Prompt]
) -> Floats:
    """Return the states' components along the directions, axes (hidden_index, prompt)."""
    rows = states.rows([prompt.id for prompt in prompts])
    return np.stack([rows.at(plan.hidden_index, position) @ plan.unit for plan in plans])


def _check(
    model: LanguageModel,
    directions: Mapping[int, Floats],
    indices: Sequence[int],
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    controls: int,
    erase: str,
) -> None:
    if erase not in ERASE:
        raise ConfigError(f"There is no way '{erase}' to erase.", fix=did_you_mean(erase, ERASE))
    if controls < 2:
        raise ConfigError(
            f"{controls} random directions do not show how far random ones differ.",
            fix="Use at least 2.",
        )
    missing = [index for index in indices if index not in directions]
    if missing or not indices:
        raise ConfigError(
            f"There is no direction for hidden index {missing[0]}."
            if missing
            else "No direction is given.",
            fix="Fit one with probe_directions.",
        )
    if not harmful or not benign:
        raise DataError(
            "Harmful and benign prompts are both needed.", fix="Give at least two of each."
        )
    for index in indices:
        direction = np.asarray(directions[index])
        usable = direction.shape == (model.anatomy.d_model,) and np.isfinite(direction).all()
        if not usable or not direction.any():
            raise DataError(
                f"The direction for hidden index {index} has shape {direction.shape}, is zero or "
                f"not finite; the model is {model.anatomy.d_model} wide.",
                fix="Fit it on this model.",
            )
