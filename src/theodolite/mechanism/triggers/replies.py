"""Whether prompts are refused: replies are written, scored in memory, and dropped.

What is kept, in memory and in a journal, is the scorer's verdict and the odds of the first token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.engine import generate, next_token
from theodolite.engine.interventions import interventions_key
from theodolite.execution import Unit, map_units
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.lens.vocabulary import refusal_log_odds
from theodolite.mechanism.probes.held_out import Floats
from theodolite.mechanism.states import encode_for_states
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
MAX_NEW_TOKENS: Final = 24
REFUSED: Final = frozenset({"refusal", "partial"})
# Prompts of one unit: enough rows to decode at full speed, few enough to lose little when killed.
AT_ONCE: Final = 64


def verdicts(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Return the offline refusal scorer's label of the model's greedy reply to each prompt.

    Args:
        model: an open local model; active interventions act.
        prompts: in an order that puts prompts of one wrapper side by side (they share a prefix).
        max_new_tokens: a refusal that comes later is not seen.
        template: as for `read_states`.
        journal: verdicts are kept there and not asked for again; replies never are.

    Returns: `compliance`, `partial`, `refusal`, `degenerate` or `empty`, in order.
    """
    encoded = encode_for_states(model, prompts, template=template)

    def work(unit: Unit) -> dict[str, Any]:
        chosen = [encoded[i] for i in unit.items]
        written = generate(model, chosen, max_new_tokens=max_new_tokens)
        requests = [prompts[i].request for i in unit.items]
        labels = [score_refusal(w.text, r).label for w, r in zip(written, requests, strict=True)]
        return {"verdicts": labels}

    units = list(_units(model, encoded, "verdicts", max_new_tokens))
    rows = map_units(units, work, journal=journal, progress=progress, label="replies")
    return [str(label) for row in rows for label in row["verdicts"]]


def first_token_odds(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    classes: TokenClasses,
    *,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Return the log-odds that the reply opens with a refusing rather than a friendly token.

    Args:
        classes: the tokens counted on either side.
        model, prompts, template, journal: as for `verdicts`.

    Returns: nats, float64, axis (prompt); above 0 where refusing tokens outweigh friendly ones.
    """
    encoded = encode_for_states(model, prompts, template=template)

    def work(unit: Unit) -> dict[str, Any]:
        logprobs = next_token(model, [encoded[i] for i in unit.items])
        return {"odds": (-refusal_log_odds(logprobs, classes)).double().tolist()}

    tokens = content_key(classes.positive, classes.negative)
    units = list(_units(model, encoded, "odds", tokens))
    rows = map_units(units, work, journal=journal, progress=progress, label="first tokens")
    return np.array([odds for row in rows for odds in row["odds"]], np.float64)


def _units(
    model: LanguageModel, encoded: Sequence[Encoded], kind: str, settings: Any
) -> Iterator[Unit]:
    """Yield the prompts in portions, each named by everything that decides its numbers."""
    common = (f"trigger {kind}", VERSION, model.fingerprint, interventions_key(model), settings)
    for begin in range(0, len(encoded), AT_ONCE):
        items = tuple(range(begin, min(begin + AT_ONCE, len(encoded))))
        yield Unit(content_key(*common, [encoded[i].key for i in items]), items, len(items))
