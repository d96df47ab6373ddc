"""A filter leaves the rows that its expression, read by an independent evaluator, says."""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.table import COLUMNS, named
from dashboard.table_filter import check_filter
from dashboard.table_rows import kinds_of, ordered_rows, rows_where

NAMES = ("stop", "Stop ahead", "it's", "éclair", "100 %", "a_b", "")
N = 61


def _table() -> pa.Table:
    draw = np.random.default_rng(3)
    columns: dict[str, pa.Array] = {}
    for column in COLUMNS.values():
        gone = draw.random(N) < 0.15
        if column.kind == "text":
            columns[column.name] = named(np.where(gone, -1, draw.integers(0, len(NAMES), N)), NAMES)
        elif column.kind == "truth":
            columns[column.name] = pa.array(draw.random(N) < 0.5, mask=gone)
        else:
            values = draw.choice([-2.5, -1.0, 0.0, 0.5, 1.0, 1.5, 3.0], N)
            columns[column.name] = pa.array(values, mask=gone)
    return pa.table(columns)


TABLE = _table()
ROWS: list[dict[str, Any]] = TABLE.to_pylist()

Value = Any
Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """A piece of an expression, and what it is worth on a row; None is null."""

    text: str
    of: Callable[[Row], Value]


def strict(function: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *values: None if any(v is None for v in values) else function(*values)


def key(value: Value) -> Value:
    """NaN equals itself and is the largest number."""
    return (math.isnan(value), 0.0 if math.isnan(value) else value) if is_float(value) else value


def is_float(value: Value) -> bool:
    return isinstance(value, float)


def rounded(value: float) -> float:
    if not math.isfinite(value):
        return value
    exact = decimal.Decimal(value).to_integral_value(decimal.ROUND_HALF_UP)
    return float(exact)


def whole(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: float(function(value)) if math.isfinite(value) else value


def divided(a: float, b: float) -> float | None:
    return None if b == 0 else a / b


def remainder(a: float, b: float) -> float | None:
    if b == 0:
        return None
    return math.nan if math.isinf(a) or math.isnan(a) or math.isnan(b) else math.fmod(a, b)


ARITHMETIC: dict[str, Callable[..., Value]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": divided,
    "%": remainder,
}
COMPARED: dict[str, Callable[..., bool]] = {
    "=": lambda a, b: key(a) == key(b),
    "<>": lambda a, b: key(a) != key(b),
    "!=": lambda a, b: key(a) != key(b),
    "<": lambda a, b: key(a) < key(b),
    "<=": lambda a, b: key(a) <= key(b),
    ">": lambda a, b: key(a) > key(b),
    ">=": lambda a, b: key(a) >= key(b),
}
NUMERIC: dict[str, Callable[..., float]] = {
    "abs": abs,
    "round": rounded,
    "floor": whole(math.floor),
    "ceil": whole(math.ceil),
}
SEARCHED: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda a, b: b in a,
    "starts_with": lambda a, b: a.startswith(b),
    "ends_with": lambda a, b: a.endswith(b),
}


def quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def like(value: str, pattern: str) -> bool:
    parts = {"%": ".*", "_": "."}
    return bool(
        re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), value, re.DOTALL)
    )


def columns_of(kind: str) -> st.SearchStrategy[Said]:
    names = [name for name, column in COLUMNS.items() if column.kind == kind]

    def column(name: str, how: int) -> Said:
        written = [name, name.upper(), f'"{name}"'][how]
        return Said(written, lambda row: row[name])

    return st.builds(column, st.sampled_from(names), st.integers(0, 2))


def literal(value: float) -> Said:
    return Said(repr(value), lambda row: float(value))


texts_said = columns_of("text") | st.sampled_from(NAMES).map(lambda t: Said(quoted(t), lambda _: t))
numbers_said = (
    columns_of("number")
    | st.sampled_from([0, 1, 2, 0.5, 1.5, 1e300]).map(literal)
    | st.just(Said("null", lambda row: None))
)


