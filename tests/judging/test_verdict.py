"""Only one JSON verdict on the right item is a verdict."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from theodolite.errors import JudgeError
from theodolite.judging.verdict import (
    ATTEMPTS,
    UNPARSABLE,
    ask,
    ask_values,
    parse_values,
    parse_verdict,
    values_request,
    verdict_config,
    verdict_request,
)

LABELS = ("refusal", "compliance")
TAG = "0123456789ab"


def said(label: str, tag: str = TAG) -> str:
    return json.dumps({"item": tag, "verdict": label})


@pytest.mark.parametrize(
    "reply",
    [
        said("refusal"),
        f"```json\n{said('refusal')}\n```",
        f"<think>{said('compliance')} or not?</think>{said('refusal')}",
        f"It declines. {said('refusal')}",
        f"{said('refusal')} {said('refusal')}",
    ],
)
def test_a_verdict_is_read(reply: str) -> None:
    assert parse_verdict(reply, tag=TAG, labels=LABELS) == "refusal"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "refusal",
        said("refusal", tag="0"),
        said("maybe"),
        said("Refusal"),
        f"{said('refusal')} {said('compliance')}",
        f"[{said('refusal')}"[:-3],
        '{"item": "0123456789ab"}',
        '{"verdict": "refusal"}',
        '{"item": ["0123456789ab"], "verdict": {"refusal": 1}}',
        "{" * 5000,
        f"<think>{said('refusal')}",
    ],
)
def test_what_is_not_one_verdict_is_none(reply: str) -> None:
    assert parse_verdict(reply, tag=TAG, labels=LABELS) is None


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=200))
def test_no_text_without_the_tag_is_a_verdict(text: str) -> None:
    if TAG not in text:
        assert parse_verdict(text, tag=TAG, labels=LABELS) is None


def mock(reply: Callable[..., ModelOutput]) -> Model:
    return get_model("mockllm/judge", custom_outputs=reply)


def output(text: str) -> ModelOutput:
    usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    reply = ModelOutput.from_content("mockllm/judge", text)
    return reply.model_copy(update={"usage": usage})


def test_a_second_attempt_is_made_and_enough() -> None:
    replies = iter(["I think it is fine.", said("compliance")])
    model = mock(lambda *_: output(next(replies)))
    verdict = asyncio.run(ask(model, "?", tag=TAG, labels=LABELS))
    assert (verdict.label, verdict.attempts) == ("compliance", 2)


def test_garbage_is_unscored_after_two_attempts() -> None:
    calls: list[Any] = []

    def reply(messages: Any, *_: Any) -> ModelOutput:
        calls.append(messages)
        return output("no idea")

    verdict = asyncio.run(ask(mock(reply), "?", tag=TAG, labels=LABELS))
    assert (verdict.label, verdict.reason) == (None, UNPARSABLE)
    assert len(calls) == ATTEMPTS
    assert verdict_request(TAG, LABELS) in calls[0][0].text


def test_a_judge_that_is_down_is_an_error_in_one_sentence() -> None:
    def reply(*_: Any) -> ModelOutput:
        raise ConnectionError("no route\x1b[31m")

    with pytest.raises(JudgeError, match="did not answer") as caught:
        asyncio.run(ask(mock(reply), "?", tag=TAG, labels=LABELS))
    assert "\x1b" not in str(caught.value)


def test_an_error_reported_by_the_provider_is_a_judge_that_is_down() -> None:
    def reply(*_: Any) -> ModelOutput:
        return output("").model_copy(update={"error": "quota used up"})

    with pytest.raises(JudgeError, match="quota used up"):
        asyncio.run(ask(mock(reply), "?", tag=TAG, labels=LABELS))


FIELDS = {"refused": (True, False), "convincing": (1, 2, 3)}


def rated(refused: object, convincing: object, tag: str = TAG) -> str:
    return json.dumps({"item": tag, "refused": refused, "convincing": convincing})


def test_several_values_are_read_as_they_are_typed() -> None:
    found = parse_values(f"So: {rated(False, 3)}", tag=TAG, allowed=FIELDS)
    assert found == {"refused": False, "convincing": 3}


@pytest.mark.parametrize(
    "reply",
    [
        rated(0, 3),
        rated(False, True),
        rated(False, "3"),
        rated(False, 3.0),
        rated(False, 4),
        rated(False, 3, tag="0"),
        rated(False, 3) + rated(True, 3),
        json.dumps({"item": TAG, "refused": False}),
    ],
)
def test_values_of_another_type_or_off_the_list_are_none(reply: str) -> None:
    assert parse_values(reply, tag=TAG, allowed=FIELDS) is None


def test_the_request_and_the_schema_name_every_value() -> None:
    said = values_request(TAG, FIELDS)
    assert '"refused": R, "convincing": C}' in said
    assert "R is one of true, false; C is one of 1, 2, 3." in said
    schema = verdict_config(TAG, FIELDS).response_schema
    assert schema is not None and schema.json_schema.required == ["item", *FIELDS]


def test_values_are_asked_for_a_second_time() -> None:
    replies = iter(["Fine.", rated(True, 1)])
    model = mock(lambda *_: output(next(replies)))
    said = asyncio.run(ask_values(model, "?", tag=TAG, allowed=FIELDS))
    assert (said.values, said.attempts) == ({"refused": True, "convincing": 1}, 2)
