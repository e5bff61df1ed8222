"""`theodolite train`: from a recipe to a run folder with what was trained and what it changed.

recipe.toml            the resolved recipe
adapter/ or model/     what was trained
checkpoint.safetensors the last checkpoint, until the run is finished
data_card.json         what it was trained on, in counts and hashes
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.data.prompts import shown
from theodolite.errors import CapabilityError, ConfigError, DataError, Interrupted
from theodolite.measure import Measurement, not_measured
from theodolite.models.adapters import CARD
from theodolite.providers.opening import identity_of
from theodolite.runs.atomic import write_text
from theodolite.runs.config import config_toml
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.runs.strict_json import strict_dumps
from theodolite.training import checkpoint as checkpoints
from theodolite.training.examples import Example, encode_rows
from theodolite.training.held_out import HeldOut, answer_tables, compare, held_out
from theodolite.training.recipe import Recipe, check_recipe
from theodolite.training.saving import ADAPTER, MODEL, save_adapter, save_model
from theodolite.training.schedule import Plan, plan_steps
from theodolite.training.sources import SAFETY, TOO_LONG, Rows, gather_rows
from theodolite.training.start import going_on, methods_of, start_file, start_folder

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.training.rows import TrainingRow
    from theodolite.training.session import Trained

VERSION: Final = 1
PANEL: Final = "training"
LAYOUTS: Final = {
    "padded": "padded",
    "packed": "packed without padding",
    "lean": "packed where padding would have cost more",
    "paired": "in pairs, padded",
    "ranked": "all answers of a row together, padded",
    "tree": "one tree, in which answers share what they have in common",
}
EXTRA: Final = ("trl", "accelerate", "datasets")


def run_training(
    recipe: Recipe, *, progress: Progress, out: Path | None = None, resume: Path | None = None
) -> tuple[Run, PanelResult]:
    """Train by a recipe and keep the result in a run folder.

    Args:
        recipe: checked again here.
        out, resume: a new run's folder, or the run to go on with.

    Raises:
        TheodoliteError: the recipe, its rows or its model cannot be used.
        Interrupted: Ctrl-C; the last checkpoint is kept.
    """
    check_recipe(recipe)
    _require_extra()
    recipe = going_on(recipe)
    rows = gather_rows(recipe)
    model = _open(recipe)
    with Run.begin(
        recipe.command,
        model.name,
        out=out,
        resume=resume,
        config=asdict(recipe),
        inputs={**rows.files, **_subspace_file(recipe), **start_file(recipe)},
        seed=recipe.seed,
        model=identity_of(model),
        **({} if resume is not None else {"methods": {PANEL: VERSION}}),
    ) as run:
        progress.message(f"Run folder: {run.path}")
        result = _finished(run) or _trained(model, rows, recipe, run, progress)
        run.commit()
        (run.path / checkpoints.NAME).unlink(missing_ok=True)
        return run, result


def _finished(run: Run) -> PanelResult | None:
    """Return the result of a run that was trained to its end already."""
    return run.load_panel(PANEL) if run.panel_done(PANEL, key=str(VERSION)) else None


def _trained(
    model: LanguageModel, rows: Rows, recipe: Recipe, run: Run, progress: Progress
) -> PanelResult:
    write_text(run.path / "recipe.toml", config_toml(recipe))
    if SAFETY in recipe.data.rows:
        rows = gather_rows(recipe, _write_safety_rows(model, recipe, run, progress))
    examples, rows = _examples(model, rows, recipe)
    write_text(run.path / CARD, strict_dumps(_card(rows, recipe), indent=1) + "\n")
    result = _train(model, examples, rows, recipe, run, progress)
    run.save_panel(PANEL, result, key=str(VERSION))
    return result


def _write_safety_rows(
    model: LanguageModel, recipe: Recipe, run: Run, progress: Progress
) -> list[TrainingRow]:
    """Return the rows of `bundled:safety`; the model writes answers before it is trained."""
    from theodolite.training.safety_rows import safety_rows

    return safety_rows(
        model, method=recipe.method, seed=recipe.seed, journal=run.journal, progress=progress
    )


def _train(
    model: LanguageModel,
    examples: Sequence[Example],
    rows: Rows,
    recipe: Recipe,
    run: Run,
    progress: Progress,
) -> PanelResult:
    trained_on = [e for e in examples if e.row.split == "train"]
    watched = [e for e in examples if e.row.split == "val"]
    plan = plan_steps(trained_on, recipe)
    before = held_out(model, watched, recipe.method, progress)
    if recipe.lora.start is not None:
        model.module.to("meta")  # merged weights are let go; an adapter is trained beside them
        model = _opened(recipe, None)
    trained = _session(model, trained_on, plan, run, progress)
    folder = _save(run, model, trained, recipe, _card(rows, recipe))
    log, size, layout = trained.log, trained.trainable, LAYOUTS[trained.layout]
    del model, trained  # two models at once are one too many for a large one
    gc.collect()
    after = held_out(_reopen(recipe, folder), watched, recipe.method, progress)
    figures = [*compare(watched, before, after, recipe), *_facts(log, size)]
    return PanelResult(
        measurements=figures,
        tables={
            "training_log": log,
            "data_card": rows.card(),
            "held_out": _held_out_rows(watched, before, after),
            **answer_tables(watched, before, after),
        },
        findings=[_finding(recipe, folder, size, len(log))],
        how=[
            f"Method: {methods_of(recipe)}. {len(trained_on)} rows in {len(plan)} steps of "
            f"{recipe.batch_size * recipe.gradient_accumulation}, {layout}, seed {recipe.seed}; "
            "loss on completions only."
        ],
        labels={
            "loss/val": "loss on held-out rows after training",
            "accuracy/val": "held-out rows labelled rightly by the first token",
            "preference/val": "held-out pairs that moved towards the chosen answer",
            "order/val": "held-out pairs of answers in the right order",
            "ordered/val": "held-out rows with all answers in the right order",
            "time": "time of all training steps",
            "parameters": "trained parameters",
        },
    )


def _session(
    model: LanguageModel, examples: Sequence[Example], plan: Plan, run: Run, progress: Progress
) -> Trained:
    from theodolite.training.penalty import read_subspace
    from theodolite.training.session import train

    penalty = read_subspace(model, plan.recipe.penalty, examples)
    path = run.path / checkpoints.NAME
    try:
        return train(model, examples, plan, run=run, progress=progress, penalty=penalty)
    except KeyboardInterrupt:
        kept = checkpoints.finished_steps(path, plan.key)
        what = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
        raise Interrupted(
            f"Stopped in a training of {len(plan)} steps; {what}.",
            fix=f"Resume with `{run.journal.resume}`.",
        ) from None


def _examples(model: LanguageModel, rows: Rows, recipe: Recipe) -> tuple[list[Example], Rows]:
    """Return the rows of the train and val splits as token ids; what is too long is never cut."""
    limit = min(recipe.max_length or 1 << 62, model.max_context or 1 << 62)
    used = [*rows.used("train"), *rows.used("val")]
    examples = encode_rows(model, used, recipe.method)
    long = [example for example in examples if len(example) > limit]
    if long and recipe.too_long == "error":
        raise DataError(
            f"{len(long)} of {len(examples)} rows have more than {limit} tokens, the first is "
            f"{shown(long[0].row.id)} with {len(long[0])}.",
            fix='Raise max_length, or set too_long = "leave_out".',
        )
    left = rows.without({example.row.id: TOO_LONG for example in long})
    kept = [example for example in examples if len(example) <= limit]
    if not any(example.row.split == "train" for example in kept):
        raise DataError("Every row of the train split is too long.", fix="Raise max_length.")
    return kept, left


def _open(recipe: Recipe) -> LanguageModel:
    """Open the model before training: with the adapter it starts from, where it does."""
    start = recipe.lora.start
    model = _opened(recipe, None if start is None else start_folder(start))
    model.require("training")
    return model


def _opened(recipe: Recipe, adapter: Path | None) -> LanguageModel:
    from theodolite.models import open_model

    how: dict[str, Any] = {"dtype": recipe.dtype, "device": recipe.device}
    opened = open_model(recipe.model, revision=recipe.revision, adapter=adapter, **how)
    return cast("LanguageModel", opened)


def _card(rows: Rows, recipe: Recipe) -> dict[str, Any]:
    """Return the data card; an adapter that goes on from another names the methods of both."""
    return rows.facts(recipe) | {"method": methods_of(recipe)}


def _save(
    run: Run, model: LanguageModel, trained: Trained, recipe: Recipe, card: Mapping[str, Any]
) -> Path:
    if recipe.full:
        return save_model(run.path / MODEL, model, trained.module, dtype=recipe.store_dtype)
    return save_adapter(
        run.path / ADAPTER,
        trained.module,
        base=recipe.model,
        dtype=recipe.store_dtype,
        card=card,
    )


def _reopen(recipe: Recipe, folder: Path) -> LanguageModel:
    """Open what was written, as anybody will: the figures are those of the files."""
    from theodolite.models import open_model

    if not recipe.full:
        return _opened(recipe, folder)
    how: dict[str, Any] = {"dtype": recipe.dtype, "device": recipe.device}
    return cast("LanguageModel", open_model(str(folder.resolve()), **how))


def _facts(log: Sequence[dict[str, Any]], size: tuple[int, int]) -> list[Measurement]:
    no_floor = "a fact of this training, not an estimate"
    trained, total = size
    if not log:
        return [not_measured("time", "seconds", "no step was trained")]
    seconds = float(sum(row["seconds"] for row in log))
    return [
        Measurement("time", seconds, "seconds", n=len(log), reason=no_floor),
        Measurement("parameters", trained, "parameters", n=total, reason=no_floor),
    ]


def _held_out_rows(
    examples: Sequence[Example], before: HeldOut, after: HeldOut
) -> list[dict[str, Any]]:
    """Return the figures of each held-out row, by id; its words stay in its source."""
    rows = []
    for place, example in enumerate(examples):
        row: dict[str, Any] = {
            "id": example.row.id,
            "goal_id": example.row.goal_id,
            "label": example.row.label,
            "style": example.row.style,
        }
        for name in ("loss", "odds", "margin"):
            for when, found in (("before", before), ("after", after)):
                values = getattr(found, name)
                if values:
                    row[f"{name}_{when}"] = values[place]
        rows.append(row)
    return rows


def _finding(recipe: Recipe, folder: Path, size: tuple[int, int], steps: int) -> str:
    what = "model" if recipe.full else "adapter"
    return (
        f"Trained {size[0]:,} of {size[1]:,} parameters in {steps} steps by {methods_of(recipe)}; "
        f"the {what} is in {folder}."
    )


def _subspace_file(recipe: Recipe) -> dict[str, Path]:
    subspace = recipe.penalty.subspace
    return {} if subspace is None else {"subspace": Path(subspace)}


def _require_extra() -> None:
    """Refuse before anything is opened where the packages for training are not installed.

    Raises: CapabilityError: names the command that installs them.
    """
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise CapabilityError(
            "Training",
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            "Run: pip install 'theodolite[train]'",
        )


def check_command(recipe: Recipe, kind: str) -> None:
    """Refuse a recipe that another command runs.

    Args:
        kind: `ssft`, `dpo` or `listwise`, as typed.
    """
    if recipe.command != f"train {kind}":
        raise ConfigError(
            f"This recipe's method is {recipe.method}.", fix=f"Run `theodolite {recipe.command}`."
        )
