"""Are two directions independent in the network, or only at right angles in one layer?

Later blocks read everything. A direction that is taken out can change what lies along another one
further up, however orthogonal the two are. Independent are two directions if, with either taken
out, the states lie to the other one as before, at every depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.engine import apply
from theodolite.errors import ConfigError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.directions.effects import Pushed
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.states import read_states
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
METHOD_VERSION: Final = 1


@dataclass(frozen=True, eq=False)
class Independence:
    """How far each of two directions' cosine profiles moves when the other is taken out.

    Args:
        names: of the two.
        cosine: between them.
        hidden_indices: the depths, from 1.
        intact: cosine of states with each direction, (direction, prompt, hidden_index).
        without: the same with the other direction taken out of the stream.
        random: the same with random directions taken out, (direction, draw, prompt, hidden_index).
        goals: of the prompts.
        position: where the states were read.
        seed: of draws and resamples.
    """

    names: tuple[str, str]
    cosine: float
    hidden_indices: tuple[int, ...]
    intact: Floats
    without: Floats
    random: Floats
    goals: tuple[str, ...]
    position: str
    seed: int

    @property
    def moved(self) -> Floats:
        """Mean change of the cosine, in size, by depth; axes (direction, hidden_index)."""
        return np.asarray(np.abs(self.without - self.intact).mean(1))

    @property
    def moved_at_random(self) -> Floats:
        """The same by random directions; axes (direction, draw, hidden_index)."""
        return np.asarray(np.abs(self.random - self.intact[:, None]).mean(2))

    def measurements(self) -> list[Measurement]:
        """Return the change of each profile over all depths; the floor is a random direction's."""
        found = []
        for d, name in enumerate(self.names):
            other = self.names[1 - d]
            each = np.abs(self.without[d] - self.intact[d]).mean(1)
            found.append(
                mean(
                    f"directions/independence/{name} without {other}",
                    each.tolist(),
                    clusters=self.goals,
                    unit="cosine",
                    range=(0.0, 2.0),
                    floor=Floor(
                        "a random direction taken out", float(self.moved_at_random[d].mean())
                    ),
                    seed=self.seed,
                    reason=f"mean change in size over {len(self.hidden_indices)} depths at "
                    f"{self.position}; the two directions' cosine is {self.cosine:.2f}",
                )
            )
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per direction and depth."""
        return [
            {
                "direction": name,
                "without": self.names[1 - d],
                "hidden_index": h,
                "cosine": float(self.intact[d, :, place].mean()),
                "cosine_without": float(self.without[d, :, place].mean()),
                "moved": float(self.moved[d, place]),
                "moved_at_random": float(self.moved_at_random[d, :, place].mean()),
                "n": len(self.goals),
            }
            for d, name in enumerate(self.names)
            for place, h in enumerate(self.hidden_indices)
        ]


def representational_independence(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    first: Direction,
    second: Direction,
    *,
    position: str = "prompt_last",
    template: str = "auto",
    controls: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> Independence:
    """Take each of two directions out of the stream and see how the states lie to the other.

    Source: arXiv:2502.17420. Ours: random directions beside them, as any change to
        the stream moves later states a little.

    Args:
        model: an open local model; active interventions act.
        prompts: any; harmful ones where refusal is the question.
        first, second: unit vectors of the stream; their depths do not matter here.
        position, template: where states are read, as for `read_states`.
        controls: random directions, at least one.
        seed: of the random directions.
        progress: told of readings.

    Raises: ConfigError: no control, or directions of another width than the model's.

    Note: `controls + 3` readings of all prompts. A direction is taken out of all that is written
        to the stream, at all positions.
    """
    width = model.anatomy.d_model
    if controls < 1:
        raise ConfigError("Without a control no change can be judged.", fix="Use 1 or more.")
    for direction in (first, second):
        if direction.vector.size != width:
            raise ConfigError(
                f"{direction.name} is {direction.vector.size} wide, and {model.name} {width}.",
                fix="Fit it on this model.",
            )
    units = np.stack([first.vector, second.vector])
    out: list[Floats | None] = [None, second.vector, first.vector]
    seeds = [item_seed(seed, "independence", k) for k in range(controls)]
    out += [random_vector(width, 1.0, own) for own in seeds]
    if progress is not None:
        progress.start("reading states", len(out))
    found = []
    for vector in out:
        taken = () if vector is None else Pushed(0, vector, 0.0).ablation(model.anatomy.n_layers)
        with apply(model, *taken):
            found.append(_profiles(model, prompts, units, position, template))
        if progress is not None:
            progress.advance()
    intact, without_second, without_first = found[:3]
    return Independence(
        names=(first.name, second.name),
        cosine=float(first.vector @ second.vector),
        hidden_indices=tuple(range(1, model.anatomy.n_layers + 1)),
        intact=intact,
        without=np.stack([without_second[0], without_first[1]]),
        random=np.stack(found[3:], axis=1),
        goals=tuple(p.goal_id or p.pair_id or p.id for p in prompts),
        position=position,
        seed=seed,
    )


def _profiles(
    model: LanguageModel, prompts: Sequence[Prompt], units: Floats, position: str, template: str
) -> Floats:
    """Return the cosine of states with directions, axes (direction, prompt, hidden_index)."""
    depths = range(1, model.anatomy.n_layers + 1)
    states = read_states(
        model, prompts, positions=(position,), template=template, hidden_indices=depths
    )
    x = states.values[:, :, 0].astype(np.float64)
    lengths = np.linalg.norm(x, axis=-1)
    along = np.einsum("phd,kd->kph", x, units)
    return np.asarray(along / np.where(lengths > 0, lengths, 1.0))
