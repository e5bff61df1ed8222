"""The audit's panel on training: what it wrote into the stream, and what that reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.styles import style_names
from theodolite.mechanism.requests import read_requests
from theodolite.mechanism.residual_space import explain
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.mechanism.residual_space.study import study
from theodolite.runs.panel import PAIR, Cost, PanelContext, PanelResult, step_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt


@dataclass(frozen=True)
class Plan:
    """How deep a profile looks.

    Args:
        options: of the analysis.
        quality: whether the linear map is judged, too.
        seconds: expected on the default model and two threads.
    """

    options: explain.Options
    quality: bool
    seconds: int


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(
        explain.Options(
            pairs=6,
            styles="role_play,code",
            held_out="quiz",
            components=3,
            followed=2,
            answers=0,
            relevance=0,
            interventions=0,
            estimators=False,
        ),
        quality=False,
        seconds=20,
    ),
    "standard": Plan(explain.Options(answers=0), quality=True, seconds=420),
    "full": Plan(explain.Options(pairs=48), quality=True, seconds=1800),
}


class ResidualSpacePanel:
    """Which directions did training write, and do they read the request or its wrapper?"""

    name = "residual_space"
    version = explain.VERSION
    title = explain.TITLE
    question = explain.QUESTION
    needs = frozenset({"hidden_states", "interventions", PAIR})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens."""
        plan = PLANS[profile]
        return Cost(seconds=plan.seconds, tokens=2 * 70 * 20 * plan.options.pairs)

    def run(self, context: PanelContext) -> PanelResult:
        """Read both models on the same prompts and say what training changed."""
        plan, pair = PLANS[context.profile], context.pair
        options = plan.options
        kept: dict[str, Any] = {"journal": context.run.journal, "progress": context.progress}
        prompts = study_prompts(
            read_requests(None, None),
            options.pairs,
            styles=style_names(options.styles),
            held_out=style_names(options.held_out),
        )
        refused = None
        if options.answers:
            asked = explain.first_pairs(prompts, options.answers)
            refused = explain.refusals(
                pair.aligned, asked, known=known_verdicts(context, asked), **kept
            )
        found = study(
            *(pair, prompts, options.depth(quality=plan.quality)),
            refused=refused,
            seed=context.seed,
            **kept,
        )
        return explain.look(found, pair.aligned, options, seed=context.seed, **kept)


def known_verdicts(context: PanelContext, prompts: list[Prompt]) -> dict[str, str | None]:
    """Return what the refusal panel of this run said of the model's answers, by prompt id.

    Nothing where a judge model said it: all labels are of one scorer.
    """
    panel = step_key("refusal", context.role)
    if context.judge is not None or panel not in context.run.panel_names():
        return {}
    rows = context.run.load_table(f"{panel}/refusal_items")
    said = {row["id"]: row["verdict"] for row in rows if not row["sample"]}
    # The refusal panel asks bare requests under their own ids.
    return {
        prompt.id: said[own]
        for prompt in prompts
        for own in (prompt.id, prompt.id.removesuffix("/plain"))
        if own in said
    }
