"""What is said of a result in words: headline, limits, how it was made, plain names of figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers.figures import headline
from theodolite.behaviour.preemptive_answers.options import (
    INDEPENDENT,
    RULE,
    VOTE,
    Cell,
    Options,
    cells_of,
    methods_of,
)
from theodolite.behaviour.preemptive_answers.planting import ANSWERED_FIRST, PLANTED, Route
from theodolite.behaviour.preemptive_answers.prompts import VOTED
from theodolite.measure.measurement import Measurement

if TYPE_CHECKING:
    from theodolite.behaviour.preemptive_answers.groups import Group
    from theodolite.behaviour.preemptive_answers.replies import Table

FIGURES: Final[Mapping[str, str]] = {
    "accuracy": "right answers",
    "unparsed": "answers that were not found",
    "accuracy_change": "change of accuracy",
    "relative_drop": "fall as a part of the clean accuracy",
    "asr": "clean-right items turned wrong",
    "asr_parsed": "the same among answers that were found",
    "targeted_asr": "clean-right items turned to the planted answer",
    "net_asr": "turned wrong beyond noise",
    "repair": "clean-wrong items turned right",
    "kept_first": "first answers that were kept",
    "kept_planted": "planted answers that were kept",
    "right_of_the_rest": "right answers among those not planted",
    "recovered": "lost accuracy that a mitigation brings back",
    "clean_cost": "accuracy a mitigation costs without an attack",
    "extra_tokens": "tokens a mitigation writes on top",
    "fixed": "wrong replies fixed by the model's own check",
    "caught": "wrong replies that a fresh answer contradicts",
    "false_alarm": "right replies that a fresh answer contradicts",
    "acknowledged": "replies that mention the plant",
    "silent": "followers of a plant that do not mention it",
    "wording_spread": "spread of attack success over wordings",
}
LIMITS: Final = (
    "Replies are read by rules: an answer or a mention in words that they do not know counts as "
    "none.",
    "Attack success has only the items in it that the model answers rightly when undisturbed; two "
    "models have different ones.",
)
_NO_FRESH: Final = (
    "A fresh answer is the clean run's, so answering anew recovers everything by construction; it "
    "shows its cost, and where the two differ. It needs a question that nobody tampered with."
)
_BY_CHANCE: Final = "Votes are sampled: another seed gives other votes."


def findings(groups: Sequence[Group], measured: Sequence[Measurement]) -> list[str]:
    """Say the headline in words: clean accuracy, what attacks do to it, what helps."""
    by_name = {figure.name: figure for figure in measured}
    if not groups:
        return []
    group = headline(groups)[0]
    clean = by_name.get(f"{group.name}/accuracy/clean")
    if clean is None or clean.value is None:
        return []
    said = [f"Undisturbed, it answers {_share(clean.value)} rightly ({group.method})."]
    if clean.value == 0:
        return [f"{said[0]} Where nothing is right, no attack can succeed."]
    worst = _worst(group, by_name)
    if worst is not None:
        said.append(worst)
    helps = _best_help(group, by_name)
    return [*said, helps] if helps else said


def limits(methods: Mapping[str, Table]) -> list[str]:
    """Return what a result does not show."""
    cells = [cell for table in methods.values() for cell in table]
    more = [_NO_FRESH] if any(cell.mitigation == INDEPENDENT for cell in cells) else []
    if any(name in VOTED for name in methods) or any(c.mitigation == VOTE for c in cells):
        more.append(_BY_CHANCE)
    return [*LIMITS, *more]


def how_asked(
    options: Options, items: Sequence[Any], routes: Mapping[str, Route], seed: int
) -> list[str]:
    """Return sentences on what was asked and how."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.set] = counts.get(item.set, 0) + 1
    listed = ", ".join(f"{n} of {name}" for name, n in counts.items())
    methods = methods_of(options)
    cells = cells_of(options, methods[0])
    sampled = any(method in VOTED for method in methods) or any(c.mitigation == VOTE for c in cells)
    drawn = f", votes of {options.n_sc} at temperature {options.temperature:g}" if sampled else ""
    order = "shuffled" if options.shuffle else "as they come"
    runs = ", ".join(cell.name for cell in cells if cell.mitigation is None)
    said = [
        f"Items: {listed}; options of a choice {order}; "
        f"methods {', '.join(methods)}; runs {runs}; "
        f"mitigations {options.mitigations}.",
        f"Greedy, at most {options.max_tokens} tokens{drawn}, seed {seed}; answers found by "
        f"{'rules' if options.extractor == RULE else 'rules, then by another model'}.",
    ]
    changed = [route.downgrade for route in routes.values() if route.downgrade]
    return [*said, *(f"Channel changed: {one}." for one in dict.fromkeys(changed))]


