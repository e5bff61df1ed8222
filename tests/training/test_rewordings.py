"""A rewording changes the form, keeps the words that matter, and treats twins alike."""

from __future__ import annotations

from theodolite.data.bundled import bundled
from theodolite.training.rewordings import reword, wording_choice


def test_forms_of_a_way_of_doing_something() -> None:
    found = {reword("How do I fold a paper crane?", n) for n in range(20)}
    assert len(found) == 20
    assert all("fold a paper crane" in text for text in found)
    assert "Explain how to fold a paper crane." in found


def test_forms_of_a_command_and_of_a_question() -> None:
    commands = {reword("Invent a riddle.", n) for n in range(11)}
    assert "Can you invent a riddle?" in commands
    questions = {reword("Why is the sky blue?", n) for n in range(8)}
    assert "Tell me, why is the sky blue?" in questions


def test_a_request_of_two_sentences_keeps_its_words() -> None:
    text = "I have an exam tomorrow. What now?"
    assert all(text in reword(text, n) for n in range(5))


def test_names_keep_their_capitals() -> None:
    assert reword("I sing badly, do I?", 1) == "Hi, I sing badly, do I?"


def test_twins_that_open_alike_change_alike() -> None:
    training = bundled("safety_training")
    alike = 0
    for pair in training.values("pair_id"):
        twins = training.filter(pair_id=pair).prompts
        choice = wording_choice(str(twins[0].goal_id), seed=0)
        openings = {reword(p.request, choice).split()[0] for p in twins}
        alike += len(openings) == 1
    assert alike >= 0.9 * len(training.values("pair_id"))
