"""Attribution by gradients at the image, or averaged over points near it or on a path to it.

Each returns attributions (N, C, H, W) of the task's pixels, in units of the explained number
(saliency and SmoothGrad: of the number per unit of a pixel in [0, 1]). docs/measures.md has the
sources.
"""

from __future__ import annotations

import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from captum.attr._core.gradient_shap import InputBaselineXGradient

from analysis.attribution.method import Task, seeded


def integrated_gradients(task: Task) -> torch.Tensor:
    """(x - x') times the mean gradient on the straight path from the baseline x' to x.

    Signed; sums to the number at x minus that at x', up to the error of ``steps`` nodes.
    """
    # Gauss-Legendre nodes are the best for smooth paths: the trapezoid rule needs several times
    # the steps for the same completeness error.
    return IntegratedGradients(task.subject).attribute(
        task.pixels,
        task.baselines,
        additional_forward_args=(task.classes,),
        n_steps=int(task.options["steps"]),
        method="gausslegendre",
        internal_batch_size=max(task.batch, len(task.pixels)),
    )


def saliency(task: Task) -> torch.Tensor:
    """The absolute gradient, at least 0."""
    pixels = task.pixels.detach().requires_grad_()
    return Saliency(task.subject).attribute(pixels, additional_forward_args=(task.classes,))


def input_x_gradient(task: Task) -> torch.Tensor:
    """The image times the gradient; signed."""
    pixels = task.pixels.detach().requires_grad_()
    return InputXGradient(task.subject).attribute(pixels, additional_forward_args=(task.classes,))


def smoothgrad(task: Task) -> torch.Tensor:
    """The gradient, averaged over ``samples`` images under Gaussian noise; signed.

    ``noise`` is its standard deviation in [0, 1]; the task's seed draws it, the same for every
    image and model.
    """
    # The same noise for both models, or their difference would be noise too.
    return _averaged(task, Saliency(task.subject), abs=False)


def gradient_shap(task: Task) -> torch.Tensor:
    """Expected gradients: (x - x') times the gradient at random points between, under noise.

    Signed; sums to the number at x minus that at x' in expectation. Options as of
    :func:`smoothgrad`.
    """
    # captum's GradientShap is this tunnel with all samples in one batch, which need not fit.
    return _averaged(task, InputBaselineXGradient(task.subject), per_image=True)


def _averaged(
    task: Task, method: Saliency | InputBaselineXGradient, per_image: bool = False, **options: bool
) -> torch.Tensor:
    tunnel, maps = NoiseTunnel(method), []
    for one in task.images():
        with seeded(task.seed, task.pixels.device):
            maps.append(
                tunnel.attribute(
                    one.pixels.detach().requires_grad_(),
                    nt_type="smoothgrad",
                    nt_samples=int(task.options["samples"]),
                    nt_samples_batch_size=task.batch,
                    stdevs=float(task.options["noise"]),
                    additional_forward_args=(one.classes,),
                    **({"baselines": one.baselines} if per_image else {}),
                    **options,
                )
            )
    return torch.cat(maps)
