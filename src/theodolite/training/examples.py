"""Rows as token ids, rendered by the very code that a conversation with the model goes through.

A model is trained on what it will read: the prompt's ids are those of `models.chat.encode`, the
completion follows them token by token and ends where the template ends an assistant's turn. So
there is no second BOS, no turn opened twice, and no closed turn before the completion. A turn that
is begun already belongs to the prompt: it stays open, and what follows goes on from its last
character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from theodolite.data.moderation import SAFE, UNSAFE
from theodolite.data.prompts import Prompt, shown
from theodolite.errors import DataError
from theodolite.models.chat import control_tokens, encode, encode_all
from theodolite.training.frames import assistant_turn, user_turn
from theodolite.training.rows import OPEN, TrainingRow, check_method

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel


@dataclass(frozen=True)
class Example:
    """A row as the model reads it.

    Args:
        row: where it comes from.
        prompt: token ids up to the opening of the assistant's turn, included, and of what the turn
            begins with.
        completion: token ids of the answer and of the end of its turn, which an open turn lacks.
        rejected: token ids of the answer not to give; () without a preference. That of a harmful
            row is an opening that nobody finished, so its turn is left open.
        ranked: token ids of every ranked answer, best to worst; () without any. `completion` is
            the best of them. The worst of a harmful row is left open, as a rejected one is.
    """

    row: TrainingRow
    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    rejected: tuple[int, ...] = ()
    ranked: tuple[tuple[int, ...], ...] = ()

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """All answers that a training on this row reads."""
        return self.ranked or tuple(ids for ids in (self.completion, self.rejected) if ids)

    def __len__(self) -> int:
        return len(self.prompt) + max(map(len, self.answers), default=0)


def encode_rows(model: LanguageModel, rows: Sequence[TrainingRow], method: str) -> list[Example]:
    """Return rows as token ids, in order.

    Args:
        method: `ssft-label`, `ssft-chat`, `dpo` or `listwise`.

    Raises:
        DataError: a row lacks what the method needs, or has no tokens.
    """
    if method == "ssft-label":
        check_label_words(model)
    for row in rows:
        check_method(row, method)
    begun = [_Begun(row.id, user_turn(row, method), row.begun) for row in rows]
    heads = _heads(model, begun)
    if method == "listwise":
        return _listwise(model, rows, begun, heads)
    closing = end_of_turn(model)
    answers = [assistant_turn(row, method) for row in rows]
    whole = _answers(model, begun, heads, answers)
    chosen = [
        ids if row.turn == OPEN and method != "ssft-label" else ids + closing
        for row, ids in zip(rows, whole, strict=True)
    ]
    if method != "dpo":
        return [Example(*parts) for parts in zip(rows, heads, chosen, strict=True)]
    refused = [_rejected(row) for row in rows]
    rejected = _answers(model, begun, heads, refused)
    return [
        Example(row, head, answer, other if row.harmful else other + closing)
        for row, head, answer, other in zip(rows, heads, chosen, rejected, strict=True)
    ]


def check_label_words(model: LanguageModel) -> tuple[int, int]:
    """Return the first tokens of `safe` and `unsafe` as the label variant's answers begin.

    Raises: DataError: they are one token, so that no first token could tell the labels apart.
    """
    prompt = _Begun("label words", "x")
    (head,) = _heads(model, [prompt])
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


def _listwise(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    begun: Sequence[_Begun],
    heads: Sequence[tuple[int, ...]],
) -> list[Example]:
    """Return rows with all their ranked answers."""
    answers = [answer for row in rows for answer in row.ranked or ()]
    counts = [len(row.ranked or ()) for row in rows]
    owners = [place for place, count in enumerate(counts) for _ in range(count)]
    found = iter(
        _answers(model, [begun[place] for place in owners], [heads[p] for p in owners], answers)
    )
    closing = end_of_turn(model)
    examples = []
    for row, head, count in zip(rows, heads, counts, strict=True):
        ranked = [ids if row.turn == OPEN else ids + closing for ids in islice(found, count - 1)]
        worst = next(found)
        ranked.append(worst if row.harmful or row.turn == OPEN else worst + closing)
        examples.append(Example(row, head, ranked[0], ranked=tuple(ranked)))
    return examples


def _rejected(row: TrainingRow) -> str:
    if row.rejected is None:
        raise DataError(
            f"Row {shown(row.id)} has no rejected answer, and dpo needs one.",
            fix="Add the field 'rejected', or name bundled:safety.",
        )
    return row.rejected


@dataclass(frozen=True)
class _Begun:
    """A request, and how the assistant's turn begins; None where nothing is said yet."""

    id: str
    request: str
    begun: str | None = None

    def chat(self, answer: str = "") -> list[Mapping[str, Any]]:
        """Return the conversation as it stands after an answer."""
        said = (self.begun or "") + answer
        return [{"role": "user", "content": self.request}, {"role": "assistant", "content": said}]


def _heads(model: LanguageModel, rows: Sequence[_Begun]) -> list[tuple[int, ...]]:
    """Return the token ids of prompts: up to the opening of the turn, or to what it begins with."""
    fresh = [Prompt(id=row.id, text=row.request) for row in rows if row.begun is None]
    going = [row.chat() for row in rows if row.begun is not None]
    opened = iter(encode_all(model, fresh))
    continued = iter(encode_all(model, going, continue_final=True))
    return [next(opened if row.begun is None else continued).ids for row in rows]


def _answers(
    model: LanguageModel,
    prompts: Sequence[_Begun],
    heads: Sequence[tuple[int, ...]],
    answers: Sequence[str],
) -> list[tuple[int, ...]]:
    """Return the token ids of answers as they follow their prompts, their turns left open."""
    found = []
    wholes: dict[int, tuple[int, ...]] = {}
    # Without a template a bare prompt is plain text, to which a chat of two turns is no sequel.
    places = [i for i, p in enumerate(prompts) if model.chat.has_template or p.begun is not None]
    chats = [prompts[place].chat(answers[place]) for place in places]
    for place, item in zip(places, encode_all(model, chats, continue_final=True), strict=True):
        wholes[place] = item.ids
    for place, (prompt, head, answer) in enumerate(zip(prompts, heads, answers, strict=True)):
        whole = wholes.get(place, ())
        follows = whole[: len(head)] == head
        ids = whole[len(head) :] if follows else _alone(model, answer, prompt.begun is not None)
        if not ids:
            raise DataError(
                f"The answer of row {shown(prompt.id)} has no token of its own.",
                fix="Give it some text or leave the row out.",
            )
        found.append(ids)
    return found


def _alone(model: LanguageModel, answer: str, begun: bool) -> tuple[int, ...]:
    """Return an answer's own tokens, for models whose chat is written anew when it is answered."""
    text = answer if model.chat.has_template or begun else f" {answer}"
    plain: Any = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    control = control_tokens(model.tokenizer, model.chat)
    spelled = next((control[token] for token in plain if token in control), None)
    if spelled is not None:
        raise DataError(
            f"An answer spells the control token {shown(spelled)} of {model.name}.",
            fix="Leave the row out.",
        )
    return tuple(int(token) for token in plain)
