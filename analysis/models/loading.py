"""Loading: from a model spec to a model handle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from analysis.errors import InputError, ModelError
from analysis.models.architectures import (
    CLASSIFIER,
    Dimensions,
    build,
    find_architecture,
    recognize,
)
from analysis.models.handle import ModelHandle, Normalization
from analysis.models.saving import Header, save_model
from analysis.models.spec import ModelSpec
from analysis.models.usercode import build_user_module, require_trust, trace_user_module
from analysis.models.weights import Weights, fill, read_header, read_weights

__all__ = ["ModelSpec", "load_model", "save_model", "wrap_module"]


def load_model(
    spec: ModelSpec | str,
    *,
    trusted_code: Collection[Path | str] = (),
    class_names: Sequence[str] | None = None,
    device: str = "cpu",
) -> ModelHandle:
    """Load the model that ``spec`` names.

    Options of the spec complete what the file says of itself; ``normalize`` overrides it, other
    contradictions are refused. Width, classes and channels that nobody names are read from the
    weights. ``class_names`` override the file's. User code runs only when its path is among
    ``trusted_code``. Raises :class:`~analysis.errors.SpecError`, :class:`ModelError` or
    :class:`~analysis.errors.TrustError`, each with one line that says what to do.
    """
    spec = ModelSpec.parse(spec) if isinstance(spec, str) else spec
    if spec.architecture is not None:
        find_architecture(spec.architecture)
    if spec.code is not None:
        require_trust(spec.code, trusted_code)
    weights = read_weights(spec.weights)
    _check_header(spec, weights.header)
    names = None if class_names is None else tuple(class_names)
    if names is None and weights.header is not None:
        names = weights.header.class_names
    load = _load_builtin if spec.code is None else _load_user
    handle = load(spec, weights, trusted_code)
    if names is not None:
        handle = replace(handle, class_names=names)
    return handle.to(device)


def leaves_normalization_open(spec: ModelSpec | str) -> bool:
    """Whether neither ``spec`` nor its weights file says how inputs are normalized.

    Such a model is shown pixels in [0, 1] as they are, which is wrong for most published weights.
    False for user code, which normalizes itself, and where nothing can be read.
    """
    try:
        spec = ModelSpec.parse(spec) if isinstance(spec, str) else spec
        stated = spec.normalization is not None or spec.code is not None
        return not stated and read_header(spec.weights) is None
    except InputError:
        return False


def wrap_module(
    module: nn.Module,
    *,
    architecture: str,
    width: int | None,
    num_classes: int,
    in_channels: int = 3,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
    spec_text: str | None = None,
) -> ModelHandle:
    """Turn a built-in network that is in memory into a handle, which takes ``module`` over."""
    size = getattr(module, "image_size", None)
    return ModelHandle(
        module=module,
        architecture=architecture,
        normalization=normalization or Normalization(),
        num_classes=num_classes,
        in_channels=in_channels,
        layer_names=tuple(module.layer_names),  # type: ignore[arg-type]
        penultimate=CLASSIFIER,
        spec_text=spec_text or architecture,
        width=width,
        input_size=size if isinstance(size, tuple) else None,
        class_names=None if class_names is None else tuple(class_names),
    )


def _load_builtin(
    spec: ModelSpec, weights: Weights, trusted_code: Collection[Path | str]
) -> ModelHandle:
    header, file = weights.header, spec.weights.name
    name = spec.architecture or (header.architecture if header else None)
    if name is None:
        raise ModelError(
            f"{file} does not say what it holds",
            expected="a file that Distillscope wrote, or ARCH@FILE",
            remedy=f"name the architecture: resnet20@{file}",
        )
    if spec.architecture is None and ".py:" in name:
        raise ModelError(
            f"{file} holds weights of the user code {name}",
            remedy=f"name the code: path/to/{name}@{file}",
        )
    dims = _dimensions(name, spec, weights)
    module = build(
        name,
        num_classes=dims.num_classes,
        width=dims.width,
        in_channels=dims.in_channels,
        image_size=dims.image_size,
    )
    fill(module, weights.state, what=file, into=f"{name} of width {dims.width}")
    handle = wrap_module(
        module,
        architecture=name,
        width=dims.width,
        num_classes=dims.num_classes,
        in_channels=dims.in_channels,
        normalization=_normalization(spec, header),
        spec_text=spec.text,
    )
    return _with_file(handle, weights)


def _load_user(
    spec: ModelSpec, weights: Weights, trusted_code: Collection[Path | str]
) -> ModelHandle:
    assert spec.code is not None
    assert spec.factory is not None
    header, label = weights.header, str(spec.label)
    module, digest = build_user_module(
        spec.code,
        spec.factory,
        num_classes=spec.num_classes or (header.num_classes if header else None),
        width=spec.width or (header.width if header else None),
        trusted_code=trusted_code,
    )
    fill(module, weights.state, what=spec.weights.name, into=label)
    normalization = _normalization(spec, header)
    layout, channels, size = trace_user_module(
        module, what=label, channels=len(normalization.mean) or None
    )
    classes = layout.output.shape[1]
    if spec.num_classes not in (None, classes):
        raise ModelError(f"{label} has {classes} outputs, the spec says {spec.num_classes}")
    handle = ModelHandle(
        module=module,
        architecture=label,
        normalization=normalization,
        num_classes=classes,
        in_channels=channels,
        layer_names=layout.layer_names,
        penultimate=layout.classifier,
        spec_text=spec.text,
        input_size=size,
        user_code=digest,
    )
    return _with_file(handle, weights)


def _with_file(handle: ModelHandle, weights: Weights) -> ModelHandle:
    recipe = weights.header.recipe if weights.header else {}
    return replace(handle, file_bytes=weights.file_bytes, metadata=recipe)


def _normalization(spec: ModelSpec, header: Header | None) -> Normalization:
    if spec.normalization is not None:
        return spec.normalization
    return header.normalization if header else Normalization()


def _check_header(spec: ModelSpec, header: Header | None) -> None:
    if header is None:
        return
    for what, said, held in (
        ("architecture", spec.label, header.architecture),
        ("classes", spec.num_classes, header.num_classes),
        ("width", spec.width, header.width),
    ):
        if said is not None and said != held:
            raise ModelError(
                f"{spec.weights.name} says {what} {held}, the spec says {said}",
                remedy="leave it out of the spec",
            )


def _dimensions(name: str, spec: ModelSpec, weights: Weights) -> Dimensions:
    """Combine what spec, header and weights say; the weights' shapes decide."""
    entry, header = find_architecture(name), weights.header
    found = recognize(name, weights.shapes)
    if found is None:
        # Nothing to go by: build what was asked for, the comparison of names says what is wrong.
        found = Dimensions(
            num_classes=spec.num_classes or 10,
            width=entry.width,
            in_channels=3,
            image_size=(32, 32),
        )
    for what, said, held in (
        ("classes", spec.num_classes, found.num_classes),
        ("width", spec.width, found.width),
    ):
        if said is not None and said != held:
            raise ModelError(
                f"{spec.weights.name} has {what} {held}, the spec says {said}",
                remedy=f"leave {what}= out of the spec",
            )
    if header is not None and header.image_size is not None:
        found = replace(found, image_size=header.image_size)
    return found
