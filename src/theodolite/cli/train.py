"""theodolite train ssft|dpo|listwise RECIPE.toml: train an adapter or a whole model by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from theodolite.cli.options import AsJson, Device, Dtype, OutFolder, Resume, Seed
from theodolite.text.display import escape

SUMMARIES = {
    "ssft": "Safety fine-tuning: a moderator's word (ssft-label) or answers of a chat (ssft-chat).",
    "dpo": "Preference training: what to say over what not to say.",
    "listwise": "Preference training on answers in their order, best to worst.",
}
app = typer.Typer(
    help="Train adapters or models: safety fine-tuning and preferences.", no_args_is_help=True
)


def add(kind: str, summary: str) -> None:
    """Add one way of training as a command; all take the same options."""

    def train(
        context: typer.Context,
        recipe: Annotated[
            Path | None, typer.Argument(help="The recipe (TOML); a resumed run has its own.")
        ] = None,
        model: Annotated[
            str, typer.Option(help="smollm2, org/name or a folder; wins over the recipe.")
        ] = "smollm2",
        max_steps: Annotated[
            int | None, typer.Option(help="Stop after so many steps; wins over the recipe.")
        ] = None,
        dtype: Dtype = "auto",
        device: Device = None,
        seed: Seed = 0,
        out: OutFolder = None,
        resume: Resume = None,
        as_json: AsJson = False,
    ) -> None:
        from theodolite.cli.options import resumed_run
        from theodolite.cli.output import console_progress, print_json, print_measurements
        from theodolite.cli.settings import parameters, resolve
        from theodolite.errors import ConfigError
        from theodolite.training.recipe import Recipe, beside, check_recipe
        from theodolite.training.train import check_command, run_training

        path, asked = resumed_run(resume, f"train {kind}", out)
        if recipe is None and path is None:
            raise ConfigError(
                f"`train {kind}` needs a recipe.",
                fix="Name a TOML file, as the page on training shows one.",
            )
        values = parameters(context, Recipe)
        chosen = resolve(context, Recipe, recipe, values, resumed=asked)
        if recipe is not None:
            chosen = beside(chosen, recipe.parent)
        check_command(chosen, kind)
        check_recipe(chosen)
        with console_progress() as progress:
            run, result = run_training(chosen, progress=progress, out=out, resume=path)
        if as_json:
            print_json(run, result.measurements, result.tables)
            return
        print_measurements(f"train {kind}, {chosen.model}", result.measurements, result.labels)
        for sentence in result.findings:
            typer.echo(escape(sentence))
        typer.echo(f"Run: {escape(str(run.path))}")

    app.command(kind, help=summary)(train)


for _kind, _summary in SUMMARIES.items():
    add(_kind, _summary)