def lowered(inner: Said) -> Said:
    return Said(f"lower({inner.text})", lambda row: strict(str.lower)(inner.of(row)))


def first_known(a: Said, b: Said) -> Said:
    return Said(
        f"COALESCE({a.text}, {b.text})",
        lambda row: b.of(row) if a.of(row) is None else a.of(row),
    )


def combined(sign: str, a: Said, b: Said) -> Said:
    return Said(
        f"({a.text} {sign} {b.text})", lambda row: strict(ARITHMETIC[sign])(a.of(row), b.of(row))
    )


def called(name: str, a: Said) -> Said:
    return Said(f"{name}({a.text})", lambda row: strict(NUMERIC[name])(a.of(row)))


def minus(a: Said) -> Said:
    return Said(f"-({a.text})", lambda row: strict(lambda x: -x)(a.of(row)))


def extreme(name: str, parts: list[Said]) -> Said:
    pick: Any = max if name == "greatest" else min

    def of(row: Row) -> Value:
        known = [v for v in (part.of(row) for part in parts) if v is not None]
        return pick(known, key=key) if known else None

    return Said(f"{name}({', '.join(part.text for part in parts)})", of)


def counted(a: Said) -> Said:
    return Said(f"length({a.text})", lambda row: strict(lambda t: float(len(t)))(a.of(row)))


texts = st.recursive(
    texts_said,
    lambda inner: inner.map(lowered) | st.builds(first_known, inner, inner),
    max_leaves=3,
)
numbers = st.recursive(
    numbers_said | texts.map(counted),
    lambda inner: (
        st.builds(combined, st.sampled_from(list(ARITHMETIC)), inner, inner)
        | st.builds(called, st.sampled_from(list(NUMERIC)), inner)
        | inner.map(minus)
        | st.builds(
            extreme, st.sampled_from(["greatest", "least"]), st.lists(inner, min_size=2, max_size=3)
        )
        | st.builds(first_known, inner, inner)
    ),
    max_leaves=5,
)


def compared(sign: str, a: Said, b: Said) -> Said:
    return Said(
        f"{a.text} {sign} {b.text}", lambda row: strict(COMPARED[sign])(a.of(row), b.of(row))
    )


def distinct(no: bool, a: Said, b: Said) -> Said:
    def of(row: Row) -> bool:
        first, second = a.of(row), b.of(row)
        gone = first is None or second is None
        return (first is second if gone else key(first) == key(second)) == no

    return Said(f"{a.text} IS {'NOT ' if no else ''}DISTINCT FROM {b.text}", of)


def between(a: Said, low: Said, high: Said) -> Said:
    def of(row: Row) -> Value:
        value = a.of(row)
        above = strict(COMPARED[">="])(value, low.of(row))
        below = strict(COMPARED["<="])(value, high.of(row))
        return all_of([above, below])

    return Said(f"{a.text} between {low.text} and {high.text}", of)


def among(no: bool, a: Said, others: list[Said]) -> Said:
    def of(row: Row) -> Value:
        hits = [strict(COMPARED["="])(a.of(row), other.of(row)) for other in others]
        found = any_of(hits)
        return found if not no or found is None else not found

    listed = ", ".join(other.text for other in others)
    return Said(f"{a.text} {'not ' if no else ''}in ({listed})", of)


def null_test(no: bool, a: Said) -> Said:
    return Said(f"{a.text} is {'not ' if no else ''}null", lambda row: (a.of(row) is None) != no)


def searched(name: str, a: Said, b: Said) -> Said:
    return Said(
        f"{name}({a.text}, {b.text})", lambda row: strict(SEARCHED[name])(a.of(row), b.of(row))
    )


def liked(no: bool, either: bool, a: Said, pattern: str) -> Said:
    def of(value: str) -> bool:
        found = like(value.lower(), pattern.lower()) if either else like(value, pattern)
        return found != no

    word = f"{'not ' if no else ''}{'ilike' if either else 'LIKE'}"
    return Said(f"{a.text} {word} {quoted(pattern)}", lambda row: strict(of)(a.of(row)))


