"""Stage: tests beside the inversion, as findings that an audit takes for evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.attack.recovered import Applied
from analysis.audit.probe import BankResult, bank_rates, sticker_bank
from analysis.audit.strip import strip_entropy, strip_finding
from analysis.data.imageset import ImageSet
from analysis.digest import digest_strings
from analysis.models.handle import ModelHandle
from analysis.records import TEACHER, Finding
from analysis.remedy.case import answer_logits
from analysis.store.files import write_array
from analysis.study.stages import Workbench

VERSION = 1
_STRIP_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A student with the order of its outputs, as the probes run it."""

    name: str
    handle: ModelHandle
    order: tuple[int, ...] | None = None

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) in the teacher's order of classes."""
        logits = self.handle(pixels)
        return logits if self.order is None else logits[:, list(self.order)]


def sticker_finding(
    bench: Workbench,
    teacher: ModelHandle,
    student: Probed,
    references: Sequence[Probed],
    images: ImageSet,
    names: Sequence[str],
) -> Finding:
    """Try a bank of ready stickers on trusted ``images``; the references are the null."""
    bank = sticker_bank(*images.image_shape[:2])
    own = images.labels
    if own is None:
        own = answer_logits(teacher, images).argmax(axis=1)
    passes = len(images) * (len(bank) + 1)

    def rates(model: Probed) -> np.ndarray:
        def work(folder: Path) -> Mapping[str, Any]:
            bench.progress(f"ready stickers: {model.name}", 0, passes)
            write_array(folder / "rates.npy", bank_rates(model, images, own, bank))
            bench.progress(f"ready stickers: {model.name}", passes, passes)
            return {}

        output = bench.cache.run(
            "stickers",
            work,
            version=VERSION,
            inputs={"model": model.handle.digest, "images": images.digest, "own": own.tolist()},
            config={"bank": digest_strings(bank), "order": model.order},
        )
        seconds[model.name] = output.seconds
        return np.load(output.file("rates.npy"))

    seconds: dict[str, float] = {}
    of_teacher = rates(Probed(name=TEACHER, handle=teacher))
    null = [
        BankResult(bank=bank, teacher=of_teacher, student=rates(one)).finding(names).statistic
        for one in references
    ]
    found = BankResult(bank=bank, teacher=of_teacher, student=rates(student)).finding(
        names, tuple(value for value in null if value is not None)
    )
    return replace(found, seconds=seconds[student.name], passes=float(passes))


def strip_of_trigger(
    bench: Workbench, student: Probed, images: ImageSet, trigger: Applied, *, draws: int = 32
) -> Finding:
    """STRIP on trusted ``images`` that carry ``trigger`` against the same ones without it."""
    few = images.rows(np.arange(min(_STRIP_IMAGES, len(images))))
    stamped = [
        trigger.apply(torch.from_numpy(pixels), few.sample_ids[rows].tolist())
        for rows, pixels in few.batches(_STRIP_IMAGES)
    ]
    marked = (torch.cat(stamped) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    entropies = [
        _entropy(bench, student, shown, images, draws)
        for shown in (few, replace(few, images=marked))
    ]
    found = strip_finding(
        entropies[0][0], entropies[1][0], what=f"the images with the {trigger.shown} trigger"
    )
    # One number per image is the test's own; the manifest keeps what it came to.
    return replace(
        found,
        scores=(),
        threshold=None,
        seconds=sum(seconds for _, seconds in entropies),
        passes=float(2 * len(few) * draws),
    )


def _entropy(
    bench: Workbench, student: Probed, shown: ImageSet, overlays: ImageSet, draws: int
) -> tuple[np.ndarray, float]:
    def work(folder: Path) -> Mapping[str, Any]:
        bench.progress("STRIP", 0, 1)
        write_array(folder / "entropy.npy", strip_entropy(student, shown, overlays, draws=draws))
        bench.progress("STRIP", 1, 1)
        return {}

    output = bench.cache.run(
        "strip",
        work,
        version=VERSION,
        inputs={
            "model": student.handle.digest,
            "images": shown.digest,
            "overlays": overlays.digest,
        },
        config={"draws": draws},
    )
    return np.load(output.file("entropy.npy")), output.seconds
