"""Hold a subspace of the stream still while training: mu * sum_l ||P_l (h - h_0)||^2.

Safety training moves what reads a request's style along with what reads its harm. Where the style
directions are known, this keeps the stream where it was along them, on benign rows that stand in a
style, so that training has to find another way. h is read where directions are fitted, at the last
prompt token.

Source: ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from theodolite.data.styles import PLAIN
from theodolite.errors import DataError
from theodolite.runs.tensors import load_tensors
from theodolite.text.display import escape
from theodolite.training.examples import Example
from theodolite.training.recipe import Penalty

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

_NAME = re.compile(r"L([0-9]+)")
_ORTHONORMAL = 1e-4
MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids")
Bases = Mapping[int, torch.Tensor]
States = dict[int, torch.Tensor]


def read_subspace(
    model: LanguageModel, penalty: Penalty, examples: Sequence[Example]
) -> StillSubspace | None:
    """Return the penalty of a recipe, or None where it names none.

    Raises:
        DataError: a tensor is not named `L<hidden_index>`, does not fit the model or has rows that
            are not orthonormal; or no row is benign and in a style.
    """
    if penalty.subspace is None:
        return None
    path = Path(penalty.subspace)
    where = escape(str(path), 200)
    bases: dict[int, torch.Tensor] = {}
    for name, value in load_tensors(path).items():
        basis = torch.as_tensor(value, dtype=torch.float32)
        match = _NAME.fullmatch(name)
        depth = int(match[1]) if match else 0
        if not 1 <= depth <= model.anatomy.n_layers:
            raise DataError(
                f"{where}: the tensor '{escape(name, 60)}' names no depth of {model.name}.",
                fix=f"Name tensors L1 to L{model.anatomy.n_layers} (L1 is after block 0).",
            )
        if basis.ndim != 2 or basis.shape[1] != model.anatomy.d_model:
            raise DataError(
                f"{where}: the tensor '{name}' has shape {tuple(basis.shape)}.",
                fix=f"Give axes (component, {model.anatomy.d_model}).",
            )
        gram = basis.double() @ basis.double().T
        if not torch.allclose(gram, torch.eye(len(basis)).double(), atol=_ORTHONORMAL):
            raise DataError(
                f"{where}: the rows of '{name}' are not orthonormal.",
                fix="Give an orthonormal basis of the subspace.",
            )
        bases[depth] = basis.to(model.device)
    if not any(is_still(example) for example in examples):
        raise DataError(
            "The penalty acts on benign rows that stand in a style, and the recipe has none.",
            fix="Add such rows, or leave the penalty out.",
        )
    return StillSubspace(model.anatomy.blocks, bases, penalty.mu)


def is_still(example: Example) -> bool:
    """Return whether the penalty acts on a row: benign, and standing in a style."""
    return not example.row.harmful and example.row.style != PLAIN


class StillSubspace:
    """The penalty as the trainer uses it.

    Args:
        blocks: the model's blocks.
        bases: per hidden_index an orthonormal basis, axes (component, d_model), float32.
        mu: weight.
    """

    def __init__(self, blocks: Sequence[Any], bases: Bases, mu: float) -> None:
        self.blocks = blocks
        self.bases = bases
        self.mu = mu

    @contextmanager
    def reading(self, places: tuple[torch.Tensor, torch.Tensor]) -> Iterator[States]:
        """Collect the stream of every depth as the model runs inside the context.

        Args:
            places: (row, token) of each prompt's last token in the pass.

        Returns: hidden_index -> states, axes (prompt, d_model), filled as the blocks run.
        """
        found: States = {}

        def keep(depth: int) -> Any:
            def hook(module: Any, arguments: Any, output: Any) -> None:
                stream = output[0] if isinstance(output, tuple) else output
                found[depth] = stream[places]

            return hook

        with ExitStack() as active:
            for depth in self.bases:
                handle = self.blocks[depth - 1].register_forward_hook(keep(depth))
                active.callback(handle.remove)
            yield found

    def of(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        places: tuple[torch.Tensor, torch.Tensor],
        states: States,
    ) -> torch.Tensor:
        """Return the penalty of one pass.

        Args:
            model: the PEFT model; with its adapter off it is the model before training.
            inputs: what the pass gave the model.
            places, states: of the rows the penalty acts on, as `reading` took and filled them.
        """
        kept = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        model.eval()  # no dropout on the way to what must not move
        with torch.no_grad(), model.disable_adapter(), self.reading(places) as start:
            model.get_base_model().base_model(**kept, use_cache=False)
        model.train()
        moved = [
            ((states[depth] - start[depth]).float() @ basis.T).square().sum(-1).mean()
            for depth, basis in self.bases.items()
        ]
        return self.mu * torch.stack(moved).sum()
