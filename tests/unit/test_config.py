from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.config import Config, field
from analysis.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(Config):
    sides: tuple[int, ...] = field((1, 2), "two sides")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Config):
    rate: float = field(0.5, "share of images", low=0, high=1)
    kind: str = field("a", "which kind", choices=("a", "b"))
    limit: int | None = field(None, "at most this many", low=1)
    margin: float = field(1.0, "how far", low=0)
    flag: bool = field(False, "on or off")
    threads: int = field(1, "CPU threads", low=1, provenance=True)
    inner: Inner = field(Inner(), "nested")  # noqa: RUF009 - frozen, so sharing is safe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 1.5}, ["rate = 1.5", "from 0 to 1", "Share of images"]),
        ({"rate": math.nan}, ["rate = nan", "from 0 to 1"]),
        ({"rate": "x"}, ["rate = 'x'", "float"]),
        ({"kind": "c"}, ["kind = 'c'", "one of a, b"]),
        ({"limit": 0}, ["limit = 0", "at least 1"]),
        ({"margin": math.inf}, ["margin = inf", "at least 0"]),
        ({"limit": True}, ["limit = True"]),
        ({"flag": 1}, ["flag = 1", "bool"]),
        ({"inner": (1, 2)}, ["inner = (1, 2)", "Inner"]),
    ],
)
def test_wrong_values_are_refused_with_their_name(values: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Sample(**values)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'rat'\. Did you mean 'rate'"):
        Sample.from_mapping({"rat": 0.1})


def test_numbers_take_the_field_s_type() -> None:
    sample = Sample(rate=1, inner=Inner(sides=[3, 4]))
    assert isinstance(sample.rate, float)
    assert sample.inner.sides == (3, 4)
    assert Sample.from_mapping(sample.key() | {"threads": 1}) == sample, "nested ones too"


@given(st.floats(0, 1), st.sampled_from("ab"), st.integers(1, 9))
def test_digest_follows_content_and_ignores_provenance(rate: float, kind: str, n: int) -> None:
    one, two = Sample(rate=rate, kind=kind), Sample(rate=rate, kind=kind, threads=n)
    assert one.digest() == two.digest()
    assert Sample(rate=rate, kind=kind, limit=n).digest() != one.digest()
    assert Sample.from_mapping({"rate": rate, "kind": kind}) == one
