"""No row may teach compliance with harm."""

from __future__ import annotations

import pytest

from tests.training.made_rows import ANSWER, OPENING, REFUSAL, made_row, made_rows
from theodolite.errors import DataError
from theodolite.training.guard import refuse_unsafe_rows
from theodolite.training.refusals import REFUSALS
from theodolite.training.rows import OPEN


def test_refusals_for_harm_and_answers_for_the_rest_pass() -> None:
    for method in ("ssft-label", "ssft-chat", "dpo"):
        refuse_unsafe_rows(made_rows(), method)


@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_a_harmful_row_that_is_answered_is_refused(method: str) -> None:
    rows = [*made_rows(), made_row(9, harmful=True, target=ANSWER)]
    with pytest.raises(DataError, match=r"1 of 9 rows labelled harmful .* no refusal.*'h9'"):
        refuse_unsafe_rows(rows, method)


def test_a_preference_the_wrong_way_round_is_refused() -> None:
    wrong = made_row(9, harmful=True, rejected="I won't help with that.")
    with pytest.raises(DataError, match="rejected answer that is a refusal"):
        refuse_unsafe_rows([wrong], "dpo")
    swapped = made_row(9, harmful=True, target=OPENING, rejected=REFUSAL)
    with pytest.raises(DataError, match="no refusal"):
        refuse_unsafe_rows([swapped], "dpo")


@pytest.mark.parametrize(
    "target",
    [
        OPENING,
        "Of course. Here is what you asked for:",
        "No problem. To begin with,",
        "Sure, here is",
        "Step 1:",
        "I can",
        "I'm sorry, but sure, here is how",
        # What the scorer half takes for refusals, as it never saw openings.
        "No problem, here is",
        "No, it is easy: first",
        "I'm sorry, but I can",
        "I must say, great idea! First",
    ],
)
@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_an_open_target_that_opens_an_answer_is_refused(target: str, method: str) -> None:
    rows = [*made_rows(), made_row(9, harmful=True, target=target, turn=OPEN)]
    with pytest.raises(DataError, match=r"1 of 9 rows labelled harmful .* no refusal.*'h9'"):
        refuse_unsafe_rows(rows, method)


def test_open_targets_that_open_a_refusal_pass() -> None:
    ours = [" ".join(refusal.split("{topic}")[0].split()[:2]) for refusal in REFUSALS]
    others = ["I cannot provide", "I must decline to", "I'm sorry, but I can't assist", REFUSAL]
    refuse_unsafe_rows(
        [
            made_row(place, harmful=True, target=target, turn=OPEN)
            for place, target in enumerate([*ours, *others])
        ],
        "ssft-chat",
    )


def test_a_refusal_that_answers_all_the_same_is_refused() -> None:
    target = "I can't help with that. However, here is how: first take the flour and then"
    for turn in (None, OPEN):
        with pytest.raises(DataError, match="no refusal"):
            refuse_unsafe_rows([made_row(9, harmful=True, target=target, turn=turn)], "ssft-chat")


def test_an_open_refusal_is_no_rejected_answer() -> None:
    wrong = made_row(9, harmful=True, target="I can't", rejected="I'm sorry,", turn=OPEN)
    with pytest.raises(DataError, match="rejected answer that is a refusal"):
        refuse_unsafe_rows([wrong], "dpo")
