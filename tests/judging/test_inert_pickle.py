"""A pickle is read for its numbers and words; nothing in it is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import DataError
from theodolite.judging.inert_pickle import Name, Record, read_inert

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


class Touches:
    """Runs code when it is unpickled: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@settings(max_examples=50)
@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert read_inert(pickle.dumps(value, protocol=5)) == value


def test_what_would_run_is_a_record_and_runs_not(tmp_path: Path) -> None:
    target = tmp_path / "made"
    data = pickle.dumps({"harmless": 1, "other": Touches(target)}, protocol=5)
    found = read_inert(data)
    assert found["harmless"] == 1
    assert isinstance(found["other"], Record)
    assert "touch" in str(found["other"]) or "getattr" in str(found["other"])
    assert not target.exists()
    pickle.loads(data)
    assert target.exists()  # the same bytes do run where they are unpickled


def test_a_named_function_stays_a_name() -> None:
    assert read_inert(pickle.dumps(len, protocol=5)) == Name("builtins.len")


def test_joblib_arrays_are_read_with_their_shape_and_order(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    arrays = {
        "c": np.arange(12, dtype=np.float64).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "number": np.float64(2.5),
        "none": np.zeros((0, 3)),
    }
    arrays["again"] = arrays["c"]
    path = tmp_path / "arrays.joblib"
    joblib.dump(arrays, path)
    found = read_inert(path.read_bytes())
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array), name


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "objects.joblib"
    joblib.dump(np.array([{"a": 1}, "b"], dtype=object), path)
    with pytest.raises(DataError):
        read_inert(path.read_bytes())


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "short.joblib"
    joblib.dump(np.arange(100.0), path)
    with pytest.raises(DataError, match="broken"):
        read_inert(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "broken"),
        (b"\x80\x05", "broken"),
        (pickle.dumps([1, 2])[:-1], "broken"),
        (b"cos\nsystem\n.", "the step GLOBAL, not known here"),
        (b"\x80\x05N\x85R.", "broken|calls what is no name"),
        (b"\x80\x05NN\x85R.", "calls what is no name"),
        (b"\x80\x05NNb.", "sets the state of what is no object"),
    ],
)
def test_broken_or_unknown_steps_are_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_inert(data)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_one_error(data: bytes) -> None:
    try:
        read_inert(data)
    except DataError as error:
        assert error.fix
