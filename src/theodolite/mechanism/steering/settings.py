"""The settings of a measurement: the edits that were asked for, and the random ones beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.steering.edits import Edit, random_edits
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.engine import Intervention
    from theodolite.mechanism.steering.benign import BenignStates
    from theodolite.models.anatomy import Anatomy
    from theodolite.runs.run import Run

EDIT: Final = "edit"
RANDOM: Final = "random"


@dataclass(frozen=True)
class Setting:
    """One edit under which something is measured.

    Args:
        name: of the edit.
        kind: "edit" or "random".
        pool: the random ones of an edit's pool do what it does along other directions.
        family: key that strengths of one edit share.
        short: the edit's name without its strength.
        mode, positions, alpha: of the edit.
    """

    name: str
    kind: str
    pool: str
    family: str
    short: str
    mode: str
    positions: str
    alpha: float


@dataclass(frozen=True)
class Settings:
    """The edits, then the random ones, in order.

    Args:
        each: what they are.
    """

    each: tuple[Setting, ...]

    @property
    def edits(self) -> tuple[str, ...]:
        """The names of the edits that were asked for."""
        return tuple(setting.name for setting in self.each if setting.kind == EDIT)

    def row(self, edit: str) -> int:
        """Return the place of an edit.

        Raises: ConfigError: there is none of this name.
        """
        for place, setting in enumerate(self.each):
            if setting.name == edit:
                return place
        raise ConfigError(
            "There is no edit of this name.", fix=f"There is {', '.join(self.edits)}."
        )

    def random(self, edit: str) -> list[int]:
        """Return the places of the random edits beside an edit."""
        pool = self.each[self.row(edit)].pool
        return [i for i, s in enumerate(self.each) if s.kind == RANDOM and s.pool == pool]


def save_design(run: Run, name: str, settings: Settings, design: dict[str, Any]) -> None:
    """Write settings, and what the axes of a result stand for, into the run folder.

    Args:
        name: the front of the tables' names.
        design: by field name.
    """
    run.save_table(f"{name}_settings", [asdict(one) for one in settings.each])
    run.save_table(f"{name}_design", [design])


def load_design(run: Run, name: str, axes: Sequence[str]) -> dict[str, Any]:
    """Read what `save_design` wrote, as fields of a result, `settings` among them.

    Args:
        axes: those fields of the design that are tuples.
    """
    rows = run.load_table(f"{name}_settings")
    design: dict[str, Any] = dict(run.load_table(f"{name}_design")[0])
    design |= {axis: tuple(design[axis]) for axis in axes}
    return {"settings": Settings(tuple(Setting(**row) for row in rows)), **design}


def settings_of(
    anatomy: Anatomy,
    edits: Sequence[Edit],
    benign: BenignStates | None,
    random_draws: int,
    seed: int,
) -> tuple[Settings, list[list[Intervention]]]:
    """Return the settings, and what each does to the model.

    Args:
        random_draws: random edits for everything that is done alike, however many edits do it; one
            draw keeps its direction at all strengths.
        seed: of the directions.

    Raises:
        DataError: there are no edits.
        ConfigError: two share a name, one does not fit the model, or random_draws is below 0.
    """
    if not edits:
        raise DataError("There are no edits.", fix="Give at least one.")
    if len({edit.name for edit in edits}) < len(edits):
        raise ConfigError("Two edits share a name.", fix="Give them labels.")
    if random_draws < 0:
        raise ConfigError(f"random_draws is {random_draws}.", fix="Give 0 or more.")
    settings = [_setting(edit, EDIT, edit.name) for edit in edits]
    every = list(edits)
    pools: dict[str, int] = {}
    for edit in edits:
        if _pool(edit) in pools:
            continue
        number = pools[_pool(edit)] = len(pools) + 1
        drawn = random_edits(edit, random_draws, seed=item_seed(seed, _pool(edit.at(1.0))))
        settings += [_setting(one, RANDOM, f"{one.label}, pool {number}") for one in drawn]
        every += drawn
    return Settings(tuple(settings)), [edit.interventions(anatomy, benign) for edit in every]


def _setting(edit: Edit, kind: str, name: str) -> Setting:
    return Setting(
        name,
        kind,
        _pool(edit),
        edit.family(),
        edit.short,
        edit.mode,
        edit.positions,
        edit.alpha,
    )


def _pool(edit: Edit) -> str:
    """Return a key that edits share which differ in their directions and label alone."""
    depths = [direction.hidden_index for direction in edit.directions]
    # Where all directions act at the same places, their own depths do not matter.
    shape = sorted(depths) if edit.layers == "own" else len(depths)
    words = [edit.mode, edit.alpha, edit.layers, edit.sites, edit.positions, edit.quantiles]
    return content_key("edit pool", shape, words)
