"""Two linked maps of the same samples, the teacher's and the student's, drawn with WebGL 2.

A lasso in one map lights up the same samples in the other without asking the server. The source
of the script is in ``src/``; ``pair_map.js`` is built from it. The part that needs Streamlit is
loaded on first use: points and colors serve a report, which has no server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .points import PairPoints, PointColors
from .serving import routes

if TYPE_CHECKING:
    from .component import PairMapState, pair_map, reported, reported_on

__all__ = [
    "PairMapState",
    "PairPoints",
    "PointColors",
    "pair_map",
    "reported",
    "reported_on",
    "routes",
]


def __getattr__(name: str) -> Any:
    if name not in ("PairMapState", "pair_map", "reported", "reported_on"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.component"), name)
