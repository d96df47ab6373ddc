"""Bulk data for the browser: named arrays in one byte string, ready for typed arrays.

Layout: the header's length as little-endian uint32, the header as JSON (name, type, offset,
size of every column), zeros up to a multiple of 8, then the columns, each on a multiple of 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import numpy as np

_CODES = {"u1": "|u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}
_ALIGNMENT = 8

NO_CLASS = np.iinfo(np.uint16).max
"""What stands for "no class" in a column of class codes."""


def encode_columns(columns: Mapping[str, np.ndarray]) -> bytes:
    """Write arrays of uint8, uint16, uint32 or float32 behind each other; shapes are flattened."""
    header, pieces, offset = [], [], 0
    for name, array in columns.items():
        code = f"{array.dtype.kind}{array.dtype.itemsize}"
        data = np.ascontiguousarray(array, dtype=_CODES[code]).tobytes()
        header.append([name, code, offset, array.size])
        pieces.append(_padded(data))
        offset += len(pieces[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    return _padded(len(text).to_bytes(4, "little") + text) + b"".join(pieces)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def text_columns(name: str, values: Iterable[str]) -> dict[str, np.ndarray]:
    """Strings as UTF-8 bytes (uint8) and the offset of each (uint32, one more than strings)."""
    encoded = [str(value).encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.uint32)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    return {f"{name}_bytes": data, f"{name}_offsets": offsets}


def class_codes(codes: np.ndarray) -> np.ndarray:
    """Class indices as uint16; negative ones ("no class") become :data:`NO_CLASS`."""
    return np.where(codes < 0, NO_CLASS, codes).astype(np.uint16)
