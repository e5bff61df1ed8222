"""Safety head importance: how far the next token moves when one head is taken out.

Ships of a prompt and a head is KL(intact || ablated) of the next token after the prompt; the
generalised score is the angle by which the leading subspace of all prompts' last states turns. Both
come from the same pass. The divergence has no direction and no subject: a head that changes
anything scores high. So benign prompts run beside the harmful ones, and what the heads do to the
openings of refusals is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.engine.interventions import apply, interventions_key
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.heads.ablation import OF_PROMPTS, Head, HeadAblation
from theodolite.mechanism.heads.frames import encode_framed, resolve_frame
from theodolite.mechanism.heads.result import ANGLE, HeadScores
from theodolite.mechanism.heads.subspace import subspace_scores
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.mechanism.lens.token_classes import default_token_classes
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
# Next-token distributions are compared so many rows at a time: vocabularies are wide.
ROWS: Final = 64
NOISE: Final = "nothing"


def head_ships(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt] = (),
    *,
    ablation: HeadAblation | None = None,
    template: str = "auto",
    only: Sequence[Head] | None = None,
    group: Sequence[Head] = (),
    freeze_downstream: bool = False,
    pre_norm: bool = False,
    references: Sequence[Prompt] = (),
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> HeadScores:
    """Ablate every head, one at a time, and measure how far each prompt's next token moves.

    Source: arXiv:2410.13708, sections 3.2 (query level) and 4.1 (dataset level). The benign
    control, the refusal tokens, intervals and the exact suffix sweep are ours.

    Args:
        model: an open local model; active interventions act.
        harmful: requests.
        benign: the control; pair i by i where both have a common `pair_id` or `goal_id`.
        ablation: how a head is taken out (default: even attention, exactly).
        template: the frame the requests stand in, see `frames.TEMPLATES`.
        only: score these heads alone; None is all.
        group: heads that are out all the time; each other head is scored together with them,
            against the model that has them.
        freeze_downstream: keep what later layers add as it was: the direct effect alone.
        pre_norm: take angles of the last states before the final norm instead of after it.
        references: for "dataset_mean" and "resample", whose head outputs take the place of the
            ablated ones (default: the benign prompts; for "resample" in a benign prompt, the next
            one's).
        batch_tokens: most tokens of one pass.
        journal, progress: of finished layers; a sweep can be stopped and resumed.
        seed: of the intervals.

    Raises:
        DataError: there are no harmful prompts, or a prompt cannot be used.
        CapabilityError, ConfigError: the model or an option does not fit.
        NumericsError: a result is not finite.
    """
    model.require("hidden_states", "interventions")
    if not harmful:
        raise DataError("There are no harmful prompts.", fix="Give at least one.")
    ablation = ablation or HeadAblation()
    ablation.check(model.anatomy)
    frame = resolve_frame(model, template)
    prompts = [*harmful, *benign]
    encoded = encode_framed(model, prompts, frame)
    replacing = _references(ablation, harmful, benign, references)
    measured = _Measured(
        encoded=encoded,
        harmful=len(harmful),
        ablation=ablation,
        group=tuple(sorted(set(group))),
        references=encode_framed(model, replacing, frame) if replacing else [],
        freeze_downstream=freeze_downstream,
        pre_norm=pre_norm,
        batch_tokens=batch_tokens,
    )
    base = TreeSweep(model, encoded, SweepOptions()) if group else None
    out = ablation.interventions(model.anatomy, group) if group else []
    with apply(model, *out):
        work = _Work(model, measured, base)
        units = _units(work, only)
        results = map_units(units, work, journal=journal, progress=progress, label="heads")
    return HeadScores(
        **_arrays(work, units, results),
        prompt_ids=tuple(prompt.id for prompt in prompts),
        labels=(HARMFUL,) * len(harmful) + (BENIGN,) * len(benign),
        clusters=tuple(prompt.goal_id or prompt.pair_id or prompt.id for prompt in prompts),
        ablation=ablation,
        template=frame,
        model=model.name,
        dtype=str(model.dtype).removeprefix("torch."),
        freeze_downstream=freeze_downstream,
        seed=seed,
        pairs=are_pairs(harmful, benign),
    )


def are_pairs(harmful: Sequence[Prompt], benign: Sequence[Prompt]) -> bool:
    """Return whether harmful prompt i and benign prompt i are twins by their own account."""
    return (
        len(harmful) == len(benign)
        and bool(harmful)
        and all(a.pair_id is not None and a.pair_id == b.pair_id for a, b in zip(harmful, benign))
    )


def divergence(intact: torch.Tensor, ablated: torch.Tensor) -> torch.Tensor:
    """Return KL(intact || ablated) of log-probabilities, never below 0.

    Args:
        intact: nats, axes (..., vocab).
        ablated: the same; axes broadcast.

    Returns: nats, axes (...).
    """
    return (intact.exp() * (intact - ablated)).sum(-1).clamp_min(0.0)


def _references(
    ablation: HeadAblation,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    given: Sequence[Prompt],
) -> list[Prompt]:
    """Return the prompts whose head outputs replace ablated ones, if the operator needs any."""
    if ablation.name not in OF_PROMPTS:
        return []
    if given or ablation.name == "dataset_mean":
        return list(given or benign)
    return [*benign[: len(harmful)], *benign[1:], *benign[:1]]


@dataclass(frozen=True, eq=False)
class _Measured:
    """What decides the numbers of a run beside the model; see `head_ships`."""

    encoded: Sequence[Encoded]
    harmful: int
    ablation: HeadAblation
    group: tuple[Head, ...]
    references: Sequence[Encoded]
    freeze_downstream: bool
    pre_norm: bool
    batch_tokens: int | None

    @cached_property
    def key(self) -> str:
        """Content key of all of it."""
        return content_key(
            *(self.ablation.key, [item.key for item in self.encoded], self.harmful, self.group),
            *([item.key for item in self.references], self.freeze_downstream, self.pre_norm),
            self.batch_tokens,
        )


def _units(work: _Work, only: Sequence[Head] | None) -> list[Unit]:
    """Return one unit per layer, and one in which nothing is ablated; costs in blocks to run."""
    anatomy, count = work.model.anatomy, len(work.measured.encoded)
    every = range(work.measured.ablation.units(anatomy))
    wanted = None if only is None else set(only)
    out = set(work.measured.group)
    units = [Unit(work.key(0, [], NOISE), (NOISE,), count * anatomy.n_layers)]
    for layer in range(anatomy.n_layers):
        heads = [
            unit
            for unit in every
            if (wanted is None or (layer, unit) in wanted) and (layer, unit) not in out
        ]
        if heads:
            cost = count * len(heads) * (anatomy.n_layers - layer)
            units.append(Unit(work.key(layer, heads), (layer, tuple(heads)), cost))
    return units


def _arrays(
    work: _Work, units: Sequence[Unit], results: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the arrays of a `HeadScores`, put together from the layers."""
    anatomy, measured = work.model.anatomy, work.measured
    shape = (len(measured.encoded), anatomy.n_layers, measured.ablation.units(anatomy))
    found: dict[str, Any] = {
        name: np.full(shape, np.nan) for name in ("kl", "refusal", "top1_changed")
    }
    nothing = results[0]
    angles: dict[str, Any] = {name: np.full(shape[1:], np.nan) for name in nothing["angles"]}
    for unit, result in zip(units[1:], results[1:], strict=True):
        layer, heads = unit.items
        for name, array in found.items():
            array[:, layer, list(heads)] = np.asarray(result[name]).T
        for name, values in result["angles"].items():
            angles[name][layer, list(heads)] = values
    turned = nothing["angles"].get(ANGLE)
    return found | {
        "angles": angles,
        "noise": float(np.asarray(nothing["kl"]).max()),
        "noise_angle": None if turned is None else float(turned[0]),
    }


class _Work:
    """Measure the heads of one layer; the prompts run when the first layer is asked for.

    Args:
        model: open, with the group's heads out.
        measured: what is asked for.
        base: the prompts in the model that has them; None where no head is out.
    """

    def __init__(self, model: LanguageModel, measured: _Measured, base: TreeSweep | None) -> None:
        self.model = model
        self.measured = measured
        self.base = base
        self.refusing = refusing_tokens(model)

    def key(self, layer: int, heads: Sequence[int], kind: str = "heads") -> str:
        """Return the content key of one unit: everything its numbers depend on."""
        return content_key(
            *("ships", VERSION, kind, self.model.fingerprint, interventions_key(self.model)),
            *(self.measured.key, list(self.refusing), layer, list(heads)),
        )

    @cached_property
    def sweep(self) -> HeadSweep:
        """The prompts, run once."""
        return HeadSweep(
            self.model,
            self.measured.encoded,
            self.measured.ablation,
            references=self.measured.references,
            freeze_downstream=self.measured.freeze_downstream,
            batch_tokens=self.measured.batch_tokens,
        )

    @cached_property
    def intact(self) -> TreeSweep | HeadSweep:
        """What every other run is compared with."""
        return self.base or self.sweep

    @cached_property
    def logprobs(self) -> torch.Tensor:
        """Intact log-probabilities of the next token, float64, axes (prompt, vocab)."""
        with torch.inference_mode():
            return self._logprobs(self.intact.final)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Return divergences, refusal changes and angles of one layer's heads."""
        if unit.items == (NOISE,):
            return self._noise()
        layer, heads = unit.items
        final, stream = self.sweep.layer(layer, heads)
        with torch.inference_mode():
            states, base = (
                (stream, self.intact.stream)
                if self.measured.pre_norm
                else (final, self.intact.final)
            )
            return {**self._compared(final, self.logprobs), "angles": self._angles(base, states)}

    def _noise(self) -> dict[str, Any]:
        """Return the same where nothing was taken out, against the sweep's own first run."""
        final, stream = self.sweep.unchanged()
        with torch.inference_mode():
            states, base = (
                (stream, self.sweep.stream) if self.measured.pre_norm else (final, self.sweep.final)
            )
            own = self._logprobs(self.sweep.final)
            return {**self._compared(final, own), "angles": self._angles(base, states)}

    def _compared(self, final: torch.Tensor, intact: torch.Tensor) -> dict[str, Any]:
        """Compare next tokens with the intact ones; arrays have axes (unit, prompt)."""
        count, prompts = final.shape[:2]
        flat = final.flatten(0, 1)
        found = {name: np.zeros(len(flat)) for name in ("kl", "refusal", "top1_changed")}
        for begin in range(0, len(flat), ROWS):
            rows = slice(begin, begin + ROWS)
            places = torch.arange(begin, min(begin + ROWS, len(flat))) % prompts
            before, after = intact[places], self._logprobs(flat[rows])
            found["kl"][rows] = divergence(before, after).cpu().numpy()
            found["refusal"][rows] = self._refusal(before, after)
            changed = before.argmax(-1) != after.argmax(-1)
            found["top1_changed"][rows] = changed.double().cpu().numpy()
        return {name: values.reshape(count, prompts) for name, values in found.items()}

    def _refusal(self, before: torch.Tensor, after: torch.Tensor) -> Any:
        if not self.refusing:
            return np.nan
        tokens = list(self.refusing)
        moved = before[:, tokens].logsumexp(-1) - after[:, tokens].logsumexp(-1)
        return moved.cpu().numpy()

    def _angles(self, base: torch.Tensor, states: torch.Tensor) -> dict[str, list[float]]:
        """Return how far the harmful prompts' last states turned, by kind of angle."""
        count = self.measured.harmful
        if count < 2:
            return {}
        found = subspace_scores(base[:count], states[:, :count])
        return {name: values.tolist() for name, values in found.items()}

    def _logprobs(self, final: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of rows of final states, float64, axes (row, vocab)."""
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        return logits[:, : self.model.anatomy.vocab_size].double().log_softmax(-1)


def refusing_tokens(model: LanguageModel) -> tuple[int, ...]:
    """Return the tokens that open refusals; none where the vocabulary spells no such words."""
    try:
        return tuple(int(token) for token in default_token_classes(model).negative)
    except DataError:
        return ()
