"""Rendered road signs: sixteen European classes, photographed badly, the same for every seed."""

from analysis.data.signs.render import (
    SPLITS,
    render_arrays,
    render_signs,
    rendering_ahead,
    sign_labels,
)
from analysis.data.signs.shapes import SIGN_CLASSES

__all__ = [
    "SIGN_CLASSES",
    "SPLITS",
    "render_arrays",
    "render_signs",
    "rendering_ahead",
    "sign_labels",
]