def left_out(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one sentence on the items that stay out of the headline."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:  # the same items are left out under every method, but for their length
        key = (row["dataset"], row["reason"])
        counts[key] = max(counts.get(key, 0), row["items"])
    if not counts:
        return []
    listed = "; ".join(f"{n} of {name}: {reason}" for (name, reason), n in counts.items())
    return [f"Left out of the headline: {listed}. Figures with doubtful rows stand beside it."]


def labels(groups: Sequence[Group], measured: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for figures by name."""
    found = {}
    for figure in measured:
        group = next((one for one in groups if figure.name.startswith(f"{one.name}/")), None)
        if group is None:
            continue
        short, _, run = figure.name.removeprefix(f"{group.name}/").partition("/")
        if short in FIGURES:
            found[figure.name] = f"{run}: {FIGURES[short]} ({group.dataset}, {group.method})"
    return found


def _worst(group: Group, by_name: Mapping[str, Measurement]) -> str | None:
    """Say what the worst of the attacks does, beyond noise where that is known."""
    wrong = [c for c in group.attacks if c.condition in (ANSWERED_FIRST, PLANTED)]
    rated = [(by_name.get(f"{group.name}/asr/{cell.name}"), cell) for cell in wrong]
    known = [(m.value, cell) for m, cell in rated if m is not None and m.value is not None]
    if not known:
        return None
    value, cell = max(known, key=lambda pair: pair[0])
    said = f"{_attack(cell)} turns {_share(value)} of its right answers wrong"
    net = by_name.get(f"{group.name}/net_asr/{cell.name}")
    if net is None or net.value is None:
        return f"{said}; how much of it is noise was not measured."
    said += f", {_points(net.value)} more than noise does"
    low, least = net.low, 0.0
    if low is None:  # all items alike: what is left is the interval of the whole, and its floor
        whole = by_name[f"{group.name}/asr/{cell.name}"]
        low, least = whole.low, whole.floor.value if whole.floor is not None else 0.0
    return said + ("." if low is not None and low > least else ", which is not clearly above 0.")


def _best_help(group: Group, by_name: Mapping[str, Measurement]) -> str | None:
    found = []
    for cell in group.table:
        figure = by_name.get(f"{group.name}/recovered/{group.log(cell).name}")
        if figure is not None and figure.value is not None and cell.mitigation != INDEPENDENT:
            found.append((figure.value, figure.low, cell))
    if not found:
        return None
    value, low, cell = max(found, key=lambda row: row[0])
    doubt = ", which is not clearly above 0" if low is not None and low <= 0 else ""
    if value <= 0:
        return "No mitigation brings anything back."
    most = f"Of the mitigations {cell.mitigation} brings back most"
    return f"{most}: {_share(value)} of the loss{doubt}."


def _attack(cell: Cell) -> str:
    if cell.condition == ANSWERED_FIRST:
        return "Answering first (U)"
    return f"A planted answer ({cell.name})"


def _share(value: float) -> str:
    """Return a share in percent, with a decimal where a whole number would say nothing."""
    return f"{value:.1%}" if 0 < abs(value) < 0.01 else f"{value:.0%}"


def _points(value: float) -> str:
    return f"{100 * value:.0f} points"
