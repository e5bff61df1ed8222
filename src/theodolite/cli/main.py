"""The `theodolite` command: one verb per file, errors as one sentence, help in a blink."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from theodolite.cli import (
    anchors,
    audit,
    compare,
    config,
    correct,
    correction_dynamics,
    data,
    evaluate,
    explain,
    heads,
    leaderboard,
    models,
    perspective_taking,
    report,
    residual_space,
    runs,
    steering,
    train,
)
from theodolite.cli.options import NEWEST
from theodolite.errors import Interrupted, TheodoliteError

STOPPED = "Stopped before there was anything to keep; run it again."

app = typer.Typer(
    name="theodolite",
    help="Measure how a language model behaves, explain it inside the network, and report it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("audit")(audit.audit)
app.command("eval")(evaluate.evaluate)
explain.app.command("heads", help=heads.SUMMARY)(heads.heads)
explain.app.command("residual-space", help=residual_space.SUMMARY)(residual_space.residual_space)
explain.app.command("relevance", help=residual_space.RELEVANCE_SUMMARY)(residual_space.relevance)
explain.app.command("steering", help=steering.SUMMARY)(steering.steering)
explain.app.command("correction-dynamics", help=correction_dynamics.SUMMARY)(
    correction_dynamics.correction_dynamics
)
explain.app.command("perspective-taking", help=perspective_taking.SUMMARY)(
    perspective_taking.perspective_taking
)
explain.app.command("anchors", help=anchors.SUMMARY)(anchors.anchors)
app.add_typer(explain.app, name="explain")
app.add_typer(correct.app, name="correct")
app.add_typer(train.app, name="train")
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("config")(config.config)
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def show_version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        from importlib.metadata import version

        typer.echo(f"theodolite {version('theodolite')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Measure how a language model behaves, explain it inside the network, and report it."""


def with_optional_resume(arguments: Sequence[str]) -> list[str]:
    """Let `--resume` stand alone: without a run after it, it means the newest one."""
    completed: list[str] = []
    for index, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[index + 1] if index + 1 < len(arguments) else "-"
        if argument == "--resume" and following.startswith("-"):
            completed.append(NEWEST)
    return completed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every expected error is one sentence on stderr and an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = bool(os.environ.get("THEODOLITE_DEBUG"))
    logging.getLogger("theodolite").addHandler(logging.NullHandler())
    try:
        app(with_optional_resume(given), standalone_mode=True)
    except TheodoliteError as error:
        if debug:
            raise
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail(STOPPED, Interrupted.exit_code)
    except SystemExit as left:  # how the command-line library passes Ctrl-C on, without a word
        if left.code == Interrupted.exit_code:
            fail(STOPPED, Interrupted.exit_code)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        fail(f"{error.strerror or error} ({error.filename or 'no file named'}).", 2)
    except Exception as error:  # a bug of ours: still one sentence, and the way to the details
        if debug:
            raise
        fail(
            f"Internal error: {type(error).__name__}: {error}. "
            "Run again with THEODOLITE_DEBUG=1 for the details and please report it.",
            70,
        )


def fail(sentence: str, code: int) -> None:
    """Print one sentence on stderr and leave with an exit code."""
    typer.echo(f"theodolite: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
