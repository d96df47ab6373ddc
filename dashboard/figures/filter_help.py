"""What a filter may hold, folded away below its field. The result is HTML."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.figures.numbers import escaped
from dashboard.figures.sides import Sides
from dashboard.table import COLUMNS
from dashboard.table_filter import FUNCTIONS

_SIGNS = (
    "= &lt;&gt; &lt; &lt;= &gt; &gt;= and or not in between like ilike ~ is null is true + − * / %"
)
_KINDS = {"text": "text", "number": "number", "truth": "yes / no"}


def filter_help(names: Sequence[str], sides: Sides) -> str:
    """The columns ``names``, the signs and the functions, with an example of each kind."""
    rows = "".join(
        f'<tr><td class="ds-mono">{escaped(name)}</td><td>{_KINDS[COLUMNS[name].kind]}</td>'
        f"<td>{escaped(COLUMNS[name].holds, 120)}</td></tr>"
        for name in names
    )
    whose = (
        "" if sides.against_teacher
        else f"<p>Here the teacher’s columns are those of {escaped(sides.left)}, the student’s "
        f"those of {escaped(sides.right)}.</p>"
    )  # fmt: skip
    functions = ", ".join([*FUNCTIONS, "coalesce"])
    return (
        '<details class="ds-help ds-columns"><summary>Columns, signs, functions</summary>'
        f'<div class="ds-scroll"><table class="ds-table">{rows}</table></div>{whose}'
        f'<p>Signs: <span class="ds-mono">{_SIGNS}</span></p>'
        f'<p>Functions: <span class="ds-mono">{functions}</span></p>'
        "<p>Texts stand in single quotes: <span class=\"ds-mono\">student = 'stop'</span>. "
        "A row where the expression is not known, as something was not measured, is left out.</p>"
        "</details>"
    )
