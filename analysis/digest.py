"""Digests: the identity of everything that Distillscope computes from or stores.

A digest is a SHA-256 in hexadecimal. File names, hosts and times never enter one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 1 << 20


def canonical_json(value: Any) -> str:
    """Write ``value`` as JSON in the one form that digests are taken of.

    Keys are sorted, tuples are lists, there is no white space. NaN and infinities are refused
    (``ValueError``): they have no JSON form, so two readers would disagree.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value!r} has no JSON form")
            return value
        case np.generic():
            return _plain(value.item())
        case np.ndarray():
            return [_plain(item) for item in value.tolist()]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted(_plain(item) for item in value)
        case Iterable():
            return [_plain(item) for item in value]
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def digest_json(value: Any) -> str:
    """Digest of a JSON-like value; equal by content, whatever the order of keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_bytes(data: bytes) -> str:
    """Digest of a byte string."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's bytes, read in pieces."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Digest of an array's dtype, shape and values, independent of its memory layout.

    Memory-mapped arrays are read in pieces along the first axis, so memory stays flat.
    """
    state = hashlib.sha256()
    little = array.dtype.newbyteorder("<")
    state.update(canonical_json([little.str, list(array.shape)]).encode())
    if array.ndim == 0:
        state.update(array.astype(little).tobytes())
        return state.hexdigest()
    row = max(1, array.nbytes // max(1, len(array)))
    step = max(1, _CHUNK * 8 // row)
    for start in range(0, len(array), step):
        state.update(np.ascontiguousarray(array[start : start + step], dtype=little).tobytes())
    return state.hexdigest()


def digest_strings(values: Iterable[str]) -> str:
    """Digest of a sequence of strings, order included."""
    state = hashlib.sha256()
    for value in values:
        data = value.encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()
