"""What directions do to a model: refusal after ablation, after addition, and drift on the way.

A direction is ablated wherever the stream is written, and added at the depth it comes from. All of
them run on the same prompts together, and only what they change is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.engine import DirectionIntervention, apply, capture
from theodolite.engine.edited_sweep import EditedSweep
from theodolite.mechanism.distributions import divergence, set_log_odds

if TYPE_CHECKING:
    from theodolite.engine.variants import Variant
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
_AT_ONCE: Final = 16  # directions whose rows run together


@dataclass(frozen=True, eq=False)
class Pushed:
    """A vector, with the length that carries one class to the other.

    Args:
        hidden_index: the depth it was found at; it is added to what block `hidden_index` reads.
        unit: length 1, axes (d_model).
        length: in units of the stream.
    """

    hidden_index: int
    unit: Floats
    length: float

    def ablation(self, n_layers: int) -> Variant:
        """Return the interventions that keep it out of the stream, at all positions.

        Source: arXiv:2406.11717. Taking it out of the embeddings and of all that
            blocks add takes it out of what every block reads.
        """
        places = [(0, "resid_pre")]
        places += [(layer, site) for layer in range(n_layers) for site in ("attn_out", "mlp_out")]
        return tuple(
            DirectionIntervention(layer=layer, site=site, operator="ablate", direction=self._unit)
            for layer, site in places
        )

    def addition(self, n_layers: int) -> Variant:
        """Return the intervention that adds it where it was found, at all positions."""
        last = self.hidden_index == n_layers
        return (
            DirectionIntervention(
                layer=self.hidden_index - last,
                site="resid_post" if last else "resid_pre",
                operator="add",
                direction=self._unit,
                alpha=self.length,
            ),
        )

    @property
    def _unit(self) -> torch.Tensor:
        return torch.from_numpy(self.unit)


@dataclass(frozen=True, eq=False)
class Effects:
    """Readings of harmful and benign prompts under each direction.

    Args:
        harmful, benign: refusal scores of the intact model, nats, axis (prompt).
        ablated: scores of harmful prompts without the direction, axes (direction, prompt).
        induced: scores of benign prompts with it added, axes (direction, prompt).
        drift: KL of the next token of benign prompts without it, nats, axes (direction, prompt).
        similarity: cosine of the harmful prompts' mean state without it to the benign mean, plus
            that of the benign ones with it to the harmful mean; axis (direction); NaN where no
            states were read.
        harmful_goals, benign_goals: of the prompts.
    """

    harmful: Floats
    benign: Floats
    ablated: Floats
    induced: Floats
    drift: Floats
    similarity: Floats
    harmful_goals: tuple[str, ...]
    benign_goals: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Sides:
    """Encoded prompts of both classes with their goals."""

    harmful: tuple[Encoded, ...]
    benign: tuple[Encoded, ...]
    harmful_goals: tuple[str, ...]
    benign_goals: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """What is read of a model under a direction.

    Args:
        model: an open local model; active interventions act.
        refusal_tokens: ids whose log-odds as next token are the refusal score.
        depths: hidden indices from 1 whose states are read too; none reads none.
        positions: where.
    """

    model: LanguageModel
    refusal_tokens: tuple[int, ...]
    depths: tuple[int, ...] = ()
    positions: tuple[str, ...] = ()

    def logprobs(self, final: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of the next token from final states, float64."""
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        return logits[..., : self.model.anatomy.vocab_size].double().log_softmax(-1)

    def scores(self, logprobs: torch.Tensor) -> Floats:
        """Return refusal scores in nats; a prompt above 0 is refused more likely than not."""
        found: Floats = set_log_odds(logprobs, self.refusal_tokens).cpu().numpy()
        return found

    def states(self, prompts: Sequence[Encoded], variant: Variant = ()) -> Floats:
        """Return mean states under interventions, axes (depth, position, d_model)."""
        with apply(self.model, *variant):
            seen = capture(
                self.model,
                prompts,
                sites=("resid_post",),
                layers=[h - 1 for h in self.depths],
                positions=self.positions,
            )
        return np.asarray(seen.get("resid_post").double().numpy().mean(0))


def effects_of(
    reader: Reader,
    sides: Sides,
    directions: Sequence[Pushed],
    *,
    progress: Progress | None = None,
) -> Effects:
    """Read prompts without and with each direction.

    Args:
        reader: with depths where `similarity` is wanted, which costs two captures per direction.
        sides: prompts of both classes.
        directions: at least one.
        progress: told of directions.
    """
    layers, first = reader.model.anatomy.n_layers, len(sides.harmful)
    every = EditedSweep(reader.model, [*sides.harmful, *sides.benign])
    calm = EditedSweep(reader.model, sides.benign)
    if progress is not None:
        progress.start("directions tried", len(directions))
    ablated, drift, induced = [], [], []
    with torch.inference_mode():
        intact = reader.logprobs(every.final)
        for start in range(0, len(directions), _AT_ONCE):
            some = directions[start : start + _AT_ONCE]
            for final in every.run([each.ablation(layers) for each in some]):
                logprobs = reader.logprobs(final)
                ablated.append(reader.scores(logprobs[:first]))
                drift.append(divergence(intact[first:], logprobs[first:]).cpu().numpy())
            for final in calm.run([each.addition(layers) for each in some]):
                induced.append(reader.scores(reader.logprobs(final)))
            if progress is not None:
                progress.advance(len(some))
    scores = reader.scores(intact)
    return Effects(
        harmful=scores[:first],
        benign=scores[first:],
        ablated=np.array(ablated),
        induced=np.array(induced),
        drift=np.array(drift),
        similarity=_similarities(reader, sides, directions),
        harmful_goals=sides.harmful_goals,
        benign_goals=sides.benign_goals,
    )


def least_similar(reader: Reader, sides: Sides, share: float) -> tuple[int, ...]:
    """Return the depths at which the mean states of the classes are least alike.

    Source: arXiv:2506.00085.

    Args:
        reader: with the depths to choose among.
        share: of the depths, at least one.
    """
    pairs = zip(reader.states(sides.harmful), reader.states(sides.benign), strict=True)
    alike = [_cosine(a, b) for a, b in pairs]
    count = max(1, round(share * len(alike)))
    return tuple(sorted(reader.depths[i] for i in np.argsort(alike, kind="stable")[:count]))


def _similarities(reader: Reader, sides: Sides, directions: Sequence[Pushed]) -> Floats:
    """Return how far each direction turns one class into the other; NaN without depths."""
    if not reader.depths:
        return np.full(len(directions), np.nan)
    layers = reader.model.anatomy.n_layers
    harmful, benign = reader.states(sides.harmful), reader.states(sides.benign)
    return np.array(
        [
            _cosine(reader.states(sides.harmful, each.ablation(layers)), benign)
            + _cosine(reader.states(sides.benign, each.addition(layers)), harmful)
            for each in directions
        ]
    )


def _cosine(first: Floats, second: Floats) -> float:
    """Return the cosine of two tables of numbers laid out as vectors."""
    a, b = first.ravel(), second.ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
