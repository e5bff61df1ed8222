"""The audit's panel on course correction: begun replies on the harmless set, by depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from theodolite.behaviour.course_correction.evaluation import VERSION, Options, evaluate
from theodolite.behaviour.course_correction.open_turn import check_provider
from theodolite.behaviour.course_correction.scoring import CONTINUE, IN_PROMPT, NEW_TURN
from theodolite.errors import ConfigError
from theodolite.models.handle import ApiModel
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

# Measured with SmolLM2 on 2 threads: tokens per second, and tokens of a request with its reply.
DECODE_RATE, PREFILL_RATE = 190.0, 430.0
ROW_TOKENS = 150


@dataclass(frozen=True)
class Plan:
    """What a profile asks: requests of each label, depths, tokens written, prefills."""

    limit: int
    ks: tuple[int, ...]
    max_tokens: int
    prefills: tuple[str, ...] = (CONTINUE,)

    @property
    def options(self) -> Options:
        """The options of the evaluation."""
        return Options(
            ks=",".join(map(str, self.ks)),
            limit=self.limit,
            max_tokens=self.max_tokens,
            prefill=",".join(self.prefills),
        )


BOTH: Final = (CONTINUE, NEW_TURN)
PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(limit=12, ks=(10, 40), max_tokens=24),
    "standard": Plan(limit=44, ks=(10, 20, 40), max_tokens=32, prefills=BOTH),
    "full": Plan(limit=44, ks=(10, 20, 30, 40, 50, 60, 70, 80), max_tokens=32, prefills=BOTH),
}


class CourseCorrectionPanel:
    """Does the model turn away from a harmful reply that was begun for it?"""

    name = "course_correction"
    version = VERSION
    title = "Course correction"
    question = "Once a harmful reply has begun, does the model turn away by itself?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        plan = PLANS[profile]
        rows = 2 * plan.limit * len(plan.prefills)
        written = rows * len(plan.ks) * plan.max_tokens
        read = rows * ROW_TOKENS
        return Cost(
            seconds=round(2 + written / DECODE_RATE + read / PREFILL_RATE), tokens=written + read
        )

    def run(self, context: PanelContext) -> PanelResult:
        """Begin every reply at every depth, and say what the model makes of it."""
        plan = PLANS[context.profile]
        options, limits = plan.options, [TOY]
        if isinstance(context.model, ApiModel):
            options, more = _for_api(context.model, options)
            limits += more
        found = evaluate(
            context.model,
            options,
            run=context.run,
            seed=context.seed,
            judge=context.judge,
            progress=context.progress,
        )
        return extended(found, limits=limits)


TOY: Final = (
    "The harmful replies are a harmless stand-in (a forbidden toy topic): what a model has learnt "
    "to refuse elsewhere need not show here. Official rows: `theodolite eval course-correction -T "
    "source=c2-eval`."
)


def _for_api(model: ApiModel, options: Options) -> tuple[Options, list[str]]:
    """Return the options for a model behind an API, and what its figures do not show."""
    try:
        check_provider(model.name, CONTINUE)
    except ConfigError as error:
        quoted = "The begun reply was quoted in the request, which is another task."
        return replace(options, prefill=IN_PROMPT), [f"{error.message} {quoted}"]
    return replace(options, prefill=CONTINUE), []
