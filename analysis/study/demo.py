"""The embedded default: small road-sign models that come with the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.digest import digest_file, digest_json
from analysis.errors import InputError
from analysis.store import Progress, Study, silent
from analysis.store.manifest import MANIFEST
from analysis.study.stages import CompareConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

ASSETS = Path(__file__).parent.parent.parent / "assets" / "demo"
IMAGES = "signs:test,n=2000,seed=101"
STUDENTS: Mapping[str, str] = {"honest": "honest.safetensors"}
CONFIG = CompareConfig(probe=96)


def _weights() -> dict[str, Path]:
    files = {"teacher": "teacher.safetensors", **STUDENTS}
    paths = {name: ASSETS / file for name, file in files.items()}
    for path in paths.values():
        if not path.is_file():
            raise InputError(
                f"the embedded model {path.name} is not installed",
                expected=f"it in {ASSETS}",
                remedy="run the demo from a clone of the repository",
            )
    return paths


def demo_digest() -> str:
    """Digest of everything that decides the demo's study: weights, images, configuration."""
    weights = {name: digest_file(path) for name, path in _weights().items()}
    return digest_json([weights, IMAGES, CONFIG.key()])


def demo_is_current(out: Path) -> bool:
    """Whether ``out`` holds the demo's study of this release; reads no model."""
    if not (out / MANIFEST).exists():
        return False
    return Study.open(out).manifest.provenance.get("demo") == demo_digest()


def make_demo(out: Path, *, progress: Progress = silent) -> Study:
    """Render the test images, compare the embedded models on them, write the study to ``out``."""
    from analysis.study.comparison import compare

    weights = {name: str(path) for name, path in _weights().items()}
    teacher = weights.pop("teacher")
    return compare(
        teacher=teacher,
        students=weights,
        images=IMAGES,
        out=out,
        config=CONFIG,
        name="Road signs",
        provenance={"demo": demo_digest()},
        progress=progress,
    )
