"""Made solutions and graded rows, for tests."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.data.step_critique import CritiqueSample, labelled, unlabelled


def sample(**more: Any) -> CritiqueSample:
    """Return a wrong sum whose second step is wrong."""
    values: dict[str, Any] = {
        "id": "q1/A/0",
        "key": "q1",
        "subject": "math",
        "sub_subject": "high_school_math",
        "question": "What is 2 + 2 + 3?",
        "options": "A: 7 \nB: 8",
        "steps": labelled(["Step 1: 2 + 2 = 4.", "Step 2: 4 + 3 = 8.", "Solution: Choice_B"]),
        "gold_correct": False,
        "gold_step": 2,
        "reasons": ("4 + 3 is 7.", "The sum is off by one."),
        "fixes": ("Step 2: 4 + 3 = 7.",),
    }
    return CritiqueSample(**(values | more))


def program(**more: Any) -> CritiqueSample:
    """Return a wrong program whose second line is wrong."""
    values: dict[str, Any] = {
        "id": "p1/A/0",
        "key": "p1",
        "subject": "coding",
        "sub_subject": "coding",
        "question": "Double x.",
        "steps": unlabelled(["def f(x):", "    return x + 1  # double"]),
        "gold_correct": False,
        "gold_line": "    return x + 1  # double",
        "reasons": ("It adds one.",),
    }
    return CritiqueSample(**(values | more))


def graded(seed: int = 0, n: int = 120, subject: str = "math", **more: Any) -> list[Graded]:
    """Return rows drawn at random, three to a question."""
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        right = i % 5 == 0 or (i > 1 and draw.random() < 0.4)
        values: dict[str, Any] = {
            "id": f"{subject}{i}",
            "question": f"{subject}{i // 3}",
            "subject": subject,
            "gold_correct": right,
            "gold_step": None if right else draw.randint(1, 4),
            "labels": 5,
            "position": None if right else "first third",
            "source_model": "ABC"[i % 3],
            "process_only": None if right else draw.random() < 0.2,
            "correct": draw.choice([True, False, False, None]),
            "step": draw.randint(1, 4),
            "accepted": draw.random() < 0.6,
        }
        rows.append(Graded(**(values | more)))
    return rows


def row_of(key: str = "q1", model: str = "A", **more: Any) -> dict[str, Any]:
    """Return a row as the official files write it."""
    return {
        "Question_UUID": key,
        "Subject": "college_math",
        "Question": "What is 2 + 2?",
        "Options": "A: 4 \nB: 5",
        "Ground_Truth_Answer": "A",
        "Ground_Truth_Answer_Modified": "A",
        "Sampled_Model": model,
        "Model_Solution_Steps": ["Step 1: Two and two.", "so", "Step 2: 5", "Solution: Choice_B"],
        "Model_Solution_Correctness": "incorrect",
        "Model_Solution_First_Error_Step": "2",
        "Model_Solution_Error_Reason": ["It is 4.", "The sum is 4."],
        "Model_Solution_Rectified_First_Error_Step": ["Step 2: 4", "Step 2: four"],
    } | more


CODE = {
    "Subject": "coding",
    "Model_Solution_Steps": "def f(x):\n    return x + 1",
    "Model_Solution_First_Error_Step": "    return x + 1",
    "Model_Solution_Error_Reason": "It adds.",
    "Model_Solution_Rectified_First_Error_Step": "    return 2 * x",
}
RIGHT = {
    "Model_Solution_Correctness": "correct",
    "Model_Solution_First_Error_Step": "N/A",
    "Model_Solution_Error_Reason": "N/A",
    "Model_Solution_Rectified_First_Error_Step": "N/A",
}


def folder(path: Path, files: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> Path:
    """Write subject files into a folder and return it."""
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path
