"""The hardening loop: find a weak style, write data against it, retrain, and measure again.

The weakness is looked for on val goals, the data is made of train goals, and the table is measured
on test goals. Every step is kept in the run folder, so that a stopped loop goes on where it was:
verdicts and answers in the journal, the data in `data-<rows>`, each training in a run of its own
under `training-<rows>`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from theodolite.audit.loops.goals import Goals, read_goals
from theodolite.audit.loops.hardened import AFTER, BEFORE, CLAMPED, Hardened
from theodolite.audit.loops.request import COMMAND, PANEL, HardenRequest, check_request
from theodolite.correction.clamp import style_clamp
from theodolite.correction.hardening import (
    RECIPE,
    ROWS,
    HardeningData,
    HardeningOptions,
    hardening_data,
    hardening_recipe,
)
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.data.styles import style, style_names
from theodolite.mechanism.lens.explain import token_classes
from theodolite.mechanism.perplexity import Nats, passage_nats, passage_pairs
from theodolite.mechanism.steering.edits import intervene
from theodolite.mechanism.triggers.weakness import StyleWeakness, Weakest, style_weakness
from theodolite.models.bundled import bundled_adapter
from theodolite.providers.opening import identity_of
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.training.saving import ADAPTER
from theodolite.training.train import run_training

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.handle import LanguageModel
    from theodolite.training.recipe import Recipe

VERSION: Final = 1
FOUND: Final = "found"
CLAMP_GOALS: Final = 48
"""Train goals that a style's direction is read from."""


