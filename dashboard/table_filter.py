"""One boolean expression, typed by anybody, as SQL that we wrote ourselves.

DuckDB's parser reads the text into a tree and nothing of it is executed. The tree is walked with
an allowlist and written anew; what the allowlist does not know is refused by name. So a filter
can hold columns, literals, comparisons, ``and``, ``or``, ``not``, arithmetic and a few functions
of one row, and nothing that reads a file, a setting, another table or another row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.errors import InputError, nearest
from dashboard.table import Kind
from dashboard.table_parse import EXPECTED, HIDDEN, HINT, MAX_DEPTH, parse, too_deep

MAX_NODES = 300
MAX_PATTERN = 200

_KINDS = {"text": "a text", "number": "a number", "truth": "true or false", "null": "null"}
_TYPES = {"text": "VARCHAR", "number": "DOUBLE", "truth": "BOOLEAN"}
_COMPARISONS = {
    "COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">", "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=", "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}  # fmt: skip
_ARITHMETIC = ("+", "-", "*", "/", "%")
_LIKES = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of one row: the kinds of its arguments, of its value, how it is written.

    ``open_ended`` repeats the last argument; ``pattern`` makes the last one a literal.
    """

    arguments: tuple[Kind, ...]
    value: Kind
    written: str = ""
    open_ended: bool = False
    pattern: bool = False


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(("number",), "number"),
    "round": Function(("number",), "number"),
    "floor": Function(("number",), "number"),
    "ceil": Function(("number",), "number"),
    "greatest": Function(("number", "number"), "number", open_ended=True),
    "least": Function(("number", "number"), "number", open_ended=True),
    "length": Function(("text",), "number", written="CAST(length({0}) AS DOUBLE)"),
    "lower": Function(("text",), "text"),
    "contains": Function(("text", "text"), "truth"),
    "starts_with": Function(("text", "text"), "truth"),
    "ends_with": Function(("text", "text"), "truth"),
    "regexp_matches": Function(("text", "text"), "truth", pattern=True),
    "regexp_full_match": Function(("text", "text"), "truth", pattern=True),
}
"""The functions that a filter may call, besides ``coalesce``."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked filter: ``sql`` is ours, ``searches`` says whether it holds a pattern."""

    text: str
    sql: str
    searches: bool


@dataclass(frozen=True, slots=True)
class _Part:
    sql: str
    kind: str
    literal: bool = False


def check_filter(text: str, columns: Mapping[str, Kind]) -> Filter:
    """Read ``text`` over ``columns``; raises :class:`InputError` for what is no such filter."""
    tree = parse(text)
    walker = _Walker(columns)
    try:
        part = walker.walk(tree, 0)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            "the filter was read by a DuckDB whose trees this release does not know",
            remedy="install the DuckDB that constraints.txt names",
        ) from error
    if part.kind not in ("truth", "null"):
        raise InputError(f"the filter is {_KINDS[part.kind]}", expected=EXPECTED)
    return Filter(text.strip(), part.sql, walker.searches)


