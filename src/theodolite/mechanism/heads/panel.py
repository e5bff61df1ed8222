"""The audit's panel on heads: how few heads the next token after harmful requests hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import CapabilityError
from theodolite.measure.measurement import not_measured
from theodolite.mechanism.explain import Subject
from theodolite.mechanism.heads.analyses import map as heads_map
from theodolite.mechanism.requests import read_harmful
from theodolite.models.attention import check_undifferentiated
from theodolite.runs.panel import Cost, PanelContext, PanelResult

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel


@dataclass(frozen=True)
class Plan:
    """How deep a profile looks.

    Args:
        pairs: harmful requests, each with its benign twin.
        options: of the map.
        seconds: expected on the default model and two threads.
    """

    pairs: int
    options: heads_map.Options
    seconds: int


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(2, heads_map.Options(), seconds=18),
    "standard": Plan(16, heads_map.Options(), seconds=150),
    "full": Plan(48, heads_map.Options(level="dataset"), seconds=440),
}


class HeadsPanel:
    """Do answers to harmful requests hang on few heads, and are these about harm?"""

    name = "heads"
    version = heads_map.VERSION
    title = "Which attention heads a refusal hangs on"
    question = heads_map.QUESTION
    needs = frozenset({"hidden_states", "interventions"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens."""
        plan = PLANS[profile]
        return Cost(seconds=plan.seconds, tokens=100 * plan.pairs)

    def run(self, context: PanelContext) -> PanelResult:
        """Take every head out once under twins of harmful and benign requests."""
        plan = PLANS[context.profile]
        requests = read_harmful(None, None, limit=plan.pairs)
        subject = Subject(context.model, requests, "auto")
        work: dict[str, Any] = {
            "run": context.run,
            "seed": context.seed,
            "progress": context.progress,
        }
        try:
            options = fitting(context.model, plan.options)
            return heads_map.explain(subject, options, **work)
        except CapabilityError as error:
            return not_possible(error)


def fitting(model: LanguageModel, options: heads_map.Options) -> heads_map.Options:
    """Return options whose operator the family has: where scores carry a bias, heads are zeroed."""
    try:
        check_undifferentiated(model.anatomy)
    except CapabilityError:
        return replace(options, operator="zero")
    return options


def not_possible(error: CapabilityError) -> PanelResult:
    """Say that nothing was measured, and why."""
    reason = f"{error.what}: {error.why}"
    return PanelResult(
        measurements=[not_measured("heads/specific_heads", "heads", reason)],
        how=[f"No head was taken out: {reason}."],
    )
