"""The heads of one layer, scored: next tokens and last states against the intact model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from theodolite.engine.interventions import interventions_key
from theodolite.engine.tree_sweep import TreeSweep
from theodolite.errors import DataError, NumericsError
from theodolite.execution import Unit
from theodolite.mechanism.distributions import divergence
from theodolite.mechanism.heads.ablation import Head, HeadAblation
from theodolite.mechanism.heads.subspace import subspace_scores
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.mechanism.lens.token_classes import default_token_classes
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

VERSION: Final = 1
# Next-token distributions are compared so many rows at a time: vocabularies are wide.
ROWS: Final = 64
# The unit in which no head is taken out.
NOTHING: Final = "nothing"


@dataclass(frozen=True, eq=False)
class Measured:
    """What decides the numbers of a run beside the model; see `head_ships`."""

    encoded: Sequence[Encoded]
    harmful: int
    ablation: HeadAblation
    group: tuple[Head, ...]
    references: Sequence[Encoded]
    freeze_downstream: bool
    pre_norm: bool
    batch_tokens: int | None

    @cached_property
    def key(self) -> str:
        """Content key of all of it."""
        return content_key(
            *(self.ablation.key, [item.key for item in self.encoded], self.harmful, self.group),
            *([item.key for item in self.references], self.freeze_downstream, self.pre_norm),
            self.batch_tokens,
        )


class LayerScores:
    """Measure the heads of one layer; the prompts run when the first layer is asked for.

    Args:
        model: open, with the group's heads out.
        measured: what is asked for.
        base: the prompts in the model that has them; None where no head is out.
    """

    def __init__(self, model: LanguageModel, measured: Measured, base: TreeSweep | None) -> None:
        self.model = model
        self.measured = measured
        self.base = base
        self.refusing = refusing_tokens(model)

    def key(self, layer: int, heads: Sequence[int], kind: str = "heads") -> str:
        """Return the content key of one unit: everything its numbers depend on."""
        return content_key(
            *("ships", VERSION, kind, self.model.fingerprint, interventions_key(self.model)),
            *(self.measured.key, list(self.refusing), layer, list(heads)),
        )

    @cached_property
    def sweep(self) -> HeadSweep:
        """The prompts, run once."""
        return HeadSweep(
            self.model,
            self.measured.encoded,
            self.measured.ablation,
            references=self.measured.references,
            freeze_downstream=self.measured.freeze_downstream,
            batch_tokens=self.measured.batch_tokens,
        )

    @cached_property
    def intact(self) -> TreeSweep | HeadSweep:
        """What every other run is compared with."""
        return self.base or self.sweep

    @cached_property
    def logprobs(self) -> torch.Tensor:
        """Intact log-probabilities of the next token, float64, axes (prompt, vocab)."""
        with torch.inference_mode():
            return self._logprobs(self.intact.final)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Return divergences, refusal changes and angles of one layer's heads."""
        if unit.items == (NOTHING,):
            return self._noise()
        layer, heads = unit.items
        final, stream = self.sweep.layer(layer, heads)
        with torch.inference_mode():
            states, base = (
                (stream, self.intact.stream)
                if self.measured.pre_norm
                else (final, self.intact.final)
            )
            return {**self._compared(final, self.logprobs), "angles": self._angles(base, states)}

    def _noise(self) -> dict[str, Any]:
        """Return the same where nothing was taken out, against the sweep's own first run."""
        final, stream = self.sweep.unchanged()
        with torch.inference_mode():
            states, base = (
                (stream, self.sweep.stream) if self.measured.pre_norm else (final, self.sweep.final)
            )
            own = self._logprobs(self.sweep.final)
            return {**self._compared(final, own), "angles": self._angles(base, states)}

    def _compared(self, final: torch.Tensor, intact: torch.Tensor) -> dict[str, Any]:
        """Compare next tokens with the intact ones; arrays have axes (unit, prompt)."""
        count, prompts = final.shape[:2]
        flat = final.flatten(0, 1)
        found = {name: np.zeros(len(flat)) for name in ("kl", "refusal", "top1_changed")}
        for begin in range(0, len(flat), ROWS):
            rows = slice(begin, begin + ROWS)
            places = torch.arange(begin, min(begin + ROWS, len(flat))) % prompts
            before, after = intact[places], self._logprobs(flat[rows], begin)
            found["kl"][rows] = divergence(before, after).cpu().numpy()
            found["refusal"][rows] = self._refusal(before, after)
            changed = before.argmax(-1) != after.argmax(-1)
            found["top1_changed"][rows] = changed.double().cpu().numpy()
        return {name: values.reshape(count, prompts) for name, values in found.items()}

    def _refusal(self, before: torch.Tensor, after: torch.Tensor) -> Any:
        if not self.refusing:
            return np.nan
        tokens = list(self.refusing)
        moved = before[:, tokens].logsumexp(-1) - after[:, tokens].logsumexp(-1)
        return moved.cpu().numpy()

    def _angles(self, base: torch.Tensor, states: torch.Tensor) -> dict[str, list[float]]:
        """Return how far the harmful prompts' last states turned, by kind of angle."""
        count = self.measured.harmful
        if count < 2:
            return {}
        found = subspace_scores(base[:count], states[:, :count])
        return {name: values.tolist() for name, values in found.items()}

    def _logprobs(self, final: torch.Tensor, begin: int = 0) -> torch.Tensor:
        """Return log-probabilities of rows of final states, float64, axes (row, vocab).

        Args:
            begin: place of the first row; rows run through the prompts again and again.

        Raises: NumericsError: naming the prompt.
        """
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        logprobs = logits[:, : self.model.anatomy.vocab_size].double().log_softmax(-1)
        # Ruled-out tokens are -inf; anything else that is not finite makes NaN of its row.
        broken = logprobs.isnan().any(-1).nonzero()
        if len(broken):
            prompt = self.measured.encoded[(begin + int(broken[0])) % len(self.measured.encoded)]
            raise NumericsError(
                f"The logits of prompt '{escape(prompt.prompt_id, 80)}' are not finite.",
                fix="Use dtype bfloat16 or float32, and check the adapter and the interventions.",
            )
        return logprobs


def refusing_tokens(model: LanguageModel) -> tuple[int, ...]:
    """Return the tokens that open refusals; none where the vocabulary spells no such words."""
    try:
        return tuple(int(token) for token in default_token_classes(model).negative)
    except DataError:
        return ()
