"""What the literature reports of models on a benchmark, as facts in its `published.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.text.suggest import did_you_mean

BOARDS: Final[Mapping[str, str]] = {"mr-ben": "theodolite.behaviour.mr_ben"}


@dataclass(frozen=True)
class Published:
    """One model of a leaderboard.

    Args:
        model: its name there.
        scores: in percent, by worked examples shown.
        source: where the figure stands.
        confidence: how it got here, e.g. `project page`.
    """

    model: str
    scores: Mapping[int, float]
    source: str
    confidence: str


def published(name: str) -> tuple[Published, ...]:
    """Return the models of a benchmark's leaderboard, in the order of its file.

    Raises: ConfigError: there is no leaderboard of that name.
    """
    import yaml

    if name not in BOARDS:
        raise ConfigError(f"There is no leaderboard {shown(name)}.", fix=did_you_mean(name, BOARDS))
    file = resources.files(BOARDS[name]) / "published.yaml"
    facts = yaml.safe_load(file.read_text("utf-8"))
    source = " ".join(str(facts.get("source", "")).split())
    return tuple(_entry(row, source) for row in _listed(facts))


def _listed(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the models of the first figures that are given by worked examples shown."""
    for figures in facts["figures"]:
        models = figures.get("models") or {}
        if models and all("k0" in scores for scores in models.values()):
            how = {"confidence": figures.get("confidence", "")}
            return [{"model": model, **scores, **how} for model, scores in models.items()]
    return []


def _entry(row: Mapping[str, Any], source: str) -> Published:
    return Published(
        model=str(row["model"]),
        scores={k: float(row[f"k{k}"]) for k in (0, 1) if row.get(f"k{k}") is not None},
        source=source,
        confidence=str(row.get("confidence") or ""),
    )
