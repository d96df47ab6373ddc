"""Stage: groups of images on which a student parts from the teacher more than elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.statistics import STATISTICS, image_statistics
from analysis.digest import digest_array, digest_json
from analysis.divergence.outputs import answer_pair
from analysis.divergence.predicates import build_predicates
from analysis.divergence.slices import Slice, SliceConfig, SliceSearch, find_slices
from analysis.records import PENULTIMATE, TEACHER
from analysis.store.files import write_array
from analysis.study.conditions import Presented
from analysis.study.stages import Products, Workbench

STATISTICS_VERSION = 1
VERSION = 2


def measure_statistics(bench: Workbench, shown: Presented) -> Products:
    """Measure brightness, contrast and sharpness of the images of a condition, (N, 3) float32."""

    def work(folder: Path) -> Mapping[str, Any]:
        measured = image_statistics(shown.images.images)
        columns = np.column_stack([measured[name] for name in STATISTICS])
        write_array(folder / "statistics.npy", columns.astype(np.float32))
        return {}

    output = bench.cache.run(
        "image_statistics",
        work,
        version=STATISTICS_VERSION,
        inputs={"images": shown.images.digest},
    )
    key = f"statistics/{shown.slug}"
    return Products(
        arrays={key: output.file("statistics.npy")},
        records={key: list(STATISTICS)},
        seconds={key: output.seconds},
    )


def find_divergent_slices(
    bench: Workbench,
    student: str,
    condition: str,
    labels: np.ndarray | None,
    names: Sequence[str],
    arrays: Mapping[str, Path],
) -> Products:
    """Find the slices of ``student`` on ``condition``.

    Leaves a JSON record (:func:`slices_json`) and ``members`` (slices, N) bool. Where features or
    image statistics are missing, what needs them is not looked at.
    """
    logits = [_load(arrays, f"logits/{model}/{condition}") for model in (TEACHER, student)]
    features = _load(arrays, f"features/{TEACHER}/{condition}/{PENULTIMATE}")
    statistics = _load(arrays, f"statistics/{condition}")
    config = SliceConfig(seed=bench.config.seed)
    base = f"slices/{student}/{condition}"

    def work(folder: Path) -> Mapping[str, Any]:
        answers = answer_pair(*(np.asarray(values) for values in logits if values is not None))
        columns = {} if statistics is None else dict(zip(STATISTICS, statistics.T, strict=True))
        predicates = build_predicates(answers.teacher, labels, names, columns)
        places = None if features is None else np.asarray(features)
        found = find_slices(answers, predicates, places, config=config)
        members = [item.members for item in found.slices]
        shape = (len(members), len(answers.agree))
        write_array(folder / "members.npy", np.asarray(members, dtype=bool).reshape(shape))
        return slices_json(found)

    output = bench.cache.run(
        "slices",
        work,
        version=VERSION,
        inputs={
            "arrays": [
                None if values is None else digest_array(np.asarray(values))
                for values in (*logits, features, statistics)
            ],
            "labels": None if labels is None else digest_array(np.asarray(labels)),
            "names": list(names),
        },
        config=config.key(),
    )
    members = np.load(output.file("members.npy"))
    record = {
        **output.record,
        "slices": [
            _named(base, item, own)
            for item, own in zip(output.record["slices"], members, strict=True)
        ],
    }
    return Products(
        arrays={f"{base}/members": output.file("members.npy")} if record["slices"] else {},
        records={base: record},
        seconds={base: output.seconds},
    )


def _load(arrays: Mapping[str, Path], key: str) -> np.ndarray | None:
    path = arrays.get(key)
    return None if path is None else np.load(path, mmap_mode="r")


def _named(base: str, item: Mapping[str, Any], members: np.ndarray) -> dict[str, Any]:
    """The slice with an id that no other slice of the study has, for addresses."""
    return {"id": digest_json([base, digest_array(members)])[:16], **item}


def slices_json(found: SliceSearch) -> dict[str, Any]:
    """The search and its slices as JSON; the members are stored beside it."""
    return {
        "n_searched": found.n_searched,
        "n_tested": found.n_tested,
        "candidates": found.candidates,
        "agreement": found.agreement,
        "alpha": found.config.alpha,
        "seed": found.config.seed,
        "draws": found.config.draws,
        "slices": [_slice_json(item) for item in found.slices],
    }


def _slice_json(item: Slice) -> dict[str, Any]:
    return {
        "words": item.words,
        "predicates": [
            {"variable": part.variable, "words": part.words, "meaning": part.meaning}
            for part in item.predicates
        ],
        "grouped": item.grouped,
        "n": int(item.members.sum()),
        "n_tested": item.n_tested,
        "agreement": item.agreement.to_json(),
        "rest": item.rest,
        "gap": item.gap,
        "p_value": item.p_value,
        "precision": item.precision,
        "recall": item.recall,
        "n_differ": item.n_differ,
        "destination": list(item.destination),
        "transitions": [list(row) for row in item.transitions],
    }
