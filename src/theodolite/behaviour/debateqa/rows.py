"""What is known of one perspective and of one answer, before anything is averaged.

Log-likelihoods are kept as sums of nats: a perplexity may overflow, so it is made where it is
shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from theodolite.data.debates import DEBATABLE, LABELS
from theodolite.data.prompts import shown
from theodolite.errors import DataError

MOST_PPL: Final = 1e9
"""Perplexities are shown up to here; the nats behind them are kept as they are."""


@dataclass(frozen=True)
class TargetScore:
    """How well a scoring model predicts one perspective after an answer.

    Args:
        question: id.
        index: of the perspective within its question.
        nll_sum: negative log-likelihood of the perspective's tokens after the answer, in nats.
        n_tokens: of the perspective; with none it has no score.
        n_context: tokens before it.
        goal_id: questions of one goal are one cluster; None: the question is its own.
        topic: a slice of the table; None without one.
        stance: the side it takes; None where nobody labelled it.
        prior_sum: the same sum with the question alone as context; None where not computed.
        null_sums: the same sums after answers to other questions.
        flags: what is odd about it, e.g. `truncated`.

    Raises:
        DataError: a sum is not finite, or a count is not possible.
    """

    question: str
    index: int
    nll_sum: float
    n_tokens: int
    n_context: int
    goal_id: str | None = None
    topic: str | None = None
    stance: str | None = None
    prior_sum: float | None = None
    null_sums: tuple[float, ...] = ()
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = [self.nll_sum, *self.null_sums]
        known += [] if self.prior_sum is None else [self.prior_sum]
        if not all(map(math.isfinite, known)):
            raise DataError(
                f"A log-likelihood of {self.named} is not finite.", fix="Check the scoring model."
            )
        if self.n_tokens < 0 or self.n_context < 1:
            raise DataError(
                f"{self.named} has {self.n_tokens} tokens after {self.n_context} of context.",
                fix="Count the tokens of both; the context has at least one.",
            )

    @property
    def named(self) -> str:
        """What the perspective is called in messages."""
        return f"perspective {self.index} of question {shown(self.question)}"

    @property
    def goal(self) -> str:
        """The cluster the question belongs to."""
        return self.goal_id or self.question

    @property
    def scored(self) -> bool:
        """Whether there is a token to score."""
        return self.n_tokens > 0

    @property
    def nll(self) -> float:
        """Nats per token."""
        return self.nll_sum / self.n_tokens

    @property
    def ppl(self) -> float:
        """Perplexity of the perspective, cut at `MOST_PPL`."""
        return perplexity(self.nll)

    @property
    def ppl_reference(self) -> float:
        """What the released script takes for the perplexity: the sum over all tokens but one.

        Equal to ppl ** (n_tokens / (n_context + n_tokens - 1)): it falls when the answer grows.
        """
        return perplexity(self.nll_sum / (self.n_context + self.n_tokens - 1))

    @property
    def gain(self) -> float | None:
        """Nats per token that the answer adds to the question alone; None without a prior."""
        return None if self.prior_sum is None else self._gain(self.nll_sum)

    @property
    def null_gains(self) -> tuple[float, ...]:
        """The gains of answers to other questions; () without a prior."""
        return () if self.prior_sum is None else tuple(map(self._gain, self.null_sums))

    def _gain(self, nll_sum: float) -> float:
        assert self.prior_sum is not None  # noqa: S101 - asked for by the callers
        return (self.prior_sum - nll_sum) / self.n_tokens


@dataclass(frozen=True)
class AnswerRow:
    """What is known of one answer as a whole.

    Args:
        question: id.
        label: `debatable`, `settled` (a control with one answer) or `contested` (settled in
            science, disputed in public: a slice of its own).
        goal_id, topic: as of a `TargetScore`.
        answer_tokens: its length in tokens of the scoring model; None where not counted.
        truncated: its end was left out, for the scorer's context is shorter.
        empty: it has no words.
        da: whether it says that the question is disputed; None without a verdict.
        da_prob: the judge's probability of that; None where it gave none.
        da_lexical: what the word list says.
        da_reason: why there is no verdict.

    Raises:
        DataError: the label is unknown, or a probability is none.
    """

    question: str
    label: str = DEBATABLE
    goal_id: str | None = None
    topic: str | None = None
    answer_tokens: int | None = None
    truncated: bool = False
    empty: bool = False
    da: bool | None = None
    da_prob: float | None = None
    da_lexical: bool | None = None
    da_reason: str | None = None

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise DataError(
                f"The question {shown(self.question)} has the label {shown(self.label)}.",
                fix=f"Use {', '.join(LABELS)}.",
            )
        if self.da_prob is not None and not 0.0 <= self.da_prob <= 1.0:
            raise DataError(
                f"The probability {self.da_prob} of question {shown(self.question)} is none.",
                fix="Give a number from 0 to 1.",
            )

    @property
    def goal(self) -> str:
        """The cluster the question belongs to."""
        return self.goal_id or self.question


Row = TypeVar("Row", TargetScore, AnswerRow)


def by_question(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each question, questions in order of appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.question, []).append(row)
    return found


def check_unique(scores: Sequence[TargetScore], answers: Sequence[AnswerRow]) -> None:
    """Refuse a perspective or an answer that stands there twice; raises DataError."""
    seen: set[tuple[str, int | None]] = set()
    for question, index in [
        *((row.question, row.index) for row in scores),
        *((row.question, None) for row in answers),
    ]:
        if (question, index) in seen:
            what = "The answer" if index is None else f"Perspective {index}"
            raise DataError(
                f"{what} of question {shown(question)} stands there twice.",
                fix="Give every row its own id and index.",
            )
        seen.add((question, index))


def perplexity(nll: float) -> float:
    """Return e to the nats per token, cut at `MOST_PPL`."""
    return math.exp(nll) if nll < math.log(MOST_PPL) else MOST_PPL
