"""A begun turn is part of the prompt: open, one BOS, and answers go on from its last character.

The traps: a template that closes the turn or opens a second one after it, a tokenizer that adds its
BOS once more, a template that trims what was begun, and the space that a completion begins with.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers.processors import TemplateProcessing

from tests.models.test_chat import INST, SYSTEMLESS
from tests.models.tiny import TEMPLATE, TINY, handle
from tests.training.made_groups import harmful_group
from tests.training.made_rows import made_row
from theodolite.models.chat import chat_format, control_tokens, encode
from theodolite.models.handle import LanguageModel
from theodolite.models.prove import prove
from theodolite.training.examples import Example, encode_rows, end_of_turn
from theodolite.training.preference_rows import preference_rows
from theodolite.training.rows import OPEN, TrainingRow

BOS = "<|bos|>"
HEADED = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|head|>\n\n"
    "{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|head|>\n\n{% endif %}"
)
TEMPLATES: dict[str, str | None] = {
    "chatml": TEMPLATE,
    "llama-3": HEADED,
    "llama-2": "{{ bos_token }}" + INST,
    "gemma": "{{ bos_token }}" + SYSTEMLESS,
    "zephyr": TEMPLATE.replace("<|start|>", "<|head|>"),
    "none": None,
}
BEGUN = "Sure, here is how. First take the flour"
TURN = " But wait, I cannot help with that."


def model_of(name: str) -> LanguageModel:
    """Return a model whose tokenizer puts its own BOS before every text, as Llama's does."""
    module = TINY["llama"]()
    model = handle(module, prove(module), name=name)
    tokenizer = model.tokenizer
    tokenizer.add_special_tokens(
        {"bos_token": BOS, "additional_special_tokens": ["<|start|>", "<|head|>"]}
    )
    bos = tokenizer.convert_tokens_to_ids(BOS)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, bos)]
    )
    tokenizer.chat_template = TEMPLATES[name]
    return replace(model, tokenizer=tokenizer, chat=chat_format(tokenizer))


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return model_of(request.param)


def text(model: LanguageModel, *ids: tuple[int, ...]) -> str:
    return str(model.tokenizer.decode([i for each in ids for i in each], skip_special_tokens=False))


def row(**more: object) -> TrainingRow:
    values = {"target": TURN, "rejected": " and the salt.", "begun": BEGUN, **more}
    return made_row(0, harmful=True, **values)


def check(model: LanguageModel, example: Example, begun: str) -> None:
    """Check that nothing closes or opens a turn between the begun words and what follows them."""
    chat = [
        {"role": "user", "content": example.row.text},
        {"role": "assistant", "content": begun},
    ]
    assert example.prompt == encode(model, chat, continue_final=True).ids
    assert text(model, example.prompt).endswith(begun)
    bos = model.tokenizer.bos_token_id
    writes = model.chat.template.count("bos_token") or not model.chat.has_template
    assert example.prompt.count(bos) == int(bool(writes))
    control = control_tokens(model.tokenizer, model.chat)
    tail = len(model.tokenizer(begun, add_special_tokens=False)["input_ids"])
    assert control.keys().isdisjoint(example.prompt[-tail:])
    closing = end_of_turn(model)
    for answer in example.answers:
        assert bos not in answer
        own = answer[: -len(closing)] if answer[-len(closing) :] == closing else answer
        assert control.keys().isdisjoint(own)


@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_the_prompt_ends_in_the_begun_words_and_answers_go_on(
    method: str, model: LanguageModel
) -> None:
    (example,) = encode_rows(model, [row()], method)
    check(model, example, BEGUN)
    closing = end_of_turn(model)
    assert closing and text(model, example.completion) == TURN + text(model, closing)
    whole = [*example.prompt, *example.completion[: -len(closing)]]
    chat = [
        {"role": "user", "content": example.row.text},
        {"role": "assistant", "content": BEGUN + TURN},
    ]
    assert tuple(whole) == encode(model, chat, continue_final=True).ids
    if method == "dpo":  # the harmful reply is left open, as it is without a begun turn
        assert text(model, example.rejected) == " and the salt."


def test_ranked_answers_follow_and_all_but_the_harmful_one_end(model: LanguageModel) -> None:
    answers = (TURN, " I had better stop.", " and the salt.")
    asked = row(target=None, rejected=None, ranked=answers)
    (example,) = encode_rows(model, [asked], "listwise")
    check(model, example, BEGUN)
    end = text(model, end_of_turn(model))
    assert [text(model, ids) for ids in example.ranked] == [
        answers[0] + end,
        answers[1] + end,
        answers[2],
    ]
    assert example.completion == example.ranked[0] and example.answers == example.ranked
    benign = replace(asked, label="benign", hazard=None)
    (example,) = encode_rows(model, [benign], "listwise")
    assert all(text(model, ids).endswith(end) for ids in example.ranked)
    (example,) = encode_rows(model, [replace(benign, turn=OPEN)], "listwise")
    assert [text(model, ids) for ids in example.ranked] == list(answers)


def test_words_cut_in_two_are_spelled_as_they_stand(model: LanguageModel) -> None:
    """A prompt keeps its own tokens where begun words and answer would share one."""
    asked = row(begun="Sure, the wea", target="ther is bad; I cannot help with that.")
    (example,) = encode_rows(model, [asked], "ssft-chat")
    check(model, example, "Sure, the wea")
    assert text(model, example.prompt, example.completion).endswith(
        "Sure, the weather is bad; I cannot help with that." + text(model, end_of_turn(model))
    )


def test_rows_of_a_group_have_the_ids_of_its_whole_replies(model: LanguageModel) -> None:
    group = harmful_group(1)
    rows = preference_rows([group], "conditional", fresh=0.0)
    assert len(rows) == 4
    for example, reply in zip(encode_rows(model, rows, "dpo"), group.cuts, strict=True):
        check(model, example, str(example.row.begun))
        whole = encode_rows(model, [replace(example.row, begun=None, target=reply.text)], "dpo")
        if model.chat.has_template:
            assert example.prompt + example.completion == whole[0].prompt + whole[0].completion


def test_rows_with_and_without_a_begun_turn_keep_their_order(model: LanguageModel) -> None:
    rows = [row(id="a"), row(id="b", begun=None), row(id="c")]
    found = encode_rows(model, rows, "ssft-chat")
    assert [example.row.id for example in found] == ["a", "b", "c"]
    assert found[0].prompt == found[2].prompt != found[1].prompt
    assert found[1].prompt == encode(model, rows[1].text).ids
