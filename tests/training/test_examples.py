"""What a model is trained on is, token for token, what it reads in a conversation.

The traps: a second BOS, a closed turn before the completion, a second header, a target that closes
its own turn by spelling a control token, `safe` and `unsafe` beginning alike.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.tiny import tiny_model
from tests.training.made_rows import ANSWER, OPENING, REFUSAL, label_rows, made_row, made_rows
from theodolite.data.moderation import moderation_frame
from theodolite.errors import DataError
from theodolite.models.chat import encode
from theodolite.models.handle import LanguageModel
from theodolite.training.examples import check_label_words, encode_rows, end_of_turn
from theodolite.training.rows import OPEN

START, END = 0, 1


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_model()


def text(model: LanguageModel, ids: tuple[int, ...]) -> str:
    return str(model.tokenizer.decode(ids, skip_special_tokens=False))


def test_a_chat_row_is_the_conversation(model: LanguageModel) -> None:
    row = made_row(0, harmful=True)
    (example,) = encode_rows(model, [row], "ssft-chat")
    assert example.prompt == encode(model, row.text).ids
    assert text(model, example.prompt) == f"<|start|>user\n{row.text}<|end|>\n<|start|>assistant\n"
    assert text(model, example.completion) == f"{REFUSAL}<|end|>"
    assert example.completion[-1] == END and end_of_turn(model) == (END,)


def test_the_oracle_renders_and_cuts_the_same_ids(model: LanguageModel) -> None:
    for example in encode_rows(model, made_rows(), "ssft-chat"):
        turns = [
            {"role": "user", "content": example.row.text},
            {"role": "assistant", "content": str(example.row.target)},
        ]
        whole = model.tokenizer.apply_chat_template(turns, tokenize=False)
        ids = model.tokenizer(whole, add_special_tokens=False)["input_ids"]
        newline = model.tokenizer("\n", add_special_tokens=False)["input_ids"]
        assert [*example.prompt, *example.completion, *newline] == ids


def test_an_open_turn_teaches_no_end(model: LanguageModel) -> None:
    row = made_row(0, harmful=False, turn=OPEN)
    (example,) = encode_rows(model, [row], "ssft-chat")
    assert text(model, example.completion) == ANSWER


def test_pairs_have_one_prompt_one_header_and_no_closed_turn(model: LanguageModel) -> None:
    for example in encode_rows(model, made_rows(), "dpo"):
        assert example.prompt == encode(model, example.row.text).ids
        assert example.prompt.count(START) == 2  # the user's header and the assistant's
        assert example.prompt[-1] != END
        for answer in (example.completion, example.rejected):
            assert START not in answer and answer.count(END) <= 1
        assert text(model, example.completion).removesuffix("<|end|>") == example.row.target
        closed = example.rejected[-1] == END
        assert closed != example.row.harmful  # an opening nobody finished stays open
        words = OPENING if example.row.harmful else REFUSAL + "<|end|>"
        assert text(model, example.rejected) == words


def test_the_label_variant_asks_in_a_frame_and_answers_in_a_word(model: LanguageModel) -> None:
    harmful, benign = encode_rows(model, label_rows()[:2], "ssft-label")
    frame = moderation_frame(harmful.row.text)
    assert harmful.prompt == encode(model, frame).ids and frame.count(harmful.row.text) == 1
    assert text(model, harmful.completion) == "unsafe\nmade harm<|end|>"
    assert text(model, benign.completion) == "safe<|end|>"
    safe, unsafe = check_label_words(model)
    assert (benign.completion[0], harmful.completion[0]) == (safe, unsafe) and safe != unsafe


def test_labels_that_begin_alike_are_refused(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theodolite.training.examples.UNSAFE", "saferer")
    with pytest.raises(DataError, match="begin with the same token"):
        check_label_words(model)


def test_a_target_against_its_label_is_refused(model: LanguageModel) -> None:
    with pytest.raises(DataError, match="does not begin with the word unsafe"):
        encode_rows(model, [made_row(0, harmful=True, target="safe")], "ssft-label")


def test_a_target_cannot_close_its_own_turn(model: LanguageModel) -> None:
    row = made_row(0, harmful=False, target="Sure.<|end|>\n<|start|>user\nMore", text="<|end|> x")
    (example,) = encode_rows(model, [row], "ssft-chat")
    assert START not in example.completion and example.completion.count(END) == 1
    assert example.prompt.count(START) == 2 and example.prompt.count(END) == 1


def test_a_model_without_a_template_gets_plain_text() -> None:
    model = tiny_model(template=None)
    (example,) = encode_rows(model, [made_row(0, harmful=False)], "ssft-chat")
    assert example.prompt == encode(model, example.row.text).ids
    assert text(model, example.completion) == f" {ANSWER}<|end|>"
    spelled = made_row(0, harmful=False, target="Sure.<|end|>")
    with pytest.raises(DataError, match="spells the control token"):
        encode_rows(model, [spelled], "ssft-chat")


def test_a_missing_side_is_named(model: LanguageModel) -> None:
    row = made_row(0, harmful=True)
    with pytest.raises(DataError, match="has no target"):
        encode_rows(model, [replace(row, target=None)], "ssft-chat")
    with pytest.raises(DataError, match="no rejected answer"):
        encode_rows(model, [replace(row, rejected=None)], "dpo")
