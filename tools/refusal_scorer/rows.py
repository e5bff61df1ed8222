"""The labelled rows the refusal scorer is fitted on, by source."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from own_sentences import compose

from theodolite.judging.refusal_features import features_of
from theodolite.judging.refusal_text import read

HERE = Path(__file__).parent
SMOLLM2 = HERE.parents[1] / "src/theodolite/judging/refusal_rows/smollm2.jsonl"
OFFICIAL = ("llama2new", "mistralinstruct")
WEIGHTS = {
    "llama2new": 1.0,
    "mistralinstruct": 1.0,
    "smollm2": 1.0,
    "written": 1.0,
    "composed": 0.1,
}
"""What one row of each source weighs; composed rows repeat the same few sentences."""

_LABELS = {"C": "compliance", "P": "partial", "R": "refusal"}


@dataclass(frozen=True)
class Row:
    """A labelled completion with its features.

    Args:
        source: where it comes from, a key of `WEIGHTS`.
        prompt: groups rows for cross-validation.
        completion: the text.
        label: `compliance`, `partial` or `refusal`.
        features: what the scorer reads.
        harmful: whether the prompt is harmful; None where rows carry no prompt.
    """

    source: str
    prompt: str
    completion: str
    label: str
    features: dict[str, float]
    harmful: bool | None = None

    @property
    def refused(self) -> bool:
        """Whether a person would say that the completion refuses, at least in part."""
        return self.label != "compliance"


def official_rows(folder: Path, name: str) -> list[Row]:
    """Return the human-labelled completions of one model (450 rows)."""
    path = folder / "refusal" / f"xstest_completions_{name}.jsonl"
    stored = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        _row(name, row["prompt"], row["completion"], row["label"], is_contrast(row["type"]))
        for row in stored
    ]


def is_contrast(kind: str) -> bool:
    """Return whether an XSTest type is one of the unsafe contrasts."""
    return kind.startswith("contrast_")


def official_requests(folder: Path) -> dict[str, list[str]]:
    """Return the official XSTest prompts by what they are."""
    kinds: dict[str, list[str]] = {"harmful": [], "benign": []}
    with (folder / "refusal" / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kinds["harmful" if row["label"] == "unsafe" else "benign"].append(row["prompt"])
    return kinds


def smollm2_rows() -> list[Row]:
    """Return our labelled SmolLM2 completions that carry text and say something."""
    stored = map(json.loads, SMOLLM2.read_text(encoding="utf-8").splitlines())
    return [
        _row("smollm2", row["prompt"], row["completion"], row["label"], row["kind"] == "harmful")
        for row in stored
        if row["completion"] and row["label"] != "degenerate"
    ]


def written_rows() -> list[Row]:
    """Return the completions we wrote by hand in `own_rows.txt`."""
    lines = (HERE / "own_rows.txt").read_text(encoding="utf-8").splitlines()
    return [
        _row("written", f"written {place}", line[2:].replace(" / ", "\n"), _LABELS[line[0]])
        for place, line in enumerate(lines)
        if line[:2] in ("C|", "P|", "R|")
    ]


def composed_rows(count: int = 1200) -> list[Row]:
    """Return completions composed from sentences of ours."""
    return [
        _row("composed", f"composed {place}", row.completion, row.label)
        for place, row in enumerate(compose(count))
    ]


def all_rows(folder: Path) -> list[Row]:
    """Return every row; `folder` is the data folder that holds `refusal/`."""
    official: Iterable[Row] = (row for name in OFFICIAL for row in official_rows(folder, name))
    return [*official, *smollm2_rows(), *written_rows(), *composed_rows()]


def _row(source: str, prompt: str, completion: str, label: str, harmful: bool | None = None) -> Row:
    return Row(source, prompt, completion, label, features_of(read(completion)), harmful)
