"""Whether a map tells the truth about its model; shown beside the map, so that a bad one is seen.

Each measure has its null: curves beside those of random orders, infidelity beside that of the
same map moved elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from analysis.attribution.baselines import find_baseline
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.curves import curves_of_image, hide, numbers, place_in_order
from analysis.attribution.evidence import Curves, Faithfulness
from analysis.attribution.images import Pixels, as_pixels
from analysis.attribution.infidelity import random_squares, relative_infidelity
from analysis.attribution.null import moved
from analysis.attribution.pair import prepare_pair
from analysis.attribution.scalars import find_model_scalar, find_pair_scalar
from analysis.attribution.settings import FaithfulnessConfig
from analysis.attribution.subject import Subject, subject_of
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import AttributionMaps
from analysis.store import Progress

STAGE = "faithfulness"


def check_faithfulness(
    teacher: ModelHandle | InferenceCopy,
    student: ModelHandle | InferenceCopy,
    images: np.ndarray | Pixels,
    maps: Mapping[str, AttributionMaps],
    config: FaithfulnessConfig | None = None,
    *,
    scalar: str = "p_student_minus_teacher",
    student_order: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Faithfulness]:
    """Check each of ``maps`` (``teacher``, ``student``, ``pair``) against the models.

    ``images`` are those that the maps explain, in their order, ``scalar`` the pair's that they
    explain. Costs 2 (orders + 1) (steps + 1) + squares + 1 answers per image and map. Raises
    :class:`InputError` for maps that do not belong to the images.
    """
    config = config or FaithfulnessConfig()
    pixels = as_pixels(images)
    copies = prepare_pair(teacher, student, pixels, "float32", student_order)
    subjects = subjects_of(*copies, scalar)
    found = {}
    for done, (part, record) in enumerate(maps.items()):
        found[part] = _check_part(subjects[part], pixels, record, config)
        if progress is not None:
            progress(STAGE, done + 1, len(maps))
    return found


def subjects_of(teacher: InferenceCopy, student: InferenceCopy, scalar: str) -> dict[str, Subject]:
    """Return what the maps of teacher, student and pair explain, by these keys."""
    chosen = find_pair_scalar(scalar)
    part = find_model_scalar(chosen.part)
    return {
        "teacher": subject_of(part, teacher),
        "student": subject_of(part, student),
        "pair": subject_of(chosen, teacher, student),
    }


def _check_part(
    subject: Subject, pixels: Pixels, maps: AttributionMaps, config: FaithfulnessConfig
) -> Faithfulness:
    height, width, _ = pixels.image_shape
    if maps.values.shape != (len(pixels), height, width):
        raise InputError(
            f"maps of shape {maps.values.shape}",
            expected=f"{(len(pixels), height, width)}, those of the images",
        )
    curves, infidelities = [], []
    for rows, values in pixels.batches(config.batch):
        x = torch.from_numpy(values).to(subject.device, subject.dtype)
        bases = find_baseline(config.baseline).make(x)
        for row, image, base in zip(rows, x, bases, strict=True):
            # Every image draws anew: its numbers do not depend on which others are checked.
            generator = np.random.default_rng(config.seed)
            one = np.asarray(maps.values[row], dtype=np.float64)
            at = (subject, image, base, int(maps.explained_class[row]))
            curves.append(_curves(*at, one, config, generator))
            infidelities.append(_infidelity(*at, one, config, generator))
    shares = np.linspace(0, 1, config.steps + 1)
    deletion, insertion = (np.stack(part, axis=1) for part in zip(*curves, strict=True))
    infidelity = np.stack(infidelities, axis=1)
    return Faithfulness(
        deletion=Curves(kind="deletion", shares=shares, values=deletion[0], random=deletion[1:]),
        insertion=Curves(
            kind="insertion", shares=shares, values=insertion[0], random=insertion[1:]
        ),
        infidelity=infidelity[0],
        moved_infidelity=infidelity[1:],
        completeness_error=np.asarray(maps.completeness_error),
    )


def _curves(
    subject: Subject,
    image: torch.Tensor,
    base: torch.Tensor,
    explained: int,
    values: np.ndarray,
    config: FaithfulnessConfig,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    random = [generator.permutation(values.size) for _ in range(config.orders)]
    orders = np.stack([place_in_order(values), *random])
    return curves_of_image(subject, image, base, explained, orders, config.steps, config.batch)


def _infidelity(
    subject: Subject,
    image: torch.Tensor,
    base: torch.Tensor,
    explained: int,
    values: np.ndarray,
    config: FaithfulnessConfig,
    generator: np.random.Generator,
) -> np.ndarray:
    """Infidelity of the map, and of the same map moved ``orders`` times: (1 + R,)."""
    height, width = values.shape
    squares = random_squares(height, width, config.squares, generator)
    masks = torch.from_numpy(np.concatenate([np.zeros_like(squares[:1]), squares]))
    shown = hide(image[None].expand(len(masks), -1, -1, -1), masks.to(image.device), base[None])
    explained_classes = torch.full((len(masks),), explained, device=image.device)
    answers = numbers(subject, shown, explained_classes, config.batch)
    maps = [values, *(moved(values, generator) for _ in range(config.orders))]
    masses = np.stack(maps).reshape(len(maps), -1) @ squares.reshape(len(squares), -1).T
    return relative_infidelity(masses, (answers[0] - answers[1:])[None])
