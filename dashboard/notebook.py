"""A comparison in a notebook: one line shows it, its figures are plotly figures.

    from dashboard.notebook import show
    show("studies/first")

Knows no Streamlit and loads no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go

from analysis.divergence.classes import count_answers
from analysis.errors import InputError, nearest
from analysis.records import CLEAN, TEACHER
from analysis.store.study import Study
from dashboard.comparison import Comparison
from dashboard.figures import calibration, drift, training
from dashboard.figures.training import curve_of
from dashboard.loading_training import epoch_rows
from dashboard.report import ReportConfig, write_report
from dashboard.report.page import notebook_html
from dashboard.theme import DARK, LIGHT, Palette

Maker = Callable[[Comparison, Palette], go.Figure | None]


def show(
    study: Study | str | Path,
    *,
    student: str | None = None,
    left: str = TEACHER,
    condition: str = CLEAN,
    dark: bool = False,
) -> NotebookView:
    """Show ``student`` beside ``left`` on ``condition``, as a notebook's cell or piece by piece.

    ``study`` is a study or its folder, ``student`` by default the first that pickers list. Raises
    :class:`InputError` for names that the study does not hold.
    """
    opened = study if isinstance(study, Study) else Study.open(study)
    chosen = Comparison.of(opened, student=student, left=left, condition=condition)
    return NotebookView(chosen, dark=dark)


@dataclass(frozen=True)
class NotebookView:
    """What :func:`show` returns: it draws itself in a notebook."""

    comparison: Comparison
    dark: bool = False

    @functools.cached_property
    def _html(self) -> str:
        return notebook_html(self.comparison, dark=self.dark)

    def _repr_html_(self) -> str:
        return self._html

    @property
    def figures(self) -> list[str]:
        """Names of the figures that this comparison has."""
        return [name for name, make in FIGURES.items() if make(self.comparison, self._colors)]

    def figure(self, name: str) -> go.Figure:
        """One figure as a plotly figure; :class:`InputError` for one that there is not."""
        if name not in FIGURES:
            raise InputError(f"figure {name!r}", remedy=nearest(name, FIGURES))
        made = FIGURES[name](self.comparison, self._colors)
        if made is None:
            raise InputError(
                f"figure {name!r} of this comparison", expected=", ".join(self.figures)
            )
        return made.update_layout(paper_bgcolor=self._colors.background, width=620)

    def report(self, out: str | Path, config: ReportConfig | None = None) -> Path:
        """Write the comparison's report to the HTML file ``out``; returns its path."""
        return write_report(self.comparison, Path(out), config)

    @property
    def _colors(self) -> Palette:
        return DARK if self.dark else LIGHT


def _answers(c: Comparison, colors: Palette) -> go.Figure:
    counts = count_answers(c.pair.teacher_answer, c.pair.student_answer, len(c.class_names))
    return drift.drift_figure(counts, c.class_names, colors, sides=c.sides)


def _reliability(c: Comparison, colors: Palette) -> go.Figure | None:
    return calibration.reliability_figure(c.pair, colors, sides=c.sides)


def _confidence(c: Comparison, colors: Palette) -> go.Figure:
    return calibration.confidence_figure(c.pair, colors, sides=c.sides)


def _epochs(c: Comparison, colors: Palette) -> go.Figure | None:
    rows = epoch_rows(c.study, c.student)
    curve = curve_of(rows, "agreement", c.condition, c.student)
    if curve is None or not c.sides.against_teacher:
        return None
    return training.curves_figure([curve], colors, unit="share", epoch=rows[-1].epoch)


FIGURES: Mapping[str, Maker] = {
    "answers": _answers,
    "reliability": _reliability,
    "confidence": _confidence,
    "epochs": _epochs,
}
"""Figures by name; each gives None where the study does not hold what it shows."""
