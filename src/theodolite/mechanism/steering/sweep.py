"""Many edits on the same prompts, read at the first token to come, without writing an answer.

What an edit does to refusal is the log-odds of a declared set of tokens; what it costs is how far
the whole distribution moves. Both come from one logit vector per edit and prompt, and only what an
edit changes is computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from theodolite.data.prompts import BENIGN
from theodolite.engine.edited_sweep import EditedSweep
from theodolite.engine.interventions import interventions_key
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.distributions import divergence, set_log_odds
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.edits import Edit
from theodolite.mechanism.steering.settings import settings_of
from theodolite.mechanism.steering.sweep_result import SweepResult
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine import Intervention
    from theodolite.mechanism.steering.benign import BenignStates
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 1
# Edits of one unit of work: as many pass through the blocks together.
SETTINGS = 20
# Rows whose logits are in memory at once.
_ROWS = 96


def steer_sweep(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    edits: Sequence[Edit],
    *,
    tokens: Sequence[int],
    benign: BenignStates | None = None,
    random_draws: int = 0,
    template: str = "auto",
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> SweepResult:
    """Read the first token to come after every prompt under every edit.

    Source: arXiv:2502.09674 reads edits at the first token; the drift beside the effect, intervals
        and random directions are ours.

    Args:
        model: an open local model; active interventions act under every edit and without one.
        prompts: with different ids; effects are read on those not labelled benign, drift on those
            that are.
        edits: of different names; strengths of one edit make a curve.
        tokens: ids of the declared set, such as the tokens that open a refusal.
        benign: states for the edits that go back to them, see `BenignStates.read`.
        random_draws: random edits beside all that do the same along other directions, as a floor.
        template: how prompts are rendered, as for `read_states`.
        batch_tokens: most tokens of one pass (default: by device and memory).
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in settings times prompts.
        seed: of the random directions.

    Raises:
        ConfigError: an edit does not fit, two share a name, or a token is not in the vocabulary.
        DataError: there are no prompts or edits, or two prompts share an id.
        NumericsError: a result is not finite.

    Note: equal to one hooked forward for each edit and prompt up to rounding (1e-4 in float32).
        Prompts run once; an edit at "prompt_last" then costs one token each, any other the blocks
        from its first on.
    """
    rows = list(prompts)
    _check(model, rows, tokens)
    encoded = encode_for_states(model, rows, template=template)
    settings, variants = settings_of(model.anatomy, edits, benign, random_draws, seed)
    work = _Readings(model, encoded, variants, tuple(dict.fromkeys(tokens)), batch_tokens)
    parts = [range(i, min(i + SETTINGS, len(variants))) for i in range(0, len(variants), SETTINGS)]
    units = [Unit(work.key(part), tuple(part), len(part) * len(rows)) for part in parts]
    results = map_units(units, work, journal=journal, progress=progress, label="edits")
    return SweepResult(
        settings=settings,
        **{name: _joined(results, name) for name in ("logprobs", "log_odds", "kl", "top")},
        **{
            f"intact_{name}": np.asarray(results[0][f"intact_{name}"])
            for name in ("logprobs", "log_odds", "top")
        },
        tokens=work.tokens,
        prompt_ids=tuple(prompt.id for prompt in rows),
        clusters=tuple(cluster_of(prompt) for prompt in rows),
        benign=tuple(prompt.label == BENIGN for prompt in rows),
        model=model.name,
        seed=seed,
    )


def _joined(results: Sequence[Mapping[str, Any]], name: str) -> Any:
    return np.concatenate([np.asarray(result[name]) for result in results])


def _check(model: LanguageModel, prompts: Sequence[Prompt], tokens: Sequence[int]) -> None:
    model.require("logprobs", "interventions")
    if not prompts:
        raise DataError("There are no prompts.", fix="Give at least one.")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise DataError("Two prompts share an id.", fix="Give each prompt its own id.")
    wrong = [token for token in tokens if not 0 <= token < model.anatomy.vocab_size]
    if wrong or not tokens:
        what = f"the token {wrong[0]} does not exist" if wrong else "there are no tokens"
        raise ConfigError(
            f"The declared set cannot be read: {what}.", fix="Give ids of this model's vocabulary."
        )


class _Readings:
    """Reads the first token to come under some edits."""

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        variants: Sequence[Sequence[Intervention]],
        tokens: tuple[int, ...],
        batch_tokens: int | None,
    ) -> None:
        self.model = model
        self.encoded = encoded
        self.variants = variants
        self.tokens = tokens
        self.batch_tokens = batch_tokens

    def key(self, part: Sequence[int]) -> str:
        """Return the content key of a unit."""
        common = [self.model.fingerprint, interventions_key(self.model), list(self.tokens)]
        prompts = [item.key for item in self.encoded]
        acting = [[item.key for item in self.variants[i]] for i in part]
        return content_key("steer sweep", VERSION, common, prompts, acting)

    @cached_property
    def sweep(self) -> EditedSweep:
        """The prompts' own run; made by the first unit that is not in the journal."""
        return EditedSweep(self.model, self.encoded, batch_tokens=self.batch_tokens)

    @cached_property
    def intact(self) -> torch.Tensor:
        """Log-probabilities without an edit, float64, axes (prompt, vocab)."""
        return self._logprobs(self.sweep.final)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        with torch.inference_mode():
            finals = self.sweep.run([self.variants[i] for i in unit.items])
            shape = finals.shape[:2]
            flat, count = finals.flatten(0, 1), len(self.encoded)
            parts = []
            for begin in range(0, len(flat), _ROWS):
                rows = flat[begin : begin + _ROWS]
                own = torch.arange(begin, begin + len(rows)) % count
                parts.append(self._read(self._logprobs(rows), self.intact[own]))
            found = {
                name: np.concatenate([part[name] for part in parts]).reshape(
                    *shape, *parts[0][name].shape[1:]
                )
                for name in parts[0]
            }
            plain = self._read(self.intact, self.intact)
        return found | {f"intact_{name}": plain[name] for name in plain if name != "kl"}

    def _logprobs(self, final: torch.Tensor) -> torch.Tensor:
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        return logits[..., : self.model.anatomy.vocab_size].double().log_softmax(-1)

    def _read(self, logprobs: torch.Tensor, intact: torch.Tensor) -> dict[str, Any]:
        """Return what is kept of rows, axes (row, vocab)."""
        declared = torch.tensor(self.tokens, device=logprobs.device)
        found = {
            "logprobs": logprobs[:, declared],
            "log_odds": set_log_odds(logprobs, self.tokens),
            "kl": divergence(intact, logprobs),
            "top": logprobs.argmax(-1),
        }
        return {name: values.cpu().numpy() for name, values in found.items()}
