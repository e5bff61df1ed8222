"""The trigger gap: how readily a model would turn round at a cut, without sampling a word.

At a cut the words with which a turn begins are scored beside the words with which the reply goes
on, both per token. Above 0 turning is likelier than going on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engine import score
from theodolite.mechanism.correction_dynamics.openings import Triggers
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.mechanism.correction_dynamics.replies import Followed
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


def trigger_gaps(
    model: LanguageModel,
    replies: Sequence[Followed],
    cuts: Sequence[int],
    triggers: Triggers,
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return the trigger log-likelihood gap of every reply at every cut.

    Args:
        cuts: tokens of the reply that are forced.
        triggers: tokens of the words with which a turn begins.
        batch_tokens, journal, progress: as for `score`.

    Returns: nats per token, axes (row, cut): the mean over triggers of log P(trigger) / n less
        log P(the reply's next n tokens) / n, n being the trigger's tokens. NaN where fewer tokens
        of the reply are left than the longest trigger has.
    """
    gaps = np.full((len(replies), len(cuts)), np.nan)
    places, pairs, kept = [], [], []
    for row, one in enumerate(replies):
        for column, cut in enumerate(cuts):
            if len(one.reply) < cut + triggers.longest:
                continue
            turns = triggers.after(_ending(model, one, cut))
            prompt, forced = _begun(model, one, cut)
            going_on = one.reply[cut : cut + triggers.longest]
            pairs += [(prompt, (*forced, *tokens)) for tokens in (*turns, going_on)]
            places.append((row, column, len(turns)))
            kept.append(len(forced))
    if not pairs:
        return gaps
    options: dict[str, Any] = {"journal": journal, "progress": progress}
    scored = iter(score(model, pairs, batch_tokens=batch_tokens, **options))
    for (row, column, count), skip in zip(places, kept, strict=True):
        turning = [next(scored).logprobs[skip:] for _ in range(count)]
        ahead = next(scored).logprobs[skip:]
        gaps[row, column] = gap(turning, ahead)
    return gaps


def gap(turning: Sequence[Sequence[float]], ahead: Sequence[float]) -> float:
    """Return the mean over triggers of their log-probability per token less the reply's.

    Args:
        turning: of the tokens of each trigger, nats.
        ahead: of the reply's next tokens, at least as many as the longest trigger has.
    """
    return float(np.mean([np.mean(one) - np.mean(ahead[: len(one)]) for one in turning]))


def _ending(model: LanguageModel, one: Followed, cut: int) -> str:
    """Return the text of the last forced token; nothing where no token is forced."""
    if not cut:
        return ""
    text = model.tokenizer.decode([one.reply[cut - 1]], clean_up_tokenization_spaces=False)
    return text or "x"  # a token that spells nothing alone is part of a word


def _begun(model: LanguageModel, one: Followed, cut: int) -> tuple[Encoded, tuple[int, ...]]:
    """Return the prompt to score behind, and what of the reply counts as its completion.

    A prompt's tokens are shared by all that follow it, so the begun reply belongs to the prompt,
    except where interventions act: for them the reply is what the model writes.
    """
    end = one.start + cut
    begin = one.start if model.interventions else end
    ids = one.encoded.ids[:begin]
    prompt = Encoded(ids, "", None, (begin, begin), content_key(ids), one.id)
    return prompt, one.encoded.ids[begin:end]
