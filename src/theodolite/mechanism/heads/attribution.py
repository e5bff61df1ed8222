"""Which heads write the refusal direction: what each adds along it, from one forward per prompt.

A correlational companion of ablation. It says what a head puts on the direction where the answer
begins, not what would happen without it: later heads may make up for it, or read it elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.engine import capture
from theodolite.errors import CapabilityError, DataError
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.heads.ablation import Head, head_name
from theodolite.mechanism.heads.stability import Specificity, specificity
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.engine.activations import Activations
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
PLACE = "prompt_last"
METHOD = "difference_in_means"
FOLDS = 5
# Relative error up to which a norm between heads and stream counts as a factor per prompt.
_FITS = 1e-2


@dataclass(frozen=True, eq=False)
class SeparatingDirection(Direction):
    """The difference of mean states on harmful and benign prompts, where it separates them best.

    It points towards harmful; blocks below its hidden_index can write it.

    Args:
        separations: of held-out training prompts, in standard deviations, axes (hidden_index) from
            hidden_index 1 on.
    """

    separations: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False)
class DirectionAttribution:
    """What every head adds along the refusal direction at the last prompt token.

    Args:
        direction: it, and how it was chosen.
        harmful, benign: in units of the stream, axes (prompt, layer, head); layers are those below
            the direction's hidden_index.
        harmful_total, benign_total: the stream's own component there, axes (prompt).
        harmful_ids, benign_ids: of the test prompts.
        left_out: training prompts that are test prompts too, so that nothing was fitted on them.
        difference: mean over harmful less mean over benign, with intervals; axes (layer, head).
        clusters: the group of each test prompt, harmful ones first.
        seed: of the resamples.
    """

    direction: SeparatingDirection
    harmful: Floats
    benign: Floats
    harmful_total: Floats
    benign_total: Floats
    harmful_ids: tuple[str, ...]
    benign_ids: tuple[str, ...]
    left_out: int
    difference: Specificity
    clusters: tuple[str, ...]
    seed: int

    def ranking(self) -> list[Head]:
        """Return the heads by what they add on harmful prompts beyond benign ones, most first."""
        order = np.argsort(-self.difference.mean, axis=None, kind="stable")
        heads = self.difference.mean.shape[1]
        return [(int(i) // heads, int(i) % heads) for i in order]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per head, in the order of `ranking`."""
        found = self.difference
        return [
            {
                "layer": layer,
                "head": head,
                "name": head_name((layer, head)),
                "harmful": float(self.harmful[:, layer, head].mean()),
                "benign": float(self.benign[:, layer, head].mean()),
                "difference": float(found.mean[layer, head]),
                "low": float(found.low[layer, head]),
                "high": float(found.high[layer, head]),
                "shown": bool(found.shown[layer, head]),
            }
            for layer, head in self.ranking()
        ]

    def measurements(self) -> list[Measurement]:
        """Return how much of the separation along the direction all heads together write."""
        n = len(self.harmful)
        parts = np.concatenate([self.harmful.sum((1, 2)), self.benign.sum((1, 2))])
        totals = np.concatenate([self.harmful_total, self.benign_total])
        sides = np.arange(len(totals)) < n

        def share(weights: Floats) -> Floats:
            first, second = weights * sides, weights * ~sides
            with np.errstate(invalid="ignore", divide="ignore"):
                gaps = [
                    first @ x / first.sum(1) - second @ x / second.sum(1) for x in (parts, totals)
                ]
                return np.asarray(gaps[0] / gaps[1])

        value = float(share(np.ones((1, len(totals))))[0])
        return [
            resampled(
                "heads/direction/share written by heads",
                value,
                len(totals),
                share,
                clusters=self.clusters,
                unit="ratio",
                seed=item_seed(self.seed, "direction share"),
                reason="the rest is written by MLPs, biases and embeddings",
            )
        ]


