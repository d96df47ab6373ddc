"""The tour's tables: the models on clean images, and the rows of the four cells."""

from __future__ import annotations

from analysis.records import CLEAN, TRIGGER
from dashboard.figures.cells import ORDER, CellRow
from dashboard.figures.intervals import mark_glyph
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import NOT_MEASURED, escaped, interval_text, nats, percent
from dashboard.figures.tour_pictures import MARKS, part_color, parts_of
from dashboard.loading_tour import TourNumbers
from dashboard.theme import Palette

_CLEAN_COLUMNS = (
    ("accuracy", MEASURES["accuracy"].title, "% right", "share", 1.0),
    (
        "agreement", f"{MEASURES['agreement'].title} with the teacher", "% same answer", "share",
        1.0,
    ),
    ("kl_teacher_student", MEASURES["kl_teacher_student"].title, "nats, mean", "nats", 2.0),
)  # fmt: skip


def clean_table(numbers: TourNumbers, colors: Palette) -> str:
    """Both students and the teacher on clean images, each measure on one scale. HTML."""
    head = "".join(
        f"<th><b>{term(measure, title, end=measure == _CLEAN_COLUMNS[-1][0])}</b>{unit}</th>"
        for measure, title, unit, _, _ in _CLEAN_COLUMNS
    )
    body = ""
    for part in reversed(parts_of(numbers)):
        cells = ""
        for measure, _, _, unit, scale in _CLEAN_COLUMNS:
            value = part.model.get(measure)
            if value is None:
                cells += f'<td><span class="ds-faint">{NOT_MEASURED}</span></td>'
                continue
            text = nats(value.value) if unit == "nats" else percent(value.value)
            bounds = interval_text(value, "nats" if unit == "nats" else "share")
            top = max(scale, value.high or value.value)
            color = part_color(part, colors)
            glyph = mark_glyph(value, top, color, colors, circle=part.role == "teacher")
            cells += (
                f'<td><span class="ds-mid">{text}</span><span class="ds-ci">{bounds}</span>'
                f'<img src="{glyph}" alt="{text} {bounds}"></td>'
            )
        name = f'{MARKS[part.role]} <span class="ds-strong">{escaped(part.title, 24)}</span>'
        body += f"<tr><td>{name}</td>{cells}</tr>"
    return f'<table class="ds-table"><thead><tr><th></th>{head}</tr></thead>{body}</table>'


def tour_cells(numbers: TourNumbers) -> list[CellRow]:
    """The four cells of the models in the tour, as :func:`~dashboard.figures.cells.cell_table`
    shows them. Clean accuracy has a step of its own.
    """
    rows = []
    for part in parts_of(numbers):
        rate = {slug: part.model.success(slug) for slug in ORDER[1:]}
        rate[CLEAN] = part.model.get("base_rate", TRIGGER)
        role = part.role if part.role == "teacher" else ""
        rows.append(CellRow(part.title, role, rate, chosen=part.role == "subject"))
    return rows
