"""What a learned direction is asked for, and how that changes with the direction.

Three losses of teacher-forced answers: without the direction harmful requests are answered as the
model does without the difference in means; with it added benign requests are refused; without it
benign answers stay what they were. The passes are the engine's own, with gradients on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theodolite.engine.passes import Rows, run_pass
from theodolite.errors import DataError, NumericsError
from theodolite.mechanism.distributions import divergence
from theodolite.models.taps import write

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

Floats = NDArray[np.float64]
LOSSES: Final = ("ablation", "addition", "retention")
# Source: arXiv:2502.17420.
WEIGHTS: Final = (1.0, 0.2, 1.0)
RETAINED: Final = 30  # last tokens of a benign answer whose distributions are kept


@dataclass(frozen=True)
class Answer:
    """A prompt and what follows it, by token ids."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def read(self) -> tuple[int, ...]:
        """What the model reads to predict the target."""
        return (*self.prompt, *self.target[:-1])


@dataclass(frozen=True, eq=False)
class Pulled:
    """Losses of some vectors and how they change with them.

    Args:
        losses: nats per token, axes (vector, loss) in the order of `LOSSES`.
        gradient: of the weighted sum, axes (vector, d_model).
    """

    losses: Floats
    gradient: Floats

    @property
    def total(self) -> Floats:
        """The weighted sum, axis (vector)."""
        return np.asarray(self.losses @ np.array(WEIGHTS))


@dataclass(frozen=True, eq=False)
class Objective:
    """Answers that the three losses are made of.

    Args:
        model: an open local model; active interventions act.
        complying: harmful requests, answered by the model without the difference in means.
        refusing: benign requests, refused by the model with it added.
        plain: benign requests with the intact model's own answers.
        layer: what is added is added to this block's input; n_layers adds to the last output.
        alpha: in units of the stream.
        batch_tokens: most tokens of one pass that keeps what gradients need.

    Source: arXiv:2502.17420.
    """

    model: LanguageModel
    complying: tuple[Answer, ...]
    refusing: tuple[Answer, ...]
    plain: tuple[Answer, ...]
    layer: int
    alpha: float
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        for name in ("complying", "refusing", "plain"):
            answers = getattr(self, name)
            if not answers or any(not answer.target for answer in answers):
                raise DataError(
                    f"The {name} answers are {len(answers)}, or one of them is empty.",
                    fix="Give prompts that the model answers.",
                )

    def pull(self, vectors: Floats, harmful: Sequence[int], benign: Sequence[int]) -> Pulled:
        """Return losses and gradients of vectors over some of the answers.

        Args:
            vectors: axes (vector, d_model); each acts on rows of its own.
            harmful: indices into `complying`.
            benign: indices into `refusing` and `plain`.

        Raises: NumericsError: a loss is not finite.
        """
        losses = np.zeros((len(vectors), len(LOSSES)))
        gradient = np.zeros(np.shape(vectors))
        parts = (
            [self.complying[i] for i in harmful],
            [self.refusing[i] for i in benign],
            [self.plain[i] for i in benign],
        )
        # A caller's inference mode would forbid the backward passes.
        with torch.inference_mode(False), torch.enable_grad():
            for place, answers in enumerate(parts):
                for v, some in self._portions(len(vectors), answers):
                    units = torch.as_tensor(vectors[v], dtype=self._dtype, device=self.model.device)
                    units = units.clone().requires_grad_(True)
                    each = self._losses(place, units, some) / len(answers)
                    (pull,) = torch.autograd.grad(each.sum(), units)
                    np.add.at(losses[:, place], v, each.detach().double().cpu().numpy())
                    np.add.at(gradient, v, WEIGHTS[place] * pull.double().cpu().numpy())
        return Pulled(losses, gradient)

    def _losses(self, place: int, units: Tensor, answers: Sequence[Answer]) -> Tensor:
        """Return one of the losses, axis (row), each row under its own vector."""
        name = LOSSES[place]
        changed = self._added if name == "addition" else self._ablated
        if name == "retention":
            with torch.no_grad():
                intact = self._logprobs(answers, _last_tokens)
            with self.model.lock, changed(units):
                moved = self._logprobs(answers, _last_tokens)
            each = [divergence(p, q).mean() for p, q in zip(intact, moved, strict=True)]
        else:
            with self.model.lock, changed(units):
                found = self._logprobs(answers, _target_tokens)
            each = [
                -row.gather(-1, torch.tensor(answer.target, device=row.device)[:, None]).mean()
                for row, answer in zip(found, answers, strict=True)
            ]
        losses = torch.stack(each)
        if not bool(torch.isfinite(losses).all()):
            raise NumericsError(
                f"The {name} loss of a learned direction is not finite.",
                fix="Use dtype float32 or bfloat16.",
            )
        return losses

    def _logprobs(
        self, answers: Sequence[Answer], where: Callable[[Answer], slice]
    ) -> tuple[Tensor, ...]:
        """Return log-probabilities at some tokens of each row, axes (token, vocab) each.

        Note: hooks that are on act. Logits are made of these tokens alone.
        """
        rows = Rows(
            [answer.read for answer in answers],
            [None] * len(answers),
            [len(answer.prompt) for answer in answers],
        )
        hidden = run_pass(self.model, rows).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        parts = [row[where(answer)] for row, answer in zip(hidden, answers, strict=True)]
        anatomy = self.model.anatomy
        logits = anatomy.logits_from_final(torch.cat(parts))[:, : anatomy.vocab_size]
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return torch.split(exact.log_softmax(-1), [len(part) for part in parts])

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.model.dtype, torch.float32)

    def _portions(
        self, vectors: int, answers: Sequence[Answer]
    ) -> Iterator[tuple[list[int], list[Answer]]]:
        """Yield (vector of each row, answer of each row), as many as one pass takes."""
        rows = [(v, answer) for v in range(vectors) for answer in answers]
        longest = max(len(answer.read) for answer in answers)
        size = max(1, self.batch_tokens // longest)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield [v for v, _ in part], [answer for _, answer in part]

    @contextmanager
    def _ablated(self, units: Tensor) -> Iterator[None]:
        """Keep each row's vector out of the stream, at all positions."""
        anatomy = self.model.anatomy
        places = [(0, "resid_pre")]
        places += [(n, site) for n in range(anatomy.n_layers) for site in ("attn_out", "mlp_out")]

        def fn(value: Tensor) -> Tensor:
            unit = units[:, None].to(value.dtype)
            return value - (value * unit).sum(-1, keepdim=True) * unit

        with ExitStack() as hooks:
            for layer, site in places:
                hooks.enter_context(write(anatomy.tap(layer, site), fn))
            yield

    @contextmanager
    def _added(self, units: Tensor) -> Iterator[None]:
        """Add each row's vector where the difference in means was found, at all positions."""
        anatomy = self.model.anatomy
        last = self.layer == anatomy.n_layers
        tap = anatomy.tap(self.layer - last, "resid_post" if last else "resid_pre")
        with write(tap, lambda value: value + self.alpha * units[:, None].to(value.dtype)):
            yield


def _target_tokens(answer: Answer) -> slice:
    """Return the tokens whose next ones are the target."""
    return slice(len(answer.prompt) - 1, len(answer.read))


def _last_tokens(answer: Answer) -> slice:
    """Return the last tokens of prompt and answer, whose distributions are to stay."""
    end = len(answer.read)
    return slice(max(end - RETAINED, 0), end)
