"""Weights files: reading them without executing anything, and putting them into a module."""

from __future__ import annotations

import contextlib
import difflib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from analysis.errors import ModelError
from analysis.models.handle import BOOKKEEPING
from analysis.models.saving import HEADER_KEY, Header

State = dict[str, torch.Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# Nobody wraps weights deeper, but a file may hold itself.
_DEEPEST = 4
_NARROW = {getattr(torch, name) for name in dir(torch) if name.startswith(("float8_", "float4_"))}
# What compiling and data parallelism put before every name.
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
_SHOWN = 3


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by name, its header where it is one of ours, its size in bytes."""

    state: State
    header: Header | None
    file_bytes: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.state.items()}


def read_weights(path: Path) -> Weights:
    """Read a ``.safetensors`` or torch file onto the CPU.

    Torch files are read as data only, and unwrapped (``state_dict``, ``model``, ``module.``).
    Raises :class:`ModelError` when the file is missing, damaged, needs code to be executed, or
    holds other things than finite tensors.
    """
    require_file(path)
    header = None
    if path.suffix.lower() == ".safetensors":
        state, header = _read_safetensors(path)
    else:
        state = _unwrap(_read_torch(path), path.name)
    _check_tensors(state, path.name)
    return Weights(state, header, path.stat().st_size)


def read_header(path: Path) -> Header | None:
    """What a weights file says of itself, or None; no tensor is read."""
    require_file(path)
    if path.suffix.lower() != ".safetensors":
        return None
    with _refused(path), safe_open(path, framework="pt", device="cpu") as file:
        text = (file.metadata() or {}).get(HEADER_KEY)
    return None if text is None else Header.from_text(text, path.name)


def require_file(path: Path) -> None:
    """Raise :class:`ModelError` unless ``path`` is a file, naming the nearest one beside it."""
    if path.is_file():
        return
    if path.is_dir():
        raise ModelError(f"{path} is a folder", expected="a weights file")
    if not path.parent.is_dir():
        raise ModelError(f"there is no folder {path.parent}", remedy="check the path")
    beside = [file.name for file in path.parent.iterdir() if file.is_file()]
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
    remedy = f"did you mean {str(path.parent / close[0])!r}?" if close else "check the path"
    raise ModelError(f"there is no file {path}", remedy=remedy)


def _read_safetensors(path: Path) -> tuple[State, Header | None]:
    with _refused(path), safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = metadata.get(HEADER_KEY)
    return state, None if text is None else Header.from_text(text, path.name)


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what the format's reader says into one line."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} cannot be read ({_first_line(error)})",
            expected="a safetensors file",
            remedy="write or download it again",
        ) from None


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # What torch warns of here (old formats, storages) is nothing the user can act on.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} is refused: {_pickle_reason(str(error))}",
            expected="a dictionary of tensors",
            remedy="save module.state_dict(), best as .safetensors",
        ) from None
    # Damaged archives surface as almost anything; whatever it is, the file is not usable.
    except Exception as error:
        raise ModelError(
            f"{path.name} cannot be read ({type(error).__name__}: {_first_line(error)})",
            expected="weights written by torch.save",
            remedy="write or download it again",
        ) from None


def _pickle_reason(text: str) -> str:
    found = re.search(r"(?:GLOBAL|type)\s+([A-Za-z_][\w]*(?:\.\w+)+)", text)
    if found:
        return f"to open it {found[1]} would have to be executed"
    return "it is no plain weights file"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unwrap(content: Any, name: str) -> State:
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        content = next((content[key] for key in _WRAPPERS if _is_wrapped(content, key)), content)
    if not isinstance(content, Mapping):
        raise ModelError(f"{name} holds a {type(content).__name__}", expected="a state dict")
    state = {str(key): value for key, value in content.items()}
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _is_wrapped(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _check_tensors(state: Mapping[str, Any], name: str) -> None:
    if not state:
        raise ModelError(f"{name} holds no tensors", expected="a state dict")
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{key!r} in {name} is a {type(value).__name__}", expected="tensors only"
            )
        if not _is_plain(value):
            raise ModelError(
                f"{key!r} in {name} is {value.layout} {value.dtype}",
                expected="dense tensors of real numbers, with all of their values",
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(
                f"{key!r} in {name} holds NaN or infinite weights",
                remedy="take a checkpoint from before training diverged",
            )


def _is_plain(value: torch.Tensor) -> bool:
    """Whether the file holds every number of ``value``, and torch can compute with them."""
    dense = value.layout == torch.strided and not value.is_quantized and not value.is_meta
    if not dense or value.is_complex() or value.dtype in _NARROW:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], *, what: str, into: str) -> None:
    """Put the weights ``state`` of the file ``what`` into ``module``, which is called ``into``.

    Raises :class:`ModelError` for missing and unexpected names and for shapes that differ; the
    first few are named.
    """
    expected = module.state_dict()
    state = _as_expected(state, expected)
    missing = [key for key in expected if key not in state and not key.endswith(BOOKKEEPING)]
    unexpected = [key for key in state if key not in expected and not key.endswith(BOOKKEEPING)]
    if missing or unexpected:
        found = [
            f"{verb} {_list(keys)}"
            for verb, keys in (("lacks", missing), ("has unexpected", unexpected))
            if keys
        ]
        raise ModelError(
            f"{what} does not fit {into}: it {' and '.join(found)}",
            remedy="name the architecture that the weights were trained with",
        )
    differing = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if differing:
        raise ModelError(
            f"{what} does not fit {into}: {_list(differing)}",
            remedy="check architecture, classes= and width=",
        )
    module.load_state_dict({key: state[key] for key in expected if key in state}, strict=False)


def _as_expected(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Put back a prefix that is really a part of the module's names."""
    for prefix in _PREFIXES:
        wanted = bool(expected) and all(key.startswith(prefix) for key in expected)
        if wanted and not any(key.startswith(prefix) for key in state):
            return {prefix + key: value for key, value in state.items()}
    return state


def _list(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
