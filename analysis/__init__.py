"""Compare a distillation teacher with its students, from pixels to verdict.

Five lines give what the command line gives::

    import analysis

    study = analysis.compare(
        teacher="resnet20@teacher.th,normalize=imagenet",
        students={"small": "student.safetensors"}, images="test.parquet", out="studies/first")
    print(study.measures("small")["agreement"])

What stands in ``__all__`` is the public library: it is described in ``docs/library.md``, and a
test holds its names and signatures. Names are loaded on first use, so that opening a study loads
no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.attack.settings import AttackConfig
    from analysis.data.sources import load_images
    from analysis.distillation.settings import TrainingConfig
    from analysis.errors import DistillscopeError
    from analysis.models.loading import load_model
    from analysis.store.packing import pack_study
    from analysis.store.study import Study, open_study
    from analysis.store.unpacking import unpack_study
    from analysis.study.attack import attack_images
    from analysis.study.audit import audit_study
    from analysis.study.audit_settings import AuditConfig
    from analysis.study.comparison import add_students, compare
    from analysis.study.export import export_samples
    from analysis.study.headline import headline
    from analysis.study.repair import RepairConfig, repair
    from analysis.study.stages import CompareConfig
    from analysis.study.training import distill_model, train_model

__version__ = "0.1.0"

_HOMES = {
    "AttackConfig": "analysis.attack.settings",
    "AuditConfig": "analysis.study.audit_settings",
    "CompareConfig": "analysis.study.stages",
    "DistillscopeError": "analysis.errors",
    "RepairConfig": "analysis.study.repair",
    "Study": "analysis.store.study",
    "TrainingConfig": "analysis.distillation.settings",
    "add_students": "analysis.study.comparison",
    "attack_images": "analysis.study.attack",
    "audit_study": "analysis.study.audit",
    "compare": "analysis.study.comparison",
    "distill_model": "analysis.study.training",
    "export_samples": "analysis.study.export",
    "headline": "analysis.study.headline",
    "load_images": "analysis.data.sources",
    "load_model": "analysis.models.loading",
    "open_study": "analysis.store.study",
    "pack_study": "analysis.store.packing",
    "repair": "analysis.study.repair",
    "train_model": "analysis.study.training",
    "unpack_study": "analysis.store.unpacking",
}

__all__ = [
    "AttackConfig",
    "AuditConfig",
    "CompareConfig",
    "DistillscopeError",
    "RepairConfig",
    "Study",
    "TrainingConfig",
    "add_students",
    "attack_images",
    "audit_study",
    "compare",
    "distill_model",
    "export_samples",
    "headline",
    "load_images",
    "load_model",
    "open_study",
    "pack_study",
    "repair",
    "train_model",
    "unpack_study",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
