"""Learn refusal directions by gradients: one (RDO), or a cone of several.

Every unit vector of a cone, any sum of its basis with weights that are not negative, is to do what
a single direction does. The basis alone says little about it, so the worst and the mean of sampled
vectors are kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.eraser import orthonormal
from theodolite.mechanism.directions.learned_result import LearnedDirections, Step, cone_samples
from theodolite.mechanism.directions.targets import objective_for
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.mechanism.directions.objective import Objective
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
METHOD_VERSION: Final = 1
RDO, CONE = "rdo", "cone"
_BETAS: Final = (0.9, 0.98)
_SHRINKS: Final = 0.1


@dataclass(frozen=True)
class LearningOptions:
    """How a direction is learned.

    Source: arXiv:2502.17420; `most_steps` is ours.

    Args:
        rate: step size of AdamW (betas 0.9 and 0.98, the largest second moment kept, no decay).
        batch: requests of each class per step.
        clip: longest gradient.
        patience: steps without a better loss before the rate is cut to a tenth.
        cuts: how often it is cut; the next time it ends.
        most_steps: it ends there at the latest.
        samples: vectors drawn from a cone at each step.
        answer_tokens: of the answers that are learned from.
    """

    rate: float = 1e-2
    batch: int = 16
    clip: float = 10.0
    patience: int = 5
    cuts: int = 2
    most_steps: int = 200
    samples: int = 8
    answer_tokens: int = 30

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises: ConfigError: naming the option.
        """
        for name in ("rate", "batch", "clip", "patience", "most_steps", "samples", "answer_tokens"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}.", fix="Use a number above 0.")
        if self.cuts < 0:
            raise ConfigError(f"cuts is {self.cuts}.", fix="Use 0 or more.")


_DEFAULTS: Final = LearningOptions()


