"""Laws that every layer similarity obeys; a new one in the registry is held to them as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.divergence.hsic import LayerCKA
from analysis.divergence.layers import SIMILARITIES

Layers = tuple[np.ndarray, np.ndarray, np.random.Generator]


@st.composite
def layers(draw: st.DrawFn) -> Layers:
    """Two layers of the same samples, more or less related, and what to draw rotations with."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(16, 40))
    widths = draw(st.tuples(st.integers(2, 12), st.integers(2, 12)))
    noise = draw(st.sampled_from([0.0, 0.3, 2.0]))
    first = rng.normal(size=(count, widths[0]))
    mixed = first @ rng.normal(size=widths) + noise * rng.normal(size=(count, widths[1]))
    return first, mixed, rng


def rotation(width: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(width, width)))[0]


@pytest.mark.parametrize("name", SIMILARITIES)
@given(layers())
@settings(max_examples=25, deadline=None)
def test_a_layer_is_like_itself_and_the_measure_symmetric(name: str, drawn: Layers) -> None:
    first, second, _ = drawn
    measure = SIMILARITIES[name]
    assert measure.value(first, first) == pytest.approx(1, abs=1e-6)
    value = measure.value(first, second)
    assert value == pytest.approx(measure.value(second, first), abs=1e-6)
    assert measure.low - 1e-6 <= value <= 1 + 1e-6


@pytest.mark.parametrize("name", SIMILARITIES)
@given(layers(), st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_rotation_and_isotropic_scale_change_nothing(
    name: str, drawn: Layers, scale: float
) -> None:
    first, second, rng = drawn
    turned = scale * first @ rotation(first.shape[1], rng)
    measure = SIMILARITIES[name]
    # Near ties may be resolved in another order after rounding: k-NN counts in steps.
    assert measure.value(turned, second) == pytest.approx(measure.value(first, second), abs=2e-3)
    assert measure.value(turned, first) == pytest.approx(1, abs=2e-3)


@given(layers(), st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_streamed_cka_obeys_the_same_laws(drawn: Layers, parts: int) -> None:
    first, second, rng = drawn

    def streamed(one: np.ndarray, two: np.ndarray) -> float:
        cka = LayerCKA()
        for rows in np.array_split(np.arange(len(one)), parts):
            cka.add((one[rows] @ one[rows].T)[None], (two[rows] @ two[rows].T)[None])
        return float(cka.values[0, 0])

    assert streamed(first, first) == pytest.approx(1)
    assert streamed(first, second) == pytest.approx(streamed(second, first))
    turned = 7 * first @ rotation(first.shape[1], rng) + 3
    assert streamed(turned, second) == pytest.approx(streamed(first, second), abs=1e-6)
