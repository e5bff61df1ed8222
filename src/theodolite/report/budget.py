"""Sizes: what keeps a report under five megabytes whatever a run holds."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_REPORT = 5_000_000
# The drawing library takes two megabytes of the page; these leave room for what has no budget.
FIGURE_BYTES = 700_000
SAMPLE_BYTES = 700_000
TABLE_BYTES = 700_000
WORD_BYTES = 600_000

ROWS_PER_TABLE = 300
COLUMNS_PER_TABLE = 30
FIGURES_PER_PANEL = 40
TABLES_PER_PANEL = 40
MEASUREMENTS_PER_PANEL = 200
SAMPLES_PER_PANEL = 200
TOKEN_MAPS_PER_PANEL = 60
TOKENS_PER_MAP = 600
SENTENCES = 40
TEXT_CHARACTERS = 6_000
CELL_CHARACTERS = 200
LINE_CHARACTERS = 1_000
NAME_CHARACTERS = 120


@dataclass
class Budget:
    """Bytes still free for one kind of content; earlier panels come first."""

    left: int

    def take(self, size: int) -> bool:
        """Use `size` bytes, or return False and use none."""
        if size > self.left:
            return False
        self.left -= size
        return True