class _Walker:
    """Writes a tree anew; every kind of node has a method, the others are refused."""

    def __init__(self, columns: Mapping[str, Kind]):
        self.columns = {name.casefold(): (name, kind) for name, kind in columns.items()}
        self.searches = False
        self.nodes = 0

    def walk(self, node: dict[str, Any], depth: int) -> _Part:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise too_deep()
        if self.nodes > MAX_NODES:
            raise InputError(
                f"the filter has more than {MAX_NODES} parts", expected="a shorter one"
            )
        write = getattr(self, f"_{str(node.get('class')).lower()}", None)
        if write is None or node.get("alias"):
            raise _refused(node)
        part: _Part = write(node, depth + 1)
        return part

    def _column_ref(self, node: dict[str, Any], depth: int) -> _Part:
        given = ".".join(node["column_names"])
        found = self.columns.get(given.casefold())
        if found is None:
            known = [name for name, _ in self.columns.values()]
            raise InputError(
                f"the filter names the column {given[:60]!r}, which the table does not have",
                remedy=f"{nearest(given[:60], known)} ({HINT})",
            )
        return _Part(_quoted(found[0], '"'), found[1])

    def _constant(self, node: dict[str, Any], depth: int) -> _Part:
        kind, text = node["literal"]["kind"], node["literal"]["text"]
        if kind == "STRING" and not HIDDEN.search(text):
            return _Part(_quoted(text, "'"), "text", literal=True)
        if kind in ("INTEGER", "NUMERIC"):
            return _Part(_number(text), "number", literal=True)
        if kind == "BOOLEAN":
            return _Part("true" if text == "true" else "false", "truth", literal=True)
        if kind == "NULL_LITERAL":
            return _Part("NULL", "null", literal=True)
        raise _refused(node)

    def _conjunction(self, node: dict[str, Any], depth: int) -> _Part:
        word = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[node["type"]]
        parts = [self._truth(child, depth) for child in node["children"]]
        return _Part(f"({word.join(part.sql for part in parts)})", "truth")

    def _comparison(self, node: dict[str, Any], depth: int) -> _Part:
        sign = _COMPARISONS.get(node["type"])
        if sign is None:
            raise _refused(node)
        left, right = self._alike([node["left"], node["right"]], depth)
        return _Part(f"({left.sql} {sign} {right.sql})", "truth")

    def _between(self, node: dict[str, Any], depth: int) -> _Part:
        ends = [node["input"], node["lower"], node["upper"]]
        value, low, high = self._alike(ends, depth)
        return _Part(f"({value.sql} BETWEEN {low.sql} AND {high.sql})", "truth")

    def _operator(self, node: dict[str, Any], depth: int) -> _Part:
        kind, children = node["type"], node["children"]
        if kind == "OPERATOR_NOT":
            return _Part(f"(NOT {self._truth(children[0], depth).sql})", "truth")
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            is_null = "IS NULL" if kind == "OPERATOR_IS_NULL" else "IS NOT NULL"
            return _Part(f"({self.walk(children[0], depth).sql} {is_null})", "truth")
        if kind == "COMPARE_IN":
            value, *among = self._alike(children, depth)
            return _Part(f"({value.sql} IN ({', '.join(part.sql for part in among)}))", "truth")
        if kind == "OPERATOR_COALESCE":
            parts = self._alike(children, depth)
            known = next((part.kind for part in parts if part.kind != "null"), "null")
            return _Part(f"coalesce({', '.join(part.sql for part in parts)})", known)
        raise _refused(node)

    def _cast(self, node: dict[str, Any], depth: int) -> _Part:
        # "x IS TRUE" arrives as a comparison with a cast, which changes nothing here.
        if node["type_expr"].get("type_name") == "BOOLEAN" and not node["try_cast"]:
            return self._truth(node["child"], depth)
        raise _refused(node)

    def _function(self, node: dict[str, Any], depth: int) -> _Part:
        name = str(node["function_name"]).lower()
        plain = (
            not node["schema"] and not node["catalog"] and node["filter"] is None
            and not node["distinct"] and not node["export_state"]
            and not node["order_bys"]["orders"] and len(node["qualified_name"]["path"]) == 1
            and not any(argument["name"] for argument in node["arguments"])
        )  # fmt: skip
        if not plain:
            raise _refused(node)
        given = [argument["expression"] for argument in node["arguments"]]
        if node["is_operator"]:
            return self._sign(node, name, given, depth)
        if name not in FUNCTIONS:
            raise InputError(
                f"the filter calls {name[:60]!r}, which it may not",
                remedy=nearest(name[:60], [*FUNCTIONS, "coalesce"]),
            )
        return self._call(name, FUNCTIONS[name], given, depth)

    def _sign(
        self, node: dict[str, Any], sign: str, given: list[dict[str, Any]], depth: int
    ) -> _Part:
        if sign in _ARITHMETIC and len(given) in (1, 2):
            parts = [self._kind(child, "number", depth) for child in given]
            if len(parts) == 1 and sign in "+-":
                return _Part(f"({sign} {parts[0].sql})", "number")
            if len(parts) == 2:
                left, right = (part.sql for part in parts)
                right = f"nullif({right}, 0e0)" if sign in "/%" else right
                return _Part(f"({left} {sign} {right})", "number")
        if sign in _LIKES:
            return self._like(_LIKES[sign], given, depth)
        raise _refused(node)

    def _like(self, word: str, given: list[dict[str, Any]], depth: int) -> _Part:
        value, pattern = (self._kind(child, "text", depth) for child in given)
        self._pattern(pattern)
        return _Part(f"({value.sql} {word} {pattern.sql})", "truth")

    def _call(
        self, name: str, function: Function, given: list[dict[str, Any]], depth: int
    ) -> _Part:
        kinds, count = function.arguments, len(given)
        if count < len(kinds) or (count > len(kinds) and not function.open_ended):
            more = " or more" if function.open_ended else ""
            raise InputError(
                f"the filter gives {name} {count} values", expected=f"{len(kinds)}{more}"
            )
        wanted = [*kinds, *[kinds[-1]] * (count - len(kinds))]
        parts = [self._kind(child, kind, depth) for child, kind in zip(given, wanted, strict=True)]
        if function.pattern:
            self._pattern(parts[-1])
        sqls = [part.sql for part in parts]
        written = function.written or f"{name}({', '.join(sqls)})"
        return _Part(written.format(*sqls) if function.written else written, function.value)

    def _pattern(self, part: _Part) -> None:
        if not part.literal or len(part.sql) > MAX_PATTERN:
            raise InputError(
                f"the filter searches for {part.sql[:60]}",
                expected=f"a pattern in single quotes, at most {MAX_PATTERN} characters",
            )
        self.searches = True

    def _truth(self, node: dict[str, Any], depth: int) -> _Part:
        return self._kind(node, "truth", depth)

    def _kind(self, node: dict[str, Any], kind: str, depth: int) -> _Part:
        part = self.walk(node, depth)
        if part.kind not in (kind, "null"):
            raise InputError(
                f"the filter uses {part.sql[:60]}, {_KINDS[part.kind]}, as {_KINDS[kind]}",
                expected=_KINDS[kind],
            )
        # A null has no type of its own; DuckDB would choose one by position.
        return _Part(_typed(part.sql, kind), kind, part.literal) if part.kind == "null" else part

    def _alike(self, nodes: list[dict[str, Any]], depth: int) -> list[_Part]:
        parts = [self.walk(node, depth) for node in nodes]
        kind = next((part.kind for part in parts if part.kind != "null"), "null")
        for part in parts:
            if part.kind not in (kind, "null"):
                raise InputError(
                    f"the filter compares {parts[0].sql[:60]} with {part.sql[:60]}",
                    expected=f"both to be {_KINDS[kind]}",
                    remedy=HINT,
                )
        return parts


def _typed(sql: str, kind: str) -> str:
    return f"CAST({sql} AS {_TYPES[kind]})"


def _number(text: str) -> str:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"the filter holds {text[:60]!r}", expected="a number") from error
    if not math.isfinite(value):
        raise InputError(f"the filter holds {text[:60]}", expected="a number below 1e308")
    written = repr(value)
    return f"({written})" if "e" in written else f"({written}e0)"


def _quoted(text: str, mark: str) -> str:
    return f"{mark}{text.replace(mark, mark * 2)}{mark}"


_NAMES = {
    "SUBQUERY": "a query of its own", "WINDOW": "a window function", "CASE": "CASE",
    "CAST": "a cast", "LAMBDA": "a lambda", "STAR": "*", "PARAMETER": "a parameter",
    "COLLATE": "a collation", "DEFAULT": "DEFAULT", "POSITIONAL_REFERENCE": "a column by number",
}  # fmt: skip


def _refused(node: dict[str, Any]) -> InputError:
    kind = str(node.get("class"))
    name = _NAMES.get(kind) or str(
        node.get("function_name") or node.get("type") or kind
    ).lower().replace("_", " ")
    return InputError(f"the filter holds {name[:60]}, which it may not", expected=EXPECTED)
