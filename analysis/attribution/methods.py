"""Attribution methods, by name. captum does the work; an entry says what its maps mean.

Menus and tests iterate over :data:`METHODS`, so a new entry is shown and tested without another
edit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from analysis.attribution import gradients, removal
from analysis.attribution.deeplift import deeplift
from analysis.attribution.gradcam import grad_cam, grad_cam_layer, grad_cam_obstacle
from analysis.attribution.method import ImageShape, Method
from analysis.attribution.rules import deeplift_obstacle
from analysis.errors import InputError, nearest
from analysis.models.handle import ModelHandle

METHODS: Mapping[str, Method] = {
    entry.name: entry
    for entry in (
        Method(
            name="integrated_gradients",
            title="Integrated gradients",
            source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
            explain=gradients.integrated_gradients,
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            options={"steps": 32},
            smallest={"steps": 1},
        ),
        Method(
            name="saliency",
            title="Saliency (absolute gradient)",
            source="Simonyan, Vedaldi, Zisserman 2013, arXiv 1312.6034",
            explain=gradients.saliency,
            linear=False,
            signed=False,
        ),
        Method(
            name="input_x_gradient",
            title="Input times gradient",
            source="Shrikumar, Greenside, Shcherbina, Kundaje 2016, arXiv 1605.01713",
            explain=gradients.input_x_gradient,
            linear=True,
            signed=True,
        ),
        Method(
            name="smoothgrad",
            title="SmoothGrad (gradient, averaged over noise)",
            source="Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, arXiv 1706.03825",
            explain=gradients.smoothgrad,
            linear=True,
            signed=True,
            random=True,
            options={"samples": 16, "noise": 0.1},
            smallest={"samples": 1, "noise": 0.0},
        ),
        Method(
            name="gradient_shap",
            title="Gradient SHAP (expected gradients)",
            source="Lundberg, Lee 2017, arXiv 1705.07874; Erion et al. 2019, arXiv 1906.10670",
            explain=gradients.gradient_shap,
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            random=True,
            options={"samples": 32, "noise": 0.0},
            smallest={"samples": 1, "noise": 0.0},
        ),
        Method(
            name="deeplift",
            title="DeepLift (rescale rule)",
            source="Shrikumar, Greenside, Kundaje 2017, arXiv 1704.02685",
            explain=deeplift,
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            as_built=True,
            obstacle=deeplift_obstacle,
        ),
        Method(
            name="grad_cam",
            title="Grad-CAM (last layer with places)",
            source="Selvaraju et al. 2016, arXiv 1610.02391",
            explain=grad_cam,
            linear=False,
            signed=False,
            as_built=True,
            obstacle=grad_cam_obstacle,
            layer=grad_cam_layer,
            options={"layers_back": 0},
            smallest={"layers_back": 0},
        ),
        Method(
            name="occlusion",
            title="Occlusion",
            source="Zeiler, Fergus 2013, arXiv 1311.2901",
            explain=removal.occlusion,
            linear=True,
            signed=True,
            uses_baseline=True,
            uses_gradients=False,
            options={"window": 4, "stride": 2},
            smallest={"window": 1, "stride": 1},
        ),
        Method(
            name="kernel_shap",
            title="KernelSHAP on superpixels",
            source="Lundberg, Lee 2017, arXiv 1705.07874",
            explain=removal.kernel_shap,
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            uses_gradients=False,
            random=True,
            options={"segments": 24, "samples": 256},
            smallest={"segments": 2, "samples": 3},
        ),
    )
}


def find_method(name: str) -> Method:
    """Return the method called ``name``; raises :class:`InputError` naming the nearest."""
    if name not in METHODS:
        raise InputError(f"unknown attribution method {name!r}", remedy=nearest(name, METHODS))
    return METHODS[name]


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
