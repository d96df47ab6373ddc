"""Stage: small WebP pictures of the images, for hover cards and galleries."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from analysis.data.imageset import ImageSet
from analysis.study.stages import Workbench

VERSION = 1
_LARGEST = 96
_CHUNK = 2048
_QUALITY = 90


def make_thumbnails(bench: Workbench, images: ImageSet) -> Path:
    """Return a Parquet file (sample_id, webp) with one picture per image, at most 96 px wide."""

    def work(folder: Path) -> Mapping[str, Any]:
        schema = pa.schema([("sample_id", pa.string()), ("webp", pa.binary())])
        with pq.ParquetWriter(folder / "thumbnails.parquet", schema, compression="none") as writer:
            for start in range(0, len(images), _CHUNK):
                stop = min(start + _CHUNK, len(images))
                pictures = [_webp(images.images[row]) for row in range(start, stop)]
                ids = [str(name) for name in images.sample_ids[start:stop]]
                writer.write_table(pa.table([ids, pictures], schema=schema))
                bench.progress("thumbnails", stop, len(images))
        return {}

    output = bench.cache.run("thumbnails", work, version=VERSION, inputs={"images": images.digest})
    return output.file("thumbnails.parquet")


def _webp(pixels: Any) -> bytes:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()
