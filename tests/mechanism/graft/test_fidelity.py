"""Topic fidelity: words of the request in the answer, beside what chance gives."""

from __future__ import annotations

import pytest

from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.mechanism.graft.fidelity import fidelity, fidelity_measurements, topic_words

REQUESTS = ("How do I repair a bicycle wheel?", "Explain volcanoes to children", "Bake rye bread")


def prompts(texts: tuple[str, ...]) -> list[Prompt]:
    return [Prompt(f"p{i}", text) for i, text in enumerate(texts)]


def test_words_are_counted_without_grammar_and_in_any_script() -> None:
    assert topic_words("How do I repair a wheel, 2 wheels?") == {"repai", "wheel"}
    assert topic_words("Wie heile ich Übelkeit?") == {"heile", "übelk"}
    assert topic_words("写一首诗") == {"写一", "一首", "首诗"}
    assert fidelity("Repairing takes time.", "repair a wheel") == 0.5
    assert fidelity("", "repair a wheel") == 0.0
    assert fidelity("anything", "so it is") is None


def test_answers_to_the_recipient_and_to_the_donor_are_told_apart() -> None:
    recipients, donors = prompts(REQUESTS), prompts(("Describe gardens in spring",))
    faithful = ["Repair the bicycle: wheel off.", "Explain: volcanoes, children.", "Bake bread."]
    strayed = ["Gardens: in spring I describe them."] * 3
    own, donor, kept = fidelity_measurements(faithful, recipients, donors, ["a", "b", "c"])
    assert own.value == 1.0 and donor.value == 0.0 and kept.value == 1.0
    assert own.floor is not None and own.floor.value == 0.0
    own, donor, kept = fidelity_measurements(strayed, recipients, donors, ["a", "b", "c"])
    assert own.value == 0.0 and donor.value == 1.0 and kept.value == 0.0


def test_too_few_prompts_are_refused() -> None:
    one = prompts(REQUESTS[:1])
    for recipients, donors in ((one, one), (prompts(REQUESTS[:2]), [])):
        answers = [p.request for p in recipients]
        with pytest.raises(DataError, match="at least two recipients"):
            fidelity_measurements(answers, recipients, donors, answers)
