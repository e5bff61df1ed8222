"""Rows as token ids, rendered by the very code that a conversation with the model goes through.

A model is trained on what it will read: the prompt's ids are those of `models.chat.encode`, the
completion follows them token by token and ends where the template ends an assistant's turn. So
there is no second BOS, no turn opened twice, and no closed turn before the completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.data.moderation import SAFE, UNSAFE
from theodolite.data.prompts import Prompt, shown
from theodolite.errors import DataError
from theodolite.models.chat import control_tokens, encode, encode_all
from theodolite.training.frames import assistant_turn, user_turn
from theodolite.training.rows import OPEN, TrainingRow

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel


@dataclass(frozen=True)
class Example:
    """A row as the model reads it.

    Args:
        row: where it comes from.
        prompt: token ids up to the opening of the assistant's turn, included.
        completion: token ids of the answer and of the end of its turn, which an open turn lacks.
        rejected: token ids of the answer not to give; () without a preference. That of a harmful
            row is an opening that nobody finished, so its turn is left open.
    """

    row: TrainingRow
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    rejected: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + max(len(self.completion), len(self.rejected))


def encode_rows(model: LanguageModel, rows: Sequence[TrainingRow], method: str) -> list[Example]:
    """Return rows as token ids, in order.

    Args:
        method: `ssft-label`, `ssft-chat` or `dpo`.

    Raises:
        DataError: a row lacks what the method needs, or has no tokens.
    """
    if method == "ssft-label":
        check_label_words(model)
    prompts = [Prompt(id=row.id, text=user_turn(row, method)) for row in rows]
    heads = [item.ids for item in encode_all(model, prompts)]
    closing = end_of_turn(model)
    answers = [assistant_turn(row, method) for row in rows]
    whole = _answers(model, prompts, heads, answers)
    chosen = [
        ids if row.turn == OPEN and method != "ssft-label" else ids + closing
        for row, ids in zip(rows, whole, strict=True)
    ]
    if method != "dpo":
        return [Example(*parts) for parts in zip(rows, heads, chosen, strict=True)]
    refused = [_rejected(row) for row in rows]
    rejected = _answers(model, prompts, heads, refused)
    return [
        Example(row, head, answer, other if row.harmful else other + closing)
        for row, head, answer, other in zip(rows, heads, chosen, rejected, strict=True)
    ]


def check_label_words(model: LanguageModel) -> tuple[int, int]:
    """Return the first tokens of `safe` and `unsafe` as the label variant's answers begin.

    Raises: DataError: they are one token, so that no first token could tell the labels apart.
    """
    prompt = Prompt(id="label words", text="x")
    head = encode(model, prompt).ids
    safe, unsafe = _answers(model, [prompt] * 2, [head] * 2, [SAFE, UNSAFE])
    if safe[0] == unsafe[0]:
        raise DataError(
            f"'{SAFE}' and '{UNSAFE}' begin with the same token under the tokenizer of "
            f"{model.name}.",
            fix='Use method = "ssft-chat" with this model.',
        )
    return safe[0], unsafe[0]


def end_of_turn(model: LanguageModel) -> tuple[int, ...]:
    """Return the token ids that end an assistant's turn, up to the first control token.

    A model without a chat template ends with its end-of-text token, where it has one.
    """
    if not model.chat.has_template:
        end = model.tokenizer.eos_token_id
        return () if end is None else (int(end),)
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
    whole = encode(model, turns, add_generation_prompt=False).ids
    opened = encode(model, turns, continue_final=True).ids
    control = control_tokens(model.tokenizer, model.chat)
    ending = whole[len(opened) :] if whole[: len(opened)] == opened else ()
    for place, token in enumerate(ending):
        if token in control:
            return tuple(ending[: place + 1])
    return tuple(ending)


def _rejected(row: TrainingRow) -> str:
    if row.rejected is None:
        raise DataError(
            f"Row {shown(row.id)} has no rejected answer, and dpo needs one.",
            fix="Add the field 'rejected', or name bundled:safety.",
        )
    return row.rejected


def _answers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    heads: Sequence[tuple[int, ...]],
    answers: Sequence[str],
) -> list[tuple[int, ...]]:
    """Return the token ids of answers as they follow their prompts, their turns left open."""
    chats: list[Sequence[Mapping[str, Any]]] = [
        [{"role": "user", "content": prompt.text}, {"role": "assistant", "content": answer}]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    found = []
    wholes: list[tuple[int, ...]] = [()] * len(chats)
    if model.chat.has_template:
        wholes = [item.ids for item in encode_all(model, chats, continue_final=True)]
    for prompt, head, whole, answer in zip(prompts, heads, wholes, answers, strict=True):
        ids = whole[len(head) :] if whole[: len(head)] == head else _alone(model, answer)
        if not ids:
            raise DataError(
                f"The answer of row {shown(prompt.id)} has no token of its own.",
                fix="Give it some text or leave the row out.",
            )
        found.append(ids)
    return found


def _alone(model: LanguageModel, answer: str) -> tuple[int, ...]:
    """Return an answer's own tokens, for models whose chat is written anew when it is answered."""
    text = answer if model.chat.has_template else f" {answer}"
    plain: Any = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    control = control_tokens(model.tokenizer, model.chat)
    spelled = next((control[token] for token in plain if token in control), None)
    if spelled is not None:
        raise DataError(
            f"An answer spells the control token {shown(spelled)} of {model.name}.",
            fix="Leave the row out.",
        )
    return tuple(int(token) for token in plain)
