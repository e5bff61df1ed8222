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

from theodolite.audit.loops.found import (
    hardenable,
    words_of_model,
    words_of_run,
    wrappers_with,
)
from theodolite.audit.loops.goals import Goals, read_goals
from theodolite.audit.loops.hardened import BEFORE, CLAMPED, Hardened
from theodolite.audit.loops.request import COMMAND, PANEL, HardenRequest, check_request
from theodolite.audit.loops.result import after, data_report, loop_report
from theodolite.correction.clamp import StyleClamp, style_clamp
from theodolite.correction.hardening import (
    ROWS,
    HardeningData,
    HardeningOptions,
    hardening_data,
    hardening_recipe,
)
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.data.styles import Style, style, style_names, with_own
from theodolite.data.wrappers import read_wrappers
from theodolite.engine import save_interventions
from theodolite.mechanism.lens.explain import token_classes
from theodolite.mechanism.perplexity import Nats, passage_nats, passage_pairs
from theodolite.mechanism.steering.edits import intervene
from theodolite.mechanism.triggers.shared_words import SharedWords
from theodolite.mechanism.triggers.weakness import StyleWeakness, Weakest, style_weakness
from theodolite.models.bundled import bundled_adapter
from theodolite.providers.opening import identity_of
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.training.recipe import Lora, Recipe
from theodolite.training.saving import ADAPTER
from theodolite.training.train import run_training

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.handle import LanguageModel

VERSION: Final = 2
FOUND: Final = "found"
CLAMP_FILE: Final = "clamp.json"
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
        inputs={
            name: Path(path)
            for name in ("prompts", "wrappers")
            if (path := getattr(request, name)) is not None
        },
        seed=request.seed,
        model=identity_of(model),
    ) as run:
        progress.message(f"Run folder: {run.path}")
        steps = Steps(request, goals, run, progress)
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
    steps: Steps,
    model: LanguageModel,
    weakest: Weakest,
    data: Mapping[int, HardeningData],
) -> PanelResult:
    """Measure, repair and measure: one model in memory at a time."""
    request = steps.request
    steps.measure(model, BEFORE)
    how: list[str] = []
    if request.clamp:
        how.append(steps.clamped(model, weakest))
    del model
    gc.collect()
    for rows in data:
        adapter = steps.trained(rows)
        again = _open(request.model, request, adapter=adapter)
        steps.measure(again, after(rows, data))
        del again
        gc.collect()
    result = steps.result(weakest)
    result.save(steps.run)
    return loop_report(result, steps, data, how)


@dataclass
class Steps:
    """The steps of one loop, each kept in the run as it finishes.

    Args:
        own: wrappers of the user's own.
        hardened: the styles to harden.
        words: what carries the refusals, or why that is not known.
        evidence: refusal by style, where weaknesses were looked for.
        found, nats, tokens, vocabulary: what was measured on test goals, by condition.
    """

    request: HardenRequest
    goals: Goals
    run: Run
    progress: Progress
    own: tuple[Style, ...] = ()
    hardened: tuple[Style, ...] = ()
    words: SharedWords | str = "they were switched off (`words = 0`)"
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
        """Set styles and words to harden: named, of a run, or looked for; return the weakness."""
        request, where = self.request, str(self.run.path)
        self.own = read_wrappers(request.wrappers)
        named = style_names(request.styles, self.own)
        if request.weakness is not None:
            earlier, where = Run.open(Path(request.weakness)), request.weakness
            self.own = wrappers_with(self.own, earlier)
            found = StyleWeakness.load(earlier)
        else:
            found = style_weakness(
                model,
                *self.goals.find,
                styles=[style(n, self.own) for n in named] or with_own(request.tried, self.own),
                classes=self.classes(model),
                max_new_tokens=request.max_tokens,
                **self.kept,
            )
        found.save(self.run, FOUND)
        self.evidence = found.frame(seed=request.seed)
        weakest = found.weakest(seed=request.seed)
        names = named or [weakest.style]
        self.hardened = tuple(hardenable(name, self.own, where) for name in names)
        if request.words and request.weakness is not None:
            self.words = words_of_run(earlier)
        elif request.words:
            self.words = words_of_model(model, found, self.goals, request.seed, self.kept)
        if isinstance(self.words, SharedWords):
            self.words.save(self.run, FOUND)
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
            words=() if isinstance(self.words, str) else self.words.carriers(),
            goals=self.goals.train,
            base=base,
            options=HardeningOptions(
                method=request.method,
                exposure=rows,
                controls=request.controls,
                replay=request.replay,
                words=request.words,
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
            lora=Lora(start=request.adapter),
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
        asked = [*with_own(self.request.asked, self.own), *self.hardened]
        with acting or nullcontext():
            self.found[name] = style_weakness(
                model,
                *self.goals.test,
                styles=list({each.name: each for each in asked}.values()),
                max_new_tokens=self.request.max_tokens,
                **self.kept,
            )
            self.nats[name] = passage_nats(model, pairs, **self.kept)
        self.tokens = [len(rest) for _, rest in pairs]
        self.vocabulary = model.anatomy.vocab_size

    def clamped(self, model: LanguageModel, weakest: Weakest) -> str:
        """Measure the model with the styles' directions clamped; say where, and keep the clamp."""
        train = self.goals.train
        fitted = tuple(
            [p for p in train if p.label == label][:CLAMP_GOALS] for label in (HARMFUL, BENIGN)
        )
        clamp = style_clamp(
            model,
            self.hardened,
            (fitted[0], fitted[1]),
            self.goals.find,
            self.classes(model),
            **self.kept,
        )
        self.measure(model, CLAMPED, intervene(model, clamp.edit, clamp.benign))
        return f"{clamp.words()} {self.written(model, clamp, weakest)}"

    def written(self, model: LanguageModel, clamp: StyleClamp, weakest: Weakest) -> str:
        """Write the clamp as interventions, unless refusal fell with it; say which."""
        why = self.result(weakest).weakens(CLAMPED)
        if why is not None:
            return f"It was not written to a file: {why}."
        acting = clamp.edit.interventions(model.anatomy, clamp.benign)
        save_interventions(self.run.path / CLAMP_FILE, acting, model)
        return (
            f"It is written to {CLAMP_FILE} in the run folder, which `theodolite eval "
            "--interventions`, `interventions` in --config and `-M interventions=` take."
        )

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
            hardened=tuple(each.name for each in self.hardened),
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
