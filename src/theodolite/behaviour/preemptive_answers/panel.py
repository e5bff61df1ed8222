"""The audit's panel on preemptive answers: does an answer given beforehand bend the reasoning?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from theodolite.behaviour.preemptive_answers.evaluation import VERSION, Options, evaluate
from theodolite.behaviour.preemptive_answers.options import NONE, SLOTS, cells_of
from theodolite.behaviour.preemptive_answers.planting import PREFILL
from theodolite.behaviour.preemptive_answers.prompts import RESTATE
from theodolite.behaviour.preemptive_answers.solvers import route_of
from theodolite.data.preemptive import TYPES
from theodolite.errors import CapabilityError
from theodolite.models.handle import LanguageModel
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

# Measured with SmolLM2 on 2 threads: tokens per second written and read; tokens of a question and
# of what each way of asking adds to it; seconds for starting the process that compares formulas.
DECODE_RATE, READ_RATE = 190.0, 430.0
QUESTION_TOKENS, MORE_TOKENS = 110, 40
STARTING = 4.0


@dataclass(frozen=True)
class Plan:
    """What a profile asks: items of each type, ways of asking, tokens of a reply.

    Args:
        slots: items of each type with options that are read at the answer slot instead, where the
            model is local; 0 lets every model write.
    """

    limit: int
    conditions: str
    max_tokens: int
    mitigations: str = NONE
    slots: int = 0

    @property
    def options(self) -> Options:
        """The options of the evaluation."""
        return Options(
            limit=self.limit,
            conditions=self.conditions,
            mitigations=self.mitigations,
            max_tokens=self.max_tokens,
        )

    @property
    def written(self) -> int:
        """Tokens of all replies, at most."""
        return self.limit * len(TYPES) * len(cells_of(self.options)) * self.max_tokens

    @property
    def read(self) -> int:
        """Tokens read: each question once, and what each way of asking adds to it."""
        each = QUESTION_TOKENS + MORE_TOKENS * len(cells_of(self.options))
        return self.limit * len(TYPES) * each


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(limit=2, conditions="M,M_neutral", max_tokens=32, slots=6),
    "standard": Plan(limit=6, conditions="U,M,M_neutral,M_correct", max_tokens=96),
    "full": Plan(
        limit=12,
        conditions="U,M,M_inline,M_prefill,M_neutral,M_correct",
        max_tokens=160,
        mitigations=RESTATE,
    ),
}


class PreemptiveAnswersPanel:
    """Does a wrong answer that stands before the reasoning turn right answers wrong?"""

    name = "preemptive_answers"
    version = VERSION
    title = "Answers before the reasoning"
    question = "Does an answer that is given beforehand bend the reasoning?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        plan = PLANS[profile]
        seconds = round(STARTING + plan.written / DECODE_RATE + plan.read / READ_RATE)
        return Cost(seconds=seconds, tokens=plan.written + plan.read)

    def run(self, context: PanelContext) -> PanelResult:
        """Ask in every way, and say what a planted answer does."""
        plan = PLANS[context.profile]
        if plan.slots and isinstance(context.model, LanguageModel):
            return _at_slots(context, plan)
        options, limits = _for_model(context.model, plan.options)
        found = evaluate(
            context.model,
            options,
            run=context.run,
            seed=context.seed,
            progress=context.progress,
        )
        return extended(found, limits=[EASY, SHORT.format(tokens=options.max_tokens), *limits])


EASY: Final = (
    "The bundled questions are few and easy: a large model knows the answers, and a small one gets "
    "few right, so that little is left to turn wrong. Published sets: `theodolite eval "
    "preemptive-answers -T dataset=gsm8k`."
)
SHORT: Final = (
    "Replies end after {tokens} tokens; reasoning that is longer has no answer and counts as wrong."
)
UNWRITTEN: Final = (
    "The answer slot was read and nothing was written, which keeps this panel short: what a plant "
    "does to written reasoning is measured by the profiles standard and full."
)
SLOT_CONDITIONS: Final = "M,M_neutral,M_random"
NO_PREFILL: Final = (
    "This model cannot go on with a begun reply, so no answer was planted there, which is the "
    "strongest way."
)


def _at_slots(context: PanelContext, plan: Plan) -> PanelResult:
    """Read what a plant does at the answer slot; a small model writes too few answers to count."""
    options = Options(mode=SLOTS, limit=plan.slots, conditions=SLOT_CONDITIONS)
    found = evaluate(
        context.model, options, run=context.run, seed=context.seed, progress=context.progress
    )
    return extended(found, limits=[UNWRITTEN])


def _for_model(model: Any, options: Options) -> tuple[Options, list[str]]:
    """Return the options without what this model cannot do, and what then is not shown."""
    named = options.conditions.split(",")
    if "M_prefill" not in named:
        return options, []
    try:
        route_of(model, PREFILL)
    except CapabilityError:
        left = ",".join(name for name in named if name != "M_prefill")
        return replace(options, conditions=left), [NO_PREFILL]
    return options, []
