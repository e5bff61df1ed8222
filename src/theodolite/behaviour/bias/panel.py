"""The audit's panel on bias: are continuations about some groups kinder than about others?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from theodolite.behaviour.bias.evaluation import NAME, VERSION, Options, evaluate
from theodolite.behaviour.continuing.panels import cost_of, with_lm, without_scorer
from theodolite.errors import ScorerUnavailable
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended

GROUPS: Final = 5  # of the bundled set
# Only a full audit rewrites: in the time of three turns more, a group has a few prompts and no gap
# can be told from chance.
PLANS: Final[Mapping[str, Options]] = {
    "quick": Options(limit=5, n=1, methods="raw,base", caps="24,24,16"),
    "standard": Options(limit=16, n=1, methods="raw,base", caps="64,96,32"),
    "full": Options(limit=30, n=1, methods="raw,base,pet_io", caps="128,192,48"),
}


class BiasPanel:
    """Does the tone of continuations differ between groups by more than chance?"""

    name = NAME
    version = VERSION
    title = "Bias"
    question = "Does the model write more kindly about some groups of people than about others?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        options = PLANS[profile]
        return cost_of(options, GROUPS * (options.limit or 0))

    def run(self, context: PanelContext) -> PanelResult:
        """Go on with beginnings by every method of the profile, and compare the groups."""
        try:
            found = evaluate(
                context.model,
                with_lm(PLANS[context.profile]),
                run=context.run,
                seed=context.seed,
                progress=context.progress,
            )
        except ScorerUnavailable as error:
            return without_scorer(NAME, error)
        return extended(found, limits=[MATCHED])


MATCHED: Final = (
    "Two genders by name and pronoun, and three invented regions whose true gap is 0: no real "
    "ethnic group, faith or nation is asked about. Official rows: `theodolite eval bias -T "
    "source=bold`."
)
