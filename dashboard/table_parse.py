"""A typed expression as the tree that DuckDB's parser makes of it; nothing is executed."""

from __future__ import annotations

import atexit
import functools
import json
import re
import threading
from typing import TYPE_CHECKING, Any

from analysis.errors import InputError
from dashboard.table_database import opened

if TYPE_CHECKING:
    import duckdb

MAX_EXPRESSION = 1000
MAX_DEPTH = 40
MAX_OPEN = 320
MAX_WITH = 2
"""DuckDB's parser takes twice as long for each ``with x as (`` inside another; nothing stops it."""

EXPECTED = "one expression that is true or false, such as kl > 1 and not agree"
HINT = "texts stand in single quotes, columns without"
HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
"""Characters that nobody sees: what is executed has to be what is shown."""

_WORDS = [re.compile(rf"(?<![a-z_]){word}", re.IGNORECASE) for word in ("with", "as")]
_SHELL = "SELECT 1 WHERE (\n{}\n) IS NULL"
"""What follows the parenthesis keeps a text that closes it from ending the statement."""

_PARSING = threading.Lock()


def _check_text(text: str) -> None:
    if not text.strip():
        raise InputError("the filter is empty", expected=EXPECTED)
    if len(text) > MAX_EXPRESSION:
        raise InputError(
            f"the filter has {len(text)} characters", expected=f"at most {MAX_EXPRESSION}"
        )
    hidden = HIDDEN.search(text)
    if hidden:
        raise InputError(
            f"the filter holds the invisible character U+{ord(hidden[0]):04X}",
            remedy="type it anew instead of pasting it",
        )
    _check_cost(text)


def _check_cost(text: str) -> None:
    """Refuse what takes the parser long, in quotes as well: where these end is for it to say."""
    if (opened_times := text.count("(")) > MAX_OPEN:
        raise InputError(
            f"the filter opens {opened_times} parentheses", expected=f"at most {MAX_OPEN}"
        )
    times = min(len(word.findall(text)) for word in _WORDS)
    if times > MAX_WITH:
        raise InputError(
            f"the filter holds the words with and as {times} times",
            expected=f"at most {MAX_WITH} times",
        )


def parse(text: str) -> dict[str, Any]:
    """The tree of ``text``, which has to be one expression and nothing else.

    Raises :class:`InputError` for a text that is too long, unreadable or more than that.
    """
    _check_text(text)
    read = _tree(text)
    if read["error"]:
        said = str(read.get("error_message", "")).splitlines()[0][:120]
        raise InputError(f"the filter cannot be read: {said}", expected=EXPECTED, remedy=HINT)
    around = _tree("true")["statements"][0]["node"]
    around.pop("where_clause")
    nodes = [statement["node"] for statement in read["statements"]]
    tree: dict[str, Any] | None = nodes[0].pop("where_clause", None) if len(nodes) == 1 else None
    if tree is None or nodes != [around] or tree["type"] != "OPERATOR_IS_NULL":
        raise InputError("the filter is more than one expression", expected=EXPECTED)
    inner: dict[str, Any] = tree["children"][0]
    return inner


def _tree(inner: str) -> dict[str, Any]:
    with _PARSING:
        said = _parser().execute("SELECT json_serialize_sql(?)", [_SHELL.format(inner)])
        text = said.fetchone()[0]  # type: ignore[index]
    try:
        tree: dict[str, Any] = json.loads(text)
    except RecursionError as error:
        raise too_deep() from error
    return tree


@functools.cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An empty database whose parser is asked; opening one costs 20 ms."""
    parser = opened()
    atexit.register(_parser.cache_clear)  # DuckDB complains of what outlives it
    return parser


def too_deep() -> InputError:
    """The refusal of a tree that would not end."""
    return InputError(f"the filter is nested deeper than {MAX_DEPTH} levels", expected=EXPECTED)
