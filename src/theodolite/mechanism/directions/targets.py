"""Answers to learn from: the model's own, without the difference in means, with it, and intact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from theodolite.engine import generate
from theodolite.errors import DataError
from theodolite.mechanism.directions.effects import Pushed
from theodolite.mechanism.directions.objective import Answer, Objective
from theodolite.mechanism.states import encode_for_states

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.variants import Variant
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

_ENDS: Final = (".", "!", "?", "\n")


def objective_for(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    start: Direction,
    alpha: float,
    *,
    template: str = "auto",
    tokens: int = 30,
) -> Objective:
    """Let the model write the answers that a direction is learned from.

    Source: arXiv:2502.17420: targets of harmful requests come from the model without
        the difference in means, those of refusals end with their first sentence.

    Args:
        harmful, benign: training requests.
        start: the difference in means; where it was found is where a direction is added.
        alpha: its length.
        template: as for `read_states`.
        tokens: of an answer.

    Raises: DataError: the model answers nothing to one of the three.

    Note: answers stay in memory as token ids; no journal keeps them.
    """
    pushed = Pushed(start.hidden_index, start.vector, alpha)
    layers = model.anatomy.n_layers
    first = encode_for_states(model, harmful, template=template)
    second = encode_for_states(model, benign, template=template)
    asked: list[tuple[Encoded, Variant]] = [
        *((prompt, pushed.ablation(layers)) for prompt in first),
        *((prompt, pushed.addition(layers)) for prompt in second),
        *((prompt, ()) for prompt in second),
    ]
    written = generate(
        model,
        [prompt for prompt, _ in asked],
        max_new_tokens=tokens,
        variants=[variant for _, variant in asked],
    )
    answers = [
        Answer(prompt.ids, completion.token_ids)
        for (prompt, _), completion in zip(asked, written, strict=True)
    ]
    a, b = len(first), len(first) + len(second)
    cut = [Answer(one.prompt, first_sentence(model, one.target)) for one in answers[a:b]]
    sides = [tuple(one for one in side if one.target) for side in (answers[:a], cut, answers[b:])]
    if not all(sides):
        raise DataError(
            "The model answers nothing, so there is nothing to learn from.",
            fix="Use a model that answers requests.",
        )
    kept = min(len(sides[1]), len(sides[2]))
    return Objective(
        model, sides[0], sides[1][:kept], sides[2][:kept], layer=start.hidden_index, alpha=alpha
    )


def first_sentence(model: LanguageModel, tokens: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens up to the end of the first sentence; all of them where it does not end."""
    for count in range(1, len(tokens) + 1):
        if model.tokenizer.decode(list(tokens[:count])).rstrip(" ").endswith(_ENDS):
            return tuple(tokens[:count])
    return tuple(tokens)
