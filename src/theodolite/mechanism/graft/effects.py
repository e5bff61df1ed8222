"""What a graft does to the first token to come, read from one cached sweep over the recipients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.engine import LastTokenSweep
from theodolite.errors import NumericsError
from theodolite.execution import Unit
from theodolite.mechanism.graft.grafting import edited
from theodolite.mechanism.graft.plan import OWN, RANDOM, SAME_CLASS, STEP, Plan
from theodolite.mechanism.lens.token_classes import refusal_log_odds
from theodolite.mechanism.random_vectors import random_vector
from theodolite.text.display import escape
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

# Relative change of the final state that an own state may leave: rounding of another kernel shape.
OWN_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
OWN_TOLERANCE_NARROW = 0.05
ROWS_OF_LOGITS = 64


class Effects:
    """Computes the effects at some depths; the recipients run when the first unit asks."""

    def __init__(self, model: LanguageModel, plan: Plan) -> None:
        self.model = model
        self.plan = plan

    @cached_property
    def sweep(self) -> LastTokenSweep:
        """The recipients' trunk."""
        return LastTokenSweep(self.model, self.plan.encoded)

    @cached_property
    def intact(self) -> torch.Tensor:
        """Log-probabilities without any graft, float32, axes (recipient, vocab)."""
        return self._logprobs(self.sweep.final)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        with torch.inference_mode():
            finals = self._finals(unit.items)
            own = self._own_error(finals[:, -1], unit.items)
            found = self._effects(finals[:, :-1])
            intact = {f"intact_{name}": array for name, array in self._read(self.intact).items()}
        return found | intact | {"own_error": own}

    def _finals(self, indices: Sequence[int]) -> torch.Tensor:
        """Return final states, axes (hidden_index, name, recipient, d_model)."""
        names, top = self.plan.names, self.model.anatomy.n_layers
        streams, ends = [], []
        for index in indices:
            stream = self._graft(index, None)
            last = min(index + self.plan.options.window - 1, top)
            for below in range(index, last):
                stream = self.sweep.carry(below, stream, below + 1)
                stream = self._graft(below + 1, stream)
            streams.append(stream)
            ends += [last] * len(names)
        finals = self.sweep.run(ends, torch.cat(streams), logits=False).final
        return finals.reshape(len(indices), len(names), *finals.shape[1:])

    def _graft(self, index: int, running: torch.Tensor | None) -> torch.Tensor:
        """Return the streams after the graft, axes (name, recipient, d_model).

        Args:
            running: the streams before it; None for the intact ones.
        """
        own = self.sweep.states[:, index].double()
        rows = []
        for place, name in enumerate(self.plan.names):
            before = own if running is None else running[place].double()
            rows.append(self._one(name, index, own, before))
        return torch.stack(rows)

    def _one(self, name: str, index: int, own: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return one donor's or control's streams after the graft, axes (recipient, d_model)."""
        options = self.plan.options
        random = self._random(index).to(own) if name in (RANDOM, STEP) else own
        donor = self._donor(self.plan.names[0] if name in (RANDOM, STEP) else name, index, own)
        if name == RANDOM:
            donor = random * donor.norm(dim=-1, keepdim=True)
        line = options.direction_at(index)
        after = edited(before, donor, mode=options.mode, alpha=options.alpha, direction=line)
        if name == STEP:
            length: torch.Tensor = (after - before).norm(dim=-1, keepdim=True)
            return before + length * random
        return after

    def _donor(self, name: str, index: int, own: torch.Tensor) -> torch.Tensor:
        """Return the state each recipient is given, axes (recipient, d_model)."""
        if name == OWN:
            return own
        if name == SAME_CLASS:
            return own[list(self.plan.partners)]
        states = torch.from_numpy(self.plan.donors.at(index, "prompt_last")).to(own)
        if name == "matched":
            return states[list(self.plan.matched)]
        one = states.mean(0) if name == "mean" else states[0]
        return one.expand_as(own)

    def _random(self, index: int) -> torch.Tensor:
        """Return a random unit vector per recipient, axes (recipient, d_model)."""
        width, seed = self.model.anatomy.d_model, self.plan.options.seed
        rows = [
            random_vector(width, 1.0, item_seed(seed, "graft random", index, item.prompt_id))
            for item in self.plan.encoded
        ]
        return torch.from_numpy(np.stack(rows))

    def _own_error(self, finals: torch.Tensor, indices: Sequence[int]) -> NDArray[np.float64]:
        """Return the largest relative change an own state made, per hidden_index.

        Raises: NumericsError: it is more than rounding.
        """
        intact = self.sweep.final.double()
        error = (finals.double() - intact).norm(dim=-1) / intact.norm(dim=-1)
        tolerance = OWN_TOLERANCE.get(self.model.dtype, OWN_TOLERANCE_NARROW)
        if not bool((error <= tolerance).all()):
            depth, row = (error > tolerance).nonzero()[0].tolist()
            raise NumericsError(
                f"Grafting the own state of prompt '{escape(self.sweep.names[row], 80)}' at "
                f"hidden_index {indices[depth]} changed the final state by "
                f"{float(error[depth, row]):.1e}, and it must change nothing.",
                fix="Use dtype float32, and report the model's architecture if it stays.",
            )
        return np.asarray(error.amax(1).cpu().numpy())

    def _effects(self, finals: torch.Tensor) -> dict[str, NDArray[Any]]:
        """Return what the first token to come is, arrays (hidden_index, name, recipient)."""
        flat = finals.flatten(0, 2)
        intact = self.intact
        rows = torch.arange(len(flat)) % len(intact)
        parts: list[dict[str, NDArray[Any]]] = []
        for begin in range(0, len(flat), ROWS_OF_LOGITS):
            chunk = slice(begin, begin + ROWS_OF_LOGITS)
            logprobs, before = self._logprobs(flat[chunk]), intact[rows[chunk]]
            moved = torch.where(before.isneginf(), 0.0, before.exp() * (before - logprobs))
            kl = moved.sum(-1).clamp_min(0.0).double().cpu().numpy()
            parts.append(self._read(logprobs) | {"kl": kl})
        shape = finals.shape[:3]
        return {
            name: np.concatenate([part[name] for part in parts]).reshape(shape) for name in parts[0]
        }

    def _logprobs(self, final: torch.Tensor) -> torch.Tensor:
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        return logits[:, : self.model.anatomy.vocab_size].float().log_softmax(-1)

    def _read(self, logprobs: torch.Tensor) -> dict[str, NDArray[Any]]:
        """Return log-odds, mass of refusing tokens and top token of rows (row, vocab)."""
        refusing = torch.tensor(self.plan.options.classes.negative, device=logprobs.device)
        return {
            "log_odds": refusal_log_odds(logprobs, self.plan.options.classes)
            .double()
            .cpu()
            .numpy(),
            "refusing": logprobs[:, refusing].double().exp().sum(-1).cpu().numpy(),
            "top": logprobs.argmax(-1).cpu().numpy(),
        }
