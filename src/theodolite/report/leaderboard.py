"""Place a finished run among the figures of the literature, and say what keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.leaderboards import Published, published
from theodolite.behaviour.mr_ben.scoring import MEAN, NAME, scope
from theodolite.data.mr_ben import SUBJECTS
from theodolite.data.prompts import shown
from theodolite.errors import DataError, RunError
from theodolite.measure.measurement import Measurement
from theodolite.runs.run import Run

OFFICIAL: Final = "official"
FULL: Final = "full"
_SHOWN: Final = (0, 1)


@dataclass(frozen=True)
class Leaderboard:
    """A leaderboard as a table.

    Args:
        rows: one per model, best first; scores are in percent.
        sentences: what a reader must know of them.
    """

    rows: tuple[Mapping[str, Any], ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Placed:
    """A run as far as a leaderboard is concerned.

    Args:
        score: its MR-Score, or the bounds of it.
        differs: in what it is no run of the leaderboard, in words.
    """

    model: str
    k_shot: int
    score: Measurement
    subjects: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def column(self) -> int:
        """The published column that it stands in."""
        return min(self.k_shot, _SHOWN[-1])

    @property
    def measured(self) -> bool:
        """Whether there is a value, and not bounds alone."""
        return self.score.value is not None

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The interval of the score; without a score, what it lies between."""
        if self.measured:
            return self.score.low, self.score.high
        return self.score.unscored.low, self.score.unscored.high

    @property
    def placed_by(self) -> float:
        """The score, or the least it can be."""
        value = self.score.value if self.measured else self.score.unscored.low
        if value is None:
            raise DataError(
                f"The run of {shown(self.model)} has no MR-Score and no bounds of it.",
                fix="Score answers with the mode full.",
            )
        return value


def place(path: Path | None, name: str = NAME) -> Leaderboard:
    """Return a benchmark's leaderboard, with a run in its place where one is given.

    Args:
        path: folder of a finished run of the benchmark; None gives the published figures alone,
            ordered by those without worked examples.
        name: the benchmark.

    Raises:
        ConfigError: there is no leaderboard of that name.
        RunError: the folder is no finished run of the benchmark.
        DataError: the run has no score that belongs here.
    """
    entries = published(name)
    own = None if path is None else _read(path, name)
    column = 0 if own is None else own.column
    rows = [_published_row(entry, column) for entry in entries if column in entry.scores]
    if own is not None:
        rows.append(_own_row(own))
    # A run that ties with a published model stands behind it.
    rows.sort(key=lambda row: (-row["by"], row["run"]))
    ordered = [
        {"place": place, **{key: value for key, value in row.items() if key != "by"}}
        for place, row in enumerate(rows, 1)
    ]
    return Leaderboard(tuple(ordered), tuple(_sentences(ordered, own, column)))


def _read(path: Path, name: str) -> _Placed:
    run = Run.open(path)
    command = run.manifest["command"]
    if command != f"eval {name}" or not run.finished:
        raise RunError(
            f"{shown(str(path))} is no finished run of `theodolite eval {name}`.",
            fix="See `theodolite runs list`.",
        )
    options = run.manifest["config"].get("task") or {}
    mode = options.get("mode", FULL)
    if mode != FULL:
        raise DataError(
            f"The run's mode {shown(mode)} writes no reasons, so its figures stand beside no "
            "published MR-Score.",
            fix=f"Run `theodolite eval {name}` with the mode full.",
        )
    found = {one.name: one for one in run.load_measurements()}
    score = found.get(f"{name}/{MEAN}/mr_score")
    subjects = tuple(s for s in SUBJECTS if f"{name}/{s}/mr_score" in found)
    if score is None or not subjects:
        raise DataError(
            f"{shown(str(path))} holds no MR-Score of the benchmark's subjects.",
            fix="Name a run on MR-Ben's own subjects.",
        )
    model = str(run.manifest["model"].get("name") or "answers made elsewhere")
    return _Placed(model, int(options.get("k_shot") or 0), score, subjects, _differs(run, options))


def _differs(run: Run, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in what a run was asked something else than the published models."""
    source = options.get("source")
    found = []
    if source != OFFICIAL:
        found.append(f"its questions are from {shown(str(source))}, not the official ones")
    if options.get("limit") is not None:
        found.append(f"it read {options['limit']} questions of each subject alone")
    if options.get("prior") is not None:
        found.append("it was told something about the solutions")
    if options.get("self_refine"):
        found.append("it looked at its answers again")
    if run.manifest["config"].get("responses"):
        found.append("its answers were made elsewhere, so their worked examples are not known")
    return tuple(found)


def _published_row(entry: Published, column: int) -> dict[str, Any]:
    return {
        "model": entry.model,
        "run": False,
        "mr_score": entry.scores[column],
        "low": None,
        "high": None,
        "k0": entry.scores.get(0),
        "k1": entry.scores.get(1),
        "floor": None,
        "subjects": f"mean over all {len(SUBJECTS)} subjects",
        "source": entry.source,
        "confidence": entry.confidence,
        "by": entry.scores[column],
    }


def _own_row(own: _Placed) -> dict[str, Any]:
    low, high = (None if end is None else 100 * end for end in own.ends)
    value = None if own.score.value is None else 100 * own.score.value
    floor = own.score.floor
    return {
        "model": own.model,
        "run": True,
        "mr_score": value,
        "low": low,
        "high": high,
        "k0": value if own.k_shot == 0 else None,
        "k1": value if own.k_shot == 1 else None,
        "floor": None if floor is None else 100 * floor.value,
        "subjects": _scope(own.subjects),
        "source": "this run",
        "confidence": "measured" if own.measured else "bounds: no reason was judged",
        "by": 100 * own.placed_by,
    }


def _scope(subjects: Sequence[str]) -> str:
    """Return how many subjects a mean is over, as short as a table needs it."""
    return scope(subjects).split(" (")[0]


def _sentences(rows: Sequence[Mapping[str, Any]], own: _Placed | None, column: int) -> list[str]:
    of = f"{column} worked example" + ("" if column == 1 else "s")
    said = [f"Published figures are MR-Scores over all 7 subjects with {of}, without intervals."]
    if own is None:
        return said
    at = next(row["place"] for row in rows if row["run"])
    low, high = (None if end is None else 100 * end for end in own.ends)
    model = shown(own.model)
    if own.measured:
        reach = "" if low is None else f" (95 % interval {low:.1f} to {high:.1f})"
        said.append(f"{model} reaches {100 * own.placed_by:.1f}{reach}: place {at} of {len(rows)}.")
    else:
        said.append(
            f"No reason of {model} was judged: its score lies between {low:.1f} and {high:.1f}, "
            f"and it stands at place {at} of {len(rows)} by the lower one."
        )
    floor = own.score.floor
    if floor is not None:
        said.append(_beside_floor(model, 100 * floor.value, floor.name, low))
    if len(own.subjects) < len(SUBJECTS):
        said.append(f"{model} is a {scope(own.subjects)}; its place is for orientation only.")
    if own.k_shot not in _SHOWN:
        said.append(f"{model} was shown {own.k_shot} worked examples, the others {column}.")
    said += [f"{model} is no run of the leaderboard: {why}." for why in own.differs]
    return said


def _beside_floor(model: str, floor: float, name: str, low: float | None) -> str:
    told = f"A {name} reaches {floor:.1f} on the same solutions without any skill"
    if low is not None and low > floor:
        return f"{told}; {model} lies above it."
    return f"{told}; {model} is not clearly above it, and published figures near it show none."
