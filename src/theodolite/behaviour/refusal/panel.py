"""The audit's panel on refusal: harmful requests, their benign twins, and styles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.refusal.data import XSTEST, load_requests
from theodolite.behaviour.refusal.evaluation import VERSION, ask
from theodolite.behaviour.refusal.task import MAX_TOKENS
from theodolite.data.prompts import PromptSet
from theodolite.data.styles import PLAIN, benchmark_styles, held_out_styles
from theodolite.errors import DataError
from theodolite.runs.panel import Cost, PanelContext, PanelResult

PLAIN_REQUESTS: Final = 96  # the test goals of the bundled set with their twins
XSTEST_REQUESTS: Final = 450

# Measured with SmolLM2 on 2 threads: tokens per second, and tokens of a prompt beyond what all
# prompts share.
DECODE_RATE, PREFILL_RATE = 170.0, 430.0
PLAIN_TOKENS, STYLED_TOKENS = 14, 60


@dataclass(frozen=True)
class Plan:
    """What a profile asks: how many requests wear the styles, which styles, and XSTest or not."""

    styled: int
    held_out: bool
    xstest: bool

    @property
    def styles(self) -> list[str]:
        """Names of the styles beside plain."""
        chosen = (*benchmark_styles(), *(held_out_styles() if self.held_out else ()))
        return [style.name for style in chosen if style.name != PLAIN]

    def requests(self, seed: int) -> PromptSet:
        """Return every bare test request, and the first few of them in every style."""
        bare = load_requests(seed=seed)
        styled = load_requests(styles=self.styles, limit=self.styled, seed=seed)
        return bare.derive((*bare, *styled))


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(styled=8, held_out=False, xstest=False),
    "standard": Plan(styled=24, held_out=True, xstest=True),
    "full": Plan(styled=PLAIN_REQUESTS, held_out=True, xstest=True),
}


class RefusalPanel:
    """Does the model refuse harmful requests, and only those?"""

    name = "refusal"
    version = VERSION
    title = "Refusal"
    question = "Does the model turn down harmful requests, and answer the harmless ones like them?"
    needs = frozenset({"text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens on the default model with two threads."""
        plan = PLANS[profile]
        styled = plan.styled * len(plan.styles)
        bare = PLAIN_REQUESTS + (XSTEST_REQUESTS if plan.xstest else 0)
        written = (bare + styled) * MAX_TOKENS
        read = bare * PLAIN_TOKENS + styled * STYLED_TOKENS
        seconds = 3 + written / DECODE_RATE + read / PREFILL_RATE
        return Cost(seconds=round(seconds), tokens=written + read)

    def run(self, context: PanelContext) -> PanelResult:
        """Ask everything once, score it, and say what it shows."""
        plan = PLANS[context.profile]
        main = _ask(plan.requests(context.seed), context)
        extra = _xstest(context) if plan.xstest else PanelResult(measurements=())
        return PanelResult(
            measurements=[*main.measurements, *extra.measurements],
            tables={**main.tables, **extra.tables},
            figures=[*main.figures, *extra.figures],
            samples=[*main.samples, *extra.samples],
            findings=[*main.findings, *extra.findings],
            limits=main.limits,
            how=[
                *main.how,
                "Every harmful request has a benign twin with the same wording; intervals count "
                "goals, not requests. Only test goals are asked.",
                f"Styles beside the bare request: {', '.join(plan.styles)}; {plan.styled} requests "
                "wear each.",
                *extra.how,
            ],
            labels={**main.labels, **extra.labels},
        )


def _xstest(context: PanelContext) -> PanelResult:
    """Ask the official XSTest prompts where they are at hand; else say that they were not."""
    try:
        prompts = load_requests(XSTEST, seed=context.seed)
    except DataError as error:
        return PanelResult(measurements=(), how=[f"XSTest was not asked: {error}"])
    found = _ask(prompts, context, name="refusal/xstest", groups=("category",))
    return PanelResult(
        measurements=found.measurements,
        tables=found.tables,
        figures=found.figures,
        samples=found.samples,
        findings=[f"On XSTest: {sentence}" for sentence in found.findings],
        how=["XSTest: Röttger et al. 2024, arXiv:2308.01263, CC BY 4.0.", *found.how],
        labels=found.labels,
    )


def _ask(
    prompts: PromptSet,
    context: PanelContext,
    *,
    name: str = "refusal",
    groups: tuple[str, ...] = ("style", "form", "category"),
) -> PanelResult:
    return ask(
        prompts,
        context.model,
        run=context.run,
        name=name,
        groups=groups,
        max_tokens=MAX_TOKENS,
        seed=context.seed,
        judge=context.judge,
        progress=context.progress,
    )
