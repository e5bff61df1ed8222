"""Who gives what to whom: donors, controls and everything else that decides a graft sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from theodolite.engine.interventions import interventions_key
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.graft.grafting import check_index, check_mode, check_width, known
from theodolite.mechanism.lens.token_classes import TokenClasses
from theodolite.mechanism.states import States, encode_for_states, read_states
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal

METHOD_VERSION = 1
KINDS = ("mean", "fixed", "matched")
SAME_CLASS, RANDOM, STEP, OWN = "same_class", "random", "random_step", "own"


@dataclass(frozen=True, eq=False, kw_only=True)
class Options:
    """How a sweep grafts; see `graft_sweep`."""

    classes: TokenClasses
    kinds: Sequence[str]
    mode: str
    alpha: float
    direction: torch.Tensor | None
    window: int
    controls: bool
    template: str
    seed: int

    def check(self, model: LanguageModel) -> None:
        """Refuse options that do not fit.

        Raises: ConfigError: naming the option.
        """
        if not self.kinds:
            raise ConfigError("kinds is empty.", fix=f"Use {', '.join(KINDS)}.")
        for kind in self.kinds:
            known("kind of donor", kind, KINDS)
        check_mode(self.mode, self.alpha, self.direction)
        if self.direction is not None:
            check_width(model, "direction", self.direction)
        most = model.anatomy.n_layers + 1
        if not 1 <= self.window <= most:
            raise ConfigError(f"window is {self.window}.", fix=f"Use 1 to {most} hidden indices.")

    def direction_at(self, hidden_index: int) -> torch.Tensor | None:
        """Return the direction to project on at one depth, axes (d_model)."""
        if self.direction is None or self.direction.ndim == 1:
            return self.direction
        return self.direction[hidden_index]


@dataclass(frozen=True, eq=False)
class Plan:
    """Who gives what to whom.

    Args:
        encoded: recipients.
        donors: states of the donors at prompt_last.
        names: kinds of donors, then the controls, then the recipient's own state.
        matched: for each recipient the donor of nearest length.
        partners: for each recipient another one of its class; itself where there is none.
        options: how they graft.
    """

    encoded: tuple[Encoded, ...]
    donors: States
    names: tuple[str, ...]
    matched: tuple[int, ...]
    partners: tuple[int, ...]
    options: Options

    def key(self, model: LanguageModel, indices: Sequence[int]) -> str:
        """Return the content key of the results at some hidden indices."""
        o = self.options
        line = None if o.direction is None else o.direction.double().tolist()
        return content_key(
            "graft",
            METHOD_VERSION,
            [model.fingerprint, interventions_key(model), self.donors.key],
            [[item.key, item.prompt_id] for item in self.encoded],
            [self.names, self.matched, self.partners],
            [o.mode, o.alpha, line, o.window, o.seed],
            [o.classes.positive, o.classes.negative],
            list(indices),
        )


def make_plan(
    model: LanguageModel,
    recipients: Sequence[Prompt],
    donors: Sequence[Prompt] | States,
    indices: Sequence[int],
    options: Options,
    journal: Journal | None,
) -> Plan:
    """Encode, read the donors' states, and pair recipients with donors.

    Raises:
        ConfigError: the donors' states cannot be matched by length, or lack a depth.
        DataError: there are no recipients or donors, or their widths differ.
    """
    if not recipients:
        raise DataError("There are no recipients.", fix="Give at least one prompt.")
    encoded = encode_for_states(model, recipients, template=options.template)
    reach = _reach(model, indices, options.window)
    if isinstance(donors, States):
        if "matched" in options.kinds:
            raise ConfigError(
                "Donors given as states have no known length to match.", fix="Give prompts."
            )
        states, matched = donors, [0] * len(encoded)
    else:
        states, matched = _read_donors(model, donors, encoded, reach, options, journal)
    _check_donors(model, states, reach)
    partners = [_partner(place, recipients, options.seed) for place in range(len(recipients))]
    paired = any(partner != place for place, partner in enumerate(partners))
    names = (*dict.fromkeys(options.kinds), *_controls(options, paired), OWN)
    return Plan(tuple(encoded), states, names, tuple(matched), tuple(partners), options)


def _read_donors(
    model: LanguageModel,
    donors: Sequence[Prompt],
    encoded: Sequence[Encoded],
    reach: Sequence[int],
    options: Options,
    journal: Journal | None,
) -> tuple[States, list[int]]:
    """Return the donors' states, and for each recipient the donor of nearest length."""
    if not donors:
        raise DataError("There are no donors.", fix="Give at least one prompt.")
    others = encode_for_states(model, donors, template=options.template)
    states = read_states(
        model,
        donors,
        positions=("prompt_last",),
        template=options.template,
        hidden_indices=reach,
        journal=journal,
    )
    lengths = [len(item.ids) for item in others]
    return states, [_nearest(len(item.ids), lengths) for item in encoded]


def _controls(options: Options, paired: bool) -> list[str]:
    if not options.controls:
        return []
    # Along one direction, a random vector of any length is no more than a random step.
    wild = options.mode != "project"
    return [SAME_CLASS] * paired + [RANDOM] * wild + [STEP]


def depths(model: LanguageModel, hidden_indices: Literal["all"] | Sequence[int]) -> tuple[int, ...]:
    """Return the hidden indices asked for, ascending.

    Raises: ConfigError: there are none, or the model does not have one.
    """
    if hidden_indices == "all":
        return tuple(range(model.anatomy.n_layers + 1))
    indices = tuple(sorted(set(hidden_indices)))
    if not indices:
        raise ConfigError("hidden_indices is empty.", fix="Use 'all'.")
    for index in indices:
        check_index(model, index)
    return indices


def _reach(model: LanguageModel, indices: Sequence[int], window: int) -> list[int]:
    """Return every hidden_index whose donor state is needed."""
    top = model.anatomy.n_layers
    return sorted({min(h + k, top) for h in indices for k in range(window)})


def _check_donors(model: LanguageModel, donors: States, reach: Sequence[int]) -> None:
    width = donors.values.shape[-1]
    if width != model.anatomy.d_model:
        raise DataError(
            f"The donors' states are {width} wide, and the stream of {model.name} is "
            f"{model.anatomy.d_model} wide.",
            fix="Read the donors' states with the same model.",
        )
    for index in reach:
        donors.at(index, "prompt_last")


def _nearest(length: int, lengths: Sequence[int]) -> int:
    return min(range(len(lengths)), key=lambda donor: (abs(lengths[donor] - length), donor))


def _partner(place: int, recipients: Sequence[Prompt], seed: int) -> int:
    """Return another recipient of the same label, of another goal where there is one."""
    own = recipients[place]
    others = [
        (cluster_of(other) == cluster_of(own), item_seed(seed, "graft", own.id, other.id), i)
        for i, other in enumerate(recipients)
        if i != place and other.label == own.label
    ]
    return min(others)[2] if others else place


def cluster_of(prompt: Prompt) -> str:
    """Return what makes prompts dependent: one goal, else one pair, else the prompt alone."""
    return prompt.goal_id or prompt.pair_id or prompt.id
