"""One worked solution that a model is to check: the shape shared by every such collection.

Trap this file exists for: the gold step is a LABEL, the number that stands in "Step 3: ...", and no
list index. A step may span several lines, lists begin with unnumbered lines, and labels repeat.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from theodolite.data.prompts import check_text, shown
from theodolite.data.records import Place
from theodolite.errors import DataError

CODING: Final = "coding"
POSITIONS: Final = ("first third", "middle third", "last third")
_LABEL: Final = re.compile(r"^\s*\**Step\s*([0-9]{1,4})")


@dataclass(frozen=True)
class Step:
    """One line of a solution.

    Args:
        label: the number in its "Step k:"; None for a line that goes on or stands outside.
        text: the line as it is in the file.
    """

    label: int | None
    text: str


@dataclass(frozen=True)
class CritiqueSample:
    """One solution with what is known of its first error.

    Args:
        id: unique in its set.
        key: of the question; solutions of one question are one cluster.
        subject: e.g. `biology`; `coding` is judged by lines and not by steps.
        sub_subject: e.g. `college_biology`; decides which worked examples fit.
        question, options: as put; options are "" where there are none.
        steps: the lines of the solution.
        gold_correct: whether it is right from beginning to end.
        gold_step: label of the first wrong step; None for a right solution and for code.
        gold_line: first wrong line of code, as it is; blank where nobody marked one.
        reasons, fixes: what annotators say is wrong, and their corrected steps.
        source_model: who wrote the solution.
        final_choice: the letter it ends with; None where none can be read.
        process_only: it is wrong and its final answer is right; None where nobody can tell.

    Raises: DataError: a text cannot be used, or the gold contradicts itself.
    """

    id: str
    key: str
    subject: str
    sub_subject: str
    question: str
    steps: tuple[Step, ...]
    gold_correct: bool
    gold_step: int | None = None
    gold_line: str = ""
    options: str = ""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    source_model: str = ""
    final_choice: str | None = None
    process_only: bool | None = None

    def __post_init__(self) -> None:
        for name in ("id", "key", "question"):
            check_text(name, getattr(self, name))
            if not getattr(self, name).strip():
                raise DataError(f"The field {name!r} is empty.")
        if not self.steps:
            raise DataError(f"The solution {shown(self.id)} has no steps.")
        if self.gold_correct and (self.gold_step is not None or self.gold_line):
            raise DataError(
                f"The solution {shown(self.id)} is right and yet has a wrong step.",
                fix="Give it no first error, or call it incorrect.",
            )

    @property
    def coding(self) -> bool:
        """Whether it is a program, whose first error is a line."""
        return self.subject == CODING

    @property
    def lines(self) -> list[str]:
        """The lines as they are in the file."""
        return [step.text for step in self.steps]

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels in order, each once."""
        return tuple(dict.fromkeys(s.label for s in self.steps if s.label is not None))

    @property
    def position(self) -> str | None:
        """Which third of the labelled steps the first error lies in; None where not known."""
        if self.gold_step is None or self.gold_step not in self.labels:
            return None
        return POSITIONS[self.labels.index(self.gold_step) * len(POSITIONS) // len(self.labels)]


@dataclass(frozen=True)
class CritiqueSet:
    """Solutions in file order, and what the reader met on the way.

    Args:
        samples: ids are unique.
        skipped: one sentence per row that could not be read.
        oddities: kind -> how often, for what was read all the same.
    """

    samples: tuple[CritiqueSample, ...]
    skipped: tuple[str, ...] = ()
    oddities: Mapping[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[CritiqueSample]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects in order of appearance."""
        return tuple(dict.fromkeys(sample.subject for sample in self.samples))


@dataclass(frozen=True)
class SolutionPlace:
    """Where a solution stands; builds the one-sentence error that says so."""

    path: Path
    key: str
    index: int

    def error(self, column: str, problem: str, fix: str = "") -> DataError:
        """Return a DataError naming file, solution and field."""
        where = f"solution {self.index} of {shown(self.key)}: {problem}"
        return Place(self.path, field=column).error(where, fix)

    def text(self, row: Mapping[str, object], column: str, *, empty: bool = False) -> str:
        """Return a field that must be text, and not empty unless `empty`; raises DataError."""
        value = row.get(column)
        if not isinstance(value, str):
            kind = "missing" if value is None else f"{type(value).__name__} and not text"
            raise self.error(column, f"the field is {kind}.")
        if not empty and not value.strip():
            raise self.error(column, "the field is empty.")
        return value

    def lines(self, row: Mapping[str, object], column: str) -> list[str]:
        """Return a field that must be a list of texts, not empty; raises DataError."""
        value = row.get(column)
        if not isinstance(value, list) or not value or not all(isinstance(x, str) for x in value):
            raise self.error(column, "this must be a list of texts, one per line.")
        return value

    def sample(self, column: str, **values: object) -> CritiqueSample:
        """Return a sample; what is wrong with it is said of this place."""
        try:
            return CritiqueSample(**values)  # type: ignore[arg-type]
        except DataError as error:
            problem = error.message[:1].lower() + error.message[1:]
            raise self.error(column, problem, error.fix) from None


def label_of(line: str) -> int | None:
    """Return the number in a line's "Step k"; None where it has none."""
    found = _LABEL.match(line)
    return int(found[1]) if found else None


def labelled(lines: Iterable[str]) -> tuple[Step, ...]:
    """Return lines with their labels."""
    return tuple(Step(label_of(line), line) for line in lines)


def unlabelled(lines: Iterable[str]) -> tuple[Step, ...]:
    """Return lines of code; what they say is no label."""
    return tuple(Step(None, line) for line in lines)


def numbered(texts: Iterable[str]) -> tuple[Step, ...]:
    """Return steps that carry no labels, labelled from 1 in their order."""
    return tuple(Step(i, f"Step {i}: {text}") for i, text in enumerate(texts, 1))


def constant_step(gold: Sequence[int | None]) -> tuple[int, int] | None:
    """Return the label that is wrong most often, and how often; the smaller one of equals."""
    counts = Counter(step for step in gold if step is not None)
    return min(counts.items(), key=lambda item: (-item[1], item[0])) if counts else None
