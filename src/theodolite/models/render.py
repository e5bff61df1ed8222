"""Render a chat to text, and know exactly which characters are whose words.

The template is rendered twice: once with a marker in place of every message (the frame, cached per
shape of chat), once with the words themselves. Walking the second along the literal pieces of the
first gives the place of each message, whatever the message says.

Traps this file exists for:
  - a message may spell the template's own control strings, so searching for them finds the wrong
    place;
  - templates trim messages, refuse system turns or two user turns in a row, or rewrite history;
  - templates may write today's date: it is pinned, or a run would give other tokens tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from theodolite.errors import ConfigError, DataError, ModelError
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

PLAIN_TEMPLATE = """\
{%- if messages | length == 1 -%}
{{ messages[0]['content'] }}
{%- else -%}
{%- for message in messages -%}
{{ '' if loop.first else '\\n\\n' }}
{%- if message['role'] != 'system' %}{{ message['role'] | capitalize }}: {% endif -%}
{{ message['content'] }}
{%- endfor -%}
{{ '\\n\\nAssistant:' if add_generation_prompt else '' }}
{%- endif -%}"""
_PINNED_DATE = """\
{%- macro strftime_now(format) -%}
{{- {'%Y-%m-%d': '2025-01-01', '%d %b %Y': '01 Jan 2025'}.get(format, '1 January 2025') -}}
{%- endmacro -%}
"""
_JOINT = "\n\n"


@dataclass(frozen=True)
class ChatFormat:
    """How a model wants its chats written.

    Args:
        template: Jinja text; a plain one of ours where the model brings none.
        has_template: the model brings its own.
        options: variables the template is given, as in {"enable_thinking": False}.
        template_hash: content key of `template` and `options`.
        supports_system: system turns are rendered; else they are folded into the next user turn.
        alternates: two turns of one role in a row are refused or lost; such turns are joined.
    """

    template: str
    has_template: bool
    options: Mapping[str, Any]
    template_hash: str
    supports_system: bool
    alternates: bool
    frames: dict[Any, list[str] | None] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Rendered:
    """A chat as text, with the character span of each message (None where it cannot be known)."""

    text: str
    spans: tuple[tuple[int, int] | None, ...]


def chat_format(tokenizer: Any, options: Mapping[str, Any] | None = None) -> ChatFormat:
    """Find out by trial what a tokenizer's chat template accepts.

    Raises:
        ConfigError: the template knows no such option.
        ModelError: the template does not render a single user turn.
    """
    options = dict(options or {})
    own = tokenizer.get_chat_template() if tokenizer.chat_template else None
    template = PLAIN_TEMPLATE if own is None else own
    for name in options:
        if name not in template:
            raise ConfigError(
                f"The chat template of this model has no option '{escape(name, 40)}'.",
                fix="Leave it out.",
            )
    if "strftime_now" in template:
        template = _PINNED_DATE + template

    def keeps(*roles: str) -> bool:
        marks = [_marker(i) for i in range(len(roles))]
        turns = [{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)]
        try:
            text = _apply(tokenizer, template, turns, options, generation=True)
        except Exception:
            return False
        return all(text.count(mark) == 1 for mark in marks)

    if not keeps("user"):
        raise ModelError(
            "The chat template of this model does not render a single user turn.",
            fix="Repair chat_template in its tokenizer files.",
        )
    return ChatFormat(
        template=template,
        has_template=own is not None,
        options=options,
        template_hash=content_key(template, options),
        supports_system=keeps("system", "user"),
        alternates=not keeps("user", "user"),
    )


def render(
    tokenizer: Any,
    chat: ChatFormat,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> Rendered:
    """Render messages to text and locate each of them.

    Args:
        messages: turns with `role` and `content`.
        continue_final: the text ends inside the last turn, an assistant's, word for word.

    Raises:
        DataError: the template refuses the chat, or rewrites the last user turn.
    """
    if continue_final and messages[-1]["role"] != "assistant":
        raise DataError(
            f"Only an assistant turn can be continued, and the chat ends in a "
            f"'{escape(str(messages[-1]['role']), 20)}' turn.",
            fix="End it with an assistant turn, or leave continue_final off.",
        )
    contents = [str(m["content"]) for m in messages]
    turns = _turns(chat, [str(m["role"]) for m in messages])
    job = _Job(tokenizer, chat, turns, contents, add_generation_prompt, continue_final)
    everything = tuple(range(len(contents)))
    needed = [i for i in everything if messages[i]["role"] == "user"][-1:]
    if continue_final and everything[-1] not in needed:
        needed.append(everything[-1])
    text = job.text(contents)
    found = job.walk(text, everything, job.frame(everything))
    if found is None:
        found = job.walk(text, tuple(needed), job.frame(tuple(needed)))
    if found is None:
        raise DataError(
            "The chat template rewrites the words of this chat, so they cannot be located in it.",
            fix="Remove control strings and reasoning traces from the messages.",
        )
    return found


@dataclass(frozen=True)
class _Job:
    """One chat on its way to text; `turns` lists (role, indices of the messages it joins)."""

    tokenizer: Any
    chat: ChatFormat
    turns: tuple[tuple[str, tuple[int, ...]], ...]
    contents: list[str]
    generation: bool
    continues: bool

    def text(self, contents: Sequence[str]) -> str:
        """Apply the template to the turns with these contents."""
        turns = [
            {"role": role, "content": _JOINT.join(contents[i] for i in parts)}
            for role, parts in self.turns
        ]
        generation = self.generation and not self.continues
        try:
            return _apply(
                self.tokenizer,
                self.chat.template,
                turns,
                self.chat.options,
                generation=generation,
            )
        except Exception as error:
            raise DataError(
                f"The chat template refuses this chat: {escape(str(error), 200)}.",
                fix="Change the order or the roles of its turns.",
            ) from error

    def frame(self, marked: tuple[int, ...]) -> list[str] | None:
        """Return the literal text before, between and after the marked messages, or None."""
        shared = len(marked) == len(self.contents)
        key = (self.turns, self.generation and not self.continues)
        if shared and key in self.chat.frames:
            return self.chat.frames[key]
        marks = [_marker(i) for i in marked]
        contents = [_marker(i) if i in marked else c for i, c in enumerate(self.contents)]
        rest = self.text(contents)
        literals: list[str] | None = None
        if all(rest.count(mark) == 1 for mark in marks):
            literals = []
            for mark in marks:
                before, _, rest = rest.partition(mark)
                literals.append(before)
            literals.append(rest)
        if shared:
            self.chat.frames[key] = literals
        return literals

    def walk(
        self, text: str, marked: tuple[int, ...], literals: list[str] | None
    ) -> Rendered | None:
        """Locate the marked messages in `text`, or return None if it does not follow the frame."""
        if literals is None:
            return None
        spans: list[tuple[int, int] | None] = [None] * len(self.contents)
        at = 0
        for i, before, after in zip(marked, literals, literals[1:]):
            if not text.startswith(before, at):
                return None
            at += len(before)
            if self.continues and i == len(self.contents) - 1:
                spans[i] = (at, at + len(self.contents[i]))
                return Rendered(text[:at] + self.contents[i], tuple(spans))
            words = _as_written(text, at, self.contents[i], after)
            if words is None:
                return None
            spans[i] = (at, at + len(words))
            at += len(words)
        return Rendered(text, tuple(spans)) if text[at:] == literals[-1] else None


def _as_written(text: str, at: int, content: str, after: str) -> str | None:
    """Return the form in which the template wrote `content` at `at`: whole or trimmed."""
    for form in (content, content.strip(), content.rstrip(), content.lstrip()):
        if text.startswith(form, at) and text.startswith(after, at + len(form)):
            return form
    return None


def _turns(chat: ChatFormat, roles: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Fold system messages and join neighbours as the template needs it."""
    as_written = [
        "user" if role == "system" and not chat.supports_system else role for role in roles
    ]
    folded = [a != r for a, r in zip(as_written, roles, strict=True)]
    turns: list[tuple[str, tuple[int, ...]]] = []
    for role, run in groupby(range(len(roles)), key=as_written.__getitem__):
        parts = list(run)
        while parts:
            size = 1
            while size < len(parts) and (chat.alternates or folded[parts[size - 1]]):
                size += 1
            turns.append((role, tuple(parts[:size])))
            parts = parts[size:]
    return tuple(turns)


def _apply(
    tokenizer: Any,
    template: str,
    turns: list[dict[str, str]],
    options: Mapping[str, Any],
    *,
    generation: bool,
) -> str:
    text = tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=False, add_generation_prompt=generation, **options
    )
    return str(text)


def _marker(index: int) -> str:
    """Return a word no template contains, one per message."""
    return f"Theodolite{index}Slot{index}Marker"
