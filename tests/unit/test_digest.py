from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from analysis.digest import canonical_json, digest_array, digest_json, digest_strings

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_order_of_keys_does_not_matter(value: dict) -> None:
    turned = dict(reversed(value.items()))
    assert digest_json(value) == digest_json(turned)


def test_canonical_form_is_written_out() -> None:
    value = {"b": (1, 2.5), "a": {"é": None}, "c": np.float32(0.5), "d": {3, 1}}
    assert canonical_json(value) == '{"a":{"é":null},"b":[1,2.5],"c":0.5,"d":[1,3]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, -math.inf]])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        digest_json(value)
    with pytest.raises(TypeError, match="no JSON form"):
        digest_json(object())


@given(nps.arrays(np.float32, nps.array_shapes(max_dims=3, max_side=4)))
def test_arrays_are_known_by_content_not_layout(array: np.ndarray) -> None:
    assert digest_array(array) == digest_array(np.asfortranarray(array))
    assert digest_array(array) == digest_array(array.astype(">f4"))
    assert digest_array(array) != digest_array(array.astype(np.float64))
    assert digest_array(array) != digest_array(array[None])


def test_array_digest_against_plain_sha256() -> None:
    array = np.arange(12, dtype="<i4").reshape(3, 4)
    plain = hashlib.sha256(b'["<i4",[3,4]]' + array.tobytes()).hexdigest()
    assert digest_array(array) == plain


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_strings_do_not_run_into_each_other(one: list[str], two: list[str]) -> None:
    assert (digest_strings(one) == digest_strings(two)) == (one == two)
