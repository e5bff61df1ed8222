"""Grafts: a vector takes the place of the stream at the last prompt token, for as long as it lasts.

A graft is a set of the engine's own interventions, so it acts in every engine call, is part of
every content key, and is undone exactly when its context ends. Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from theodolite.engine import (
    Completion,
    DirectionIntervention,
    Intervention,
    ResidualIntervention,
    apply,
    generate,
)
from theodolite.engine.generate import decode_text
from theodolite.errors import ConfigError
from theodolite.mechanism.states import encode_for_states
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

MODES = ("replace", "interpolate", "project")
WHEN = ("first_token", "all")
CACHES = ("keep", "clean")
PRESETS = ("paper",)


def check_mode(mode: str, alpha: float, direction: torch.Tensor | None) -> None:
    """Refuse a way of grafting that does not exist or lacks what it needs.

    Raises: ConfigError: naming the option.
    """
    known("mode", mode, MODES)
    if alpha != 1.0 and mode != "interpolate":
        raise ConfigError(
            f"alpha is {alpha}, and mode '{mode}' takes none.", fix="Use mode 'interpolate'."
        )
    if (direction is not None) != (mode == "project"):
        has = "has no direction" if direction is None else "takes no direction"
        raise ConfigError(
            f"The mode '{mode}' {has}.",
            fix="A direction belongs to mode 'project', and only there.",
        )
    if direction is not None and not bool((direction.norm(dim=-1) > 0).all()):
        raise ConfigError("direction is the zero vector.", fix="Give a vector with a length.")


def known(option: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a value that is not among those allowed."""
    if value not in allowed:
        raise ConfigError(f"There is no {option} '{value}'.", fix=did_you_mean(value, allowed))


