"""Axes of a chart: from values to pixels, ticks, and the room that labels need."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.errors import InputError
from dashboard.drawing.words import lines_of, width_of

MINUS = "\N{MINUS SIGN}"
_TICKS_PER_PIXEL = {"x": 1 / 70, "y": 1 / 40}
_PADDING = 0.055
"""Room beyond the outermost marker, as a share of the axis, where no range is given."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what stands there."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: ``low`` at the left or bottom end, in powers of ten where it is ``log``."""

    name: str
    low: float
    high: float
    log: bool
    settings: Any
    start: float = 0.0
    end: float = 1.0

    def at(self, value: float) -> float:
        """Pixel of ``value``; NaN for what has no place on the axis."""
        if self.log:
            value = math.log10(value) if value > 0 else math.nan
        return self.share((value - self.low) / (self.high - self.low))

    def share(self, share: float) -> float:
        """Pixel of a share of the axis, 0 its low end."""
        return self.start + (self.end - self.start) * share

    def place(self, start: float, end: float) -> Axis:
        """The same axis between two pixels, its low end first."""
        return Axis(self.name, self.low, self.high, self.log, self.settings, start, end)

    @property
    def visible(self) -> bool:
        """Whether anything of the axis is drawn."""
        return self.settings.visible is not False

    @property
    def label_size(self) -> float:
        """Font size of the tick labels."""
        return float(self.settings.tickfont.size or 12)

    def inside(self, value: float) -> bool:
        """Whether ``value`` lies on the axis."""
        at = self.at(value)
        low, high = sorted((self.start, self.end))
        return low - 0.5 <= at <= high + 0.5

    def ticks(self, length: float) -> list[Tick]:
        """The ticks of an axis ``length`` pixels long, those outside left out."""
        given = self.settings.tickvals
        if given is not None:
            texts = self.settings.ticktext
            values = [float(value) for value in given]
            words = [str(text) for text in texts] if texts is not None else map(self._text, values)
            every = [Tick(value, text) for value, text in zip(values, words, strict=True)]
        else:
            every = [Tick(value, self._text(value)) for value in self._steps(length)]
        return [tick for tick in every if self.inside(tick.value)]

    def _steps(self, length: float) -> list[float]:
        if self.log:
            raise InputError("a log axis without tickvals", expected="tickvals")
        low, high = sorted((self.low, self.high))
        step = self.settings.dtick
        if step is None:
            most = self.settings.nticks or max(2, round(length * _TICKS_PER_PIXEL[self.name[0]]))
            step = nice_step((high - low) / most)
        first = math.ceil(low / step - 1e-9)
        return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]

    def _text(self, value: float) -> str:
        text = f"{value:.10g}".replace("-", MINUS)
        return f"{text}{self.settings.ticksuffix or ''}"

    def widest(self, ticks: Sequence[Tick]) -> float:
        """Width of the widest label."""
        return max((label_width(tick.text, self.label_size) for tick in ticks), default=0.0)


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def label_width(text: str, size: float) -> float:
    """Width of the longest line of a label that may carry tags."""
    return max(
        sum(width_of(run.text, size, 600 if run.bold else 400) for run in line)
        for line in lines_of(text)
    )


def axis_of(name: str, settings: Any, values: Iterable[float], *, padded: bool) -> Axis:
    """The axis with its own range, or else one that holds ``values``, ``padded`` for markers."""
    log = settings.type == "log"
    if settings.range is not None:
        low, high = (float(end) for end in settings.range)
        return Axis(name, low, high, log, settings)
    known = [value for value in values if math.isfinite(value)]
    if log or not known:
        raise InputError(f"axis {name} without a range", expected="a range")
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = _PADDING * (high - low) if padded else 0.0
    return Axis(name, low - room, high + room, log, settings)
