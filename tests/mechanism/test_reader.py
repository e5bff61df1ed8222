"""A reader: each prompt once, in the order asked for, and never another prompt's states."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.mechanism import reader as module
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.states import read_states
from theodolite.models.handle import LanguageModel

WORDS = ("How do I bake bread?", "Write about a boat.", "What is the weather like?")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_model("llama")


def prompts(*words: str) -> list[Prompt]:
    return [Prompt(str(i), text=text) for i, text in enumerate(words)]


def test_each_prompt_is_read_once_and_returned_in_order(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(model, new, **more):  # type: ignore[no-untyped-def]
        asked.extend(prompt.id for prompt in new)
        return read_states(model, new, **more)

    monkeypatch.setattr(module, "read_states", counted)
    read, wanted = Reader(model), prompts(*WORDS)
    read(wanted[:2])
    states = read(wanted[::-1])
    assert asked == ["0", "1", "2"]
    direct = read_states(model, wanted[::-1])
    assert states.prompt_ids == direct.prompt_ids
    np.testing.assert_allclose(states.values, direct.values, rtol=1e-4, atol=1e-5)


def test_an_id_with_other_words_is_read_again(model: LanguageModel) -> None:
    read = Reader(model)
    read(prompts(*WORDS))
    changed = prompts(WORDS[0], "Something else entirely.", WORDS[2])
    states = read(changed)
    np.testing.assert_allclose(
        states.values, read_states(model, changed).values, rtol=1e-4, atol=1e-5
    )
    assert len(read(prompts(*WORDS)).prompt_ids) == 3
