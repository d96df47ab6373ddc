"""The built-in architectures, by name.

Menus, ``--help`` and tests iterate over :data:`ARCHITECTURES`, so a new entry is shown and
tested without another edit. All follow one convention, which is how the dimensions of foreign
weights are recognized: ``conv1`` is the first layer, ``linear`` the classifier, and the module's
``layer_names`` lists what may be inspected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from analysis.errors import ModelError, SpecError, nearest
from analysis.models.convolutional import CifarResNet, ConvNet
from analysis.models.transformer import HEAD_WIDTH, PATCH, VisionTransformer

CLASSIFIER = "linear"

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """What decides the shape of a built-in network; ``image_size`` is (H, W)."""

    num_classes: int
    width: int
    in_channels: int
    image_size: Size


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A built-in architecture: how to build it, and what menus say about it.

    ``width`` is the number of channels of the first stage (of a token, for transformers) and
    must be a multiple of ``width_step``. With ``fixed_size`` the network takes images of one
    size only.
    """

    name: str
    description: str
    width: int
    widths: tuple[int, ...]
    create: Callable[[Dimensions], nn.Module]
    width_step: int = 1
    fixed_size: bool = False


def _resnet(depth: int) -> Architecture:
    blocks = (depth - 2) // 6

    def create(dims: Dimensions) -> nn.Module:
        widths = (dims.width, 2 * dims.width, 4 * dims.width)
        return CifarResNet(
            blocks, widths, num_classes=dims.num_classes, in_channels=dims.in_channels
        )

    return Architecture(
        name=f"resnet{depth}",
        description=f"CIFAR ResNet with {depth} layers, 3 x {blocks} residual blocks",
        width=16,
        widths=(8, 12, 16, 24, 32, 48, 64),
        create=create,
    )


def _create_smallresnet(dims: Dimensions) -> nn.Module:
    widths = (dims.width, (3 * dims.width) // 2, 2 * dims.width)
    return CifarResNet(1, widths, num_classes=dims.num_classes, in_channels=dims.in_channels)


def _create_convnet(dims: Dimensions) -> nn.Module:
    return ConvNet(dims.width, num_classes=dims.num_classes, in_channels=dims.in_channels)


def _create_vit(dims: Dimensions) -> nn.Module:
    return VisionTransformer(
        dims.width,
        depth=4,
        num_classes=dims.num_classes,
        in_channels=dims.in_channels,
        image_size=dims.image_size,
    )


_SMALLRESNET = Architecture(
    name="smallresnet",
    description="residual net with one block per stage and widths w, 1.5 w, 2 w: for students",
    width=16,
    widths=(8, 12, 16, 24, 32),
    create=_create_smallresnet,
)
_CONVNET = Architecture(
    name="convnet",
    description="plain net of seven convolutions without shortcuts",
    width=16,
    widths=(4, 8, 16, 24, 32, 48),
    create=_create_convnet,
)
_VIT = Architecture(
    name="vit_tiny",
    description="vision transformer, patches of 4x4, class token, four blocks",
    width=64,
    widths=(32, 48, 64, 96, 128, 192),
    create=_create_vit,
    width_step=HEAD_WIDTH,
    fixed_size=True,
)

ARCHITECTURES: Mapping[str, Architecture] = {
    entry.name: entry
    for entry in (
        *(_resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)),
        _SMALLRESNET,
        _CONVNET,
        _VIT,
    )
}


def find_architecture(name: str) -> Architecture:
    """Return the architecture called ``name``; raises :class:`SpecError` naming the nearest."""
    if name not in ARCHITECTURES:
        raise SpecError(
            f"unknown architecture {name!r}",
            expected="a built-in name or path/to/file.py:factory",
            remedy=nearest(name, ARCHITECTURES),
        )
    return ARCHITECTURES[name]


def build(
    name: str,
    *,
    num_classes: int,
    width: int | None = None,
    in_channels: int = 3,
    image_size: int | Size = 32,
) -> nn.Module:
    """Build a built-in network with fresh weights, in training mode.

    ``width`` defaults to the architecture's own; ``image_size`` (a side, or (H, W)) matters only
    to transformers. The weights come from torch's global generator: seed it first.
    Raises :class:`SpecError` for an unknown name, :class:`ModelError` for impossible dimensions.
    """
    entry = find_architecture(name)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    dims = Dimensions(
        num_classes=num_classes,
        width=entry.width if width is None else width,
        in_channels=in_channels,
        image_size=size,
    )
    _check(entry, dims)
    return entry.create(dims)


def _check(entry: Architecture, dims: Dimensions) -> None:
    if dims.num_classes < 2:
        raise ModelError(f"{entry.name} with {dims.num_classes} classes", expected="at least 2")
    if dims.in_channels < 1:
        raise ModelError(f"{entry.name} with {dims.in_channels} channels", expected="at least 1")
    if dims.width < 1 or dims.width % entry.width_step:
        raise ModelError(
            f"{entry.name} of width {dims.width}",
            expected=f"a positive multiple of {entry.width_step}",
            remedy=f"use one of {', '.join(map(str, entry.widths))}",
        )
    if entry.fixed_size and any(side < PATCH or side % PATCH for side in dims.image_size):
        raise ModelError(
            f"{entry.name} for images of {dims.image_size[0]}x{dims.image_size[1]}",
            expected=f"sides that are multiples of {PATCH}",
            remedy="resize the images",
        )


def recognize(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Dimensions | None:
    """Read the dimensions of architecture ``name`` from the shapes of its weights, by name.

    Returns None when the weights do not look like this architecture's. The image size of a
    transformer is taken to be square, that of all others is 32 and means nothing.
    """
    conv, linear = shapes.get("conv1.weight", ()), shapes.get(f"{CLASSIFIER}.weight", ())
    if len(conv) != 4 or len(linear) != 2:
        return None
    side = 32
    if find_architecture(name).fixed_size:
        position = shapes.get("position", ())
        if len(position) != 3 or position[1] < 2:
            return None
        side = PATCH * math.isqrt(position[1] - 1)
    return Dimensions(
        num_classes=linear[0], width=conv[0], in_channels=conv[1], image_size=(side, side)
    )
