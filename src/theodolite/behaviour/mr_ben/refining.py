"""More than one run beside each other: second thoughts, and what a hint does.

Self-refinement goes in three turns: the plain grading, doubts about it, and the four parts again.
The first turn is the plain run itself, prompt for prompt, so one that is there already is not
written again. A prior tells that the solution is wrong; the placebo beside it tells as much without
saying so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser

from theodolite.behaviour.mr_ben.answers import Critique, parse_critique
from theodolite.behaviour.mr_ben.judging import Claim, Judged
from theodolite.behaviour.mr_ben.options import INCORRECT, PLACEBO, Asked, Options, asked_of
from theodolite.behaviour.mr_ben.prompts import refine_turns
from theodolite.behaviour.mr_ben.rows import Graded, grade
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME, measurements
from theodolite.behaviour.mr_ben.task import FIRST, Asking, Reply
from theodolite.data.mr_ben import Demo
from theodolite.data.step_critique import CritiqueSet
from theodolite.measure.intervals import proportion
from theodolite.measure.judge_quality import JudgeCalibration
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference

EMPTY: Final = "(nothing)"
OF_ERRORS: Final = ("caught", "acc_step", "acc_reason", "within_1", "step_distance", "unparsed")
"""Figures that mean something where every solution is wrong."""

VERDICT: Final = "verdict"
STEP: Final = "verdict and step"
FLIPS: Final = ("right to right", "right to wrong", "wrong to right", "wrong to wrong")


@dataclass(frozen=True)
class Arm:
    """One run over the solutions: what was asked, what came back, and what it is worth.

    Args:
        name: the front of its figures' names.
        title: in words.
        asked: the prompts.
        replies: by id of the solution.
        verdicts: on reasons, by id.
    """

    name: str
    title: str
    asked: Sequence[Asked]
    replies: Mapping[str, Reply]
    verdicts: Mapping[str, Judged] = field(default_factory=dict)

    def critique(self, one: Asked) -> Critique:
        """Return what is read of the answer about a solution."""
        return parse_critique(self.replies[one.sample.id].text, coding=one.sample.coding)

    def claims(self) -> dict[str, Claim]:
        """Return the reasons that are to be judged, by id."""
        found = {}
        for one in self.asked:
            said = self.critique(one)
            if grade(one.sample, said).reviewed:
                found[one.sample.id] = Claim(one.sample, said.reason, said.step_text)
        return found

    def graded(self) -> list[Graded]:
        """Return a row per solution, with the verdicts there are."""
        rows = []
        for one in self.asked:
            verdict = self.verdicts.get(one.sample.id, Judged(None))
            rows.append(
                grade(
                    one.sample,
                    self.critique(one),
                    accepted=verdict.accepted,
                    unjudged=verdict.why,
                    tokens=self.replies[one.sample.id].tokens,
                )
            )
        return rows


def arms_of(
    asking: Asking,
    rows: CritiqueSet,
    demos: Mapping[str, Sequence[Demo]],
    options: Options,
) -> list[Arm]:
    """Return the runs that were asked for, the one that counts first.

    Raises: TheodoliteError: a prompt does not fit, or the model cannot be asked.
    """
    if options.prior is not None:
        told = [INCORRECT, PLACEBO] if options.prior == INCORRECT else [PLACEBO]
        return [_prior_arm(asking, rows, demos, options, prior) for prior in told]
    asked = asked_of(rows, demos, options, model=asking.local)
    first = asking.replies(_begun(asked), asked, "Answers")
    if not options.self_refine:
        return [Arm(NAME, "answers", asked, first)]
    last = refined(asking, asked, first)
    return [
        Arm(NAME, "after second thoughts", asked, last),
        Arm(f"{NAME}/{FIRST}", "at first", asked, first),
    ]


def _prior_arm(
    asking: Asking,
    rows: CritiqueSet,
    demos: Mapping[str, Sequence[Demo]],
    options: Options,
    prior: str,
) -> Arm:
    asked = asked_of(rows, demos, options, model=asking.local, prior=prior)
    title = "told that it is wrong" if prior == INCORRECT else "told that an expert looked at it"
    return Arm(
        f"{NAME}/prior_{prior}", title, asked, asking.replies(_begun(asked), asked, f"Told {prior}")
    )


def _begun(asked: Sequence[Asked]) -> dict[str, list[ChatMessage]]:
    return {one.sample.id: [ChatMessageUser(content=one.prompt)] for one in asked}


def refined(asking: Asking, asked: Sequence[Asked], first: Mapping[str, Reply]) -> dict[str, Reply]:
    """Return the final turn of each conversation, by id of the solution.

    Args:
        first: the plain run's answers.
    """
    chats, said = _begun(asked), first
    for turn, label in zip(refine_turns(), ("Doubts", "Second answers")):
        chats = {
            name: [
                *turns,
                ChatMessageAssistant(content=EMPTY if said[name].empty else said[name].text),
                ChatMessageUser(content=turn),
            ]
            for name, turns in chats.items()
        }
        said = asking.replies(chats, asked, label)
    return dict(said)


def figures_of(
    arm: Arm, rows: Sequence[Graded], *, judge: JudgeCalibration | None = None, seed: int = 0
) -> list[Measurement]:
    """Return the figures of a run; where every solution is wrong, those that mean something."""
    found = measurements(rows, judge=judge, seed=seed, name=arm.name)
    if not any(row.gold_correct for row in rows):
        return [m for m in found if m.name.split("/")[-1] in (*OF_ERRORS, "corrected")]
    return found if arm.name == NAME else [m for m in found if f"/{MEAN}/" in m.name]


def compared(first: Sequence[Graded], last: Sequence[Graded]) -> list[Measurement]:
    """Return how often second thoughts turn a grading from right to wrong and back, and the gain.

    Right is the verdict alone (`refine`), or for wrong solutions the step as well (`refine_step`,
    which leaves programs out).
    """
    found = []
    for name, pairs in (("refine", _pairs(first, last, VERDICT)),
                        ("refine_step", _pairs(first, last, STEP))):  # fmt: skip
        if not pairs:
            continue
        clusters = [question for question, _, _ in pairs]
        for way, wanted in (("right_to_wrong", (True, False)), ("wrong_to_right", (False, True))):
            found.append(
                proportion(
                    f"{NAME}/{name}/{way}",
                    [(before, after) == wanted for _, before, after in pairs],
                    clusters=clusters,
                    floor=Floor("no second thoughts", 0.0),
                )
            )
        found.append(
            paired_difference(
                [after for _, _, after in pairs],
                [before for _, before, _ in pairs],
                name=f"{NAME}/{name}/gain",
                clusters=clusters,
            )
        )
    return found


def hinted(told: Sequence[Graded], placebo: Sequence[Graded]) -> list[Measurement]:
    """Return what telling that solutions are wrong adds to the placebo, of wrong solutions."""
    found = []
    for name, fact in (("caught", "caught"), ("acc_step", "located")):
        rows = [
            (a, b) for a, b in zip(told, placebo, strict=True) if fact == "caught" or not a.coding
        ]
        if rows:
            found.append(
                paired_difference(
                    [getattr(a, fact) for a, _ in rows],
                    [getattr(b, fact) for _, b in rows],
                    name=f"{NAME}/prior_gain/{name}",
                    clusters=[a.question for a, _ in rows],
                )
            )
    return found


def flips(first: Sequence[Graded], last: Sequence[Graded]) -> list[dict[str, Any]]:
    """Return a row per kind of right and per change between the first turn and the last."""
    table = []
    for kind in (VERDICT, STEP):
        counts = dict.fromkeys(FLIPS, 0)
        for _, before, after in _pairs(first, last, kind):
            counts[f"{_word(before)} to {_word(after)}"] += 1
        table += [{"right": kind, "change": change, "n": n} for change, n in counts.items()]
    return table


def _pairs(
    first: Sequence[Graded], last: Sequence[Graded], kind: str
) -> list[tuple[str, bool, bool]]:
    """Return (question, right at first, right at last) of every solution that can be so."""
    kept = [
        (a, b)
        for a, b in zip(first, last, strict=True)
        if kind == VERDICT or not (a.coding and not a.gold_correct)
    ]
    return [(a.question, _right(a, kind), _right(b, kind)) for a, b in kept]


def _right(row: Graded, kind: str) -> bool:
    if kind == STEP and not row.gold_correct:
        return row.located
    return row.correct is row.gold_correct


def _word(right: bool) -> str:
    return "right" if right else "wrong"
