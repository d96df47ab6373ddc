"""Stage: look for inspection images among those that students were distilled on.

Such images tell how well a student remembers, not how it answers what it never saw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.data.imageset import ImageSet
from analysis.data.overlap import shared_images
from analysis.records import ImageSetCard
from analysis.store import (
    Progress,
    StageCache,
    Study,
    StudyWriter,
    silent,
    workspace_cache,
    writing,
)
from analysis.store.files import write_array
from analysis.study.images import images_of_study, load_image_set

KIND = "seen_images"
SET = "distillation"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenImages:
    """``n`` of the ``of`` images that models are compared on occur in the set of ``card``."""

    n: int
    of: int
    card: ImageSetCard

    def to_json(self) -> dict[str, Any]:
        """Return the record ``seen_images/<student>``."""
        return {"n": self.n, "of": self.of, "among": self.card.n, "source": self.card.source}

    def finding(self) -> dict[str, Any]:
        """What a study says of a student that saw such images."""
        return {
            "kind": KIND,
            "n": self.n,
            "text": f"{self.n} of the {self.of} images that the models are compared on "
            f"({100 * self.n / self.of:.1f} %) are among the {self.card.n} that the student was "
            "distilled on",
            "remedy": "compare on other images: on these a student may only remember",
        }


def find_seen(
    cache: StageCache, shown: ImageSet, given: ImageSet | str, progress: Progress = silent
) -> SeenImages:
    """Count which of ``shown`` occur in ``given``, an image set or a source, pixel for pixel."""
    if isinstance(given, str):
        height, width, channels = shown.image_shape
        given = load_image_set(
            cache,
            given,
            name=SET,
            size=height if height == width else None,
            channels=channels,
            progress=progress,
        )
    other = given

    def work(folder: Path) -> Mapping[str, Any]:
        mask = shared_images(shown, other)
        write_array(folder / "seen.npy", mask)
        return {"n": int(mask.sum())}

    inputs = {"images": shown.pixels_digest, "other": given.pixels_digest}
    output = cache.run("seen", work, version=VERSION, inputs=inputs)
    return SeenImages(n=output.record["n"], of=len(shown), card=given.card())


def put_seen(study: Study, seen: SeenImages, students: Collection[str]) -> Study:
    """Write into ``study`` what ``students`` saw; for the holder of its lock.

    Each gets the record ``seen_images/<student>`` and, where there are such images, a finding.
    Doing it again changes nothing.
    """
    records: dict[str, Any] = {}
    for name in students:
        findings = [f for f in study.record(f"findings/{name}", []) if f.get("kind") != KIND]
        records[f"{KIND}/{name}"] = seen.to_json()
        records[f"findings/{name}"] = [*findings, *([seen.finding()] if seen.n else [])]
    if all(study.record(key) == value for key, value in records.items()):
        return study
    writer = StudyWriter(study.path)
    writer.records.update(records)
    sets = {**study.image_sets, SET: study.image_sets.get(SET, seen.card)}
    return writer.publish(dataclasses.replace(study.manifest, image_sets=sets))


def note_seen_images(folder: str | Path, source: str, *, progress: Progress = silent) -> Study:
    """Note in the study which of its images all its students saw in ``source``."""
    path = Path(folder)
    with writing(path):
        study = Study.open(path)
        cache = workspace_cache(path.resolve().parent)
        seen = find_seen(cache, images_of_study(study), source, progress)
        return put_seen(study, seen, list(study.students))
