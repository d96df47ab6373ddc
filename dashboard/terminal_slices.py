"""What the terminal shows of slices: where each student parts most from the teacher."""

from __future__ import annotations

from rich.table import Table

from analysis.records import CLEAN
from analysis.store import Study
from dashboard.loading_slices import SliceRow, slice_list
from dashboard.terminal import plain, results, share

_MOST = 5


def print_slices(study: Study) -> None:
    """Print the worst slices of every student on the clean images, or that there is none.

    Prints nothing for students that nobody looked for slices of.
    """
    out = results()
    for name in study.students:
        found = slice_list(study, name, CLEAN)
        if found is None:
            continue
        if not found.rows:
            out.print(
                f"\n{plain(name)}: no slice on which it parts more than elsewhere "
                f"({found.candidates} candidates tested)"
            )
            continue
        out.print(_table(name, found.rows))
        if len(found.rows) > _MOST:
            out.print(f"and {len(found.rows) - _MOST} more slices")


def _table(name: str, rows: tuple[SliceRow, ...]) -> Table:
    compared = any(row.references for row in rows)
    table = Table(
        show_edge=False, pad_edge=False, box=None, header_style="bold",
        title=f"\nWhere {plain(name)} parts most", title_justify="left", title_style="",
    )  # fmt: skip
    table.add_column("slice")
    for title in ("n", "agreement, %", "references, %" if compared else "rest, %", "p"):
        table.add_column(title, justify="right")
    for row in rows[:_MOST]:
        beside = sum(row.references) / len(row.references) if row.references else row.rest
        table.add_row(
            plain(row.words), str(row.n), share(row.agreement), f"{100 * beside:.1f}",
            f"{row.p_value:.3f}",
        )  # fmt: skip
    return table