def learn_directions(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    start: Direction,
    alpha: float,
    *,
    dimensions: int = 1,
    template: str = "auto",
    options: LearningOptions = _DEFAULTS,
    from_start: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> LearnedDirections:
    """Learn one direction, or the orthonormal basis of a cone, that controls refusal.

    Source: arXiv:2502.17420.

    Args:
        model: an open local model; active interventions act.
        harmful, benign: training requests.
        start: the difference in means of a selection; answers are made with it.
        alpha: its length.
        dimensions: 1 learns a direction, more a cone of so many.
        template: as for `read_states`.
        from_start: begin at `start` instead of at a random vector (the first of a cone does).
        seed: of the beginning, the batches and the samples.
        progress: told of steps.

    Raises:
        ConfigError: an option makes no sense, or more dimensions than the stream has.
        DataError: there are no requests, or the model answers none.

    Note: a step reads and differentiates `3 * batch` answers, `samples + dimensions` times over for
        a cone. The basis with the least loss is returned.
    """
    options.check()
    model.require("text", "hidden_states", "interventions")
    _check(model, harmful, benign, dimensions)
    objective = objective_for(
        model,
        harmful,
        benign,
        start,
        alpha,
        template=template,
        tokens=options.answer_tokens,
    )
    rng = np.random.default_rng(item_seed(seed, "learned directions"))
    begun = rng.standard_normal((dimensions, model.anatomy.d_model))
    if from_start:
        begun[0] = start.vector
    learner = _Learner(objective, options, seed, orthonormal(begun))
    if progress is not None:
        progress.start("learning directions", options.most_steps)
    for _ in learner.steps():
        if progress is not None:
            progress.advance()
    return LearnedDirections(
        directions=_named(orthonormal(learner.best), start),
        alpha=alpha,
        history=tuple(learner.history),
    )


def _check(
    model: LanguageModel, harmful: Sequence[Prompt], benign: Sequence[Prompt], dimensions: int
) -> None:
    width = model.anatomy.d_model
    if not 1 <= dimensions <= width:
        raise ConfigError(
            f"{dimensions} dimensions do not fit a stream of {width}.", fix="Use 1 to 5."
        )
    if not harmful or not benign:
        raise DataError("Harmful and benign requests are both needed.", fix="Give some of each.")


def _named(basis: Floats, start: Direction) -> tuple[Direction, ...]:
    """Return the rows of a basis as directions at the depth where they were added."""
    method = RDO if len(basis) == 1 else CONE
    names = [method] if len(basis) == 1 else [f"{method}-{k + 1}" for k in range(len(basis))]
    return tuple(
        replace(start, name=f"{name}@L{start.hidden_index}", vector=vector, method=method)
        for name, vector in zip(names, basis, strict=True)
    )


@dataclass(eq=False)
class _Learner:
    """AdamW over the rows of an orthonormal basis, kept orthonormal."""

    objective: Objective
    options: LearningOptions
    seed: int
    basis: Floats
    history: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best, self.least = self.basis, np.inf
        self.waited, self.cut = 0, 0
        self.rows = torch.tensor(self.basis, requires_grad=True)
        self.adam = torch.optim.AdamW(
            [self.rows], lr=self.options.rate, betas=_BETAS, weight_decay=0.0, amsgrad=True
        )

    @property
    def rate(self) -> float:
        """The step size."""
        return float(self.adam.param_groups[0]["lr"])

    def steps(self) -> Iterator[Step]:
        """Take steps until the loss falls no more."""
        for number in range(self.options.most_steps):
            step = self._step(number)
            self.history.append(step)
            yield step
            if self._exhausted(step.total):
                return

    def _step(self, number: int) -> Step:
        """Read the losses where the basis stands, and move it."""
        mixes = self._mixes(number)
        vectors = mixes @ self.basis
        pulled = self.objective.pull(vectors, *self._batch(number))
        total = pulled.total
        if float(total.mean()) < self.least:
            self.best = self.basis
        gradient = mixes.T @ pulled.gradient / len(mixes)
        # Along a vector itself there is nothing to learn: its length is fixed.
        gradient = gradient - (gradient * self.basis).sum(1, keepdims=True) * self.basis
        length = float(np.linalg.norm(gradient))
        gradient = gradient * min(1.0, self.options.clip / max(length, 1e-12))
        rate = self.rate
        self._move(gradient)
        sampled = total[len(self.basis) :] if len(self.basis) > 1 else total
        losses = pulled.losses.mean(0)
        return Step(
            number=number,
            total=float(total.mean()),
            ablation=float(losses[0]),
            addition=float(losses[1]),
            retention=float(losses[2]),
            worst=float(sampled.max()),
            mean=float(sampled.mean()),
            gradient=length,
            rate=rate,
        )

    def _mixes(self, number: int) -> Floats:
        """Return the basis vectors and sampled unit vectors of the cone, axes (vector, basis)."""
        count = len(self.basis)
        if count == 1:
            return np.ones((1, 1))
        rng = np.random.default_rng(item_seed(self.seed, "cone", number))
        return np.concatenate([np.eye(count), cone_samples(rng, self.options.samples, count)])

    def _batch(self, number: int) -> tuple[list[int], list[int]]:
        """Return which harmful and which benign requests a step reads."""
        sizes = len(self.objective.complying), len(self.objective.plain)
        harmful, benign = (
            _drawn(size, self.options.batch, number, item_seed(self.seed, side))
            for side, size in zip(("harmful", "benign"), sizes, strict=True)
        )
        return harmful, benign

    def _move(self, gradient: Floats) -> None:
        """Take a step of the optimiser, and make the rows orthonormal again."""
        with torch.inference_mode(False):
            self.rows.grad = torch.from_numpy(gradient)
            self.adam.step()
            self.basis = orthonormal(self.rows.detach().numpy())
            with torch.no_grad():
                self.rows.copy_(torch.from_numpy(self.basis))

    def _exhausted(self, total: float) -> bool:
        """Return whether the loss has stopped to fall at the lowest rate."""
        if total < self.least:
            self.least, self.waited = total, 0
            return False
        self.waited += 1
        if self.waited < self.options.patience:
            return False
        self.adam.param_groups[0]["lr"] *= _SHRINKS
        self.waited, self.cut = 0, self.cut + 1
        return self.cut > self.options.cuts


def _drawn(size: int, batch: int, number: int, seed: int) -> list[int]:
    """Return the requests of a step: every one once, in an order of its own, before any twice."""
    per_round = max(1, -(-size // batch))
    turn, place = divmod(number, per_round)
    order = np.random.default_rng(item_seed(seed, "round", turn)).permutation(size)
    return [int(i) for i in order[place * batch : (place + 1) * batch]]
