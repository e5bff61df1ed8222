"""The prompts as they are sent, letter by letter."""

from __future__ import annotations

import os

import pytest

from tests.behaviour.mr_ben.made import program, sample
from theodolite.behaviour.mr_ben.answers import parse_critique
from theodolite.behaviour.mr_ben.prompts import (
    demo_answer,
    demos_for,
    incorrect_share,
    refine_turns,
    task_prompt,
)
from theodolite.data.mr_ben import Demo, official_demos
from theodolite.errors import ConfigError, DataError

ANSWER = (
    "**Solution Analysis:** fine\n\nSolution Correctness: incorrect\n\n"
    "First Error Step: Step 2\n\nError Reason: N/A."
)
DEMO = Demo(sample(id="demo", question="Q?"), ANSWER)
GOLDEN = """\
You check a worked solution from high school math.
Judge: does it answer the question with valid reasoning and pick the right option?
If not, find the first step that contains an error: a wrong fact, a wrong computation, a misread question, or broken logic. A step that only gives background or explores, without a mistake, does not count.

Question: What is 2 + 2 + 3?
Options: A: 7 
B: 8
Solution:
Step 1: 2 + 2 = 4.
Step 2: 4 + 3 = 8.
Solution: Choice_B

Answer in exactly four parts:
Solution Analysis: <check every step>
Solution Correctness: <correct | incorrect>
First Error Step: <Step k | N/A>
Error Reason: <what is wrong and the corrected step | N/A>"""  # noqa: E501, W291
SHOWN = """\

Examples of checked solutions:

Question: Q?
Options: A: 7 
B: 8
Solution:
Step 1: 2 + 2 = 4.
Step 2: 4 + 3 = 8.
Solution: Choice_B

Solution Analysis: fine
Solution Correctness: incorrect
First Error Step: Step 2
Error Reason: N/A

Now check this one.
"""  # noqa: W291


def test_the_plain_prompt() -> None:
    assert task_prompt(sample()) == GOLDEN


def test_steps_as_a_printed_list() -> None:
    plain, as_list = task_prompt(sample()), task_prompt(sample(), steps_format="pylist")
    assert as_list == plain.replace("\n".join(sample().lines), repr(sample().lines))
    assert task_prompt(program(), steps_format="pylist") == task_prompt(program())
    assert "Options" not in task_prompt(program()) and "line as it stands" in task_prompt(program())


def test_examples_stand_between_instructions_and_question() -> None:
    found = task_prompt(sample(), [DEMO])
    start, end = GOLDEN.split("\n\nQuestion: What is")
    assert found == f"{start}\n{SHOWN}\nQuestion: What is{end}"
    assert incorrect_share([DEMO]) == 1.0 and incorrect_share([]) is None


@pytest.mark.parametrize("prior", ["incorrect", "placebo"])
def test_a_prior_follows_the_instructions(prior: str) -> None:
    told = [line for line in task_prompt(sample(), prior=prior).split("\n")
            if line not in GOLDEN.split("\n")]  # fmt: skip
    assert len(told) == 1 and told[0].startswith("An expert has")
    assert ("error" in told[0]) is (prior == "incorrect")


def test_solutions_of_one_question_share_all_up_to_the_solution() -> None:
    one, other = task_prompt(sample()), task_prompt(sample(steps=sample().steps[:1]))
    start = one.index("Solution:\nStep 1")
    assert one[:start] == other[:start] and "Options: A: 7" in one[:start]


def test_text_that_looks_like_a_slot_stays() -> None:
    assert "{steps} {subject}" in task_prompt(sample(question="{steps} {subject}"))


def test_our_format_lines_are_no_verdict() -> None:
    assert parse_critique(GOLDEN).correct is None


def test_later_turns_and_wrong_options() -> None:
    doubts, again = refine_turns()
    assert "certain" in doubts and "four parts" in again
    for wrong in ({"steps_format": "list"}, {"prior": "correct"}):
        with pytest.raises(ConfigError):
            task_prompt(sample(), **wrong)
    with pytest.raises(ConfigError, match="0 to 3"):
        demos_for(sample(), {}, 4)
    with pytest.raises(DataError, match="0 worked examples"):
        demos_for(sample(), {}, 1)
    with pytest.raises(DataError, match="First Error Step"):
        demo_answer(Demo(sample(), "Solution Correctness: correct"))


@pytest.mark.skipif(not os.environ.get("THEODOLITE_DATA"), reason="needs the official data")
def test_official_examples_are_read_back_from_our_four_parts() -> None:
    for name, demos in official_demos().items():
        assert demos_for(demos[0].sample, {name: demos}, 3) == demos
        for demo in demos:
            said = parse_critique(demo_answer(demo), coding=demo.sample.coding)
            assert said.correct is demo.sample.gold_correct
            assert demo.sample.coding or said.step == demo.sample.gold_step
            assert demo_answer(demo).count("Solution Correctness:") == 1
