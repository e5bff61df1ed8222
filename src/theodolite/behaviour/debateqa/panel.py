"""The audit's panel on debatable questions: are the sides shown, and is the dispute named?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.debateqa.evaluation import NONE, VERSION, Options, evaluate
from theodolite.models.handle import ApiModel
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

# Measured with SmolLM2 on 2 threads: tokens per second written, and read by the scorer.
DECODE_RATE, READ_RATE = 190.0, 430.0
TARGETS, TARGET_TOKENS = 5, 85
SCORER = "smollm2"  # the same for every model, so that figures of two audits compare


@dataclass(frozen=True)
class Plan:
    """What a profile asks: debatable and settled questions, tokens of an answer, nulls."""

    limit: int
    controls: int
    max_tokens: int
    nulls: int = 1

    @property
    def options(self) -> Options:
        """The options of the evaluation."""
        return Options(
            limit=self.limit,
            controls=self.controls,
            max_tokens=self.max_tokens,
            nulls=self.nulls,
            scorer=SCORER,
        )

    @property
    def written(self) -> int:
        """Tokens of all answers, at most; contested questions are as many as settled ones."""
        return (self.limit + 2 * self.controls) * self.max_tokens

    @property
    def read(self) -> int:
        """Tokens the scorer reads: each context once, and every perspective after it."""
        contexts = 3 + self.nulls
        return self.limit * contexts * (self.max_tokens + TARGETS * TARGET_TOKENS)


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(limit=3, controls=7, max_tokens=48),
    "standard": Plan(limit=24, controls=16, max_tokens=96),
    "full": Plan(limit=40, controls=184, max_tokens=256, nulls=2),
}


class DebatePanel:
    """Does the model show the sides of a disputed question, and say that it is disputed?"""

    name = "debateqa"
    version = VERSION
    title = "Many sides"
    question = "Where people disagree, does the model show the sides and say so?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        plan = PLANS[profile]
        seconds = round(2 + plan.written / DECODE_RATE + plan.read / READ_RATE)
        return Cost(seconds=seconds, tokens=plan.written + plan.read)

    def run(self, context: PanelContext) -> PanelResult:
        """Ask, and score what is said."""
        options = PLANS[context.profile].options
        found = evaluate(
            context.model,
            options,
            run=context.run,
            seed=context.seed,
            judge=context.judge,
            progress=context.progress,
        )
        more = [] if options.scorer == NONE else [FEW.format(scorer=options.scorer)]
        if isinstance(context.model, ApiModel):
            more.append("Perspectives are foretold by a local model, whatever model answered.")
        return extended(found, limits=more)


FEW: Final = (
    "Perspectives are foretold by {scorer}, a small model; another scorer gives other gains, so "
    "only figures of one scorer compare."
)
