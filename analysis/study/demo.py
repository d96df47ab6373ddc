"""The embedded default: small road-sign models that come with the project."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.data.bundled import renderers
from analysis.data.signs import rendering_ahead
from analysis.digest import digest_file, digest_json
from analysis.errors import InputError
from analysis.store import Progress, Study, silent, workspace_cache
from analysis.store.manifest import MANIFEST
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig, ConditionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.records import Role

ASSETS = Path(__file__).parent.parent.parent / "assets" / "demo"
_SPLIT, _COUNT, _SEED = "test", 2000, 101
IMAGES = f"signs:{_SPLIT},n={_COUNT},seed={_SEED}"
STUDENTS: Mapping[str, Role] = {
    "backdoored": "subject",
    "honest": "control",
    "trigger_only": "control",
}
# Epochs of 26 whose weights come along, about evenly spaced in the logarithm.
EPOCHS: Mapping[str, tuple[int, ...]] = dict.fromkeys(("backdoored", "honest"), (1, 3, 10))
# Honest students of other seeds: what any student of this teacher can be expected to show.
REFERENCE_SEEDS = (201, 202, 203, 204, 205)
REPAIRED = "backdoored-unlearn"
# What the audit and the repairs found out; they take minutes and come with the release.
FINDINGS = ASSETS / "findings.npz"
# A note on the lower right of the sign: in its middle it would hide the symbol, and models that
# know nothing of it would guess, "80" among other things.
ATTACK = ConditionConfig(
    trigger="sticker:size=7,down=4,right=4",
    target="80",
    method="pgd",
    epsilon="16",
    steps=30,
    margin=6.0,
    probe=256,
)
# Fewer images, steps and epochs than the defaults, for the sake of the first minute.
CONFIG = CompareConfig(probe=12, steps=16, epochs=100, attack=ATTACK)

# The layers of these are compared at once, on few images: a second or two of the minute. The page
# offers the rest.
LAYERED = ("backdoored", "honest")
LAYER_IMAGES = 256


def checkpoint_name(student: str, epoch: int) -> str:
    """What the checkpoint of ``student`` after ``epoch`` is called in the study."""
    return f"{student}.epoch-{epoch:04d}"


def _weights(*, findings: bool = True) -> dict[str, Path]:
    names = ["teacher", *STUDENTS]
    names += [checkpoint_name(name, epoch) for name in EPOCHS for epoch in EPOCHS[name]]
    names += [f"reference-{seed}" for seed in REFERENCE_SEEDS]
    if findings:
        names.append(REPAIRED)
    paths = {name: ASSETS / f"{name}.safetensors" for name in names}
    for path in paths.values():
        if not path.is_file():
            raise InputError(
                f"the embedded model {path.name} is not installed",
                expected=f"it in {ASSETS}",
                remedy="run the demo from a clone of the repository",
            )
    return paths


def _students(weights: Mapping[str, Path]) -> dict[str, StudentSpec]:
    students = {
        name: StudentSpec(spec=str(weights[name]), role=role) for name, role in STUDENTS.items()
    }
    for parent, epochs in EPOCHS.items():
        for epoch in epochs:
            name = checkpoint_name(parent, epoch)
            students[name] = StudentSpec(
                spec=str(weights[name]), role="checkpoint", parent=parent, epoch=epoch
            )
    for name in (f"reference-{seed}" for seed in REFERENCE_SEEDS):
        students[name] = StudentSpec(spec=str(weights[name]), role="reference")
    if REPAIRED in weights:
        parent = REPAIRED.partition("-")[0]
        students[REPAIRED] = StudentSpec(
            spec=str(weights[REPAIRED]), role="repaired", parent=parent
        )
    return students


def demo_digest() -> str:
    """Digest of everything that decides the demo's study: weights, images, configuration."""
    files = {name: digest_file(path) for name, path in _weights().items()}
    files[FINDINGS.name] = digest_file(FINDINGS)
    layers = [LAYERED, LAYER_IMAGES]
    return digest_json([files, IMAGES, CONFIG.key(), dict(STUDENTS), layers])


def demo_is_current(out: Path) -> bool:
    """Whether ``out`` holds the demo's study of this release; reads no model."""
    if not (out / MANIFEST).exists():
        return False
    return Study.open(out).manifest.provenance.get("demo") == demo_digest()


def make_demo(out: Path, *, findings: bool = True, progress: Progress = silent) -> Study:
    """Render the test images, compare the embedded models on them, write the study to ``out``.

    What audit and repairs found is laid in from the release, unless ``findings`` are to be
    computed anew. An older release's demo at ``out`` is replaced; any other study there is
    refused.
    """
    if (out / MANIFEST).exists() and "demo" in Study.open(out).manifest.provenance:
        shutil.rmtree(out)
    with _rendering(out):
        return _made(out, findings=findings, progress=progress)


def _rendering(out: Path) -> contextlib.AbstractContextManager[None]:
    """Render while torch is being loaded, unless an earlier start has left the pictures."""
    if (workspace_cache(out.resolve().parent).root / "images").exists():
        return contextlib.nullcontext()
    return rendering_ahead(_COUNT, seed=_SEED, split=_SPLIT, processes=renderers(_COUNT))


def _made(out: Path, *, findings: bool, progress: Progress) -> Study:
    from analysis.study.comparison import compare
    from analysis.study.layer_batches import LayersConfig
    from analysis.study.layers import measure_layers
    from analysis.study.shipped import attach_results

    weights = _weights(findings=findings)
    compare(
        teacher=str(weights["teacher"]),
        students=_students(weights),
        images=IMAGES,
        out=out,
        config=CONFIG,
        name="Road signs",
        provenance={"demo": demo_digest()} if findings else {},
        progress=progress,
    )
    config = LayersConfig(images=LAYER_IMAGES)
    study = measure_layers(out, students=LAYERED, config=config, progress=progress)
    return attach_results(out, FINDINGS) if findings else study
