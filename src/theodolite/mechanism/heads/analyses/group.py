"""`theodolite explain heads group`: the few heads that do most together, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.heads.ablation import parameter_fraction
from theodolite.mechanism.heads.analyses.options import (
    AblationOptions,
    ablation_of,
    at_least,
    check_common,
    check_lasting,
    check_sizes,
    in_words,
    made_with,
    one_of,
)
from theodolite.mechanism.heads.cost import ablation_cost
from theodolite.mechanism.heads.figures import ANGLE, KL, head_map
from theodolite.mechanism.heads.frames import resolve_frame
from theodolite.mechanism.heads.sahara import HeadGroup, sahara
from theodolite.runs.panel import Figure, PanelResult, extended

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.mechanism.heads.cost_result import CostResult
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "The few heads that do most together"
QUESTION: Final = (
    "Which small group of heads turns the model's states after harmful requests farthest, and what "
    "else does taking it out break?"
)
SCORES: Final = {ANGLE.column: ANGLE, KL.column: KL}


@dataclass(frozen=True)
class Options(AblationOptions):
    """What `theodolite explain heads group` can be asked (`-T key=value`).

    Args:
        group_size: heads to choose, one after the other.
        by: angle_r1 (how far the states of all requests turn together) or kl.
        cost: also measure perplexity of plain text and answers to benign requests.
        random: random groups of the same size beside it.
        max_tokens: length of those answers.
    """

    group_size: int = 3
    by: str = ANGLE.column
    cost: bool = True
    random: int = 5
    max_tokens: int = 48


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown operator or score, a count that is too small, a base model, or
        an operator that is not defined while answers are written.
    """
    check_common(options, request)
    check_lasting(options)
    one_of("by", options.by, tuple(SCORES))
    at_least(1, group_size=options.group_size, max_tokens=options.max_tokens)
    at_least(0, random=options.random)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Choose heads greedily, each with all those already out, and measure what they cost."""
    model, requests = subject.model, subject.requests
    ablation = ablation_of(options)
    random = options.random if options.cost else 0
    check_sizes(model.anatomy, ablation, options.group_size, random)
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress, "seed": seed}
    found = sahara(
        model,
        requests.harmful,
        steps=options.group_size,
        by=options.by,
        ablation=ablation,
        template=subject.template,
        **kept,
    )
    found.scores[0].save(run)
    share = parameter_fraction(model.anatomy, found.heads, ablation)
    result = report(found)
    result = extended(
        result,
        how=[
            asked(subject, options),
            f"Greedy: each step scores every head together with those already out, by "
            f"{options.by}, against the intact model. Operator {ablation.name} "
            f"({in_words(ablation)}). The group is {100 * share:.3g} % of the parameters.",
        ],
    )
    if not options.cost:
        return result
    cost = ablation_cost(
        model,
        {"group": found.heads},
        ablation,
        benign=list(requests.benign) or None,
        template=subject.template,
        random_groups=options.random,
        max_new_tokens=options.max_tokens,
        **kept,
    )
    cost.save(run)
    return with_cost(result, cost)


def asked(subject: Subject, options: Options) -> str:
    """Return the sentence on what was looked at; benign requests serve the cost alone."""
    harmful, benign = len(subject.requests.harmful), len(subject.requests.benign)
    frame = resolve_frame(subject.model, subject.template)
    if not options.cost:
        return made_with(subject, frame, harmful, 0)
    if benign:
        said = made_with(subject, frame, harmful, benign)
        return f"{said} Benign requests serve the cost alone."
    said = made_with(subject, frame, harmful, None)
    return f"{said} The cost is asked of bundled benign requests."


def report(found: HeadGroup) -> PanelResult:
    """Return a group as a measurement, tables, the map it was chosen from, and words."""
    rows = found.frame()
    measurements = [_turn(found)]
    return PanelResult(
        measurements=measurements,
        tables={"group": rows, "head_scores": found.scores[0].scores(found.by)},
        figures=[figure(found)],
        findings=findings(found, rows),
        limits=LIMITS,
        labels={measurements[0].name: "what the group changes, the requests taken together"},
    )


LIMITS: Final = (
    "The group was chosen on these requests, so its score flatters it; `explain heads asr` asks "
    "other requests.",
    "A greedy choice is one good group, not the best one, and not the only one.",
)


def _turn(found: HeadGroup) -> Measurement:
    """Return what the whole group does, beside what its first head does alone."""
    alone, last = found.maps[0][found.heads[0]], found.maps[-1][found.heads[-1]]
    score = SCORES.get(found.by, ANGLE)
    return Measurement(
        name=f"heads/group/{found.by}",
        value=float(last),
        unit=score.unit,
        n=len(found.scores[0].harmful),
        floor=Floor("its first head alone", float(alone)),
        reason="chosen to be large on these requests, so no interval holds",
    )


def figure(found: HeadGroup) -> Figure:
    """Return the map of single heads with the chosen ones framed."""
    first = found.scores[0]
    return head_map(
        first.scores(),
        SCORES.get(found.by, ANGLE),
        how=in_words(first.ablation),
        unit=first.ablation.unit,
        noise=first.noise_angle if found.by != KL.column else first.noise,
        name="heads_group",
        framed=found.heads,
        mark=f"□ chosen: {', '.join(found.names)}",
        note="Colours are of single heads; from the second step on, heads were scored together "
        "with those already out.",
    )


def findings(found: HeadGroup, rows: Sequence[Any]) -> list[str]:
    """Say which heads were chosen, and which places they have in the map of single heads."""
    ranks = [row["single_rank"] for row in rows]
    said = f"Chosen one after the other: {', '.join(found.names)}."
    if len(ranks) > 1 and ranks != list(range(1, len(ranks) + 1)):
        count = len(found.scores[0].ranking(found.by))
        said += f" Alone they rank {', '.join(map(str, ranks))} of {count}."
    return [said]


def with_cost(result: PanelResult, cost: CostResult, name: str = "group") -> PanelResult:
    """Add what taking heads out does to plain text and benign answers."""
    change = cost.perplexity_change(name)
    said = []
    if change.value is not None:
        ends = "" if change.low is None else f" [{change.low:+.1f}, {change.high:+.1f}]"
        over = cost.perplexity_over_random(name).reason or ""
        said.append(
            f"Taking them out changes the perplexity of plain text by {change.value:+.1f} %{ends}"
            + (f"; {over.rpartition('; ')[2]}." if "random" in over else ".")
        )
    return extended(
        result,
        measurements=cost.measurements(),
        tables={"heads_cost": cost.frame(), "heads_cost_outcomes": cost.outcomes()},
        figures=[cost.figure()],
        findings=said,
        how=[
            f"Cost: {len(cost.passage_ids)} plain passages and {len(cost.prompt_ids)} benign "
            f"requests, answers of {cost.max_new_tokens} tokens."
        ],
        labels=cost_labels(cost.measurements()),
    )


def cost_labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for the figures of `heads/cost/<group>/...` that a reader needs first."""
    words = {
        "perplexity/change": "rise of the perplexity of plain text",
        "perplexity/over_random": "the same, beyond random groups",
        "refused/change": "more benign requests refused",
        "broken/change": "more benign answers broken",
    }
    ends = {one.name: one.name.split("/", 3)[-1] for one in found}
    return {name: words[end] for name, end in ends.items() if end in words}


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the steps, for the terminal."""
    return [
        {
            "step": row["step"],
            "head": f"{row['layer']}-{row['head']}",
            row["by"]: f"{row['score']:.3g}",
            "alone it ranks": row["single_rank"],
            "next best": ", ".join(
                f"{layer:g}-{head:g} {score:.3g}" for layer, head, score in row["runner_up"]
            ),
        }
        for row in result.tables["group"]
    ]
