"""Compare a teacher with its students: the order of the stages, and nothing else.

Every stage is looked up in the workspace's cache first, so a run that was killed goes on where
it stopped, and a student that is added later costs what is new about it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.data.imageset import ImageSet
from analysis.errors import InputError, StudyError
from analysis.models.handle import ModelHandle
from analysis.records import REFERENCE, TEACHER, check_student_name
from analysis.store import Progress, Study, StudyWriter, silent, workspace_cache, writing
from analysis.store.manifest import MANIFEST
from analysis.study.classes import ClassPlan, plan_classes
from analysis.study.conditions import has_trigger, stored_config
from analysis.study.images import images_of_study, load_image_set
from analysis.study.models import load_handles, load_stored, warming_up
from analysis.study.run import ComparisonRun
from analysis.study.seen import SeenImages, find_seen, put_seen
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig, Workbench

_TRIGGER = "attack.trigger"


def compare(
    *,
    teacher: str,
    students: Mapping[str, str | StudentSpec],
    images: str,
    out: str | Path,
    config: CompareConfig | None = None,
    trusted_code: Sequence[str | Path] = (),
    class_names: Mapping[str, Sequence[str]] | None = None,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    device: str = "cpu",
    distillation: ImageSet | str | None = None,
    progress: Progress = silent,
) -> Study:
    """Compare ``teacher`` with ``students`` on ``images``; return the study at ``out``.

    ``teacher`` and ``students`` are model specs (``ARCH@WEIGHTS[,option=value]``), ``images`` a
    source that :func:`analysis.data.sources.load_images` reads. A study that is already at
    ``out`` is completed when it has the same teacher, images and configuration, refused
    otherwise. ``class_names`` names the outputs of students whose files do not, ``provenance``
    is kept beside the result and is no part of it. ``distillation`` are the images that the
    students were distilled on, where they are at hand: the study says which it shows of them.
    Raises :class:`~analysis.errors.InputError` before anything is written.
    """
    folder = Path(out)
    specs = _specs(students)
    config = config or CompareConfig()
    fresh = not (folder / MANIFEST).exists()
    with writing(folder), _compiling(config, specs, fresh=fresh):
        bench = Workbench(workspace_cache(folder.resolve().parent), config, progress)
        writer = StudyWriter(folder)
        handle, handles = load_handles(teacher, specs, trusted_code, device)
        assert handle is not None
        _check_references(handle, specs, handles)
        pixels = load_image_set(
            bench.cache,
            images,
            size=config.size or handle.side,
            channels=handle.in_channels,
            limit=config.limit,
            seed=config.seed,
            progress=progress,
        )
        plan = plan_classes(pixels, handle, handles, given=class_names)
        pixels = _relabel(pixels, plan)
        existing = _existing(folder, handle, pixels, config)
        title = name or folder.resolve().name
        seen = None if distillation is None else find_seen(bench.cache, pixels, distillation)
        run = ComparisonRun(bench, writer, handle, pixels, plan, existing, title, provenance or {})
        return _noted(run.finish(specs, handles), seen, specs)


def add_students(
    folder: str | Path,
    students: Mapping[str, str | StudentSpec],
    *,
    trusted_code: Sequence[str | Path] = (),
    class_names: Mapping[str, Sequence[str]] | None = None,
    device: str = "cpu",
    distillation: ImageSet | str | None = None,
    progress: Progress = silent,
) -> Study:
    """Add students to the study in ``folder``; only what is new is computed.

    ``distillation`` are the images that these were distilled on, as in :func:`compare`.
    """
    path = Path(folder)
    specs = _specs(students)
    with writing(path):
        existing = Study.open(path)
        for new in specs:
            check_student_name(new, tuple(other for other in existing.models if other != new))
        config = CompareConfig.from_mapping(dict(existing.manifest.config))
        with _compiling(config, specs):
            bench = Workbench(workspace_cache(path.resolve().parent), config, progress)
            handle = load_stored(existing, TEACHER, trusted_code, device)
            handles = load_handles(None, specs, trusted_code, device)[1]
            _check_references(handle, specs, handles)
            pixels = images_of_study(existing)
            plan = plan_classes(pixels, handle, handles, given=class_names)
            writer = StudyWriter(path)
            seen = None if distillation is None else find_seen(bench.cache, pixels, distillation)
            run = ComparisonRun(bench, writer, handle, pixels, plan, existing, existing.name)
            return _noted(run.finish(specs, handles), seen, specs)


def _noted(study: Study, seen: SeenImages | None, specs: Mapping[str, StudentSpec]) -> Study:
    listed = [name for name in specs if study.models[name].listed]
    return study if seen is None else put_seen(study, seen, listed)


def _compiling(
    config: CompareConfig, specs: Mapping[str, StudentSpec], *, fresh: bool = True
) -> contextlib.AbstractContextManager[None]:
    """Compile the projections while images are read and models run, if any will be laid out."""
    drawn = any(spec.role != REFERENCE for spec in specs.values())
    return warming_up() if fresh and drawn and config.projection else contextlib.nullcontext()


def _check_references(
    teacher: ModelHandle, specs: Mapping[str, StudentSpec], handles: Mapping[str, ModelHandle]
) -> None:
    """Refuse a reference that says that it was distilled from another teacher."""
    for name, spec in specs.items():
        made_from = (handles[name].metadata.get("teacher") or {}).get("digest")
        if spec.role == REFERENCE and made_from not in (None, teacher.digest):
            raise InputError(
                f"reference {name!r} was distilled from another teacher",
                expected="students of the teacher of this study",
                remedy="make some with: distillscope reference",
            )


def _specs(students: Mapping[str, str | StudentSpec]) -> dict[str, StudentSpec]:
    specs: dict[str, StudentSpec] = {}
    for name, spec in students.items():
        check_student_name(name, tuple(specs))
        specs[name] = spec if isinstance(spec, StudentSpec) else StudentSpec(spec=spec)
    if not specs:
        raise StudyError("no student was given", remedy="add --student [NAME=]SPEC")
    return specs


def _relabel(images: ImageSet, plan: ClassPlan) -> ImageSet:
    return ImageSet(
        name=images.name,
        images=images.images,
        labels=plan.labels,
        sample_ids=images.sample_ids,
        class_names=plan.names,
        source=images.source,
    )


def _existing(
    folder: Path, teacher: ModelHandle, images: ImageSet, config: CompareConfig
) -> Study | None:
    """Return the study at ``folder`` when this comparison completes it; refuse another one."""
    if not (folder / MANIFEST).exists():
        return None
    study = Study.open(folder)
    same_images = study.inspection.digest == images.digest
    there, here = _flat(study.manifest.config), _flat(stored_config(config))
    # The pixels decide, not the path of the trigger's picture.
    same = has_trigger(study, images, config.attack) if same_images and config.attack else None
    if same:
        there[_TRIGGER] = here[_TRIGGER]
    changed = same is False and there.get(_TRIGGER) == here[_TRIGGER]
    differs = [
        *([] if study.teacher.digest == teacher.digest else ["another teacher"]),
        *([] if same_images else ["other images"]),
        *([f"another picture as {here[_TRIGGER]}"] if changed else []),
        *_other_settings(there, here),
    ]
    if differs:
        raise StudyError(
            f"{folder} holds a study with {', '.join(differs)}",
            remedy="choose another --out, or delete that folder",
        )
    return study


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the settings of the attack beside the others."""
    attack = config.get("attack")
    if not isinstance(attack, Mapping):
        return dict(config)
    own = {key: value for key, value in config.items() if key != "attack"}
    return own | {f"attack.{key}": value for key, value in attack.items()}


def _other_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    keys = sorted({*there, *here})
    return [
        f"{key} = {there.get(key)} where this has {here.get(key)}"
        for key in keys
        if there.get(key) != here.get(key)
    ]
