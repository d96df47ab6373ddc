"""Attribution by taking parts of the image away; the model is only asked, never differentiated.

Both return attributions (N, C, H, W) of the task's pixels, signed, in units of the explained
number. docs/measures.md has the sources.
"""

from __future__ import annotations

import torch
from captum.attr import KernelShap, Occlusion

from analysis.attribution.method import Task, seeded
from analysis.attribution.superpixels import superpixels
from analysis.errors import InputError


def occlusion(task: Task) -> torch.Tensor:
    """How far the number falls when windows over a pixel are covered with the baseline, on average.

    ``window`` is the side of the square and ``stride`` its step, in pixels, at most ``window``.
    Raises :class:`InputError` for a window that is larger than the image.
    """
    channels, height, width = task.pixels.shape[1:]
    window = int(task.options["window"])
    if window > min(height, width):
        raise InputError(
            f"window = {window} on images of {height}x{width}",
            expected=f"at most {min(height, width)}",
        )
    stride = min(int(task.options["stride"]), window)
    with torch.no_grad():
        values = Occlusion(task.subject).attribute(
            task.pixels,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, stride, stride),
            baselines=task.baselines,
            additional_forward_args=(task.classes,),
            perturbations_per_eval=max(1, task.batch // len(task.pixels)),
        )
    # captum gives every channel under a window the whole effect of that window.
    return values / channels


def kernel_shap(task: Task) -> torch.Tensor:
    """Shapley values of superpixels by weighted regression, spread evenly over their pixels.

    ``segments`` superpixels and ``samples`` coalitions of them. Teacher and student see the same
    ones of both, so that their difference is the pair's map. Sums to the number at the image minus
    that at the baseline. Raises :class:`InputError` for no more coalitions than superpixels.
    """
    maps = []
    for one in task.images():
        image = one.pixels[0].double().cpu().numpy()
        patches = torch.from_numpy(superpixels(image, int(task.options["segments"])))
        patches = patches.to(one.pixels.device)
        with seeded(task.seed, one.pixels.device), torch.no_grad():
            values = KernelShap(task.subject).attribute(
                one.pixels,
                baselines=one.baselines,
                feature_mask=patches[None, None],
                additional_forward_args=(one.classes,),
                n_samples=_coalitions(task),
                perturbations_per_eval=task.batch,
            )
        # captum gives every value under a superpixel the whole worth of it.
        counts = torch.bincount(patches.flatten())[patches]
        maps.append(values / (counts * one.pixels.shape[1]))
    return torch.cat(maps)


def _coalitions(task: Task) -> int:
    samples, segments = int(task.options["samples"]), int(task.options["segments"])
    if samples <= segments:
        raise InputError(
            f"samples = {samples} of kernel_shap for {segments} superpixels",
            expected=f"more than {segments}",
        )
    return samples