def harden(
    request: HardenRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Write hardening data against a weak style; with `loop`, retrain and measure again.

    Args:
        out, resume: a new run's folder, or the run to go on with.

    Returns: the run folder, and what was found.

    Raises:
        TheodoliteError: the request cannot be met.
        Interrupted: Ctrl-C; finished steps are kept.
    """
    check_request(request)
    goals = read_goals(request.prompts, limit=request.limit, seed=request.seed)
    model = _open(request.model, request, adapter=request.adapter)
    with Run.begin(
        COMMAND,
        model.name,
        out=out,
        resume=resume,
        config=asdict(request),
        inputs={} if request.prompts is None else {"prompts": Path(request.prompts)},
        seed=request.seed,
        model=identity_of(model),
    ) as run:
        progress.message(f"Run folder: {run.path}")
        steps = _Steps(request, goals, run, progress)
        weakest = steps.find(model)
        progress.message(weakest.words)
        data = {rows: steps.data(model, rows) for rows in request.exposure}
        if not request.loop:
            result = data_report(steps, data, weakest)
        else:
            result = _measured_again(steps, model, weakest, data)
        run.save_panel(PANEL, result, key=str(VERSION))
        run.commit()
        return run, result


def _measured_again(
    steps: _Steps,
    model: LanguageModel,
    weakest: Weakest,
    data: Mapping[int, HardeningData],
) -> PanelResult:
    """Measure, repair and measure: one model in memory at a time."""
    request = steps.request
    steps.measure(model, BEFORE)
    how: list[str] = []
    if request.clamp:
        how.append(steps.clamped(model))
    del model
    gc.collect()
    for rows in data:
        adapter = steps.trained(rows)
        again = _open(request.model, request, adapter=adapter)
        name = AFTER if len(data) == 1 else f"{AFTER} on {rows}"
        steps.measure(again, name)
        del again
        gc.collect()
    result = steps.result(weakest)
    result.save(steps.run)
    return loop_report(result, steps, data, how)


@dataclass
class _Steps:
    """The steps of one loop, each kept in the run as it finishes."""

    request: HardenRequest
    goals: Goals
    run: Run
    progress: Progress
    hardened: tuple[str, ...] = ()
    evidence: Sequence[Mapping[str, Any]] = ()
    found: dict[str, StyleWeakness] = field(default_factory=dict)
    nats: dict[str, Nats] = field(default_factory=dict)
    tokens: Sequence[int] = ()
    vocabulary: int = 0

    @property
    def kept(self) -> dict[str, Any]:
        """Where units are kept, and who is told."""
        return {"journal": self.run.journal, "progress": self.progress}

    def find(self, model: LanguageModel) -> Weakest:
        """Set the styles to harden: named, of a run, or looked for here; return the weakness."""
        request = self.request
        named = tuple(style_names(request.styles))
        if request.weakness is not None:
            found = StyleWeakness.load(Run.open(Path(request.weakness)))
        else:
            found = style_weakness(
                model,
                *self.goals.find,
                styles=named or style_names(request.tried),
                classes=self.classes(model),
                max_new_tokens=request.max_tokens,
                **self.kept,
            )
        found.save(self.run, FOUND)
        self.evidence = found.frame(seed=request.seed)
        weakest = found.weakest(seed=request.seed)
        self.hardened = named or (weakest.style,)
        return weakest

    def classes(self, model: LanguageModel) -> TokenClasses:
        """Return the tokens that open refusals and friendly replies."""
        train = self.goals.train
        sides = ([p for p in train if p.label == label] for label in (HARMFUL, BENIGN))
        return token_classes(model, self.request.tokens, *sides)

    def data(self, model: LanguageModel, rows: int) -> HardeningData:
        """Write the rows, the card and the recipe of one exposure."""
        request = self.request
        base = _base(request)
        data = hardening_data(
            model,
            self.hardened,
            goals=self.goals.train,
            base=base,
            options=HardeningOptions(
                method=request.method,
                exposure=rows,
                controls=request.controls,
                replay=request.replay,
                answer_tokens=request.answer_tokens,
                held_out=bool(request.styles),
            ),
            seed=request.seed,
            **self.kept,
        )
        data.write(self.run.path / f"data-{rows}", self.recipe())
        return data

    def recipe(self) -> Recipe:
        """Return how the rows are trained."""
        request = self.request
        return hardening_recipe(
            request.model,
            method=request.method,
            epochs=request.epochs,
            learning_rate=request.learning_rate,
            max_steps=request.max_steps,
            revision=request.revision,
            dtype=request.dtype,
            device=request.device,
            seed=request.seed,
        )

    def trained(self, rows: int) -> Path:
        """Return the adapter of one exposure, trained here or before."""
        from dataclasses import replace

        data, folder = self.run.path / f"data-{rows}", self.run.path / f"training-{rows}"
        recipe = self.recipe()
        recipe = replace(recipe, data=replace(recipe.data, rows=(str(data / ROWS),)))
        if not (folder / "complete").is_file():
            begun = (folder / "manifest.json").is_file()
            way = {"resume": folder} if begun else {"out": folder}
            run_training(recipe, progress=self.progress, **way)
        return folder / ADAPTER

    def measure(
        self, model: LanguageModel, name: str, acting: AbstractContextManager[Any] | None = None
    ) -> None:
        """Measure refusal by style on test goals, and the perplexity of plain text."""
        self.progress.message(f"Measuring: {name}.")
        pairs = passage_pairs(model, plain_passages())
        with acting or nullcontext():
            self.found[name] = style_weakness(
                model,
                *self.goals.test,
                styles=list(dict.fromkeys([*style_names(self.request.asked), *self.hardened])),
                max_new_tokens=self.request.max_tokens,
                **self.kept,
            )
            self.nats[name] = passage_nats(model, pairs, **self.kept)
        self.tokens = [len(rest) for _, rest in pairs]
        self.vocabulary = model.anatomy.vocab_size

    def clamped(self, model: LanguageModel) -> str:
        """Measure the model with the styles' directions clamped; say where."""
        train = self.goals.train
        fitted = tuple(
            [p for p in train if p.label == label][:CLAMP_GOALS] for label in (HARMFUL, BENIGN)
        )
        clamp = style_clamp(
            model,
            [style(name) for name in self.hardened],
            (fitted[0], fitted[1]),
            self.goals.find,
            self.classes(model),
            **self.kept,
        )
        self.measure(model, CLAMPED, intervene(model, clamp.edit, clamp.benign))
        return clamp.words()

    def result(self, weakest: Weakest) -> Hardened:
        """Return the table of all conditions."""
        names = [BEFORE, *(n for n in self.found if n not in (BEFORE, CLAMPED))]
        names += [CLAMPED] if CLAMPED in self.found else []
        return Hardened(
            found={name: self.found[name] for name in names},
            nats=np.stack([self.nats[name] for name in names]),
            tokens=np.array(self.tokens, np.int64),
            vocabulary=self.vocabulary,
            weakest=weakest,
            hardened=self.hardened,
            seed=self.request.seed,
        )


def plain_passages() -> list[Prompt]:
    """Return the plain texts whose perplexity is the cost of a repair."""
    return list(bundled("passages"))


def _open(ref: str, request: HardenRequest, *, adapter: str | Path | None) -> LanguageModel:
    from theodolite.models import open_model

    model = open_model(
        ref,
        revision=request.revision,
        adapter=adapter,
        dtype=request.dtype,
        device=request.device,
    )
    model.require("training", "interventions", "logprobs")
    return cast("LanguageModel", model)


def _base(request: HardenRequest) -> LanguageModel | None:
    """Return the model before its safety training, where one is named or known."""
    known = bundled_adapter(request.model)
    ref = request.base or (known[0] if known else request.model if request.adapter else None)
    return None if ref is None else _open(ref, request, adapter=None)


def data_report(steps: _Steps, data: Mapping[int, HardeningData], weakest: Weakest) -> PanelResult:
    """Return what was written, in counts, and the weakness it is against."""
    request = steps.request
    path = steps.run.path / f"data-{next(iter(data))}" / RECIPE
    kind = "dpo" if request.method == "dpo" else "ssft"
    without = [] if request.adapter is None else ["The recipe trains the model without --adapter."]
    return PanelResult(
        measurements=[],
        tables={"hardening_data": card_rows(data), "found": steps.evidence},
        findings=[weakest.words, f"Train on the rows with `theodolite train {kind} {path}`."],
        limits=[*LIMITS, *without],
    )


def card_rows(data: Mapping[int, HardeningData]) -> list[dict[str, Any]]:
    """Return the counts of rows by exposure, source, class and style."""
    return [{"exposure": rows, **row} for rows, each in data.items() for row in each.card["table"]]


def loop_report(
    found: Hardened, steps: _Steps, data: Mapping[int, HardeningData], how: Sequence[str]
) -> PanelResult:
    """Return the before/after table as measurements, tables, a figure and words."""
    goals, (harmful, benign) = steps.goals, steps.goals.test
    first = next(iter(data.values())).card
    return PanelResult(
        measurements=found.measurements(),
        tables={
            "hardened": found.frame(),
            "hardened_pooled": found.pooled_frame(),
            "hardened_outcomes": found.outcomes(),
            "hardening_data": card_rows(data),
            "found": steps.evidence,
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
            *how,
        ],
        labels={
            "harden/before/perplexity": "perplexity of plain text before",
            **{f"harden/{c}/perplexity/change": f"its rise, {c}" for c in found.corrected},
        },
    )


LIMITS: Final = (
    "What is shown holds for these goals and wrappers; a style that was not asked may be weak.",
    "Replies are cut, and an answer that neither refuses nor helps counts as compliance.",
    "The weakest style was chosen for being low, so part of its rise may be regression to the "
    "mean; it is measured again before the repair, on other goals.",
)


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the table as people read it, for the terminal."""
    if "hardened" not in result.tables:
        return [dict(row) for row in result.tables["hardening_data"]]
    return [
        {
            "condition": row["condition"],
            "class": row["class"],
            "style": f"{row['style']} *" if row["role"] == "hardened" else row["style"],
            "role": row["role"],
            "before": _cell(row, "before"),
            "after": _cell(row, "after"),
            "change": _cell(row, "change"),
            "p (Holm)": "" if row.get("p_holm") is None else f"{row['p_holm']:.2g}",
            "gap": _cell(row, "gap_change") if row["class"] == HARMFUL else "",
        }
        for row in result.tables["hardened"]
    ]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return ""
    return f"{value:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")
