"""Contrast spaces: directions of one chat model, where there is no model before training.

The shift is taken between two prompts instead of two models: a request in a wrapper minus the bare
request, or a harmful request minus its benign twin. What is found says where the model tells the
two apart; nothing here says that training put it there, so it is never called residual. Source:
ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from theodolite.data.goal_splits import refuse_leaking_prompts
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.data.styles import PLAIN
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.requests import TRAIN
from theodolite.mechanism.residual_space.collect import LEAST_PROMPTS, PairedStates
from theodolite.mechanism.residual_space.goals import goal_groups
from theodolite.mechanism.residual_space.space import ShiftSpace
from theodolite.mechanism.residual_space.study import Depth, Study, look_at
from theodolite.mechanism.states import States, read_states
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import PanelResult, Progress

STYLE, HARM = "style", "harm"
KINDS: Final = {
    STYLE: "style contrast",
    HARM: "harm contrast",
}
WHAT: Final = {
    KINDS[STYLE]: "what sets wrapped requests apart from the bare ones",
    KINDS[HARM]: "what sets harmful requests apart from their benign twins",
}
ONE_MODEL: Final = "one model"


class ContrastSpace(ShiftSpace):
    """What one model does differently with one prompt than with another."""

    of_training: ClassVar[bool] = False

    @property
    def what(self) -> str:
        """What was decomposed, in words."""
        return WHAT[self.kind]


def contrast_study(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    kind: str,
    depth: Depth | None = None,
    *,
    refused: Mapping[str, bool | None] | None = None,
    template: str = "auto",
    seed: int = 0,
    **kept: Any,
) -> Study:
    """Fit a contrast space to one model and look at it from every side, as `study` does to a pair.

    Args:
        model: an open local model.
        prompts: as `study_prompts` gives them; each is read once.
        kind: as for `collect_contrast`.
        depth: how much is looked at. The mean of a contrast is what its two sides differ by, so it
            is kept whatever the preset, and no linear map is fitted.
        refused: whether the model refuses a prompt, by id; None leaves this label out.
        template, seed: as for `study`.
        kept: journal and progress.

    Raises: ConfigError, DataError, NumericsError: as for `collect_contrast`.
    """
    depth, rows = depth or Depth(), _checked(prompts, kind)
    states = read_states(model, rows, positions=(depth.position,), template=template, **kept)
    paired = PairedStates(states, states, rows, goal_groups(rows), ONE_MODEL)
    space = ContrastSpace.fit(
        _matched(paired, kind).part(TRAIN), basis="shift", quality=False, seed=seed
    )
    return look_at(
        *(model, paired, space, depth), refused=refused, template=template, seed=seed, **kept
    )


def as_contrast(result: PanelResult) -> PanelResult:
    """Return a result whose figures and tables are named for a contrast, never for a residual."""

    def named(name: str) -> str:
        start, _, rest = name.partition("_")
        return f"contrast_{rest}" if start == "residual" else name

    return replace(
        result,
        measurements=[replace(m, name=named(m.name)) for m in result.measurements],
        tables={named(name): rows for name, rows in result.tables.items()},
        figures=[
            replace(f, name=named(f.name), table=None if f.table is None else named(f.table))
            for f in result.figures
        ],
        labels={named(name): words for name, words in result.labels.items()},
    )


def collect_contrast(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    kind: str,
    *,
    positions: Sequence[str] = ("prompt_last",),
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> PairedStates:
    """Read the states of prompts that are set against each other in one model.

    Args:
        model: an open local model.
        prompts: labelled, of two classes; each is read once.
        kind: "style" (wrapped minus plain form of one goal) or "harm" (harmful minus benign prompt
            of one pair and style).
        positions, template, hidden_indices, journal, progress: as for `read_states`.

    Returns: one row per wrapped, or harmful, prompt whose counterpart is there: its states are
        `aligned`, those of the counterpart `base`.

    Raises:
        ConfigError: there is no such contrast.
        DataError: fewer than 10 rows, one class only, or a goal in two splits.
        CapabilityError, NumericsError: as for `read_states`.
    """
    rows = _checked(prompts, kind)
    used = {p.id for pair in _pairs(rows, kind) for p in pair}
    asked = tuple(p for p in rows if p.id in used)
    states = read_states(
        model,
        asked,
        positions=positions,
        template=template,
        hidden_indices=hidden_indices,
        journal=journal,
        progress=progress,
    )
    groups = dict(zip((p.id for p in rows), goal_groups(rows), strict=True))
    own = PairedStates(states, states, asked, tuple(groups[p.id] for p in asked), ONE_MODEL)
    return _matched(own, kind)


def _checked(prompts: Sequence[Prompt], kind: str) -> tuple[Prompt, ...]:
    """Return the prompts of a contrast.

    Raises:
        ConfigError: there is no such contrast.
        DataError: too few have a counterpart, or a goal stands in two splits.
    """
    check_kind(kind)
    rows = tuple(prompts)
    refuse_leaking_prompts(rows)
    found = len(_pairs(rows, kind))
    if found < LEAST_PROMPTS:
        raise DataError(
            f"{found} prompts have a counterpart, and a space needs {LEAST_PROMPTS}.",
            fix="Give bare forms of the same goals (goal_id), or benign twins (pair_id).",
        )
    return rows


def check_kind(kind: str) -> None:
    """Refuse a contrast that is not known.

    Raises: ConfigError: with the nearest name.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no contrast {shown(kind)}.", fix=did_you_mean(kind, KINDS))


def _matched(own: PairedStates, kind: str) -> PairedStates:
    """Return the rows that have a counterpart, with its states as the base."""
    states: States = own.aligned
    pairs = _pairs(own.prompts, kind)
    groups = dict(zip(own.prompt_ids, own.goals, strict=True))
    return PairedStates(
        base=states.rows([other.id for _, other in pairs]),
        aligned=states.rows([prompt.id for prompt, _ in pairs]),
        prompts=tuple(prompt for prompt, _ in pairs),
        goals=tuple(groups[prompt.id] for prompt, _ in pairs),
        kind=KINDS[kind],
    )


def _pairs(prompts: Sequence[Prompt], kind: str) -> list[tuple[Prompt, Prompt]]:
    """Return the prompts of either side of a contrast, side by side."""
    return _styles(prompts) if kind == STYLE else _twins(prompts)


def _styles(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Prompt]]:
    """Return each wrapped prompt with the bare form of its goal."""
    bare = {(p.goal_id or p.id, p.label): p for p in prompts if _style(p) == PLAIN}
    wrapped = [p for p in prompts if _style(p) != PLAIN and p.goal_id is not None]
    found = [(p, bare.get((p.goal_id or p.id, p.label))) for p in wrapped]
    return [(p, other) for p, other in found if other is not None]


def _twins(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Prompt]]:
    """Return each harmful prompt with the benign one of its pair, or goal, and style."""
    paired = [(p, (p.pair_id or p.goal_id, _style(p))) for p in prompts if p.pair_id or p.goal_id]
    benign = {key: p for p, key in paired if p.label == BENIGN}
    found = [(p, benign.get(key)) for p, key in paired if p.label == HARMFUL]
    return [(p, twin) for p, twin in found if twin is not None]


def _style(prompt: Prompt) -> str:
    return prompt.style or PLAIN
