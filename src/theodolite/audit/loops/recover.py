"""Make preference data; with `loop`, train on them and measure the same test rows again.

Groups are made of train rows, figures of test rows. Every step is kept in the run folder: what was
written in the journal, the groups beside it, the training in a run of its own under `training`.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from theodolite.audit.loops.harden import plain_passages
from theodolite.audit.loops.recovered import Condition, Recovered
from theodolite.behaviour.course_correction.evaluation import Options, go_on, how_asked
from theodolite.correction.preference_synthesis import (
    GROUPS,
    Synthesis,
    check_options,
    synthesise,
)
from theodolite.correction.synthesis_request import SynthesisRequest, rows_of, synthesis_report
from theodolite.engine import generate
from theodolite.errors import CapabilityError, ConfigError
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.perplexity import passage_nats, passage_pairs
from theodolite.providers.opening import identity_of, open_requested
from theodolite.runs.panel import PanelResult, Progress, extended
from theodolite.runs.run import Run
from theodolite.training.recipe import Data, Lora, Recipe
from theodolite.training.saving import ADAPTER
from theodolite.training.train import run_training

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

COMMAND: Final = "correct synthesise"
PANEL: Final = "synthesis"
VERSION: Final = 1
TRAINING: Final = "training"


@dataclass(frozen=True)
class RecoverRequest(SynthesisRequest):
    """What the loop is asked beside the synthesis.

    Args:
        loop: train on the groups and measure again.
        method: `conditional` (DPO on what follows a begun reply) or `listwise` (one loss over the
            whole order).
        max_steps, batch_size, learning_rate, beta, sft_weight: of the training; a row is a pair,
            or an order.
        source, asked: where the begun replies that are measured come from, and so many requests of
            each label.
        ks, max_tokens: depths, and tokens of a continuation.
    """

    loop: bool = False
    method: Literal["conditional", "listwise"] = "conditional"
    max_steps: int = 70
    batch_size: int = 4
    learning_rate: float = 2e-4
    beta: float = 0.1
    sft_weight: float = 0.1
    source: str = "bundled"
    asked: int | None = None
    ks: str = "10,20,40"
    max_tokens: int = 32

    @property
    def measured(self) -> Options:
        """How begun replies are measured, before and after."""
        return Options(source=self.source, limit=self.asked, ks=self.ks, max_tokens=self.max_tokens)


def recover(
    request: RecoverRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Write preference groups; with `loop`, train on them and measure before and after.

    Args:
        out, resume: a new run's folder, or the run to go on with.

    Raises:
        TheodoliteError: the request cannot be met.
        Interrupted: Ctrl-C; finished steps are kept.
    """
    _check(request)
    rows = rows_of(request.prompts, request.limit, seed=request.seed)
    with ExitStack() as active:
        model, inputs = open_requested(request, active)
        model.require("text", *(("training", "logprobs") if request.loop else ()))
        if model.tokenizer is None:
            raise CapabilityError(
                f"Preference data from {model.name}",
                "an API shows neither its tokens nor how it leaves a turn open",
                "Use a local model, for example smollm2-aligned",
            )
        subject = cast("LanguageModel", model)
        if request.prompts is not None and Path(request.prompts).is_file():
            inputs = inputs | {"prompts": Path(request.prompts)}
        with Run.begin(
            COMMAND,
            model.name,
            out=out,
            resume=resume,
            config=asdict(request),
            inputs=inputs,
            seed=request.seed,
            model=identity_of(model),
        ) as run:
            kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
            options, seed = request.options, request.seed
            made = synthesise(subject, rows, options=options, seed=seed, **kept)
            made.write(run.path)
            result = synthesis_report(made, rows, run.path)
            if request.loop:
                result = _again(request, subject, made, result, run, progress)
            run.save_panel(PANEL, result, key=str(VERSION))
            run.commit()
            return run, result


