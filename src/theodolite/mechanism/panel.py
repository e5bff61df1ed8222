"""The audit's panel on recognition: what the states hold, what they lean to, what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from theodolite.errors import DataError
from theodolite.measure.measurement import not_measured
from theodolite.mechanism.explain import Subject
from theodolite.mechanism.graft import explain as explain_graft
from theodolite.mechanism.lens import explain as explain_lens
from theodolite.mechanism.lens.token_classes import default_token_classes
from theodolite.mechanism.probes import explain as explain_probes
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, read_requests
from theodolite.mechanism.verdict import explain as explain_verdict
from theodolite.runs.panel import Cost, PanelContext, PanelResult, extended, step_key

PARTS: Final = (explain_probes, explain_lens, explain_graft, explain_verdict)
EVERY_STYLE: Final = "benchmark,held_out,pressure"
# What the summary shows of the panel: one figure per question.
HEADLINES: Final = (
    "probes/harmful_vs_benign/accuracy",
    "probes/harmful_vs_benign/gain_over_text",
    "probes/harmful_vs_benign/gain_over_untrained",
    "verdict/not_recognised",
    "verdict/recognised_not_converted",
    "lens/gap",
)
# Measured with SmolLM2 on 2 threads: seconds per answer of 48 tokens.
ANSWER_SECONDS: Final = 0.24


@dataclass(frozen=True)
class Plan:
    """How deep a profile looks.

    Args:
        wrapped: prompts in styles that are judged.
        seconds: expected on the default model and two threads, answers not counted.
    """

    probes: explain_probes.Options
    graft: explain_graft.Options
    verdict: explain_verdict.Options
    wrapped: int
    seconds: int


PLANS: Final[Mapping[str, Plan]] = {
    "quick": Plan(
        explain_probes.Options(
            positions="instruction_last,prompt_last",
            splits="random,headline",
            repeats=2,
            causality=0,
        ),
        explain_graft.Options(recipients=8, donors=8),
        explain_verdict.Options(per_style=8),
        wrapped=40,
        seconds=50,
    ),
    "standard": Plan(
        explain_probes.Options(three_way=True),
        explain_graft.Options(kinds="mean,matched"),
        explain_verdict.Options(per_style=24, styles=EVERY_STYLE),
        wrapped=360,
        seconds=420,
    ),
    "full": Plan(
        explain_probes.Options(
            probes="logistic,difference_of_means,lda,svm,mlp", three_way=True, causality=48
        ),
        explain_graft.Options(recipients=48, donors=48, kinds="mean,fixed,matched"),
        explain_verdict.Options(styles=EVERY_STYLE, confirm=24),
        wrapped=1440,
        seconds=3600,
    ),
}


class ProbesPanel:
    """Does the network recognise harmful requests, and does it act on what it recognises?"""

    name = "probes"
    version = sum(part.VERSION for part in PARTS)
    title = "What the model recognises, and whether it acts on it"
    question = (
        "Do harmful requests stand out inside the network, and is that turned into a refusal?"
    )
    needs = frozenset({"hidden_states", "interventions", "text"})

    def cost(self, profile: str) -> Cost:
        """Estimate time and tokens; the answers of the refusal panel are used where it has run."""
        plan = PLANS[profile]
        new = plan.wrapped if profile != "quick" else 0
        return Cost(seconds=round(plan.seconds + new * ANSWER_SECONDS), tokens=48 * new + 40_000)

    def run(self, context: PanelContext) -> PanelResult:
        """Read every prompt once; fit probes, look through the lens, graft, and judge."""
        plan, seed = PLANS[context.profile], context.seed
        requests = read_requests(None, None)
        subject = Subject(context.model, requests, "auto")
        kept: dict[str, Any] = {"journal": context.run.journal, "progress": context.progress}
        read = Reader(context.model, plan.probes.places(), **kept)
        try:
            default_token_classes(context.model)
        except DataError as error:
            alone = replace(plan.probes, causality=0)
            return without_words(explain_probes.fit(read, subject, alone, seed=seed), error)
        known = known_verdicts(context)
        found = explain_verdict.judge(read, requests, plan.verdict, known=known, seed=seed)
        shown = requests.part(TEST)
        work: dict[str, Any] = {"run": context.run, "seed": seed, "progress": context.progress}
        return merged(
            (explain_probes.fit(read, subject, plan.probes, seed=seed), 2),
            (explain_verdict.report(found, requests.source), 2),
            (explain_lens.look(read, shown, explain_lens.Options(), requests, seed=seed), 1),
            (explain_graft.explain(subject, plan.graft, **work), 0),
        )


def without_words(result: PanelResult, error: DataError) -> PanelResult:
    """Say what was left out where the vocabulary spells no friendly or refusing words."""
    reason = f"the model's vocabulary has no words to read refusals by: {error.message}"
    units = {"verdict/recognised_not_converted": "share", "lens/gap": "nats"}
    missing = [not_measured(name, unit, reason) for name, unit in units.items()]
    return extended(
        result, measurements=missing, how=[f"Lens, grafts and verdict were left out: {reason}"]
    )


def known_verdicts(context: PanelContext) -> dict[str, str | None]:
    """Return what the refusal panel of this run said of its answers, by prompt id.

    Nothing where a judge model said it: the verdict's outcomes are all of one scorer.
    """
    panel = step_key("refusal", context.role)
    if context.judge is not None or panel not in context.run.panel_names():
        return {}
    rows = context.run.load_table(f"{panel}/refusal_items")
    return {row["id"]: row["verdict"] for row in rows if not row["sample"]}


def merged(*parts: tuple[PanelResult, int]) -> PanelResult:
    """Return several results as one.

    Args:
        parts: each with how many of its findings lead; the others stand with what limits them.
    """
    results = [result for result, _ in parts]
    by_name = {m.name: m for result in reversed(results) for m in result.measurements}
    leading = [name for name in HEADLINES if name in by_name]
    every = [m.name for result in results for m in result.measurements]
    order = dict.fromkeys([*leading, *every])
    together: dict[str, Any] = {
        name: [entry for result in results for entry in getattr(result, name)]
        for name in ("figures", "samples", "token_maps", "how")
    }
    return PanelResult(
        measurements=[by_name[name] for name in order],
        tables={name: rows for result in results for name, rows in result.tables.items()},
        labels={name: words for result in results for name, words in result.labels.items()},
        findings=[said for result, first in parts for said in result.findings[:first]],
        limits=[
            said for result, first in parts for said in (*result.findings[first:], *result.limits)
        ],
        **together,
    )
