"""What the compression bought: the student's size and speed as ratios to the teacher's."""

from __future__ import annotations

from collections.abc import Callable

from analysis.records import ModelCost, Student
from dashboard.figures.numbers import NOT_MEASURED, THIN, compact, escaped

_ROWS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("parameters", "Parameters", "fewer", compact),
    ("macs", "Multiply-adds per image", "fewer", compact),
    ("file_bytes", "Weights on disk", "smaller", lambda v: f"{compact(v)}B"),
    ("latency_ms_batch_1", "Latency, 1 image", "faster", lambda v: f"{v:.3g}{THIN}ms"),
    ("latency_ms_batch_64", "Latency, 64 images", "faster", lambda v: f"{v:.3g}{THIN}ms"),
)


def cost_table(teacher: Student, student: Student) -> str | None:
    """The table as HTML, or None when neither cost was measured."""
    if teacher.cost is None and student.cost is None:
        return None
    body = "".join(_row(row, teacher.cost, student.cost) for row in _ROWS)
    names = [escaped(model.architecture, 28) for model in (teacher, student)]
    head = (
        "<tr><th></th>"
        f'<th class="ds-number"><span class="ds-circle"></span>{names[0]}</th>'
        f'<th class="ds-number"><span class="ds-square"></span>{names[1]}</th><th></th></tr>'
    )
    return f'<table class="ds-table"><thead>{head}</thead>{body}</table>'


def _row(
    row: tuple[str, str, str, Callable[[float], str]],
    teacher: ModelCost | None,
    student: ModelCost | None,
) -> str:
    field, title, better, write = row
    first = getattr(teacher, field, None)
    second = getattr(student, field, None)
    return (
        f'<tr><td>{title}</td><td class="ds-number">{_value(first, write)}</td>'
        f'<td class="ds-number">{_value(second, write)}</td>'
        f'<td class="ds-number"><span class="ds-strong">{ratio(first, second, better)}</span>'
        "</td></tr>"
    )


def _value(value: float | None, write: Callable[[float], str]) -> str:
    return f'<span class="ds-faint">{NOT_MEASURED}</span>' if value is None else write(value)


_OPPOSITE = {"fewer": "more", "smaller": "larger", "faster": "slower"}


def ratio(teacher: float | None, student: float | None, better: str) -> str:
    """``8.2× fewer``, or its opposite where the student costs more."""
    if not teacher or not student:
        return NOT_MEASURED
    if round(teacher / student, 2) == 1:
        return "the same"
    if teacher > student:
        return f"{teacher / student:.3g}× {better}"
    return f"{student / teacher:.3g}× {_OPPOSITE[better]}"
