"""Try a network that is to be trained before hours are spent on others."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.distillation.checks import check_task
from analysis.distillation.task import TrainingTask
from analysis.models.architectures import build
from analysis.models.handle import ModelHandle
from analysis.models.normalization import Normalization
from analysis.study.experiment_settings import Recipe

# Stands for what only the images or the teacher will say.
_OPEN = Normalization()
_BLANK = 2


def try_network(
    recipe: Recipe, teacher: ModelHandle | None, shape: tuple[int, ...], classes: int
) -> nn.Module:
    """Build the network of ``recipe`` and let it see blank images of ``shape`` (H, W, C).

    Returns it with weights that mean nothing; torch's generator is left as it was. Raises
    :class:`~analysis.errors.InputError` when it does not take such images, when its normalization
    does not fit them, or when network or ``teacher`` lack a layer that the objective reads.
    """
    height, width, channels = shape
    stated = recipe.network.normalize
    with torch.random.fork_rng(devices=[]):
        module = build(
            recipe.network.arch,
            num_classes=classes,
            width=recipe.network.width,
            in_channels=channels,
            image_size=(height, width),
        )
        device = torch.device("cpu") if teacher is None else teacher.device
        open_yet = stated in ("teacher", "dataset")
        task = TrainingTask(
            module=module.to(device),
            images=_blank(shape),
            objective=recipe.objective,
            config=recipe.training,
            normalization=_OPEN if open_yet else Normalization.parse(stated),
            teacher=teacher,
        )
        probe = check_task(task, device)
        recipe.objective.adapters(probe.student_shapes, probe.teacher_shapes)
    return module


def _blank(shape: tuple[int, ...]) -> ImageSet:
    return ImageSet(
        name="blank",
        images=np.zeros((_BLANK, *shape), dtype=np.uint8),
        labels=np.zeros(_BLANK, dtype=np.int64),
        sample_ids=np.array([f"blank/{row}" for row in range(_BLANK)]),
    )
