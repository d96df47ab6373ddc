"""Grad-CAM: the channels of a late layer, weighted by how the number depends on them.

A transformer's tokens are laid out on the grid of patches that they came from. A pair is one
model with two such layers: their weighted channels are brought to the image's size and summed
before what speaks against is cut off.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from analysis.attribution.catalog import Options
from analysis.attribution.method import ImageShape, Task
from analysis.errors import InputError
from analysis.models.handle import ModelHandle


@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output has places: its name, their (rows, columns), and whether they are
    tokens, the last rows * columns of them.
    """

    name: str
    grid: tuple[int, int]
    tokens: bool


def grad_cam(task: Task) -> torch.Tensor:
    """ReLU of the sum over channels of (mean gradient) x (activation), brought to image size."""
    models = task.subject.as_built()
    channels, height, width = task.pixels.shape[1:]
    back = int(task.options["layers_back"])

    def forward(pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return task.subject.number(*(model(pixels) for model in models), classes)

    total = torch.zeros_like(task.pixels[:, :1])
    for model in models:
        layer = chosen_layer(model.handle, (height, width, channels), back)
        with as_grid(model.network, layer) as module:
            weighted = LayerGradCam(forward, module).attribute(
                task.pixels.detach(), additional_forward_args=(task.classes,)
            )
        total = total + LayerAttribution.interpolate(weighted, (height, width), "bilinear")
    # Every channel of the image gets its share, so that they sum to the map.
    return torch.relu(total.detach()).expand_as(task.pixels) / channels


def grad_cam_obstacle(handle: ModelHandle, image_shape: ImageShape) -> str | None:
    """Say why Grad-CAM cannot serve ``handle`` on images of ``image_shape``, or None."""
    if spatial_layers(handle, image_shape):
        return None
    return "Grad-CAM needs a layer with places, more than one, that the answer depends on"


def grad_cam_layer(handle: ModelHandle, image_shape: ImageShape, options: Options) -> str:
    """Name the layer that Grad-CAM uses with these options."""
    return chosen_layer(handle, image_shape, int(options["layers_back"])).name


def chosen_layer(handle: ModelHandle, image_shape: ImageShape, back: int) -> SpatialLayer:
    """Return the last spatial layer, or the one ``back`` layers before it."""
    layers = spatial_layers(handle, image_shape)
    if back >= len(layers):
        raise InputError(
            f"layers_back = {back} of grad_cam",
            expected=f"at most {len(layers) - 1} for {handle.spec_text}",
        )
    return layers[-1 - back]


def spatial_layers(handle: ModelHandle, image_shape: ImageShape) -> list[SpatialLayer]:
    """Return the layers of ``handle`` that Grad-CAM can use, in order.

    They have more than one place, and the answer depends on these: a transformer that reads its
    class token leaves the patches of its last block unread.
    """
    height, width, channels = image_shape
    outputs: dict[str, torch.Tensor] = {}

    def note(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            outputs[name] = output

    hooks = [
        handle.module.get_submodule(name).register_forward_hook(partial(note, name))
        for name in handle.layer_names
    ]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, channels, height, width, generator=generator).requires_grad_()
    try:
        with torch.enable_grad():
            logits = handle(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    found = {
        name: layer
        for name, output in outputs.items()
        if (layer := _spatial(name, output, image_shape)) is not None
    }
    if not found or not logits.requires_grad:
        return []
    # Unequal weights, so that classes cannot cancel one another.
    weights = torch.linspace(1, 2, logits.shape[1], dtype=logits.dtype, device=logits.device)
    total = (logits * weights).sum()
    grads = torch.autograd.grad(total, [outputs[name] for name in found], allow_unused=True)
    return [
        layer
        for layer, grad in zip(found.values(), grads, strict=True)
        if grad is not None and bool(_places(grad, layer).abs().max() > 0)
    ]


def _spatial(name: str, output: torch.Tensor, image_shape: ImageShape) -> SpatialLayer | None:
    if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
        return SpatialLayer(name, (output.shape[2], output.shape[3]), tokens=False)
    if output.ndim != 3:
        return None
    count = output.shape[1]
    # With one token for the class, with none, or with a second one of a distilled transformer.
    for extra in (1, 0, 2):
        grid = _token_grid(count - extra, image_shape)
        if grid is not None:
            return SpatialLayer(name, grid, tokens=True)
    return None


def _token_grid(count: int, image_shape: ImageShape) -> tuple[int, int] | None:
    """Rows and columns of ``count`` square patches that tile the image, or None."""
    if count < 2:
        return None
    height, width, _ = image_shape
    rows = math.isqrt(count * height // width)
    fits = rows > 0 and count % rows == 0 and rows * width == (count // rows) * height
    return (rows, count // rows) if fits else None


@contextlib.contextmanager
def as_grid(network: nn.Module, layer: SpatialLayer) -> Iterator[nn.Module]:
    """Hand out a module of ``network`` whose output is ``layer`` as (N, D, rows, columns)."""
    module = network.get_submodule(layer.name)
    if not layer.tokens:
        yield module
        return
    places = nn.Identity()

    def through_grid(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        grid = places(_places(output, layer))
        extra = output.shape[1] - layer.grid[0] * layer.grid[1]
        return torch.cat([output[:, :extra], grid.flatten(2).transpose(1, 2)], dim=1)

    hook = module.register_forward_hook(through_grid)
    try:
        yield places
    finally:
        hook.remove()


def _places(output: torch.Tensor, layer: SpatialLayer) -> torch.Tensor:
    """Return an output as (N, D, rows, columns), without tokens that belong to no place."""
    if not layer.tokens:
        return output
    rows, columns = layer.grid
    tokens = output[:, output.shape[1] - rows * columns :]
    return tokens.transpose(1, 2).reshape(len(output), -1, rows, columns)
