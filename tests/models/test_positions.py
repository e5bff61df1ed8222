"""Position names point where they say, and refuse prompts that are too short for them."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_model
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import encode
from theodolite.models.positions import check_position, resolve_position

MODEL = tiny_model("llama")
ENCODED = encode(MODEL, "How do I bake bread?")
END = len(ENCODED.ids)


def at(position: str | int) -> str:
    indices = resolve_position(ENCODED, position)
    return str(MODEL.tokenizer.decode([ENCODED.ids[i] for i in indices]))


def test_names_point_where_they_say() -> None:
    assert at("instruction_mean") == "How do I bake bread?"
    assert at("instruction_last") == "?"
    assert at("template[0]") == "<|end|>"
    assert at("template[2]") == "<|start|>"
    assert at("template[-1]") == at("prompt_last") == at(-1) == "\n"
    assert at(0) == "<|start|>"
    assert resolve_position(ENCODED, -END) == (0,)


@pytest.mark.parametrize("position", [END, -END - 1, "template[40]", "template[-40]"])
def test_position_outside_the_prompt_is_refused(position: str | int) -> None:
    with pytest.raises(DataError, match="there is no number"):
        resolve_position(ENCODED, position)


@pytest.mark.parametrize("position", ["last", "template", "template[x]", "template[1", "", "0"])
def test_unknown_name_is_refused(position: str) -> None:
    with pytest.raises(ConfigError, match="There is no position"):
        resolve_position(ENCODED, position)
    with pytest.raises(ConfigError):
        check_position(position)


@pytest.mark.parametrize("position", ["instruction_last", "instruction_mean", "template[0]"])
def test_chat_without_user_turn_has_no_instruction_position(position: str) -> None:
    encoded = encode(MODEL, [{"role": "system", "content": "Be kind."}])
    with pytest.raises(DataError, match="no user turn"):
        resolve_position(encoded, position)
    assert resolve_position(encoded, "prompt_last") == (len(encoded.ids) - 1,)
