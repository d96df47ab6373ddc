"""Writing an image set: Parquet in the Hugging Face layout, the same for whatever it holds.

Images become PNG of fixed settings, one after the other in the order of the set, named by
their row. Nothing of an image's history enters the file.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from analysis.data.imageset import ImageSet
from analysis.errors import StorageError
from analysis.store import Progress
from analysis.store.files import storage_errors

SHARD = "images-00000-of-00001.parquet"
_ROWS = 1024
_CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_images(images: ImageSet, folder: Path, *, progress: Progress | None = None) -> None:
    """Write ``images`` into the new ``folder``, which appears whole or not at all.

    ``load_images(folder)`` reads it back: the same pixels, labels, class names and order, with
    the sample ids ``<name>/000000.png``, .. of :func:`written_ids`. ``progress`` is called with
    ("write", done, total). Raises :class:`~analysis.errors.StorageError` when the disk refuses
    or the folder is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(
            f"{folder} is there already and not empty", remedy="choose another folder"
        )
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(folder):
        try:
            partial.mkdir(parents=True)
            with pq.ParquetWriter(partial / SHARD, _schema(images)) as writer:
                for start in range(0, len(images), _ROWS):
                    writer.write_table(_table(images, start))
                    if progress is not None:
                        progress("write", min(start + _ROWS, len(images)), len(images))
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def written_ids(images: ImageSet, name: str) -> np.ndarray:
    """The sample ids (N,) that a written set has when it is loaded under ``name``."""
    return np.array([f"{name}/{_file_name(row)}" for row in range(len(images))])


def _schema(images: ImageSet) -> pa.Schema:
    columns = [("image", _CELL)]
    features: dict[str, object] = {"image": {"_type": "Image"}}
    if _has_label_column(images):
        columns.append(("label", pa.int64()))
        features["label"] = {"dtype": "int64", "_type": "Value"}
        if images.class_names is not None:
            features["label"] = {"names": list(images.class_names), "_type": "ClassLabel"}
    described = json.dumps({"info": {"features": features}})
    return pa.schema(columns, metadata={"huggingface": described})


def _table(images: ImageSet, start: int) -> pa.Table:
    rows = range(start, min(start + _ROWS, len(images)))
    cells = [{"bytes": _png(images.images[row]), "path": _file_name(row)} for row in rows]
    columns = [pa.array(cells, type=_CELL)]
    if images.labels is not None:
        columns.append(pa.array(images.labels[rows.start : rows.stop], type=pa.int64()))
    elif _has_label_column(images):
        columns.append(pa.nulls(len(rows), type=pa.int64()))
    return pa.Table.from_arrays(columns, schema=_schema(images))


def _has_label_column(images: ImageSet) -> bool:
    # Without labels an empty column still carries the names of the classes.
    return images.labels is not None or images.class_names is not None


def _file_name(row: int) -> str:
    return f"{row:06d}.png"


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()
