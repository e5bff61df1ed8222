"""Audits of tiny models: no real model is opened beside them, and nothing fills their windows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit.small_panels import make_small


@pytest.fixture(scope="package", autouse=True)
def small_panels() -> Iterator[None]:
    """Leave out second, real models, and stages that a tiny model cannot read."""
    before = make_small()
    yield
    for module, name, value in before:
        setattr(module, name, value)
