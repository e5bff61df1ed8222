"""Keys and seeds are fixed for ever: stored runs depend on them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from theodolite.text.hashing import content_key, item_seed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def test_keys_never_change():
    assert content_key("a", 1, {"b": None}) == "b1be2fbe696c6cab8d545c45c9d8e4c4"
    assert item_seed(0, "item-7") == 8717713001450286194


@given(st.lists(JSON, max_size=3))
def test_shape_and_range(parts):
    assert len(content_key(*parts)) == 32
    assert 0 <= item_seed(3, *parts) < 2**63


def test_order_of_keys_does_not_matter_but_order_of_parts_does():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key("a", "b") != content_key("b", "a") != content_key("ba")


def test_unpaired_surrogates_have_keys():
    assert content_key("\ud800") != content_key("\ud801")
