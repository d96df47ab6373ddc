"""Compare a distillation teacher with its students, from pixels to verdict.

Five lines give what the command line gives::

    import analysis

    study = analysis.compare(
        teacher="resnet20@teacher.th,normalize=imagenet",
        students={"small": "student.safetensors"}, images="test.parquet", out="studies/first")
    print(study.measures("small")["agreement"])

Names are loaded on first use, so that opening a study loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.data.sources import load_images
    from analysis.errors import DistillscopeError
    from analysis.models.loading import load_model
    from analysis.store.study import Study
    from analysis.study.comparison import add_students, compare
    from analysis.study.export import export_samples
    from analysis.study.headline import headline
    from analysis.study.stages import CompareConfig

__version__ = "0.1.0"

_HOMES = {
    "CompareConfig": "analysis.study.stages",
    "DistillscopeError": "analysis.errors",
    "Study": "analysis.store.study",
    "add_students": "analysis.study.comparison",
    "compare": "analysis.study.comparison",
    "export_samples": "analysis.study.export",
    "headline": "analysis.study.headline",
    "load_images": "analysis.data.sources",
    "load_model": "analysis.models.loading",
}

__all__ = [
    "CompareConfig",
    "DistillscopeError",
    "Study",
    "add_students",
    "compare",
    "export_samples",
    "headline",
    "load_images",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
