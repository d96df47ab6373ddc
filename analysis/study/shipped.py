"""Results that come with the release: what takes too long for a first minute, bound by digests.

A pack is one compressed ``.npz``: arrays by the keys of a study, and a JSON text with the records
and with the digests of the models that they were computed of. It is laid into a study only where
those are the study's own; nothing in it is executable. Rendered images are not bound: two kinds of
processor may round a pixel differently.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import InputError, StudyError
from analysis.store import Study, StudyWriter, writing
from analysis.store.files import atomic_path, write_array

_INDEX = "index"
_PICTURES = "thumbnails/"
_LARGEST_ARRAY = 64 << 20


Keep = Callable[[str, np.ndarray], np.ndarray | None]


def pack_results(
    study: Study,
    prefixes: Iterable[str],
    models: Iterable[str],
    path: Path,
    *,
    keep: Keep = lambda key, values: values,
) -> Path:
    """Write what ``study`` holds under ``prefixes`` to the pack at ``path``.

    That is records, arrays and thumbnails. ``models`` are those the results were computed of;
    their digests bind the pack. ``keep(key, values)`` returns the part of an array that is packed,
    or None. Floating-point arrays are kept in half precision, numbers of records to six digits.
    Raises :class:`InputError` when there is nothing to pack.
    """
    wanted = tuple(prefixes)
    records = {key: value for key, value in study.manifest.records.items() if _under(key, wanted)}
    if not records:
        raise InputError(f"{study.path} has no results under {', '.join(wanted)}")
    arrays = {}
    for key in study.manifest.arrays:
        kept = keep(key, study.array(key)) if _under(key, wanted) else None
        if kept is not None:
            arrays[key] = _halved(kept)
    for name, file_name in study.manifest.thumbnails.items():
        if _under(name, wanted):
            picture = (study.path / file_name).read_bytes()
            arrays[f"{_PICTURES}{name}"] = np.frombuffer(picture, dtype=np.uint8)
    index = {
        "records": _shortened(records),
        "models": {name: study.models[name].digest for name in models},
    }
    text = np.frombuffer(json.dumps(index, sort_keys=True).encode(), dtype=np.uint8)
    named: dict[str, Any] = {_INDEX: text, "keys": np.array(list(arrays), dtype=str)}
    named |= {f"a{place}": values for place, values in enumerate(arrays.values())}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **named)
    return path


def _shortened(value: Any) -> Any:
    """``value`` with every floating-point number to six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return value


def attach_results(folder: Path, pack: Path) -> Study:
    """Lay the results of ``pack`` into the study in ``folder``.

    Raises :class:`StudyError`, and writes nothing, when the pack is damaged or was computed of
    other models than the study's.
    """
    with writing(folder):
        study, writer = Study.open(folder), StudyWriter(folder)
        index, arrays = _read(pack)
        _check_bound(study, pack, index)
        cache = folder.resolve().parent / ".distillscope" / "shipped"
        for place, (key, values) in enumerate(arrays.items()):
            if key.startswith(_PICTURES):
                file = cache / f"{place}.parquet"
                with atomic_path(file) as temporary:
                    temporary.write_bytes(values.tobytes())
                writer.put_thumbnails(key.removeprefix(_PICTURES), file)
            else:
                file = cache / f"{place}.npy"
                write_array(file, values)
                writer.put_array(key, file)
        writer.records.update(index["records"])
        return writer.publish(study.manifest)


def _under(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}/") for prefix in prefixes)


def _halved(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16) if values.dtype.kind == "f" else np.asarray(values)


def _read(pack: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(pack, allow_pickle=False) as file:
            index = json.loads(bytes(file[_INDEX]).decode())
            arrays = {str(key): file[f"a{place}"] for place, key in enumerate(file["keys"])}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"{pack} cannot be read ({type(error).__name__})", remedy="install the release again"
        ) from error
    if set(index) != {"records", "models"} or any(
        values.nbytes > _LARGEST_ARRAY for values in arrays.values()
    ):
        raise StudyError(f"{pack} is damaged", remedy="install the release again")
    return index, arrays


def _check_bound(study: Study, pack: Path, index: Mapping[str, Any]) -> None:
    other = [
        name
        for name, digest in index["models"].items()
        if name not in study.models or study.models[name].digest != digest
    ]
    if other:
        raise StudyError(
            f"{pack.name} was computed of another study: {', '.join(other)} differ",
            remedy="compute the results again",
        )
