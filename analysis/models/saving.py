"""Weights files that say themselves what they hold.

A safetensors file with one JSON text in its header: format version, architecture, width,
classes, class names, normalization, channels, image size, and how the model was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from analysis.digest import canonical_json
from analysis.errors import ModelError, SpecError
from analysis.models.normalization import Normalization
from analysis.store.files import atomic_path

FORMAT = 1
HEADER_KEY = "distillscope"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a weights file says of itself. ``recipe`` is how the model was made."""

    architecture: str
    num_classes: int
    in_channels: int
    width: int | None = None
    class_names: tuple[str, ...] | None = None
    normalization: Normalization = field(default_factory=Normalization)
    image_size: tuple[int, int] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """Write the header as canonical JSON, so that equal models make equal files."""
        values = {**asdict(self), "normalization": self.normalization.text, "format": FORMAT}
        try:
            return canonical_json(values)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"metadata of a model: {error}", expected="JSON without NaN or infinities"
            ) from None

    @classmethod
    def from_text(cls, text: str, file: str) -> Header:
        """Read what :meth:`to_text` wrote; raises :class:`ModelError` naming ``file``."""
        try:
            values = json.loads(text)
            version = values["format"]
            if isinstance(version, int) and version > FORMAT:
                raise ModelError(
                    f"{file} has format {version}",
                    expected=f"at most {FORMAT}",
                    remedy="install a newer Distillscope",
                )
            return cls(
                architecture=str(values["architecture"]),
                num_classes=int(values["num_classes"]),
                in_channels=int(values["in_channels"]),
                width=None if values["width"] is None else int(values["width"]),
                class_names=_strings(values["class_names"]),
                normalization=Normalization.parse(values["normalization"]),
                image_size=_size(values["image_size"]),
                recipe=dict(values["recipe"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, SpecError) as error:
            raise ModelError(
                f"{file} has a damaged header ({type(error).__name__}: {error})",
                expected="a file as Distillscope writes it",
                remedy="name the architecture: ARCH@FILE",
            ) from None


def save_model(
    path: Path,
    module: nn.Module,
    *,
    architecture: str,
    width: int | None,
    class_names: Sequence[str] | None,
    normalization: Normalization,
    num_classes: int,
    in_channels: int,
    metadata: Mapping[str, Any] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Path:
    """Write ``module``'s weights to ``path`` (``.safetensors``), whole or not at all.

    The file alone is a model spec when ``architecture`` is a built-in name. ``metadata`` is
    JSON-like, kept as the model's recipe. ``image_size`` (H, W) is needed by architectures of
    one size whose images are not square. Returns ``path``.
    Raises :class:`ModelError` for another ending or metadata that JSON cannot hold,
    :class:`~analysis.errors.StorageError` when the disk refuses.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"weights file {path.name!r}", expected="a name ending in .safetensors")
    header = Header(
        architecture=architecture,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        class_names=None if class_names is None else tuple(class_names),
        normalization=normalization,
        image_size=image_size,
        recipe=dict(metadata or {}),
    )
    text = header.to_text()
    tensors = {
        # Shared storage is refused by the format, and other layouts than this lose their order.
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER_KEY: text})
    return path


def _strings(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(map(str, values))


def _size(values: Sequence[int] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    height, width = values
    return int(height), int(width)
