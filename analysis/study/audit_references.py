"""The honest students that an audit judges by: given, kept in the study, or made for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.data.imageset import ImageSet
from analysis.errors import InputError, ModelError
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.store import Progress, StageCache, Study
from analysis.study.models import load_stored
from analysis.study.references import choose_seeds, make_references, recipe_like
from analysis.study.specs import expand_references

Order = tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Honest students of the teacher, how their outputs are ordered, what making them took."""

    handles: Mapping[str, ModelHandle]
    orders: Mapping[str, Order]
    seconds: float
    said: str


def find_references(
    study: Study,
    teacher: ModelHandle,
    given: str | Path | None,
    wanted: int | None,
    student: ModelHandle,
    images: ImageSet,
    cache: StageCache,
    trusted_code: Collection[str | Path],
    progress: Progress,
) -> References:
    """Return the references: those ``given``, else the study's own, else ``wanted`` new ones.

    ``given`` is a folder of weights files or a model spec. An explicit ``wanted`` (0 for none)
    goes before the study's own. New ones are distilled on trusted ``images`` with the recipe of
    ``student``, varied in seed, subset, temperature and epochs; raises
    :class:`~analysis.errors.ModelError` when the student does not say its recipe.
    """
    if given is not None:
        return _given(teacher, str(given), trusted_code)
    own = study.references
    if own and wanted is None:
        handles = {name: load_stored(study, name, tuple(trusted_code)) for name in own}
        orders = {name: stored_order(study, name) for name in own}
        return References(
            handles=handles, orders=orders, seconds=0.0, said=f"{len(own)} of the study"
        )
    if not wanted:
        return References(handles={}, orders={}, seconds=0.0, said="none")
    return _made(teacher, wanted, student, images, cache, progress)


def _given(teacher: ModelHandle, spec: str, trusted_code: Collection[str | Path]) -> References:
    handles = {}
    for name, one in expand_references([spec]).items():
        handle = load_model(one.spec, trusted_code=trusted_code)
        made_from = (handle.metadata.get("teacher") or {}).get("digest")
        if made_from not in (None, teacher.digest) or handle.num_classes != teacher.num_classes:
            raise InputError(
                f"reference {name!r} was distilled from another teacher",
                expected="honest students of this teacher",
                remedy="make some with: distillscope reference",
            )
        handles[name] = handle
    orders: dict[str, Order] = {name: _order(teacher, one) for name, one in handles.items()}
    return References(
        handles=handles, orders=orders, seconds=0.0, said=f"{len(handles)} that were given"
    )


def _order(teacher: ModelHandle, student: ModelHandle) -> Order:
    """Which of the student's outputs each of the teacher's classes is, by the names of both."""
    names, own = teacher.class_names, student.class_names
    if names is None or own is None or names == own or set(names) != set(own):
        return None
    return tuple(own.index(name) for name in names)


def _made(
    teacher: ModelHandle,
    wanted: int,
    student: ModelHandle,
    images: ImageSet,
    cache: StageCache,
    progress: Progress,
) -> References:
    try:
        recipe = recipe_like(student)
    except ModelError as error:
        raise ModelError(
            error.what,
            expected="a student that says how it was distilled, or references",
            remedy="give honest students: --references DIR, or do without: --references 0",
        ) from error
    seed = (student.metadata.get("training") or {}).get("seed")
    made = make_references(
        teacher=teacher,
        images=images,
        recipe=recipe,
        seeds=choose_seeds(wanted, avoid=() if seed is None else (seed,)),
        cache=cache,
        vary=True,
        progress=progress,
    )
    return References(
        handles={one.name: load_model(str(one.weights)) for one in made},
        orders={one.name: None for one in made},
        seconds=sum(one.seconds for one in made),
        said=f"{len(made)} distilled on {len(images)} trusted images",
    )


def stored_order(study: Study, name: str) -> Order:
    """Which output of a student of ``study`` each class is, as the study remembers it."""
    order = study.record(f"order/{name}")
    return None if order is None else tuple(order)
