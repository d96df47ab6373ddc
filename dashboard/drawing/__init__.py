"""Figures as files: a plotly figure as simple shapes, and those as SVG or PNG."""

from dashboard.drawing.maps import pair_drawing
from dashboard.drawing.plotted import drawing_of
from dashboard.drawing.png import png
from dashboard.drawing.shapes import Drawing
from dashboard.drawing.strips import strip_drawing
from dashboard.drawing.svg import svg

__all__ = ["Drawing", "drawing_of", "pair_drawing", "png", "strip_drawing", "svg"]
