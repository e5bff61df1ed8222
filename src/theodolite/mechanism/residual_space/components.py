"""Components by name: of a space that a run holds, or of one that is fitted here and now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import ConfigError
from theodolite.mechanism.directions.direction import Direction, parse_component
from theodolite.mechanism.requests import TRAIN, read_requests
from theodolite.mechanism.residual_space.collect import collect_pair
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.runs.run import Run
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.explain import Subject

# A space is fitted on so many pairs where none was fitted before.
PAIRS: Final = 24
# A depth without a component, like L14, stands for so many of its leading ones.
LEADING: Final = 5
_DEPTH: Final = re.compile(r"L([0-9]+)")


def check_space(space: str | None) -> None:
    """Refuse a run folder that is not there.

    Raises: ConfigError: there is no such folder.
    """
    if space is not None and not Path(space).is_dir():
        raise ConfigError(f"There is no run folder {escape(space, 200)}.", fix="Check -T space=.")


def depth_of(name: str) -> int:
    """Return the hidden_index of a name like L14-C6, or like L14.

    Raises: ConfigError: it is no such name.
    """
    bare = _DEPTH.fullmatch(name)
    return int(bare[1]) if bare else parse_component(name)[0]


def named_components(
    subject: Subject,
    names: Sequence[str],
    *,
    space: str | None,
    position: str,
    seed: int,
    **kept: Any,
) -> tuple[list[Direction], str]:
    """Return components by name, and where they come from in words.

    Args:
        subject: holds the pair of models that a space is fitted on.
        names: like L14-C6, or like L14 for the leading components there; of one depth or several.
        space: a run folder of `explain residual-space`; None fits one.
        position: where a fitted space is read.
        kept: journal and progress.

    Raises: ConfigError: a name says no component that there is, or there is neither a space nor a
        model before training to fit one.
    """
    depths = sorted({depth_of(name) for name in names})
    if space is not None:
        found = ResidualSpace.load(Run.open(Path(space)))
        where = f"Components of the space in {escape(Path(space).name, 80)}."
    elif subject.pair is not None:
        train = [p for p in study_prompts(read_requests(None, None), PAIRS) if p.split == TRAIN]
        paired = collect_pair(
            *(subject.pair, train),
            positions=(position,),
            template=subject.template,
            hidden_indices=depths,
            **kept,
        )
        found = ResidualSpace.fit(paired, quality=False, resamples=0, seed=seed)
        where = f"Components of the space of {PAIRS} training pairs of the bundled set."
    else:
        raise ConfigError(
            f"{escape(names[0], 80)} is a component of a residual space, and none is given.",
            fix="Name a run of `explain residual-space` with -T space=RUN, or the model before "
            "training with --base.",
        )
    return [one for name in names for one in _called(found, name)], where


def _called(space: ResidualSpace, name: str) -> tuple[Direction, ...]:
    if _DEPTH.fullmatch(name) is None:
        return (space[name],)
    # An empty depth has no first component, and the space says so.
    return space.directions(depth_of(name), LEADING) or (space[f"{name}-C1"],)
