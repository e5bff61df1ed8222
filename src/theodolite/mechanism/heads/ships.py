"""Safety head importance: how far the next token moves when one head is taken out.

Ships of a prompt and a head is KL(intact || ablated) of the next token after the prompt; the
generalised score is the angle by which the leading subspace of all prompts' last states turns. Both
come from the same pass. The divergence has no direction and no subject: a head that changes
anything scores high. So benign prompts run beside the harmful ones, and what the heads do to the
openings of refusals is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.engine.interventions import apply
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.heads.ablation import OF_PROMPTS, Head, HeadAblation, check_head
from theodolite.mechanism.heads.frames import encode_framed, resolve_frame
from theodolite.mechanism.heads.layer_scores import NOTHING, LayerScores, Measured
from theodolite.mechanism.heads.result import ANGLE, HeadScores

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


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
        benign: the control; put in the order of the harmful ones and held against them pair by
            pair where every prompt of both has one twin, by `pair_id` or else `goal_id`.
        ablation: how a head is taken out (default: even attention, exactly).
        template: the frame the requests stand in, see `frames.TEMPLATES`.
        only: score these heads alone; None is all.
        group: heads that are out all the time; each other head is scored together with them,
            against the model that has them.
        freeze_downstream: the own MLP and later layers add what they did: the direct effect alone.
        pre_norm: take angles of the last states before the final norm instead of after it.
        references: for "dataset_mean" and "resample", whose head outputs take the place of the
            ablated ones (default: the benign prompts, for each benign prompt the others; for
            "resample" in a benign prompt, the next one's).
        batch_tokens: most tokens of one pass.
        journal, progress: of finished layers; a sweep can be stopped and resumed.
        seed: of the intervals.

    Raises:
        DataError: there are no harmful prompts, two have one id, or a prompt cannot be used.
        CapabilityError, ConfigError: the model or an option does not fit, or a head is not there.
        NumericsError: a result is not finite.
    """
    ablation = ablation or HeadAblation()
    _check(model, harmful, benign, ablation, only, group)
    twins = twins_of(harmful, benign)
    benign = list(twins or benign)
    frame = resolve_frame(model, template)
    encoded = encode_framed(model, [*harmful, *benign], frame)
    replacing = _references(ablation, harmful, benign, references)
    measured = Measured(
        encoded=encoded,
        harmful=len(harmful),
        ablation=ablation,
        group=tuple(sorted(set(group))),
        references=encode_framed(model, replacing, frame) if replacing else [],
        freeze_downstream=freeze_downstream,
        pre_norm=pre_norm,
        batch_tokens=batch_tokens,
    )
    return HeadScores(
        **_swept(model, measured, only, journal, progress),
        **_read(model, harmful, benign, encoded),
        template=frame,
        seed=seed,
        pairs=twins is not None,
    )


def twins_of(harmful: Sequence[Prompt], benign: Sequence[Prompt]) -> list[Prompt] | None:
    """Return the benign twin of every harmful prompt; None where they are no pairs one to one."""
    for name in ("pair_id", "goal_id"):
        sides = [[getattr(prompt, name) for prompt in side] for side in (harmful, benign)]
        known = {key: prompt for key, prompt in zip(sides[1], benign) if key is not None}
        if len(known) == len(benign) == len(harmful) and set(sides[0]) == set(known):
            return [known[key] for key in sides[0]]
    return None


def _check(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    ablation: HeadAblation,
    only: Sequence[Head] | None,
    group: Sequence[Head],
) -> None:
    """Refuse what cannot be scored, before anything runs."""
    model.require("hidden_states", "interventions")
    if not harmful:
        raise DataError("There are no harmful prompts.", fix="Give at least one.")
    seen: set[str] = set()
    for prompt in (*harmful, *benign):
        if prompt.id in seen:
            raise DataError(
                f"Two prompts have the id {shown(prompt.id)}.", fix="Give every prompt its own."
            )
        seen.add(prompt.id)
    ablation.check(model.anatomy)
    for head in (*group, *(only or ())):
        check_head(model.anatomy, head, ablation.units(model.anatomy))
    if only is not None and not only:
        raise ConfigError("No head is to be scored.", fix="Name one, or leave `only` out.")
    if group:
        check_group(ablation)


def check_group(ablation: HeadAblation) -> None:
    """Refuse to score heads beside others that are out, where the operator does not allow it.

    Raises: CapabilityError: the operator means something else once heads of the layer are out.
    """
    if ablation.name == "head_mean":
        raise CapabilityError(
            "Scoring a head beside others under head_mean",
            "the mean over the heads of a layer is another one once some of them are out",
            "Use undifferentiated, scale or zero",
        )


def _references(
    ablation: HeadAblation,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    given: Sequence[Prompt],
) -> list[Prompt]:
    """Return the prompts whose head outputs replace ablated ones, if the operator needs any.

    Raises: DataError: a single benign prompt would be replaced by itself.
    """
    if ablation.name not in OF_PROMPTS:
        return []
    if len(benign) == 1 and not given:
        raise DataError(
            f"Under {ablation.name} a single benign prompt is its own reference.",
            fix="Give at least two.",
        )
    if given or ablation.name == "dataset_mean":
        return list(given or benign)
    return [*benign[: len(harmful)], *benign[1:], *benign[:1]]


def _swept(
    model: LanguageModel,
    measured: Measured,
    only: Sequence[Head] | None,
    journal: Journal | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Return what a `HeadScores` says of its sweep; layers are run, or found in the journal."""
    group = measured.group
    base = TreeSweep(model, measured.encoded, SweepOptions()) if group else None
    out = measured.ablation.interventions(model.anatomy, group) if group else []
    with apply(model, *out):
        work = LayerScores(model, measured, base)
        units = _units(work, only)
        results = map_units(units, work, journal=journal, progress=progress, label="heads")
    return _arrays(work, units, results) | {
        "ablation": measured.ablation,
        "freeze_downstream": measured.freeze_downstream,
    }


def _read(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    encoded: Sequence[Encoded],
) -> dict[str, Any]:
    """Return what a `HeadScores` says of its prompts and of the model that read them."""
    prompts = [*harmful, *benign]
    return {
        "prompt_ids": tuple(prompt.id for prompt in prompts),
        "labels": (HARMFUL,) * len(harmful) + (BENIGN,) * len(benign),
        "clusters": tuple(
            prompt.goal_id or prompt.pair_id or item.key for prompt, item in zip(prompts, encoded)
        ),
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _units(work: LayerScores, only: Sequence[Head] | None) -> list[Unit]:
    """Return one unit per layer, and one in which nothing is ablated; costs in blocks to run."""
    anatomy, count = work.model.anatomy, len(work.measured.encoded)
    every = range(work.measured.ablation.units(anatomy))
    wanted = None if only is None else set(only)
    out = set(work.measured.group)
    units = [Unit(work.key(0, [], NOTHING), (NOTHING,), count * anatomy.n_layers)]
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
    work: LayerScores, units: Sequence[Unit], results: Sequence[Mapping[str, Any]]
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
