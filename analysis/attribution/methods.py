"""Attribution methods, by name. captum does the work; the catalog says what maps mean.

Menus iterate over the catalog's cards and tests over :data:`METHODS`, which has an entry for each.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from analysis.attribution import gradients, removal
from analysis.attribution.catalog import find_card
from analysis.attribution.deeplift import deeplift
from analysis.attribution.gradcam import grad_cam, grad_cam_layer, grad_cam_obstacle
from analysis.attribution.method import ImageShape, Method
from analysis.attribution.rules import deeplift_obstacle
from analysis.errors import InputError
from analysis.models.handle import ModelHandle

METHODS: Mapping[str, Method] = {
    entry.name: entry
    for entry in (
        Method.of("integrated_gradients", gradients.integrated_gradients),
        Method.of("saliency", gradients.saliency),
        Method.of("input_x_gradient", gradients.input_x_gradient),
        Method.of("smoothgrad", gradients.smoothgrad),
        Method.of("gradient_shap", gradients.gradient_shap),
        Method.of("deeplift", deeplift, obstacle=deeplift_obstacle),
        Method.of("grad_cam", grad_cam, obstacle=grad_cam_obstacle, layer=grad_cam_layer),
        Method.of("occlusion", removal.occlusion),
        Method.of("kernel_shap", removal.kernel_shap),
    )
}


def find_method(name: str) -> Method:
    """Return the method called ``name``; raises :class:`InputError` naming the nearest."""
    return METHODS[find_card(name).name]


def unsupported(method: str, handle: ModelHandle, image_shape: ImageShape) -> str | None:
    """Say in one line why ``method`` cannot serve ``handle``, or return None.

    ``image_shape`` is the images' (H, W, C). Costs one pass over one image at most, so menus can
    ask beforehand. Raises :class:`InputError` for an unknown method and for images that do not
    fit the model.
    """
    chosen = find_method(method)
    handle.check_images(image_shape)
    if chosen.uses_gradients and not _passes_gradients(handle, image_shape):
        return f"{method} needs gradients, and this model passes none to its pixels"
    return chosen.obstacle(handle, image_shape)


def check_supported(method: str, handle: ModelHandle, image_shape: ImageShape) -> None:
    """Raise :class:`InputError` with the sentence of :func:`unsupported` where there is one."""
    reason = unsupported(method, handle, image_shape)
    if reason is not None:
        raise InputError(
            f"{handle.spec_text}: {reason}",
            remedy="use a method that asks nothing of a model: occlusion or kernel_shap",
        )


def _passes_gradients(handle: ModelHandle, image_shape: ImageShape) -> bool:
    height, width, channels = image_shape
    pixels = torch.full((1, channels, height, width), 0.5, requires_grad=True)
    with torch.enable_grad():
        return handle(pixels).requires_grad
