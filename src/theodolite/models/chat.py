"""Encode prompts: token ids, and the spans of the instruction and of the template after it.

Rules:
  - a chat is rendered to text and tokenised without added special tokens, so there is never more
    leading BOS than the template writes; a model without a template gets plain text with the
    tokenizer's own default;
  - spans come from character offsets, never from pad, BOS or EOS ids, which occur inside prompts;
  - control tokens that a message merely spells are tokenised as ordinary text: nobody's words can
    close their own turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.models.render import ChatFormat, Rendered, chat_format, render
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

__all__ = ["ChatFormat", "Encoded", "chat_format", "encode", "encode_all", "encode_plain"]

Words = Prompt | str | Sequence[Mapping[str, Any]]
_CHUNK = 2048


@dataclass(frozen=True)
class Encoded:
    """A prompt as the model will see it.

    Args:
        ids: token ids.
        text: what was tokenised.
        instruction: token span of the last user turn's words, end exclusive; None without one.
        template: token span from the end of the instruction to the end of the template's own text
            (where an assistant turn is continued, up to its first token).
        key: content key of `ids`.
        prompt_id: the prompt's id, or "" for text and chats given bare.
        spelled: control tokens that messages spell and that were tokenised as ordinary text.
        border_merge: the last instruction token also covers characters after the instruction.
    """

    ids: tuple[int, ...]
    text: str
    instruction: tuple[int, int] | None
    template: tuple[int, int]
    key: str
    prompt_id: str = ""
    spelled: tuple[str, ...] = ()
    border_merge: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def encode(
    model: LanguageModel,
    prompt: Words,
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> Encoded:
    """Render and tokenise one prompt.

    Args:
        prompt: a `Prompt`, plain text (one user turn), or turns with `role` and `content`.
        add_generation_prompt: end with the opening of an assistant turn.
        continue_final: end inside the last turn, which is the assistant's.

    Raises:
        DataError: the prompt is empty, too long for the model, or refused by its template.
    """
    return encode_all(
        model,
        [prompt],
        add_generation_prompt=add_generation_prompt,
        continue_final=continue_final,
    )[0]


def encode_all(
    model: LanguageModel,
    prompts: Sequence[Words | Encoded],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> list[Encoded]:
    """Render and tokenise many prompts; what is already `Encoded` is passed through.

    Returns: one `Encoded` per prompt, in order.

    Raises:
        DataError: see `encode`; or an `Encoded` does not fit this model.
    """
    if isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in prompts):
        raise DataError(
            "Prompts come as a list, and this is a single one.", fix="Put it between [ and ]."
        )
    done: dict[int, Encoded] = {i: p for i, p in enumerate(prompts) if isinstance(p, Encoded)}
    for place, known in done.items():
        shown = escape(known.prompt_id or str(place), 80)
        check_tokens(model, known.ids, f"Prompt '{shown}'")
        _check_length(model, shown, len(known.ids))
    drafts: list[_Draft] = []
    places: list[int] = []
    for place, prompt in enumerate(prompts):
        if not isinstance(prompt, Encoded):
            places.append(place)
            drafts.append(_draft(model, prompt, place, add_generation_prompt, continue_final))
    done.update(zip(places, _tokenise(model, drafts, plain=not model.chat.has_template)))
    return [done[i] for i in range(len(prompts))]


def check_tokens(model: LanguageModel, ids: Sequence[int], what: str) -> None:
    """Refuse token ids that come from elsewhere and that the model cannot read.

    Raises:
        DataError: there are none, or one lies outside the vocabulary.
    """
    if not ids:
        raise DataError(f"{what} has no tokens.", fix="Give it at least one, or leave it out.")
    size = model.anatomy.vocab_size
    if min(ids) < 0 or max(ids) >= size:
        wrong = next(token for token in ids if not 0 <= token < size)
        raise DataError(
            f"{what} holds token {wrong}, and {model.name} has {size} tokens.",
            fix="Encode it with this model's tokenizer.",
        )


def encode_plain(model: LanguageModel, text: str, *, prompt_id: str = "") -> Encoded:
    """Tokenise text outside any chat, with the tokenizer's own default special tokens.

    Returns: the whole text is the instruction; the template span is what the tokenizer adds after.
    """
    if not text:
        raise DataError(f"Prompt '{escape(prompt_id or '0', 80)}' is empty.")
    check_text(text, f"Prompt '{escape(prompt_id or '0', 80)}'")
    whole = (0, len(text))
    draft = _Draft(prompt_id, prompt_id or "0", Rendered(text, (whole,)), whole, None)
    return next(_tokenise(model, [draft], plain=True))


@dataclass(frozen=True)
class _Draft:
    """A rendered prompt before tokenisation; character spans."""

    prompt_id: str
    shown_id: str
    rendered: Rendered
    instruction: tuple[int, int] | None
    answer_start: int | None


def _draft(
    model: LanguageModel, prompt: Words, place: int, generation: bool, continues: bool
) -> _Draft:
    prompt_id = prompt.id if isinstance(prompt, Prompt) else ""
    shown = escape(prompt_id or str(place), 80)
    messages = _messages(prompt)
    _check_messages(messages, shown)
    user = [i for i, m in enumerate(messages) if m["role"] == "user"]
    if not messages or (user and not str(messages[user[-1]]["content"]).strip()):
        raise DataError(f"Prompt '{shown}' is empty.", fix="Give it some text or leave it out.")
    try:
        rendered = render(
            model.tokenizer,
            model.chat,
            messages,
            add_generation_prompt=generation,
            continue_final=continues,
        )
    except DataError as error:
        raise DataError(f"Prompt '{shown}': {error.message}", fix=error.fix) from error
    final = rendered.spans[-1]
    return _Draft(
        prompt_id,
        shown,
        rendered,
        rendered.spans[user[-1]] if user else None,
        final[0] if continues and final else None,
    )


def _check_messages(messages: Sequence[Mapping[str, Any]], shown: str) -> None:
    for message in messages:
        content = message.get("content")
        if not isinstance(message.get("role"), str) or not isinstance(content, str):
            raise DataError(
                f"Prompt '{shown}' has a turn without a role or without text.",
                fix="Give every turn a role and its content as text.",
            )
        check_text(content, f"Prompt '{shown}'")


def check_text(text: str, what: str) -> None:
    """Refuse text that no tokenizer can read.

    Raises:
        DataError: it holds half of a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what} holds half a character (an unpaired surrogate) at place {error.start}.",
            fix="Repair or remove that character.",
        ) from None


