"""Audits of tiny models: no real model is opened beside them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from theodolite.behaviour.debateqa import panel
from theodolite.behaviour.debateqa.evaluation import NONE


@pytest.fixture(scope="package", autouse=True)
def no_scorer() -> Iterator[None]:
    """Leave out what a second, real model would foretell."""
    before, panel.SCORER = panel.SCORER, NONE
    yield
    panel.SCORER = before
