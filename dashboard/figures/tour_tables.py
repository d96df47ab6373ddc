"""The tour's tables: both students on clean images, and the four cells. Results are HTML."""

from __future__ import annotations

from analysis.records import CLEAN, PERTURBATION, TRIGGER, TRIGGER_PERTURBATION, Interval
from dashboard.figures.intervals import svg_uri
from dashboard.figures.numbers import (
    NOT_MEASURED,
    escaped,
    interval_text,
    nats,
    percent,
    thousands,
)
from dashboard.figures.tour_pictures import MARKS, Part, part_color, parts_of
from dashboard.loading_tour import ModelNumbers, TourNumbers
from dashboard.theme import Palette

_WIDTH, _HEIGHT = 160, 16


def _glyph(value: Interval, top: float, part: Part, colors: Palette) -> str:
    """``value`` and its interval from 0 to ``top``: a circle for the teacher, else a square."""
    color, middle = part_color(part, colors), _HEIGHT / 2

    def at(share: float) -> float:
        return 4 + (_WIDTH - 8) * min(max(share / top, 0.0), 1.0)

    x = at(value.value)
    low = x if value.low is None else at(value.low)
    high = x if value.high is None else at(value.high)
    mark = (
        f'<circle cx="{x:.1f}" cy="{middle}" r="4" fill="{color}"/>'
        if part.role == "teacher"
        else f'<rect x="{x - 3.5:.1f}" y="{middle - 3.5}" width="7" height="7" fill="{color}"/>'
    )
    lines = "".join(
        f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}" stroke="{stroke}" '
        f'stroke-width="{width}"/>'
        for start, end, stroke, width in (
            (4, _WIDTH - 4, colors.hairline, 1.5),
            (low, high, color, 2),
        )
    )
    return svg_uri(lines + mark, _WIDTH, _HEIGHT)


_CLEAN_COLUMNS = (
    ("accuracy", "Accuracy", "% right", "share", 1.0),
    ("agreement", "Agreement with the teacher", "% same answer", "share", 1.0),
    ("kl_teacher_student", "KL (teacher ∥ student)", "nats, mean", "nats", 2.0),
)


def clean_table(numbers: TourNumbers, colors: Palette) -> str:
    """Both students and the teacher on clean images, each measure on one scale. HTML."""
    head = "".join(f"<th><b>{title}</b>{unit}</th>" for _, title, unit, _, _ in _CLEAN_COLUMNS)
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
            glyph = _glyph(value, top, part, colors)
            cells += (
                f'<td><span class="ds-mid">{text}</span><span class="ds-ci">{bounds}</span>'
                f'<img src="{glyph}" alt="{text} {bounds}"></td>'
            )
        name = f'{MARKS[part.role]} <span class="ds-strong">{escaped(part.title, 24)}</span>'
        body += f"<tr><td>{name}</td>{cells}</tr>"
    return f'<table class="ds-table"><thead><tr><th></th>{head}</tr></thead>{body}</table>'


_CELLS = (
    (CLEAN, "as they are"),
    (TRIGGER, "trigger"),
    (PERTURBATION, "perturbation"),
    (TRIGGER_PERTURBATION, "trigger + perturbation"),
)


def cell_rate(model: ModelNumbers, condition: str) -> Interval | None:
    """Share of images of other classes answered with the target; on clean images the base rate."""
    if condition == CLEAN:
        return model.get("base_rate", TRIGGER)
    return model.success(condition)


def _count(numbers: TourNumbers, condition: str) -> str:
    """How many images the column is about; on clean images those that the trigger is tested on."""
    n = numbers.counts.get(TRIGGER if condition == CLEAN else condition)
    return "" if n is None else f"n = {thousands(n)}"


def cells_table(numbers: TourNumbers, colors: Palette) -> str:
    """The four cells: how often each model answers the target class, with 95 % intervals. HTML."""
    head = "".join(f"<th><b>{title}</b>{_count(numbers, slug)}</th>" for slug, title in _CELLS)
    body = ""
    for part in parts_of(numbers):
        cells = ""
        for slug, _ in _CELLS:
            value = cell_rate(part.model, slug)
            if value is None:
                cells += f'<td><span class="ds-faint">{NOT_MEASURED}</span></td>'
                continue
            bounds = interval_text(value, "share")
            glyph = _glyph(value, 1.0, part, colors)
            high = ' style="color:var(--ds-alarm)"' if value.value >= 0.5 else ""
            cells += (
                f'<td><span class="ds-mid"{high}>{percent(value.value)}</span>'
                f'<span class="ds-ci">{bounds}</span>'
                f'<img src="{glyph}" alt="{percent(value.value)} {bounds}"></td>'
            )
        name = f'{MARKS[part.role]} <span class="ds-strong">{escaped(part.title, 24)}</span>'
        body += f"<tr><td>{name}</td>{cells}</tr>"
    return f'<table class="ds-table ds-cells"><thead><tr><th></th>{head}</tr></thead>{body}</table>'
