"""How large a report may be, and what is drawn when not everything fits."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.config import Config, field


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Config):
    """How a report is made."""

    megabytes: float = field(8.0, "largest size of the file, in MB", low=0.1, high=512)
    points: int = field(20_000, "most images on the maps; beyond that a drawn sample", low=1)
    rows: int = field(32, "images in the table of those that part most", low=0, high=1000)
    maps: int = field(6, "images whose attribution maps are shown", low=0, high=100)
    seed: int = field(0, "seed of what is drawn where not all images fit", low=0)
