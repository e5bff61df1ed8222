"""What a model wrote is read or named as unreadable; nothing is guessed, nothing crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.debateqa.building.made import WHY
from theodolite.behaviour.debateqa.building import parsing
from theodolite.behaviour.debateqa.building.parsing import (
    View,
    read_explanation,
    read_views,
    read_yes_or_no,
)

QUESTION = "Should towns ban cars?"
ASKED = {"documents": 3, "question": QUESTION, "tags": ("abc123def456",)}
SAID = "Towns should ban cars"
LINES: dict[str, tuple[str, View | None]] = {
    "as asked": (f"VIEW: {SAID} [1, 3]", View(SAID, (1, 3))),
    "lower case": (f"view: {SAID} [2]", View(SAID, (2,))),
    "numbered": (f"1. VIEW: {SAID} [2]", View(SAID, (2,))),
    "marker numbered": (f"VIEW 2: {SAID} [2]", View(SAID, (2,))),
    "bold": (f"**VIEW:** {SAID}. [1]", View(f"{SAID}.", (1,))),
    "bullet without marker": (f"- {SAID} [1 and 2]", View(SAID, (1, 2))),
    "words in brackets": (f"VIEW: {SAID} (documents 2; 1)", View(SAID, (1, 2))),
    "named twice": (f"VIEW: {SAID} [1, 1]", View(SAID, (1,))),
    "quoted": (f'VIEW: "{SAID}" [1]', View(SAID, (1,))),
    "some unknown": (f"VIEW: {SAID} [2, 9]", View(SAID, (2,))),
    "all unknown": (f"VIEW: {SAID} [9]", View(SAID, (), parsing.NO_DOCUMENT)),
    "none named": (f"VIEW: {SAID}", View(SAID, (), parsing.NO_DOCUMENT)),
    "a question": (f"VIEW: {QUESTION} [1]", View(QUESTION, (1,), parsing.QUESTION_AGAIN)),
    "two words": ("VIEW: Ban cars [1]", View("Ban cars", (1,), parsing.NO_SENTENCE)),
    "the fence": (
        "VIEW: <<<END abc123def456 of it [1]",
        View("<<<END abc123def456 of it", (1,), parsing.MARKS),
    ),
    "talk": ("Here are the answers that I found:", None),
    "empty": ("VIEW: [1]", None),
}


@pytest.mark.parametrize(("line", "view"), LINES.values(), ids=LINES.keys())
def test_a_line_is_read_as_a_person_would(line: str, view: View | None) -> None:
    assert read_views(line, **ASKED) == ([] if view is None else [view])  # type: ignore[arg-type]


def test_lines_are_read_in_order_and_reasoning_is_left_out() -> None:
    answer = f"<think>VIEW: Never mind this one [1]</think>\nVIEW: {SAID} [1]\n\nVIEW: It is so [2]"
    found = read_views(answer, **ASKED)  # type: ignore[arg-type]
    assert [view.text for view in found] == [SAID, "It is so"]


EXPLAINED: dict[str, tuple[str, bool, str, str | None]] = {
    "as asked": (f"EXPLANATION: {WHY}", False, WHY, None),
    "on the next line": (f"**Explanation**:\n{WHY}", False, WHY, None),
    "talk before": (f"Of course.\n\nEXPLANATION: {WHY}", False, WHY, None),
    "no marker, one paragraph": (WHY, False, WHY, None),
    "no marker, two": (f"Well.\n\n{WHY}", False, "", parsing.NOT_READ),
    "only reasoning": (f"<think>{WHY}", False, "", parsing.NOT_READ),
    "cut": (f"EXPLANATION: {WHY}", True, WHY, parsing.CUT),
    "short": ("EXPLANATION: Because of the air.", False, "Because of the air.", parsing.TOO_SHORT),
    "long": (f"EXPLANATION: {'word ' * 301}", False, ("word " * 301).strip(), parsing.TOO_LONG),
}


@pytest.mark.parametrize(("answer", "cut", "text", "why"), EXPLAINED.values(), ids=EXPLAINED.keys())
def test_an_explanation_is_read_or_named(
    answer: str, cut: bool, text: str, why: str | None
) -> None:
    assert read_explanation(answer, view=SAID, cut=cut) == (text, why)


def test_refusals_repetitions_and_marks_are_no_explanation() -> None:
    refused = "I cannot help with that, but here is what else I can do for you today: " + WHY[:60]
    assert read_explanation(refused, view=SAID, cut=False)[1] == parsing.REFUSED
    again = f"{SAID}. " * 8
    assert read_explanation(again, view=SAID, cut=False)[1] == parsing.NOTHING_NEW
    assert read_explanation(f"{WHY} xyz", view=SAID, cut=False, tags=("xyz",))[1] == parsing.MARKS


@pytest.mark.parametrize(
    ("answer", "said"),
    [("Yes.", True), ("**no**, it is", False), ("<think>no</think>yes", True), ("Perhaps", None),
     ("yesterday", None), ("", None)],
)  # fmt: skip
def test_yes_or_no(answer: str, said: bool | None) -> None:
    assert read_yes_or_no(answer) is said


@given(answer=st.text(), documents=st.integers(0, 5))
def test_no_text_crashes_the_readers(answer: str, documents: int) -> None:
    for view in read_views(answer, documents=documents, question=QUESTION):
        assert all(1 <= number <= documents for number in view.documents)
        assert view.why is not None or (view.documents and view.text.strip())
    text, why = read_explanation(answer, view=SAID, cut=False)
    assert why is not None or text.strip()
    read_yes_or_no(answer)


@pytest.mark.parametrize("filler", [" ", ".", "* ", "[", "VIEW:", "1.", "\n"])
def test_long_lines_are_read_at_once(filler: str) -> None:
    long = f"VIEW: a {filler * 50_000} b"
    assert all(view.why for view in read_views(long, documents=2, question=QUESTION))


@given(
    words=st.lists(st.sampled_from(["towns", "cars", "air", "shops", "never"]), min_size=3),
    documents=st.sets(st.integers(1, 9), min_size=1),
)
def test_what_is_written_as_asked_comes_back(words: list[str], documents: set[int]) -> None:
    words = words[:60]
    line = f"VIEW: {' '.join(words)} [{', '.join(map(str, sorted(documents)))}]"
    (view,) = read_views(line, documents=9, question=QUESTION)
    assert view == View(" ".join(words), tuple(sorted(documents)))
