"""Inside the worker: maps of the study's own images are kept in the workspace's stage cache.

What-if images are not: there is no end of them, and the server remembers the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.digest import digest_array
from analysis.errors import StorageError
from analysis.live.requests import Attribute, Explanation
from analysis.records import AttributionMaps
from analysis.store import Study, workspace_cache
from analysis.store.cache import StageOutput
from analysis.store.files import write_array

STAGE = "live_maps"
VERSION = 1
_ARRAYS = ("explained_class", "values", "completeness_error")
_TEXTS = ("method", "model", "scalar", "baseline", "signed")


def remembered(study: Study, request: Attribute, compute: Callable[[], Explanation]) -> Explanation:
    """Return what an earlier session computed for the same question, else ``compute`` and keep it.

    Where the workspace cannot be written, it is only computed.
    """
    fresh: list[Explanation] = []

    def work(folder: Path) -> Mapping[str, Any]:
        fresh.append(compute())
        return _write(folder, fresh[0])

    models = (request.left, request.student)
    try:
        output = workspace_cache(study.path.resolve().parent).run(
            STAGE,
            work,
            version=VERSION,
            inputs={
                "models": [study.models[name].digest for name in models],
                "orders": [study.class_order(name) for name in models],
                "image": digest_array(request.image),
            },
            config={
                "method": request.method,
                "baseline": request.baseline,
                "scalar": request.scalar,
                "classes": [request.left_class, request.student_class],
            },
        )
    except (StorageError, OSError):
        return fresh[0] if fresh else compute()
    return fresh[0] if fresh else _read(output, request.sample_id)


def _write(folder: Path, found: Explanation) -> dict[str, Any]:
    for part, record in found.maps.items():
        for name in _ARRAYS:
            write_array(folder / f"{part}-{name}.npy", np.asarray(getattr(record, name)))
    maps = {
        part: {
            **{name: getattr(record, name) for name in _TEXTS},
            "parameters": dict(record.parameters),
        }
        for part, record in found.maps.items()
    }
    agreement = {
        name: None if pair is None else list(pair) for name, pair in found.agreement.items()
    }
    return {"maps": maps, "agreement": agreement}


def _read(output: StageOutput, sample_id: str) -> Explanation:
    maps = {
        part: AttributionMaps(
            **header,
            sample_ids=np.asarray([sample_id]),
            **{name: np.load(output.file(f"{part}-{name}.npy")) for name in _ARRAYS},
        )
        for part, header in output.record["maps"].items()
    }
    agreement = {
        name: None if pair is None else (float(pair[0]), float(pair[1]))
        for name, pair in output.record["agreement"].items()
    }
    return Explanation(maps=maps, agreement=agreement)