def _check(request: RecoverRequest) -> None:
    """Refuse what cannot be asked before a model is opened; raises ConfigError or DataError."""
    check_options(request.options)
    if request.loop and request.interventions is not None:
        raise ConfigError("Interventions cannot be trained on.", fix="Leave `interventions` out.")
    if request.loop:
        from theodolite.behaviour.course_correction.evaluation import check

        check(request.measured, seed=request.seed)


def _again(
    request: RecoverRequest,
    model: LanguageModel,
    made: Synthesis,
    result: PanelResult,
    run: Run,
    progress: Progress,
) -> PanelResult:
    """Measure, train and measure; one model in memory at a time."""
    measured = _Measured(request, run, progress)
    before = measured.condition(model, "before")
    model.module.to("meta")
    gc.collect()
    adapter = _trained(request, run, progress)
    after = measured.condition(_reopened(request, adapter), "after")
    found = Recovered(
        before,
        after,
        measured.requests,
        np.array(measured.tokens, np.int64),
        measured.vocabulary,
        request.seed,
    )
    return extended(
        result,
        measurements=found.measurements(),
        tables={"recovered": found.frame(), "recovered_curves": found.curves()},
        figures=[found.figure()],
        findings=found.findings(),
        limits=[
            "Continuations and answers are a few words long and scored by phrases; what is gained "
            "holds for these requests."
        ],
        how=[
            measured.how,
            f"Trained by {request.method}, {request.max_steps} steps of {request.batch_size}, on "
            f"{made.card['groups']['harmful']} harmful and {made.card['groups']['benign']} benign "
            "groups of train rows; figures are of test rows, asked the same before and after.",
        ],
        labels=found.labels(),
    )


class _Measured:
    """Measures one condition after the other on the very same rows."""

    def __init__(self, request: RecoverRequest, run: Run, progress: Progress) -> None:
        self.request, self.run, self.progress = request, run, progress
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[int] = []
        self.vocabulary = 0
        self.how = ""

    def condition(self, model: LanguageModel, name: str) -> Condition:
        """Return what a model does with begun replies, bare requests and plain text."""
        self.progress.message(f"Measuring: {name}.")
        kept: dict[str, Any] = {"journal": self.run.journal, "progress": self.progress}
        options, seed = self.request.measured, self.request.seed
        found = go_on(model, options, run=self.run, seed=seed, progress=self.progress)
        self.how = how_asked(found, options, seed)
        bare = list({row.request: row for row in found.rows}.values())
        answers = generate(model, bare, max_new_tokens=options.max_tokens, **kept)
        self.requests = [(str(row.label), row.goal_id or row.id) for row in bare]
        pairs = passage_pairs(model, plain_passages())
        self.tokens = [len(rest) for _, rest in pairs]
        self.vocabulary = model.anatomy.vocab_size
        return Condition(
            items=found.items,
            refused=[bool(score_refusal(answer.text).refused) for answer in answers],
            nats=passage_nats(model, pairs, **kept),
        )


def recipe_of(request: RecoverRequest, groups: Path) -> Recipe:
    """Return how the groups are trained on."""
    return Recipe(
        method="listwise",  # an order of two is DPO's pair
        model=request.model,
        revision=request.revision,
        dtype=request.dtype,
        device=request.device,
        seed=request.seed,
        epochs=100,  # the steps end it
        max_steps=request.max_steps,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        beta=request.beta,
        sft_weight=request.sft_weight,
        data=Data(
            rows=(str(groups),), form="conditional" if request.method == "conditional" else "order"
        ),
        lora=Lora(start=request.adapter),
    )


def _trained(request: RecoverRequest, run: Run, progress: Progress) -> Path:
    """Return the adapter, trained here or before."""
    folder = run.path / TRAINING
    if not (folder / "complete").is_file():
        begun = (folder / "manifest.json").is_file()
        way = {"resume": folder} if begun else {"out": folder}
        run_training(recipe_of(request, run.path / GROUPS), progress=progress, **way)
    return folder / ADAPTER


def _reopened(request: RecoverRequest, adapter: Path) -> LanguageModel:
    with ExitStack() as active:
        opened, _ = open_requested(replace(request, adapter=str(adapter)), active)
        return cast("LanguageModel", opened)
