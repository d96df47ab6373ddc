"""Perturbing images towards a class, through the trigger and through random views.

x' = trigger(clip(x + delta)): delta is found with the trigger in place, so the trigger's own
pixels stay what they are. An image that is done leaves the batch. What is drawn for an image
depends on its sample id and the seed alone, so the batch size changes nothing but the last bits
of the teacher's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.attack.perturbations import Perturbation, lead
from analysis.attack.rounding import round_inward, to_bytes, to_images
from analysis.attack.trigger import Stamp, Trigger, sample_seed
from analysis.attack.views import SampleViews, draw_views
from analysis.data.augmentations import Augmentation
from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError
from analysis.models.handle import ModelHandle
from analysis.store import Progress


@dataclass(frozen=True, kw_only=True)
class Crafted:
    """What became of images (N, H, W, C), all uint8, and after how many steps (N,) int64.

    ``both`` carries trigger and perturbation, ``triggered`` the trigger alone, ``perturbed`` the
    perturbation alone. Without a trigger ``triggered`` are the images and ``both`` is
    ``perturbed``.
    """

    sample_ids: np.ndarray
    both: np.ndarray
    triggered: np.ndarray
    perturbed: np.ndarray
    steps: np.ndarray


def craft(
    teacher: ModelHandle,
    images: ImageSet,
    perturbation: Perturbation,
    *,
    target: int,
    trigger: Trigger | None = None,
    augmentation: Augmentation | None = None,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Crafted:
    """Perturb every image towards class ``target`` of the teacher and round to 8 bits.

    ``both`` stays within epsilon of ``triggered``, and ``perturbed`` of the images, after
    rounding. ``augmentation`` draws the views that the perturbation counts beside the image.
    ``progress`` is called with ("craft", done, total). Raises
    :class:`~analysis.errors.ConfigError` when views are to count and no augmentation is given,
    or the trigger is larger than the images.
    """
    if perturbation.views and augmentation is None:
        raise ConfigError(
            f"views = {perturbation.views} without an augmentation",
            expected="the augmentation that draws them",
        )
    parts = []
    for rows, pixels in images.batches(batch_size):
        ids = images.sample_ids[rows].tolist()
        shown = torch.from_numpy(pixels).to(teacher.device)
        search = _Search(
            teacher=teacher,
            perturbation=perturbation,
            target=target,
            pixels=shown,
            sample_ids=ids,
            stamp=None if trigger is None else trigger.stamp(shown, ids),
            views=_views(perturbation, augmentation, ids),
        )
        change, steps = search.descend()
        parts.append((*search.rounded(change), steps.numpy()))
        if progress is not None:
            progress("craft", int(rows[-1]) + 1, len(images))
    both, triggered, perturbed, taken = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Crafted(
        sample_ids=images.sample_ids,
        both=both,
        triggered=triggered,
        perturbed=perturbed,
        steps=taken,
    )


def _views(
    perturbation: Perturbation, augmentation: Augmentation | None, sample_ids: Sequence[str]
) -> SampleViews | None:
    if augmentation is None or not perturbation.views:
        return None
    count = perturbation.plan.steps * perturbation.views
    return draw_views(
        augmentation, sample_ids, count, seed=perturbation.seed, purpose="crafting views"
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """The search for delta (N, C, H, W) of one batch of ``pixels``."""

    teacher: ModelHandle
    perturbation: Perturbation
    target: int
    pixels: Tensor
    sample_ids: Sequence[str]
    stamp: Stamp | None
    views: SampleViews | None

    def descend(self) -> tuple[Tensor, Tensor]:
        """Return delta, and the number of steps that each image took (N,)."""
        plan = self.perturbation.plan
        change = self.start()
        taken = torch.zeros(len(change), dtype=torch.int64)
        active = torch.arange(len(change))
        for step in range(plan.steps):
            delta = change[active].requires_grad_()
            logits = self.answers(delta, active, step)
            leads = lead(logits.detach().flatten(0, 1), self.target).reshape(len(logits), -1)
            going = (leads.amin(dim=0) < plan.margin).cpu()
            if not going.any():
                break
            # A sum over images, a mean over views: no image's gradient depends on its batch.
            losses = self.perturbation.loss(logits[:, going].flatten(0, 1), self.target)
            (gradient,) = torch.autograd.grad(losses.sum() / len(logits), delta)
            active = active[going]
            step_taken = plan.step / 255 * self.direction(gradient[going])
            change[active] = self.project(delta.detach()[going] - step_taken, active)
            taken[active] += 1
        return change, taken

    def answers(self, delta: Tensor, rows: Tensor, step: int) -> Tensor:
        """The teacher's logits on the images of ``rows`` and the step's views, (1 + V, M, K)."""
        seen = self.pixels[rows] + delta
        if self.stamp is not None:
            seen = self.stamp.rows(rows.to(seen.device))(seen)
        shown = [seen]
        if self.views is not None:
            first = step * self.perturbation.views
            for view in range(first, first + self.perturbation.views):
                shown.append(self.views.show(seen, rows, view))
        return self.teacher(torch.cat(shown)).reshape(len(shown), len(seen), -1)

    def start(self) -> Tensor:
        """Delta to begin with: nothing, or a random point of the ball, drawn by sample."""
        change = torch.zeros_like(self.pixels)
        if not self.perturbation.plan.random_start:
            return change
        for row, sample_id in enumerate(self.sample_ids):
            seed = sample_seed(self.perturbation.seed, sample_id, "start")
            change[row] = self.draw(torch.Generator().manual_seed(seed))
        if self.stamp is not None:
            # No gradient would ever move what the trigger hides, and it would show in the
            # image that carries the perturbation alone.
            change = change * ~self.stamp.hidden()
        return self.project(change, torch.arange(len(change)))

    def draw(self, generator: torch.Generator) -> Tensor:
        """A random point of the ball, uniform by volume, (C, H, W)."""
        radius, shape = self.perturbation.epsilon / 255, self.pixels.shape[1:]
        if self.perturbation.norm == "linf":
            return (torch.rand(shape, generator=generator) * 2 - 1) * radius
        point = torch.randn(shape, generator=generator)
        distance = torch.rand((), generator=generator) ** (1 / point.numel())
        return point / point.norm() * distance * radius

    def direction(self, gradient: Tensor) -> Tensor:
        """The step of length 1 in the norm along which the loss grows the most, (M, C, H, W)."""
        return gradient.sign() if self.perturbation.norm == "linf" else gradient / _length(gradient)

    def project(self, change: Tensor, rows: Tensor) -> Tensor:
        """Bring delta back into the ball, then the pixels into [0, 1]."""
        radius = self.perturbation.epsilon / 255
        if self.perturbation.norm == "linf":
            change = change.clamp(-radius, radius)
        else:
            change = change * (radius / _length(change)).clamp(max=1)
        pixels = self.pixels[rows]
        # Never longer than before: pixels lie in [0, 1] themselves.
        return (pixels + change).clamp(0, 1) - pixels

    def rounded(self, change: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Both halves, the trigger alone, the perturbation alone: (N, H, W, C) uint8."""
        bound = (self.perturbation.epsilon, self.perturbation.norm)
        perturbed = round_inward(self.pixels, self.pixels + change, *bound)
        if self.stamp is None:
            return to_images(perturbed), to_images(to_bytes(self.pixels)), to_images(perturbed)
        plain = self.stamp(self.pixels)
        both = round_inward(plain, self.stamp(self.pixels + change), *bound)
        return to_images(both), to_images(to_bytes(plain)), to_images(perturbed)


def _length(values: Tensor) -> Tensor:
    # The least positive number rather than a convenient one: where the teacher is very sure,
    # gradients are tiny and their direction still counts.
    smallest = torch.finfo(values.dtype).tiny
    return values.flatten(1).norm(dim=1).clamp(min=smallest)[:, None, None, None]
