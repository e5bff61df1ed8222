"""What a hardening found, in tables, figures and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from theodolite.audit.loops.exposure import NAME as CURVE
from theodolite.audit.loops.exposure import exposure_figure, exposure_rows
from theodolite.audit.loops.hardened import AFTER, Hardened
from theodolite.correction.hardening import RECIPE, HardeningData
from theodolite.data.prompts import HARMFUL
from theodolite.mechanism.triggers.weakness import Weakest
from theodolite.runs.panel import PanelResult, extended

if TYPE_CHECKING:
    from theodolite.audit.loops.harden import Steps


def after(rows: int, data: Mapping[int, HardeningData]) -> str:
    """Return the name of the condition that was trained with an exposure."""
    return AFTER if len(data) == 1 else f"{AFTER} on {rows}"


def data_report(steps: Steps, data: Mapping[int, HardeningData], weakest: Weakest) -> PanelResult:
    """Return what was written, in counts, and the weakness it is against."""
    request = steps.request
    path = steps.run.path / f"data-{next(iter(data))}" / RECIPE
    kind = "dpo" if request.method == "dpo" else "ssft"
    return PanelResult(
        measurements=[],
        tables={"hardening_data": card_rows(data), "found": steps.evidence, **word_table(steps)},
        findings=[weakest.words, f"Train on the rows with `theodolite train {kind} {path}`."],
        limits=list(LIMITS),
        how=[words_told(steps, data)],
    )


def card_rows(data: Mapping[int, HardeningData]) -> list[dict[str, Any]]:
    """Return the counts of rows by exposure, source, class and style."""
    return [{"exposure": rows, **row} for rows, each in data.items() for row in each.card["table"]]


def loop_report(
    found: Hardened, steps: Steps, data: Mapping[int, HardeningData], how: Sequence[str]
) -> PanelResult:
    """Return the before/after table as measurements, tables, a figure and words."""
    goals, (harmful, benign) = steps.goals, steps.goals.test
    first = next(iter(data.values())).card
    result = PanelResult(
        measurements=found.measurements(),
        tables={
            "hardened": found.frame(),
            "hardened_pooled": found.pooled_frame(),
            "hardened_outcomes": found.outcomes(),
            "hardening_data": card_rows(data),
            "found": steps.evidence,
            **word_table(steps),
        },
        figures=[found.figure()],
        findings=found.findings(),
        limits=LIMITS,
        how=[
            f"Weakness looked for on {len(goals.find[0])} val goals; data made of train goals; "
            f"measured on {len(harmful)} harmful and {len(benign)} benign test requests "
            f"({goals.source}), greedy replies of at most {steps.request.max_tokens} tokens by the "
            "offline refusal scorer.",
            f"Rows: {first['rows']} with {first['refusals']} wordings of refusals; benign answers "
            f"by {', '.join(f'{who} {n}' for who, n in first['answers_by'].items())}; "
            f"{first['benign_left_out']} benign requests without an answer left out.",
            words_told(steps, data),
            *how,
        ],
        labels={
            "harden/before/perplexity": "perplexity of plain text before",
            **{f"harden/{c}/perplexity/change": f"its rise, {c}" for c in found.corrected},
        },
    )
    if len(data) == 1:
        return result
    conditions = {rows: after(rows, data) for rows in data}
    trained = {rows: len(each.rows) for rows, each in data.items()}
    return extended(
        result,
        tables={CURVE: exposure_rows(found, conditions, trained)},
        figures=[exposure_figure(found, conditions)],
    )


def word_table(steps: Steps) -> dict[str, list[dict[str, Any]]]:
    """Return the trigger words as a table, where there are some."""
    return {} if isinstance(steps.words, str) else {"trigger_words": steps.words.frame()}


def words_told(steps: Steps, data: Mapping[int, HardeningData]) -> str:
    """Say which rows were made around trigger words, or why there are none."""
    if isinstance(steps.words, str):
        return f"No rows were made around trigger words: {steps.words}."
    card = next(iter(data.values())).card
    return (
        f"{card['trigger_words']} trigger words with content of their own, from "
        f"{len(steps.words.prompt_ids)} refused requests: harmful train goals are told without "
        f"them ({card['words_left_out']} that would not be harmful without them left out), benign "
        "ones with them are answered."
    )


LIMITS: Final = (
    "What is shown holds for these goals and wrappers; a style that was not asked may be weak.",
    "Replies are cut, and an answer that neither refuses nor helps counts as compliance.",
    "The weakest style was chosen for being low, so part of its rise may be regression to the "
    "mean; it is measured again before the repair, on other goals.",
)


def summary(result: PanelResult, model: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return titled tables as people read them, for the terminal: one per condition."""
    if "hardened" not in result.tables:
        rows = [dict(row) for row in result.tables["hardening_data"]]
        return [(f"Rows written against a weak style of {model}", rows)]
    table = result.tables["hardened"]
    conditions = dict.fromkeys(row["condition"] for row in table)
    return [
        (
            f"{model}, {condition}: % refused, before > after; * hardened, ^ held out",
            _side_by_side([row for row in table if row["condition"] == condition]),
        )
        for condition in conditions
    ]


def _side_by_side(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per style, harmful and benign side by side; last, what plain text costs."""
    rows: dict[str, dict[str, Any]] = {}
    for row in table:
        if row["role"] == "cost":
            ends = f"{row['before']:.1f} > {row['after']:.1f}"
            rows["cost"] = {"style": "perplexity", HARMFUL: ends, "change": _change(row, 1.0, " %")}
            continue
        cells = rows.setdefault(row["style"], {"style": row["style"] + _MARKS.get(row["role"], "")})
        cells[row["class"]] = f"{row['before']:.0%} > {row['after']:.0%}".replace("%", "")
        cells["change" if row["class"] == HARMFUL else "its change"] = _change(row, 100.0)
    return list(rows.values())


def _change(row: Mapping[str, Any], unit: float, mark: str = "") -> str:
    """Return a change with its ends and the adjusted p-value."""
    value, low, high = (row[f"change{end}"] for end in ("", "_low", "_high"))
    p = row.get("p_holm")
    if value is None:
        return ""
    ends = "" if low is None else f" [{low * unit:.0f}, {high * unit:.0f}]"
    tail = "" if p is None or p > _WORTH_TELLING else " p<.001" if p < 0.001 else f" p {p:.2g}"
    return f"{value * unit:+.0f}{mark}{ends}{tail}"


_WORTH_TELLING: Final = 0.1
_MARKS: Final = {"hardened": " *", "held out": " ^"}