def refusal_direction_attribution(
    model: LanguageModel,
    train_harmful: Sequence[Encoded],
    train_benign: Sequence[Encoded],
    test_harmful: Sequence[Encoded],
    test_benign: Sequence[Encoded],
    *,
    clusters: tuple[Sequence[str], Sequence[str]] | None = None,
    paired: bool = False,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> DirectionAttribution:
    """Score heads by what they add along the refusal direction at the last prompt token.

    Source: arXiv:2508.19697 (heads by their part of the direction of arXiv:2406.11717). Ours: the
        layer is chosen by cross-fitting on the training prompts alone, and what a head adds to
        benign prompts is taken off.

    Args:
        model: an open local model; active interventions act.
        train_harmful, train_benign: prompts the direction and its layer come from; those that are
            test prompts too are left out and counted.
        test_harmful, test_benign: other prompts, on which heads are scored.
        clusters: the group of each test prompt, harmful and benign (default: equal prompts).
        paired: test prompt i of both sides belong together.
        seed: of the resamples.
        journal, progress: of finished units, in prompts; the work can be stopped and resumed.

    Returns: per prompt and head <z W_head, direction>, the head's own term of the stream in the
        stream's own units, and its difference between the classes with intervals.

    Raises:
        CapabilityError: the output projection cannot be taken apart by head, or a norm that is no
            factor per prompt stands behind it.
        DataError: fewer than two prompts a side, or training prompts that do not differ.

    Note: one forward per prompt; test prompts stop at the direction's depth. Where benign prompts
        differ from harmful ones in topic too, so does the direction: twins keep it to harm.
    """
    tested = {prompt.key for prompt in (*test_harmful, *test_benign)}
    harmful, benign = (
        [p for p in side if p.key not in tested] for side in (train_harmful, train_benign)
    )
    _check_numbers(harmful, benign, test_harmful, test_benign)
    direction = _learned(model, harmful, benign, journal, progress)
    tests = [*test_harmful, *test_benign]
    parts, totals, ids = _scored(model, tests, direction, journal, progress)
    n = len(test_harmful)
    groups = clusters or tuple([p.key for p in side] for side in (test_harmful, test_benign))
    return DirectionAttribution(
        direction=direction,
        harmful=parts[:n],
        benign=parts[n:],
        harmful_total=totals[:n],
        benign_total=totals[n:],
        harmful_ids=ids[:n],
        benign_ids=ids[n:],
        left_out=len(train_harmful) + len(train_benign) - len(harmful) - len(benign),
        difference=specificity(
            parts[:n],
            parts[n:],
            paired=paired,
            clusters=groups[0],
            benign_clusters=None if paired else groups[1],
            seed=seed,
        ),
        clusters=(*groups[0], *groups[1]),
        seed=seed,
    )


def _learned(
    model: LanguageModel,
    harmful: Sequence[Encoded],
    benign: Sequence[Encoded],
    journal: Journal | None,
    progress: Progress | None,
) -> SeparatingDirection:
    """Return the direction of the training prompts, as one of this model."""
    states = capture(
        model,
        [*harmful, *benign],
        sites=("resid_post",),
        positions=(PLACE,),
        journal=journal,
        progress=progress,
    )
    values = states.get("resid_post", position=PLACE).double().numpy()
    found = find_direction(values[: len(harmful)], values[len(harmful) :])
    return replace(found, model=model.fingerprint)


def _scored(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    direction: Direction,
    journal: Journal | None,
    progress: Progress | None,
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Read the test prompts up to a direction's depth.

    Returns: what every head adds along it, axes (prompt, layer, head); the stream's own component,
        axis (prompt); the prompts' ids.
    """
    anatomy = model.anatomy
    seen = capture(
        model,
        prompts,
        sites=("head_z", "resid_post", *(["attn_out"] if anatomy.row.post_norm else [])),
        layers=range(direction.hidden_index),
        positions=(PLACE,),
        journal=journal,
        progress=progress,
    )
    ends = seen.get("resid_post", layer=direction.hidden_index - 1, position=PLACE)
    totals = ends.double().numpy() @ direction.vector
    return contributions(anatomy, seen, direction), totals, seen.prompt_ids


def find_direction(harmful: Floats, benign: Floats) -> SeparatingDirection:
    """Return the difference-of-means direction of the layer that separates held-out prompts best.

    Source: arXiv:2406.11717, section 2.3 for the direction; the choice of the layer is ours. Every
        prompt is placed along a direction made without it; the separation is the difference of
        the classes' means over their pooled standard deviation.

    Args:
        harmful, benign: states after every block, axes (prompt, layer, d_model); at least 2 each.

    Raises: DataError: the states do not differ in any layer.
    """
    separations = np.array(
        [_separation(harmful[:, layer], benign[:, layer]) for layer in range(harmful.shape[1])]
    )
    best = int(np.nanargmax(separations)) if np.isfinite(separations).any() else 0
    gap = harmful[:, best].mean(0) - benign[:, best].mean(0)
    if not gap.any() or not np.isfinite(separations).any():
        raise DataError(
            "The harmful and the benign training prompts have the same states.",
            fix="Give different prompts.",
        )
    return SeparatingDirection(
        name=f"{METHOD}@L{best + 1}",
        hidden_index=best + 1,
        vector=gap,
        method=METHOD,
        position=PLACE,
        separations=separations,
    )


def contributions(anatomy: Anatomy, seen: Activations, direction: Direction) -> Floats:
    """Return what every head adds along a direction, axes (prompt, layer, head).

    Args:
        seen: `head_z` of layers 0 to hidden_index - 1 at the last prompt token, and `attn_out`
            where a norm stands behind the output projection.

    Raises: CapabilityError: see `refusal_direction_attribution`.
    """
    unit = torch.from_numpy(direction.vector)
    found = []
    for layer in range(direction.hidden_index):
        out = anatomy.out_projection(layer)
        z = seen.get("head_z", layer=layer, position=PLACE).double()
        z = z.reshape(len(z), anatomy.n_heads, anatomy.head_dim)
        weight = out.weight.detach().to("cpu", torch.float64)
        if out.adds_up:
            found.append(torch.einsum("phe,hed,d->ph", z, weight, unit) * out.scale)
            continue
        bias = 0.0 if out.bias is None else out.bias.detach().to("cpu", torch.float64)
        summed = torch.einsum("phe,hed->pd", z, weight) + bias
        after = seen.get("attn_out", layer=layer, position=PLACE).double()
        factor = _norm_factor(anatomy, layer, summed, after)
        found.append(torch.einsum("phe,hed,pd,d->ph", z, weight, factor, unit))
    return np.asarray(torch.stack(found, 1).numpy(), np.float64)


def _norm_factor(
    anatomy: Anatomy, layer: int, before: torch.Tensor, after: torch.Tensor
) -> torch.Tensor:
    """Return what a root-mean-square norm multiplied each prompt's coordinates by.

    Such a norm is a weight per coordinate times a number per prompt, so each head's term can be
    carried through it; whether it is one is tested on the prompts themselves.

    Args:
        before, after: axes (prompt, d_model); `after` is what entered the stream.

    Returns: axes (prompt, d_model).

    Raises: CapabilityError: the norm does something else as well.
    """
    norm = anatomy.blocks[layer].get_submodule(anatomy.row.attn)
    own = next(norm.parameters(), after)
    with torch.inference_mode():
        ones = torch.ones(1, before.shape[1], dtype=own.dtype, device=own.device)
        weight = norm(ones).to("cpu", torch.float64)
    scaled = before * weight
    number = (after * scaled).sum(-1, keepdim=True) / (scaled**2).sum(-1, keepdim=True)
    off = (number * scaled - after).norm(dim=-1) / after.norm(dim=-1).clamp_min(1e-30)
    if not float(off.max()) < _FITS:
        raise CapabilityError(
            "Taking the attention output apart by head",
            f"the norm behind it in layer {layer} is not one factor per prompt",
            "Use ablation scores, which need no sum over heads",
        )
    factor: torch.Tensor = number * weight
    return factor


def _separation(harmful: Floats, benign: Floats) -> float:
    """Return how far apart held-out prompts of two classes lie, in standard deviations.

    Args:
        harmful, benign: axes (prompt, d_model).

    Returns: NaN where nothing differs.
    """
    folds = min(FOLDS, len(harmful), len(benign))
    places: tuple[list[Floats], list[Floats]] = ([], [])
    for fold in range(folds):
        held = [np.arange(len(side)) % folds == fold for side in (harmful, benign)]
        means = [side[~out].mean(0) for side, out in zip((harmful, benign), held)]
        gap = means[0] - means[1]
        length = float(np.linalg.norm(gap))
        if not length > 0:
            return float("nan")
        for kept, side, out in zip(places, (harmful, benign), held):
            kept.append((side[out] - (means[0] + means[1]) / 2) @ gap / length)
    first, second = (np.concatenate(side) for side in places)
    spread = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2))
    return float(first.mean() - second.mean()) / spread if spread > 0 else float("nan")


def _check_numbers(*sets: Sequence[Encoded]) -> None:
    names = ("harmful training", "benign training", "harmful test", "benign test")
    for name, prompts in zip(names, sets, strict=True):
        if len(prompts) < 2:
            raise DataError(
                f"There are {len(prompts)} {name} prompts that are not used otherwise.",
                fix="Give at least 2 of each kind, training and test prompts apart.",
            )
