"""Made solutions in several subjects, two or three to a question, for tests that run models."""

from __future__ import annotations

from theodolite.data.mr_ben import Demo
from theodolite.data.step_critique import CritiqueSample, CritiqueSet, labelled

_SUMS = ((2, 2, 3), (5, 1, 4), (7, 2, 6), (3, 3, 9))
ANSWER = """Solution Analysis: Step 1 is right. Step 2 is not.
Solution Correctness: incorrect
First Error Step: Step 2
Error Reason: The sum is one too large."""


def solution(
    subject: str, place: int, writer: int, *, right: bool, steps: int = 3
) -> CritiqueSample:
    """Return a sum worked out in steps; a wrong one goes wrong at its second step."""
    a, b, c = _SUMS[place % len(_SUMS)]
    off = 0 if right else 1
    name = ("Ada", "Bo", "Cy")[writer]
    lines = [
        f"Step 1: {name} says {a} + {b} = {a + b}.",
        f"Step 2: {a + b} + {c} = {a + b + c + off}.",
    ]
    lines += [f"Step {n}: So far so good, says writer {writer}." for n in range(3, steps + 1)]
    return CritiqueSample(
        id=f"{subject}{place}/{'ABC'[writer]}/{writer}",
        key=f"q{place}",
        subject=subject,
        sub_subject=f"college_{subject}",
        question=f"What is {a} + {b} + {c}, as number {place}?",
        options="A: 7 \nB: 8",
        steps=labelled([*lines, "Solution: Choice_A"]),
        gold_correct=right,
        gold_step=None if right else 2,
        source_model="ABC"[writer],
    )


def solutions(subjects: tuple[str, ...] = ("math", "physics"), questions: int = 4) -> CritiqueSet:
    """Return right and wrong solutions of each question."""
    rows = [
        solution(subject, place, writer, right=(place + writer) % 2 == 0, steps=3 + writer)
        for subject in subjects
        for place in range(questions)
        for writer in range(3)
    ]
    return CritiqueSet(tuple(rows))


def demos(subjects: tuple[str, ...] = ("math", "physics"), shots: int = 3) -> dict[str, list[Demo]]:
    """Return worked examples of each sub-subject."""
    return {
        f"college_{subject}": [
            Demo(solution(subject, 90 + n, 0, right=False), ANSWER) for n in range(shots)
        ]
        for subject in subjects
    }
