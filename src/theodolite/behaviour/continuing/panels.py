"""What the audit's panels on continuations share: what they take, and what they do without scorers.

A package of the extra `toxicity` may be missing. That is no failure of an audit: the panel then
says what it did not measure, and how to get it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

from theodolite.behaviour.continuing.options import LM as DEFAULT_LM
from theodolite.behaviour.continuing.options import NONE, Asking
from theodolite.correction.perspective_taking.registry import METHODS
from theodolite.errors import ScorerUnavailable
from theodolite.measure.measurement import not_measured
from theodolite.runs.panel import Cost, PanelResult

Options = TypeVar("Options", bound=Asking)
LM = DEFAULT_LM  # the same for every model, so that perplexities of two audits compare

# Measured with SmolLM2 on 2 threads: tokens read per second, tokens written per second by many rows
# at once, and seconds of one step of few rows.
READ_RATE, WRITE_RATE, STEP = 430.0, 190.0, 0.1
OVERHEAD: Final = 3
# Tokens of what is asked, beyond the turns that all prompts share.
OPENING: Final = 47
TURNS: Final = {"listing": 61, "thinking": 59, "writing": 45}


def with_lm(options: Options) -> Options:
    """Return options with the language model of panels."""
    return replace(options, lm=LM)


def cost_of(options: Asking, prompts: int) -> Cost:
    """Estimate time and tokens on the default model with two threads.

    Tokens count every turn as a whole, as an API does; of a local model's later turns only what is
    new takes time.

    Args:
        options: methods that answer at once, or take three turns more.
        prompts: how many.
    """
    caps = {"listing": 0, "thinking": 0, "writing": 0}
    caps |= {kind: cap or 0 for kind, cap in vars(options.stage_caps).items()}
    read = new = written = 0
    for method in options.method_names:
        context = OPENING
        if METHODS[method].extra_calls == 0:
            read += context
            new += context
            written += caps["writing"]
            continue
        new += OPENING + caps["writing"] + sum(TURNS.values())
        answered = caps["writing"]
        for kind, turn in TURNS.items():
            context += answered + turn
            read += context
            answered = caps[kind]
            written += answered
    rows = prompts * options.n
    read_again = 0 if options.lm == NONE else caps["writing"] * len(options.method_names)
    tokens = rows * (read + written + read_again)
    writing = max(rows * written / WRITE_RATE, written * STEP)
    seconds = OVERHEAD + rows * (new + read_again) / READ_RATE + writing
    return Cost(seconds=round(seconds), tokens=tokens)


def without_scorer(name: str, error: ScorerUnavailable) -> PanelResult:
    """Return the result of a panel whose scorer is not there: nothing measured, and why."""
    return PanelResult(
        measurements=[not_measured(f"{name}/scored", "share", str(error).rstrip("."))],
        findings=[f"Not measured: {error}"],
    )
