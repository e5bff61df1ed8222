"""From a live module to a proven anatomy: its family's row, or any row that passes the check."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from theodolite.errors import UnsupportedArchitecture
from theodolite.models.anatomy import Anatomy, bind, rows_for
from theodolite.models.families import FAMILIES, Family
from theodolite.models.selfcheck import check_anatomy
from theodolite.text.display import escape


def prove(module: nn.Module) -> Anatomy:
    """Return the anatomy of a causal language model after the self-check has passed.

    A family without a row is tried with every row of the table whose names fit; a row counts only
    if the self-check proves it.

    Raises:
        UnsupportedArchitecture: no row fits, with the first identity that failed.
    """
    config = cast(Any, module).config
    known = rows_for(config)
    first: UnsupportedArchitecture | None = None
    for row in known or _distinct_rows():
        try:
            anatomy = bind(module, config.model_type, row)
            check_anatomy(module, anatomy)
        except UnsupportedArchitecture as error:
            first = first or error
        else:
            return anatomy
    if known and first is not None:
        raise first
    raise UnsupportedArchitecture(
        f"The family '{escape(config.model_type, 40)}' has no row of its own, and no other row "
        + (f"fits: {first.message}" if first else "fits."),
        fix="Use a model of a supported family (docs/models.md lists them).",
    ) from first


def _distinct_rows() -> list[Family]:
    rows: list[Family] = []
    for family in FAMILIES.values():
        rows += [row for row in family if row not in rows]
    return rows
