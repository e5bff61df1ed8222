"""Run folders, the journal of finished units, and what panels hand to the report."""

from theodolite.runs.journal import Journal
from theodolite.runs.panel import (
    PROFILES,
    Cost,
    Figure,
    Panel,
    PanelContext,
    PanelResult,
    Progress,
    Sample,
)
from theodolite.runs.run import Run

__all__ = [
    "PROFILES",
    "Cost",
    "Figure",
    "Journal",
    "Panel",
    "PanelContext",
    "PanelResult",
    "Progress",
    "Run",
    "Sample",
]
