"""What a scorer's numbers mean on rows that people labelled: a curve, and a threshold.

Scorers that agree on which text is worse still differ in what 0.5 means. An isotonic curve turns a
score into the share of labelled texts of that score that are toxic, and the threshold is chosen by
the share of harmless texts it may call toxic, not by the round number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np

from theodolite.data.records import Place, read_records
from theodolite.errors import ConfigError, DataError
from theodolite.judging.toxicity import TextScorer, score_texts
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, JudgeQuality, Measurement

NAME: Final = "calibration"
FALSE_POSITIVES: Final = 0.05
_YES: Final = frozenset({"1", "true", "yes", "toxic"})
_NO: Final = frozenset({"0", "false", "no", "harmless", "not toxic"})


class LabelledText(NamedTuple):
    """A text and whether people call it toxic."""

    text: str
    toxic: bool


@dataclass(frozen=True)
class ScoreCalibration:
    """A scorer on labelled texts.

    Args:
        scorer: its id.
        n, positives: labelled texts that have a score, and the toxic ones among them.
        scores, shares: the corners of the curve from score to share of toxic texts; both rise.
        threshold: a text is toxic where its score is above.
        false_positives: the share of harmless texts above the threshold that was allowed.
    """

    scorer: str
    n: int
    positives: int
    scores: tuple[float, ...]
    shares: tuple[float, ...]
    threshold: float
    false_positives: float

    def share(self, score: float) -> float:
        """Return the share of toxic texts at a score; beyond the curve, that of its end."""
        return float(np.interp(score, self.scores, self.shares))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Rebuild a calibration from `as_dict` output.

        Raises: DataError: a key is missing or unknown.
        """
        if set(row) != set(cls.__dataclass_fields__):
            raise DataError(
                "A stored calibration has missing or unknown keys.", fix="Calibrate again."
            )
        curve = {key: tuple(row[key]) for key in ("scores", "shares")}
        return cls(**{**row, **curve})


def calibrate(
    scorer: TextScorer,
    rows: Sequence[LabelledText],
    *,
    false_positives: float = FALSE_POSITIVES,
    name: str = NAME,
) -> tuple[ScoreCalibration, list[Measurement]]:
    """Return a scorer's calibration on labelled texts, and how good it is there.

    Args:
        scorer: of toxicity.
        rows: labelled texts of both kinds.
        false_positives: the share of harmless texts that may lie above the threshold.
        name: the front of the figures' names.

    Returns: the calibration; and `<name>/sensitivity` and `<name>/false_positives` at its
        threshold, measured on the rows it was chosen on.

    Raises:
        ConfigError: the share allowed is not between 0 and 1.
        DataError: the rows that have a score are all of one kind.
    """
    if not 0 < false_positives < 1:
        raise ConfigError(
            f"The share of false positives {false_positives} is not between 0 and 1.",
            fix="Give one like 0.05.",
        )
    found = [
        (one.value, row.toxic)
        for one, row in zip(score_texts(scorer, [row.text for row in rows]), rows)
        if one.value is not None
    ]
    scores, toxic = np.array([s for s, _ in found]), np.array([t for _, t in found], bool)
    if len({bool(label) for label in toxic}) < 2:
        raise DataError(
            "The labelled texts that have a score are all of one kind.",
            fix="Give toxic and harmless ones.",
        )
    threshold = threshold_at(scores[~toxic].tolist(), false_positives)
    corners, shares = _curve(scores, toxic)
    made = ScoreCalibration(
        scorer.id, len(found), int(toxic.sum()), corners, shares, threshold, false_positives
    )
    above = scores > threshold
    sides = (("sensitivity", above[toxic]), ("false_positives", above[~toxic]))
    return made, [
        proportion(
            f"{name}/{part}",
            outcomes.tolist(),
            floor=Floor("calling nothing toxic", 0.0),
            judge=JudgeQuality(scorer.id, None, None, None),
            reason="on the rows that the threshold was chosen on",
        )
        for part, outcomes in sides
    ]


def threshold_at(harmless: Sequence[float], false_positives: float) -> float:
    """Return the lowest threshold that at most a share of harmless scores lies above.

    Args:
        harmless: scores of harmless texts, at least one; axis (text).
        false_positives: the share, 0 to 1. Where it allows less than one text, none lies above.
    """
    falling = sorted(harmless, reverse=True)
    return falling[min(int(len(falling) * false_positives + 1e-9), len(falling) - 1)]


def read_labelled(path: Path | str) -> list[LabelledText]:
    """Return the labelled texts of a file with the columns `text` and `label`.

    Args:
        path: a .csv, .tsv, .jsonl, .json or .parquet file; a label is 1 or 0, true or false, yes or
            no, toxic or harmless.

    Raises: DataError: a field is missing or a label unknown; names file, line and field.
    """
    rows = []
    for record in read_records(Path(path)):
        place = Place(Path(path), record.line)
        text, label = record.values.get("text"), record.values.get("label")
        if not isinstance(text, str) or not text.strip():
            raise place._replace(field="text").error("there is no text.", "Give every row one.")
        said = str(label).strip().lower()
        if said not in _YES | _NO:
            raise place._replace(field="label").error(
                "the label is not known.", "Use 1 for toxic and 0 for harmless."
            )
        rows.append(LabelledText(text, said in _YES))
    return rows


def _curve(scores: Any, toxic: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the corners of the isotonic regression of labels on scores."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(scores, toxic.astype(float))
    return tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_))
