"""A solution walked through step by step: what was read at the end of each step, and no further.

Lines without a label belong to the step before them; those before the first label, to the first.
Where a label occurs again it begins a step of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.mr_ben.prompts import filled
from theodolite.data.step_critique import CritiqueSample

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

HEAD: Final = """You check a worked solution from {subject}, step by step. A step is wrong if it \
states a wrong fact, computes wrongly, misreads the question, or breaks the logic. A step that \
only gives background or explores, without a mistake, is right.

Question: {question}
{options}Solution so far:
"""
ASK: Final = "\n\nIs everything up to here right? Answer yes or no."


@dataclass(frozen=True)
class Walk:
    """A solution, cut at the end of each step.

    Args:
        sample: the solution.
        head: what is read before its first step.
        labels: of the steps.
        ends: characters of the solution up to the end of each step.
        text: its lines joined.
    """

    sample: CritiqueSample
    head: str
    labels: tuple[int, ...]
    ends: tuple[int, ...]
    text: str

    def __len__(self) -> int:
        return len(self.labels)

    def asked(self, step: int) -> str:
        """Return the user's turn that asks about the first `step + 1` steps."""
        return f"{self.head}{self.text[: self.ends[step]]}{ASK}"

    def last_tokens(self, model: LanguageModel, prompt: Encoded) -> list[int] | None:
        """Return the place of the last token of each step in the prompt with all of them.

        Args:
            prompt: of `asked` with the last step.

        Returns: None where the words do not stand in the prompt as they are, or spell control
            tokens: then characters do not tell the tokens.
        """
        start = prompt.text.rfind(self.asked(len(self) - 1))
        found = model.tokenizer(
            prompt.text,
            add_special_tokens=not model.chat.has_template,
            return_offsets_mapping=True,
            verbose=False,
        )
        if start < 0 or tuple(found["input_ids"]) != prompt.ids:
            return None
        # Tokens that stand for no characters say that they begin at 0.
        begins = list(accumulate((begin for begin, _ in found["offset_mapping"]), max))
        said = start + len(self.head)
        ends = [said + len(self.text[:end].rstrip()) for end in self.ends]
        # The token that covers the last character is the last one to begin before its end.
        return [bisect_left(begins, end) - 1 for end in ends]

    @property
    def wrong(self) -> tuple[bool | None, ...]:
        """Whether each step is the first wrong one; None behind it, and where none is known."""
        gold = self.sample.gold_step
        if self.sample.gold_correct:
            return (False,) * len(self)
        if gold not in self.labels:
            return (None,) * len(self)
        first = self.labels.index(gold)
        return tuple(None if i > first else i == first for i in range(len(self)))


def walk_of(sample: CritiqueSample) -> Walk:
    """Return a solution cut at its steps; it must have labels."""
    labels: list[int] = []
    ends: list[int] = []
    length = -1  # the first line has no line break before it
    for step in sample.steps:
        if step.label is not None and (not labels or step.label != labels[-1]):
            labels.append(step.label)
            ends.append(length)
        length += 1 + len(step.text)
    values = {
        "subject": sample.sub_subject.replace("_", " ") or sample.subject,
        "question": sample.question,
        "options": f"Options: {sample.options}\n" if sample.options else "",
    }
    head = filled(HEAD, values)
    return Walk(sample, head, tuple(labels), (*ends[1:], length), "\n".join(sample.lines))
