"""Listwise preferences: all answers to one request at once, in their order, best to worst.

The score of an answer is s = beta (log pi(answer) - log ref(answer)), the very term that DPO
compares in pairs. One pass over the answers of a row gives every pair of them: six runs of the
policy in place of thirty. Log-probabilities under the reference, the model before training, are
computed once and kept (`training.reference`).

Sources: arXiv:2305.18290 (DPO); Plackett (1975), `The Analysis of Permutations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from theodolite.training.batches import IGNORED
from theodolite.training.recipe import Ranking, Recipe
from theodolite.training.ssft import CompletionTrainer, completion_trainer
from theodolite.training.tree import answer_sums

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy


def ranking_loss(scores: torch.Tensor, ranking: Ranking = "pairs") -> torch.Tensor:
    """Return the loss of one order; a number.

    Args:
        scores: of answers, best to worst, axis (answer).
        ranking: `pairs` is the sum over i < j of -log sigma(s_i - s_j); `plackett-luce` is
            -sum_i log(exp s_i / sum_{j >= i} exp s_j), the choice of the best of those that are
            left, again and again.
    """
    if ranking == "plackett-luce":
        left = scores.flip(0).logcumsumexp(0).flip(0)
        return (left - scores).sum()
    better, worse = torch.triu_indices(len(scores), len(scores), 1, device=scores.device)
    return -functional.logsigmoid(scores[better] - scores[worse]).sum()


class ListwiseTrainer(CompletionTrainer):
    """The loss of orders over the answers of a pass.

    Attributes:
        reference: log-probabilities of an example's answers under the reference, by its place.
    """

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the rows of the whole step itself
    recipe: Recipe
    reference: Mapping[int, torch.Tensor]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return a pass's part of the mean loss of the step's rows."""
        places, of = inputs["places"].tolist(), inputs["of"]
        found, lengths = self.answer_logprobs(model, inputs)
        start = torch.cat([self.reference[place] for place in places]).to(found)
        scores = self.recipe.beta * (found - start)
        if self.recipe.length_normalised:
            scores = scores / lengths
        sizes = inputs["answers"].tolist()
        losses = [ranking_loss(row, self.recipe.ranking) for row in torch.split(scores, sizes)]
        if self.recipe.sft_weight:
            per_token = torch.split(found / lengths, sizes)
            losses += [-self.recipe.sft_weight * row[0] for row in per_token]
        return torch.stack(losses).sum() / of

    def answer_logprobs(
        self, model: Any, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of every answer of a pass, and its tokens; axis (answer).

        The output layer runs where a token of an answer follows, and nowhere else.
        """
        if "paths" in inputs:
            return self._tree_logprobs(model, inputs)
        with self.accelerator.autocast():
            states, labels = self.states_and_labels(model, inputs)
            states, labels = states[:, :-1], labels[:, 1:]
            asked = labels != IGNORED
            logits = self.anatomy.logits_from_final(states[asked])
        values = _logprobs(logits, labels[asked])
        # Written to their places and added along rows: in one order, on every device.
        found = values.new_zeros(labels.shape).masked_scatter(asked, values)
        return found.sum(1), asked.sum(1)

    def _tree_logprobs(
        self, model: Any, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        paths = inputs["paths"]
        with self.accelerator.autocast():
            states = self.tree_states(model, dict(inputs))
            logits = self.anatomy.logits_from_final(states[inputs["parents"]])
        values = _logprobs(logits, inputs["targets"])
        return answer_sums(values, paths), (paths >= 0).sum(1)


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -functional.cross_entropy(logits, tokens, reduction="none")


def listwise_trainer(
    parts: Mapping[str, Any], arguments: Mapping[str, Any], anatomy: Anatomy, recipe: Recipe
) -> ListwiseTrainer:
    """Return the trainer; its reference is yet to be computed.

    Args:
        parts, arguments, anatomy: as `training.ssft.completion_trainer` takes them.
        recipe: says how answers are compared.
    """
    trainer = completion_trainer(ListwiseTrainer, parts, arguments, anatomy)
    trainer.recipe, trainer.reference = recipe, {}
    return trainer
