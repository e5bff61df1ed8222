"""A moderator is read in the frame it was trained in: the very token ids of its training rows."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_model
from tests.training.made_rows import label_rows
from theodolite.data.prompts import Prompt
from theodolite.mechanism.states import encode_for_states, read_states, resolve_template
from theodolite.training.examples import encode_rows

ROWS = label_rows(2)
PROMPTS = [Prompt(id=row.id, text=row.text) for row in ROWS]


@pytest.mark.parametrize("template", [True, False], ids=["chat", "no template"])
def test_requests_stand_in_the_frame_of_training(template: bool) -> None:
    model = tiny_model() if template else tiny_model(template=None)
    trained = encode_rows(model, ROWS, "ssft-label")
    read = encode_for_states(model, PROMPTS, template="moderation")
    assert [each.ids for each in read] == [each.prompt for each in trained]
    assert [each.prompt_id for each in read] == [prompt.id for prompt in PROMPTS]
    assert resolve_template(model, "moderation") == "moderation"


def test_states_say_in_which_frame_they_were_read() -> None:
    model = tiny_model()
    framed, bare = (read_states(model, PROMPTS, template=t) for t in ("moderation", "chat"))
    assert (framed.template, bare.template) == ("moderation", "chat")
    assert framed.key != bare.key and framed.values.shape == bare.values.shape
