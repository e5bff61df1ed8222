"""No row may teach compliance with harm."""

from __future__ import annotations

import pytest

from tests.training.made_rows import ANSWER, OPENING, REFUSAL, made_row, made_rows
from theodolite.errors import DataError
from theodolite.training.guard import refuse_unsafe_rows


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
