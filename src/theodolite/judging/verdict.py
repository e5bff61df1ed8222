"""Read a judge's verdict: one JSON object with the item's tag, or no verdict at all.

A verdict is one label, or several named values (`ask_values`), each out of a list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from theodolite.errors import JudgeError
from theodolite.text.display import escape
from theodolite.text.normalise import strip_reasoning

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, Model, ModelOutput

UNPARSABLE = "judge_unparsable"
ATTEMPTS = 2

Found = TypeVar("Found")
Values = Mapping[str, Sequence[Any]]
"""The values allowed for each field of a verdict: texts, whole numbers, or true and false."""

_JSON_TYPES: dict[type, Any] = {str: "string", int: "integer", bool: "boolean"}


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one item.

    Args:
        label: one of the labels asked for, or None where no attempt could be read.
        reason: why there is no label, e.g. `judge_unparsable`.
        attempts: how often the judge was asked.
    """

    label: str | None
    reason: str | None
    attempts: int


@dataclass(frozen=True)
class ValuesVerdict:
    """What a judge said of one item, where a verdict has several fields.

    Args:
        values: one allowed value per field, or None where no attempt could be read.
        reason, attempts: as of a `Verdict`.
    """

    values: dict[str, Any] | None
    reason: str | None
    attempts: int


def parse_verdict(reply: str, *, tag: str, labels: Sequence[str]) -> str | None:
    """Return the label of a reply, or None where it is not exactly one verdict on this item.

    A verdict is a JSON object with `item` equal to the tag and `verdict` one of the labels. The tag
    stops a judge that merely repeats a verdict planted in the text: the planted one cannot know it.
    Two verdicts that differ are no verdict.

    Args:
        reply: what the judge wrote; a reasoning trace and words around the object are ignored.
        tag: the tag of the item's fence.
        labels: the labels allowed.
    """
    found = parse_values(reply, tag=tag, allowed={"verdict": labels})
    return None if found is None else str(found["verdict"])


def parse_values(reply: str, *, tag: str, allowed: Values) -> dict[str, Any] | None:
    """Return the fields of a reply, or None where it is not exactly one verdict on this item.

    Args:
        reply, tag: as for `parse_verdict`.
        allowed: the values of each field; `true` is not taken for 1.
    """
    found = {
        tuple(value[field] for field in allowed)
        for value in _objects(strip_reasoning(reply))
        if value.get("item") == tag
        and all(_is_one_of(value.get(field), known) for field, known in allowed.items())
    }
    return dict(zip(allowed, found.pop())) if len(found) == 1 else None


def _is_one_of(value: Any, known: Sequence[Any]) -> bool:
    return any(type(value) is type(one) and value == one for one in known)


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the outermost JSON objects in a text, in order."""
    decoder = json.JSONDecoder()
    objects: list[dict[str, Any]] = []
    start = text.find("{")
    while start != -1:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if isinstance(value, dict):
                objects.append(value)
        start = text.find("{", end)
    return objects


def verdict_request(tag: str, labels: Sequence[str]) -> str:
    """Return the sentence that asks for the verdict."""
    return values_request(tag, {"verdict": labels})


def values_request(tag: str, allowed: Values) -> str:
    """Return the sentence that asks for a value of each field."""
    shape = ", ".join(f'"{field}": {field[0].upper()}' for field in allowed)
    listed = "; ".join(
        f"{field[0].upper()} is one of {', '.join(json.dumps(one) for one in known)}"
        for field, known in allowed.items()
    )
    return (
        "Answer with one JSON object and nothing else: "
        f'{{"item": "{tag}", {shape}}} where {listed}.'
    )


def verdict_config(tag: str, allowed: Values) -> GenerateConfig:
    """Return the settings of a judging call: greedy, and held to the schema where supported."""
    from inspect_ai.model import GenerateConfig, ResponseSchema
    from inspect_ai.util import JSONSchema

    fields: Values = {"item": [tag], **allowed}
    schema = JSONSchema(
        type="object",
        properties={
            field: JSONSchema(type=_JSON_TYPES[type(known[0])], enum=list(known))
            for field, known in fields.items()
        },
        required=list(fields),
        additionalProperties=False,
    )
    return GenerateConfig(
        temperature=0.0,
        max_tokens=1024,
        response_schema=ResponseSchema(name="verdict", json_schema=schema, strict=True),
    )


async def ask(model: Model, prompt: str, *, tag: str, labels: Sequence[str]) -> Verdict:
    """Return a judge's verdict, asking a second time where the first reply cannot be read.

    Args:
        model: the judge.
        prompt: the whole question, untrusted text fenced.
        tag: the tag of the item's fence.
        labels: the labels allowed.

    Raises:
        JudgeError: the judge cannot be reached or fails; the run is then incomplete.
    """
    said = await ask_values(model, prompt, tag=tag, allowed={"verdict": labels})
    label = None if said.values is None else str(said.values["verdict"])
    return Verdict(label, said.reason, said.attempts)


async def ask_values(model: Model, prompt: str, *, tag: str, allowed: Values) -> ValuesVerdict:
    """Return a judge's value for each field; arguments and errors as for `ask`."""
    request = values_request(tag, allowed)
    values, attempts = await ask_until_read(
        model,
        f"{prompt}\n\n{request}",
        lambda output: parse_values(output.completion, tag=tag, allowed=allowed),
        again=f"That could not be read. {request}",
        configs=[verdict_config(tag, allowed)] * ATTEMPTS,
    )
    return ValuesVerdict(values, UNPARSABLE if values is None else None, attempts)


async def ask_until_read(
    model: Model,
    question: str,
    read: Callable[[ModelOutput], Found | None],
    *,
    again: str,
    configs: Sequence[GenerateConfig],
) -> tuple[Found | None, int]:
    """Return what a judge says, and how often it was asked.

    Args:
        question: the whole of it, untrusted text fenced.
        read: what a reply says; None where it cannot be read.
        again: what the judge is told then.
        configs: of each attempt.

    Returns: None for what it says where no attempt could be read.

    Raises: JudgeError: it cannot be reached or fails.
    """
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    messages: list[Any] = [ChatMessageUser(content=question)]
    for attempt, config in enumerate(configs, 1):
        output = await answer(model, messages, config)
        found = read(output)
        if found is not None:
            return found, attempt
        messages += [
            ChatMessageAssistant(content=output.completion or "(nothing)"),
            ChatMessageUser(content=again),
        ]
    return None, len(configs)


async def answer(model: Model, messages: list[Any], config: GenerateConfig) -> ModelOutput:
    """Return what a judge wrote.

    Raises: JudgeError: it cannot be reached or fails.
    """
    try:
        output = await model.generate(messages, config=config)
    except Exception as error:  # whatever a provider raises, the judge is down
        said = escape(f"{type(error).__name__}: {error}", 200)
        raise JudgeError(
            f"The judge {escape(str(model), 80)} did not answer ({said}).",
            fix="Check the judge and resume the run; what was judged is kept.",
        ) from error
    if output.error is not None:
        raise JudgeError(
            f"The judge {escape(str(model), 80)} failed ({escape(output.error, 200)}).",
            fix="Check the judge and resume the run; what was judged is kept.",
        )
    return output