def _messages(prompt: Words) -> Sequence[Mapping[str, Any]]:
    if isinstance(prompt, Prompt):
        return prompt.as_messages()
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return prompt


def _tokenise(model: LanguageModel, drafts: Sequence[_Draft], *, plain: bool) -> Iterator[Encoded]:
    control = control_tokens(model.tokenizer, model.chat)
    for start in range(0, len(drafts), _CHUNK):
        chunk = drafts[start : start + _CHUNK]
        batch = model.tokenizer(
            [d.rendered.text for d in chunk], add_special_tokens=plain, verbose=False
        )
        for draft, encoding in zip(chunk, batch.encodings, strict=True):
            yield _finish(model, draft, encoding.ids, encoding.offsets, control)


def _finish(
    model: LanguageModel,
    draft: _Draft,
    ids: list[int],
    offsets: list[tuple[int, int]],
    control: Mapping[int, str],
) -> Encoded:
    spelled: list[str] = []
    if not control.keys().isdisjoint(ids):
        ids, offsets, spelled = _neutralise(model.tokenizer, draft, ids, offsets, control)
    _check_length(model, draft.shown_id, len(ids))
    instruction = draft.instruction and _token_span(offsets, draft.instruction)
    if draft.instruction and instruction is None:
        raise DataError(
            f"Prompt '{draft.shown_id}' has no token of its own under this model's tokenizer.",
            fix="Give it some text or leave it out.",
        )
    end = len(ids)
    if draft.answer_start is not None:
        answer = _token_span(offsets, (draft.answer_start, len(draft.rendered.text)))
        end = answer[0] if answer else end
    after = instruction[1] if instruction else end
    return Encoded(
        ids=tuple(ids),
        text=draft.rendered.text,
        instruction=instruction,
        template=(after, max(after, end)),
        key=content_key(ids),
        prompt_id=draft.prompt_id,
        spelled=tuple(dict.fromkeys(spelled)),
        border_merge=bool(
            instruction and draft.instruction and offsets[after - 1][1] > draft.instruction[1]
        ),
    )


def _check_length(model: LanguageModel, shown: str, length: int) -> None:
    if model.max_context is not None and length > model.max_context:
        raise DataError(
            f"Prompt '{shown}' has {length} tokens, and {model.name} reads at most "
            f"{model.max_context}.",
            fix="Shorten it or leave it out.",
        )


def _token_span(offsets: list[tuple[int, int]], chars: tuple[int, int]) -> tuple[int, int] | None:
    """Return the tokens that cover any of the characters, end exclusive.

    A token of width zero stands for white space trimmed from its offsets, which ends where it is.
    """
    low, high = chars
    inside = [
        i for i, (a, b) in enumerate(offsets) if b > low and (a < high or (a == b and b <= high))
    ]
    return (inside[0], inside[-1] + 1) if inside else None


def control_tokens(tokenizer: Any, chat: ChatFormat) -> dict[int, str]:
    """Return the tokens that steer a chat: the special ones, and any the template itself writes."""
    return {
        i: token.content
        for i, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in chat.template
    }


def _neutralise(
    tokenizer: Any,
    draft: _Draft,
    ids: list[int],
    offsets: list[tuple[int, int]],
    control: Mapping[int, str],
) -> tuple[list[int], list[tuple[int, int]], list[str]]:
    """Replace control tokens that stand inside a message by the tokens of their spelling."""
    words = [span for span in draft.rendered.spans if span is not None]
    new_ids: list[int] = []
    new_offsets: list[tuple[int, int]] = []
    spelled: list[str] = []
    for token, (a, b) in zip(ids, offsets, strict=True):
        inside = token in control and any(low <= a < b <= high for low, high in words)
        if inside:
            spelled.append(control[token])
        plain = _ordinary(tokenizer, draft.rendered.text[a:b], control) if inside else [token]
        new_ids += plain
        new_offsets += [(a, b)] * len(plain)
    return new_ids, new_offsets, spelled


def _ordinary(tokenizer: Any, text: str, control: Mapping[int, str]) -> list[int]:
    """Tokenise text as if no control token existed."""
    backend = tokenizer.backend_tokenizer

    def pieces(part: str) -> list[int]:
        if backend.normalizer is not None:
            part = backend.normalizer.normalize_str(part)
        split = backend.pre_tokenizer.pre_tokenize_str(part) if backend.pre_tokenizer else None
        words = [word for word, _ in split] if split is not None else [part]
        return [token.id for word in words for token in backend.model.tokenize(word)]

    ids = pieces(text)
    if control.keys().isdisjoint(ids):
        return ids
    return [i for char in text for i in pieces(char)]
