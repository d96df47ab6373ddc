"""Records and bytes on disk: studies, the stage cache, atomic files."""

from analysis.store.cache import Progress, StageCache, StageOutput, silent, workspace_cache
from analysis.store.packing import pack_study
from analysis.store.study import Study, Thumbnails
from analysis.store.unpacking import UnpackConfig, unpack_study
from analysis.store.writer import StudyWriter, delete_orphans, holding_workspace, writing

__all__ = [
    "Progress",
    "StageCache",
    "StageOutput",
    "Study",
    "StudyWriter",
    "Thumbnails",
    "UnpackConfig",
    "delete_orphans",
    "holding_workspace",
    "pack_study",
    "silent",
    "unpack_study",
    "workspace_cache",
    "writing",
]
