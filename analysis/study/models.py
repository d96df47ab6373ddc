"""Stage: load models, weigh what they cost, keep their weights in the study."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.digest import digest_file, digest_json
from analysis.errors import StudyError, TrustError
from analysis.models.cost import model_cost
from analysis.models.handle import ModelHandle
from analysis.models.loading import ModelSpec, load_model, save_model
from analysis.records import REFERENCE, ModelCost, Student
from analysis.store import StageCache, Study
from analysis.study.specs import StudentSpec

COST_VERSION = 1
WEIGHTS_VERSION = 1
_PACKAGES = ("torch", "numpy", "captum", "umap-learn", "faiss-cpu", "pillow", "scikit-learn")


def load_handles(
    teacher: str | None,
    students: Mapping[str, StudentSpec],
    trusted_code: Sequence[str | Path],
    device: str,
) -> tuple[ModelHandle | None, dict[str, ModelHandle]]:
    """Load the teacher (when its spec is given) and the students, all before anything is run."""
    specs = {name: ModelSpec.parse(student.spec) for name, student in students.items()}
    first = None
    if teacher is not None:
        first = load_model(teacher, trusted_code=trusted_code, device=device)
    handles = {
        name: load_model(spec, trusted_code=trusted_code, device=device)
        for name, spec in specs.items()
    }
    return first, handles


def load_stored(
    study: Study, name: str, trusted_code: Sequence[str | Path] = (), device: str = "cpu"
) -> ModelHandle:
    """Load a model of a study from the weights that the study keeps.

    User code is not in the study: it must be trusted on the command line, and its digest must be
    the one that the study remembers. Raises :class:`~analysis.errors.TrustError` otherwise, and
    :class:`~analysis.errors.StudyError` for a model that is known by its predictions alone.
    """
    model, weights = study.models[name], study.weights(name)
    if weights is None:
        raise StudyError(
            f"{study.path} knows the outputs of {name!r}, not its weights",
            expected="a study that was made from models",
            remedy="make one with: compare --teacher --student --images",
        )
    if model.user_code is None:
        handle = load_model(str(weights), device=device)
    else:
        file, _, factory = model.architecture.rpartition(":")
        called = [Path(p) for p in trusted_code if Path(p).name == file]
        same = (p for p in called if p.is_file() and digest_file(p) == model.user_code)
        path = next(same, next(iter(called), None))
        if path is None:
            raise TrustError(
                f"{name!r} was made by user code, {file}",
                remedy=f"give the same file with: --trust-code {file}",
            )
        handle = load_model(f"{path}:{factory}@{weights}", trusted_code=trusted_code, device=device)
    if handle.digest != model.digest:
        raise TrustError(
            f"{file if model.user_code else weights.name} is not what the study was computed with",
            expected=f"code with sha256 {model.user_code}" if model.user_code else None,
        )
    return dataclasses.replace(handle, spec_text=model.spec)


def model_card(
    cache: StageCache,
    name: str,
    handle: ModelHandle,
    spec: StudentSpec,
    image_shape: tuple[int, int, int],
) -> Student:
    """Describe a model: identity, role, recipe, and what it costs on images (H, W, C)."""

    def work(folder: Path) -> Mapping[str, Any]:
        return dataclasses.asdict(model_cost(handle, image_shape, latency=timed))

    # A checkpoint is as fast as its student, and a reference is not there to be used.
    timed = spec.role not in ("checkpoint", REFERENCE)
    output = cache.run(
        "cost",
        work,
        version=COST_VERSION,
        inputs={"model": handle.digest, "image": list(image_shape)},
        config={"timed": timed},
    )
    recipe = {**handle.metadata, **spec.recipe}
    return Student(
        name=name,
        role=spec.role,
        parent=spec.parent,
        epoch=_epoch(spec, recipe),
        spec=handle.spec_text,
        digest=handle.digest,
        architecture=handle.architecture,
        recipe=recipe,
        recipe_digest=digest_json(recipe) if recipe else None,
        user_code=handle.user_code,
        cost=ModelCost(**{**output.record, "file_bytes": handle.file_bytes}),
    )


def _epoch(spec: StudentSpec, recipe: Mapping[str, Any]) -> int | None:
    """The epoch that the command names, else the one that our own weights file remembers."""
    known = recipe.get("epoch") if spec.epoch is None else spec.epoch
    return known if isinstance(known, int) else None


def store_weights(cache: StageCache, handle: ModelHandle, class_names: Sequence[str]) -> Path:
    """Return a safetensors file of the model's weights, named classes included."""

    def work(folder: Path) -> Mapping[str, Any]:
        save_model(
            folder / "weights.safetensors",
            handle.module,
            architecture=handle.architecture,
            width=handle.width,
            class_names=class_names,
            normalization=handle.normalization,
            num_classes=handle.num_classes,
            in_channels=handle.in_channels,
            image_size=handle.input_size,
            metadata=handle.metadata,
        )
        return {}

    inputs = {
        "model": handle.digest,
        "architecture": handle.architecture,
        "classes": list(class_names),
        "recipe": json.loads(json.dumps(dict(handle.metadata))),
    }
    output = cache.run("weights", work, version=WEIGHTS_VERSION, inputs=inputs)
    return output.file("weights.safetensors")


@contextlib.contextmanager
def warming_up() -> Iterator[None]:
    """Compile what the projections need on another thread while the models run.

    numba needs many seconds for it, once per process; the models' passes release the
    interpreter's lock.
    """
    from analysis.embedding.projection import warm_up

    thread = threading.Thread(target=warm_up, name="compile projections", daemon=True)
    thread.start()
    yield
    # Not after an exception: whoever cancels need not wait for the compiler.
    thread.join()


def versions() -> dict[str, str]:
    """Versions of what computes the numbers, for the provenance."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("distillscope", *_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
