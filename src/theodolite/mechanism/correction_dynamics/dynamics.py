"""Follow a model, or a model beside the one before training, along forced replies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import Prompt, shown
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.correction_dynamics.gaps import trigger_gaps
from theodolite.mechanism.correction_dynamics.kinds import QUANTITIES, Floats
from theodolite.mechanism.correction_dynamics.openings import opening_tokens, trigger_tokens
from theodolite.mechanism.correction_dynamics.positions import follow
from theodolite.mechanism.correction_dynamics.replies import Followed, encode_replies
from theodolite.mechanism.correction_dynamics.result import CorrectionDynamics, Curves
from theodolite.models.chat import encode_all
from theodolite.models.pair import tokenizer_hash

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

LENGTH: Final = 100
CUTS: Final = (0, 10, 20, 40, 80)


def correction_dynamics(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    base: LanguageModel | None = None,
    *,
    length: int = LENGTH,
    cuts: Sequence[int] = CUTS,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> CorrectionDynamics:
    """Read, token by token along forced replies, how close a model is to turning round.

    Source: the divergence along a reply as in arXiv:2406.05946; the definition is ours.

    Args:
        model: an open local model; active interventions act.
        prompts: harmful requests, and benign ones as their control, with the reply that is forced
            on the model in `meta["reply"]`.
        base: the model before training, which reads the same tokens in this model's template.
        length: tokens of a reply that are followed; shorter replies are followed to their end.
        cuts: tokens that are forced where the trigger gap is read, increasing, from 0 on.
        batch_tokens: most tokens of one pass, padding included (default: by device and memory).
        journal: finished units are kept there and not computed again.
        progress: told of finished units.

    Raises:
        CapabilityError: a model gives no log-probabilities.
        ConfigError: a length or cuts that cannot be used.
        DataError: a prompt without reply or label, a reply too long for a model, or two models
            with different tokenizers.
        NumericsError: the logits of a reply are not finite.

    Note: one pass per reply and model gives every position; equal to one whole forward per position
        to 1e-4 in float32.
    """
    check_places(length, cuts)
    models = [model] if base is None else [model, base]
    for one in models:
        one.require("logprobs")
    replies = encode_replies(model, prompts)
    if base is not None:
        check_base(model, base, replies)
    tokens = opening_tokens(model)
    triggers = trigger_tokens(model, prompts[0])
    options: dict[str, Any] = {
        "batch_tokens": batch_tokens,
        "journal": journal,
        "progress": progress,
    }
    read = follow(models, replies, tokens.ids, length, **options)
    gaps = [trigger_gaps(one, replies, cuts, triggers, **options) for one in models]
    curves = [_curves(*pair) for pair in zip(read.models, gaps, strict=True)]
    return CorrectionDynamics(
        ids=tuple(one.id for one in replies),
        labels=tuple(one.label for one in replies),
        goals=tuple(one.goal for one in replies),
        lengths=np.array([min(len(one.reply), length) for one in replies], np.int64),
        length=length,
        cuts=tuple(cuts),
        longest=triggers.longest,
        names=tuple(one.name for one in models),
        model=curves[0],
        base=curves[1] if base is not None else None,
        kl=read.kl,
        tokens=tokens,
    )


def check_places(length: int, cuts: Sequence[int]) -> None:
    """Refuse a length or cuts that cannot be used.

    Raises: ConfigError: says which.
    """
    if length < 1:
        raise ConfigError(f"A length of {length} follows nothing.", fix="Follow 1 token or more.")
    if not cuts or min(cuts) < 0 or any(b <= a for a, b in pairwise(cuts)):
        raise ConfigError(
            f"The cuts {', '.join(map(str, cuts)) or '(none)'} cannot be used.",
            fix="Give counts of tokens from 0 up, each larger than the one before.",
        )


def check_base(model: LanguageModel, base: LanguageModel, replies: Sequence[Followed]) -> None:
    """Refuse a base model that cannot read what the model reads.

    Raises: DataError: its tokenizer is another one, or a reply is too long for it.
    """
    if tokenizer_hash(model.tokenizer) != tokenizer_hash(base.tokenizer):
        raise DataError(
            f"{shown(model.name)} and {shown(base.name)} have different tokenizers, so their "
            "predictions along a reply cannot be compared.",
            fix="Give the model that the first one was trained from.",
        )
    encode_all(base, [one.encoded for one in replies])


def _curves(read: Floats, gaps: Floats) -> Curves:
    by_name = {name: read[:, :, place] for place, name in enumerate(QUANTITIES)}
    return Curves(**by_name, gap=gaps)