def edited(
    own: torch.Tensor,
    donor: torch.Tensor,
    *,
    mode: str = "replace",
    alpha: float = 1.0,
    direction: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the stream that a graft leaves.

    Args:
        own, donor: streams, axes (..., d_model).
        mode: "replace" (the donor's stream); "interpolate" (the share `alpha` of the way to it);
            "project" (the donor's component along `direction`, the rest is kept).
        direction: axes (d_model), of any length.
    """
    if mode == "replace":
        return donor.expand_as(own)
    if mode == "interpolate":
        return own + alpha * (donor - own)
    assert direction is not None  # noqa: S101 - `check_mode` asks for one
    unit = unit_of(direction).to(own)
    component: torch.Tensor = ((donor - own) * unit).sum(-1, keepdim=True)
    return own + component * unit


def unit_of(direction: torch.Tensor) -> torch.Tensor:
    """Return the unit vector of a direction, float64, axes (d_model)."""
    wide = direction.double()
    unit: torch.Tensor = wide / wide.norm()
    return unit


@contextmanager
def grafted(
    model: LanguageModel,
    hidden_index: int,
    vector: torch.Tensor,
    *,
    mode: str = "replace",
    alpha: float = 1.0,
    direction: torch.Tensor | None = None,
    when: str = "first_token",
    preset: str | None = None,
) -> Iterator[LanguageModel]:
    """Let a graft act on everything the engine computes inside the context.

    Source: arXiv:2406.05644; its code writes the vector over the last position of a block's input
    and drops the block's output, which `preset="paper"` does too. Acting on the output of the
    block, so that it is not skipped for the other positions, is ours.

    Args:
        model: an open local model.
        hidden_index: 0 replaces the embedding, l + 1 the stream after block l.
        vector: axes (d_model), a donor's stream at the same hidden_index.
        mode, alpha, direction: see `edited`.
        when: "first_token" acts on the last token of the prompt; "all" also on every generated
            token.
        preset: "paper" skips the block before `hidden_index` for every position of the prompt
            (with `when="all"` also of the answer); its last position gets the vector.

    Raises:
        CapabilityError: the model cannot be changed.
        ConfigError: the vector has another width, or an option does not fit.

    Note: contexts nest: a window of layers is several grafts.
    """
    with apply(
        model, *_interventions(model, hidden_index, vector, mode, alpha, direction, when, preset)
    ):
        yield model


def _interventions(
    model: LanguageModel,
    hidden_index: int,
    vector: torch.Tensor,
    mode: str,
    alpha: float,
    direction: torch.Tensor | None,
    when: str,
    preset: str | None,
) -> list[Intervention]:
    """Return the interventions a graft is made of."""
    model.require("interventions")
    check_mode(mode, alpha, direction)
    known("when", when, WHEN)
    check_index(model, hidden_index)
    places = ("prompt_last",) if when == "first_token" else ("prompt_last", "generated")
    layer = max(hidden_index - 1, 0)
    site = "resid_post" if hidden_index else "resid_pre"
    if preset is not None:
        known("preset", preset, PRESETS)
        if mode != "replace" or hidden_index == 0:
            raise ConfigError(
                "The preset 'paper' replaces the input of a block and skips it.",
                fix="Use mode 'replace' and a hidden_index of at least 1.",
            )
        site = "resid_pre"
    if direction is None:
        grafts: list[Intervention] = [
            ResidualIntervention(
                layer=layer, site=site, operator=mode, vector=vector, alpha=alpha, positions=place
            )
            for place in places
        ]
    else:
        check_width(model, "vector", vector)
        unit = unit_of(direction)
        target = float(vector.double().to(unit.device) @ unit)
        grafts = [
            DirectionIntervention(
                layer=layer,
                site=site,
                operator="clamp",
                direction=unit,
                alpha=target,
                positions=place,
            )
            for place in places
        ]
    return grafts if preset is None else [*grafts, *_skipped(model, layer, when)]


def _skipped(model: LanguageModel, layer: int, when: str) -> list[Intervention]:
    """Return what lets a block add nothing: its output is its input, at every position."""
    nothing = torch.zeros(model.anatomy.d_model)
    return [
        ResidualIntervention(
            layer=layer,
            site=site,
            operator="replace",
            vector=nothing,
            positions="prompt" if when == "first_token" else "all",
        )
        for site in ("attn_out", "mlp_out")
    ]


def check_index(model: LanguageModel, hidden_index: int) -> None:
    """Refuse a hidden_index that the model does not have.

    Raises: ConfigError: naming the range.
    """
    top = model.anatomy.n_layers
    if not 0 <= hidden_index <= top:
        raise ConfigError(f"There is no hidden_index {hidden_index}.", fix=f"Use 0 to {top}.")


def check_width(model: LanguageModel, what: str, vector: torch.Tensor) -> None:
    """Refuse a vector of another width than the model's stream.

    Raises: ConfigError: naming both widths.
    """
    if vector.shape[-1:] != (model.anatomy.d_model,):
        raise ConfigError(
            f"{what} has axes {tuple(vector.shape)}, and the stream of {model.name} is "
            f"{model.anatomy.d_model} wide.",
            fix="Take the donor's state from the same model.",
        )


def generate_grafted(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    hidden_index: int,
    vector: torch.Tensor,
    *,
    mode: str = "replace",
    alpha: float = 1.0,
    direction: torch.Tensor | None = None,
    when: str = "first_token",
    preset: str | None = None,
    cache: str = "keep",
    max_new_tokens: int = 48,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Completion]:
    """Write greedy answers under a graft.

    Args:
        prompts: recipients.
        hidden_index, vector, mode, alpha, direction, when, preset: see `grafted`.
        cache: "keep" leaves the keys and values that the grafted token made in the later blocks,
            so that all later tokens read them; "clean" takes only the first token from the
            grafted prompt and reads prompt and token again without the graft.
        max_new_tokens: most tokens of an answer.
        template: "chat", "none" or "auto", as the recipients were read.
        journal, progress: as for `generate`.

    Returns: one completion per prompt, in order.

    Raises:
        ConfigError: an option does not fit; "clean" cannot graft generated tokens.
    """
    known("cache", cache, CACHES)
    if cache == "clean" and when == "all":
        raise ConfigError(
            "A clean cache forgets the graft after the first token.",
            fix="Use cache 'keep' with when 'all'.",
        )
    encoded = encode_for_states(model, prompts, template=template)
    graft = grafted(
        model,
        hidden_index,
        vector,
        mode=mode,
        alpha=alpha,
        direction=direction,
        when=when,
        preset=preset,
    )
    whole = cache == "keep" or max_new_tokens == 1
    with graft:
        begun = generate(
            model,
            encoded,
            max_new_tokens=max_new_tokens if whole else 1,
            journal=journal,
            progress=progress if whole else None,
        )
    if whole:
        return begun
    return _continued(model, encoded, begun, max_new_tokens - 1, journal, progress)


def _continued(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    begun: Sequence[Completion],
    more: int,
    journal: Journal | None,
    progress: Progress | None,
) -> list[Completion]:
    """Continue answers of one token without any graft, unless that token ended them."""
    going = [i for i, answer in enumerate(begun) if answer.finish == "length"]
    longer = [_with_token(encoded[i], begun[i].token_ids[0]) for i in going]
    rest = generate(model, longer, max_new_tokens=more, journal=journal, progress=progress)
    answers = list(begun)
    for i, tail in zip(going, rest, strict=True):
        tokens = (*begun[i].token_ids, *tail.token_ids)
        answers[i] = replace(
            begun[i], text=decode_text(model, tokens), token_ids=tokens, finish=tail.finish
        )
    return answers


def _with_token(encoded: Encoded, token: int) -> Encoded:
    ids = (*encoded.ids, token)
    return replace(encoded, ids=ids, key=content_key(ids))
