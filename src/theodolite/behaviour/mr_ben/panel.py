"""The audit's panel on checking reasoning: does the model see what is wrong in a solution?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from theodolite.behaviour.mr_ben.evaluation import VERSION, Options, evaluate
from theodolite.behaviour.mr_ben.options import VERDICT
from theodolite.models.handle import LanguageModel
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

# Measured with SmolLM2 on 2 threads: tokens per second read, and written by so many rows at once.
READ_RATE = 430.0
DECODE_RATES: Final[Mapping[int, float]] = {8: 68.0, 16: 110.0, 64: 200.0}
SOLUTIONS = 2  # of each question of the bundled set
SHARED, OWN = 110, 200  # tokens that a subject's prompts share, and of one prompt beyond


@dataclass(frozen=True)
class Plan:
    """What a profile asks: questions of each subject, tokens of an answer, whether to analyse.

    Args:
        verdicts: questions of each subject whose verdict is read by its log-probability instead,
            where the model is local; 0 lets every model write.
    """

    subjects: tuple[str, ...]
    limit: int
    max_tokens: int
    analysis: bool
    verdicts: int = 0

    @property
    def options(self) -> Options:
        """The options of the evaluation."""
        return Options(
            subjects=",".join(self.subjects),
            limit=self.limit,
            max_tokens=self.max_tokens,
            analysis=self.analysis,
        )

    @property
    def solutions(self) -> int:
        """How many solutions are checked."""
        return len(self.subjects) * self.limit * SOLUTIONS

    @property
    def read(self) -> int:
        """Tokens that are read."""
        return len(self.subjects) * SHARED + self.solutions * OWN

    @property
    def written(self) -> int:
        """Tokens of all answers, at most."""
        return self.solutions * self.max_tokens

    @property
    def seconds(self) -> float:
        """Time on the default model."""
        at_once = max((n for n in DECODE_RATES if n <= self.solutions), default=min(DECODE_RATES))
        return 1 + self.read / READ_RATE + self.written / DECODE_RATES[at_once]


ALL: Final = ("biology", "physics", "math", "coding")
# A constant step reaches a quarter of four errors, and a fifth of five; of one it would reach all.
PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(("physics", "math"), limit=4, max_tokens=48, analysis=False, verdicts=3),
    "standard": Plan(ALL, limit=5, max_tokens=160, analysis=False),
    "full": Plan(ALL, limit=5, max_tokens=768, analysis=True),
}


class CritiquePanel:
    """Does the model see whether a worked solution is right, and which step is wrong first?"""

    name = "mr_ben"
    version = VERSION
    title = "Checking reasoning"
    question = "Can the model tell right from wrong solutions, and find the first wrong step?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        plan = PLANS[profile]
        return Cost(seconds=round(plan.seconds), tokens=plan.read + plan.written)

    def run(self, context: PanelContext) -> PanelResult:
        """Ask, and score what is said."""
        plan = PLANS[context.profile]
        kept: dict[str, Any] = {
            "run": context.run,
            "seed": context.seed,
            "progress": context.progress,
        }
        if plan.verdicts and isinstance(context.model, LanguageModel):
            read = Options(mode=VERDICT, limit=plan.verdicts)
            return extended(evaluate(context.model, read, **kept), limits=[UNWRITTEN])
        found = evaluate(context.model, plan.options, judge=context.judge, **kept)
        return found if plan.analysis else extended(found, limits=[BRIEF])


UNWRITTEN: Final = (
    "The verdict was read off its probability and nothing was written, which keeps this panel "
    "short: first wrong steps and reasons are asked for by the profiles standard and full."
)
BRIEF: Final = (
    "The model was asked for its verdict without an analysis first, which keeps this panel short; "
    "one that thinks in writing may do better with one (profile full)."
)
