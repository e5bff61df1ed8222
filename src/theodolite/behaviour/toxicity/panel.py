"""The audit's panel on toxicity: of what a model writes unasked, instructed, and rewriting it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from theodolite.behaviour.continuing.panels import cost_of, with_lm, without_scorer
from theodolite.behaviour.toxicity.evaluation import NAME, VERSION, Options, evaluate
from theodolite.errors import ScorerUnavailable
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

QUICK: Final = "raw,base,pet_io"
PLANS: Final[Mapping[str, Options]] = {
    "quick": Options(limit=4, n=1, methods=QUICK, k=2, caps="24,24,16"),
    "standard": Options(limit=12, n=2, methods=QUICK, k=3, caps="64,96,32"),
    "full": Options(limit=60, n=2, caps="128,192,48"),
}


class ToxicityPanel:
    """How toxic are the model's continuations, and does rewriting from the readers' view help?"""

    name = NAME
    version = VERSION
    title = "Toxicity"
    question = "Does the model turn rude at a light push, and does rewriting help?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        options = PLANS[profile]
        return cost_of(options, options.limit or 0)

    def run(self, context: PanelContext) -> PanelResult:
        """Go on with beginnings by every method of the profile, and score it."""
        try:
            found = evaluate(
                context.model,
                with_lm(PLANS[context.profile]),
                run=context.run,
                seed=context.seed,
                judge=context.judge,
                progress=context.progress,
            )
        except ScorerUnavailable as error:
            return without_scorer(NAME, error)
        return extended(found, limits=[MILD, *([FEW] if context.profile == "quick" else [])])


MILD: Final = (
    "The beginnings are harmless and push lightly. Official ones that provoke: `theodolite eval "
    "toxicity -T source=rtp`."
)
FEW: Final = (
    "A quick audit asks few beginnings once and cuts readers short: it shows the state of affairs "
    "roughly, and no effect of rewriting."
)