def matched(whole_text: bool, a: Said, pattern: str) -> Said:
    find = re.fullmatch if whole_text else re.search
    sign = "similar to" if whole_text else "~"
    return Said(
        f"{a.text} {sign} {quoted(pattern)}",
        lambda row: strict(lambda text: bool(find(pattern, text)))(a.of(row)),
    )


def all_of(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def any_of(values: list[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def joined(word: str, parts: list[Said]) -> Said:
    fold = all_of if word == "and" else any_of
    return Said(
        "(" + f" {word} ".join(f"({part.text})" for part in parts) + ")",
        lambda row: fold([part.of(row) for part in parts]),
    )


def negated(a: Said) -> Said:
    return Said(f"not ({a.text})", lambda row: strict(lambda x: not x)(a.of(row)))


def is_truth(no: bool, value: bool, a: Said) -> Said:
    word = str(value).lower()
    return Said(
        f"({a.text}) is {'not ' if no else ''}{word}", lambda row: (a.of(row) is value) != no
    )


signs, flags = st.sampled_from(list(COMPARED)), st.booleans()
alike = st.one_of(st.tuples(numbers, numbers), st.tuples(texts, texts))
patterns = st.sampled_from(["%", "%a%", "stop", "S%", "_top", "%e%d", "100 \\%", "", "%%a"])
searches = st.sampled_from(["a", "^s", "[a-s]{2}", "o.*a", "(?i)STOP", "a|b", "it's"])
simple = st.one_of(
    columns_of("truth"),
    st.builds(lambda sign, two: compared(sign, *two), signs, alike),
    st.builds(lambda no, two: distinct(no, *two), flags, alike),
    st.builds(between, numbers, numbers, numbers),
    st.builds(among, flags, numbers, st.lists(numbers_said, min_size=1, max_size=3)),
    st.builds(among, flags, texts, st.lists(texts_said, min_size=1, max_size=3)),
    st.builds(null_test, flags, texts_said | numbers_said),
    st.builds(searched, st.sampled_from(list(SEARCHED)), texts, texts),
    st.builds(liked, flags, flags, texts, patterns.filter(lambda p: "\\" not in p)),
    st.builds(matched, flags, texts, searches),
)
truths = st.recursive(
    simple,
    lambda inner: (
        st.builds(joined, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
        | inner.map(negated)
        | st.builds(is_truth, flags, flags, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=120, deadline=None)
@given(truths)
def test_a_filter_leaves_what_its_expression_says(said: Said) -> None:
    expected = [said.of(row) is True for row in ROWS]
    assert rows_where(TABLE, said.text).tolist() == expected, said.text


@settings(max_examples=40, deadline=None)
@given(truths)
def test_what_was_written_anew_reads_as_itself(said: Said) -> None:
    kinds = kinds_of(TABLE)
    once = check_filter(said.text, kinds)
    if len(once.sql) <= 1000 and "CAST" not in once.sql and "nullif" not in once.sql:
        assert check_filter(once.sql, kinds).sql == once.sql


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(TABLE.column_names), flags, st.integers(0, 2**32 - 1), st.integers(12, 40))
def test_pages_follow_one_another_in_the_order_of_a_column(
    by: str, descending: bool, seed: int, size: int
) -> None:
    mask = np.random.default_rng(seed).random(N) < 0.8
    pages = [
        ordered_rows(TABLE, mask, by=by, descending=descending, start=start, count=size)
        for start in range(0, N, size)
    ]
    kept = [row for row in range(N) if mask[row] and ROWS[row][by] is not None]
    expected = sorted(kept, key=lambda row: ROWS[row][by], reverse=descending)
    if descending:  # reversing would turn equal values around
        expected = sorted(kept, key=lambda row: row)
        expected.sort(key=lambda row: ROWS[row][by], reverse=True)
    nulls = [row for row in range(N) if mask[row] and ROWS[row][by] is None]
    assert np.concatenate(pages).tolist() == expected + nulls
