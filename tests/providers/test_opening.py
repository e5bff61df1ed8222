"""A second model is the first one only where nothing was done to that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.errors import CapabilityError
from theodolite.models import open_model
from theodolite.providers.opening import open_beside


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


def test_the_same_model_is_not_opened_twice(folder: Path) -> None:
    model = open_model(str(folder))
    assert open_beside(str(folder), model) is model
    assert open_beside(str(folder), None).fingerprint == model.fingerprint


def test_a_model_that_was_changed_is_another_one(folder: Path, tmp_path: Path) -> None:
    plain = open_model(str(folder))
    adapted = open_model(str(folder), adapter=save_adapter(tmp_path / "adapter", folder))
    found = open_beside(str(folder), adapted)
    assert found is not adapted and found.fingerprint == plain.fingerprint
    plain.interventions = (object(),)
    assert open_beside(str(folder), plain) is not plain


def test_a_model_behind_an_api_gives_no_log_probabilities() -> None:
    with pytest.raises(CapabilityError, match="API"):
        open_beside("api:mockllm/model", None)
