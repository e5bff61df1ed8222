"""One stage of a correction: what was answered, and what it cost as the model itself states it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect_ai.model import ModelOutput


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        name: e.g. `audience`; rounds after the first are `audience/2` ...
        messages_added: turns that this stage put into its conversation, the answer included.
        text: the answer as it came; may be empty.
        n_in: tokens read, cached ones included; None where the model does not say.
        n_out: tokens written, those of reasoning included; likewise.
        cached_in: tokens read that came from a cache; None where the model does not say, as our
            own does not of what it remembers of earlier turns.
        capped: the answer was cut at the stage's cap.
        truncated: earlier answers were cut to fit the model's window, or this one ended there.
        calls: requests that it took; 0 for an original that was given.
    """

    name: str
    messages_added: int
    text: str
    n_in: int | None
    n_out: int | None
    cached_in: int | None
    capped: bool = False
    truncated: bool = False
    calls: int = 1


def stage_of(
    name: str,
    messages_added: int,
    outputs: Sequence[ModelOutput],
    *,
    truncated: bool = False,
    calls: int | None = None,
) -> Stage:
    """Return a stage from the outputs of its requests; the last one holds its answer.

    Args:
        calls: requests that it took, where not all outputs are at hand; the cost is then unknown.
    """
    last = outputs[-1]
    cost = [_cost(output) for output in outputs]
    known = calls in (None, len(outputs))
    n_in, n_out, cached = (_sum([c[i] for c in cost]) if known else None for i in range(3))
    return Stage(
        name,
        messages_added,
        last.completion,
        n_in,
        n_out,
        cached,
        capped=last.stop_reason == "max_tokens",
        truncated=truncated or last.stop_reason == "model_length",
        calls=len(outputs) if calls is None else calls,
    )


def usage_of(stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what all stages cost; a total is None where a part of it is not known."""
    return {
        "calls": sum(stage.calls for stage in stages),
        "in": _sum([stage.n_in for stage in stages]),
        "out": _sum([stage.n_out for stage in stages]),
        "cached": _sum([stage.cached_in for stage in stages]),
        "capped": sum(stage.capped for stage in stages),
        "truncated": sum(stage.truncated for stage in stages),
    }


def _cost(output: ModelOutput) -> tuple[int | None, int | None, int | None]:
    """Return tokens read (cached ones included), written, and read from a cache."""
    usage = output.usage
    if usage is None:
        return None, None, None
    cached = usage.input_tokens_cache_read
    read = usage.input_tokens + (cached or 0) + (usage.input_tokens_cache_write or 0)
    return read, usage.output_tokens, cached


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
