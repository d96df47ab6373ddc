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
    device: str,
    progress: Progress,
) -> References:
    """Return the references: those ``given``, else the study's own, else ``wanted`` new ones.

    ``given`` is a folder of weights files or a model spec. An explicit ``wanted`` (0 for none)
    goes before the study's own. Of either, what is ``student`` itself, weight for weight, is
    left out: nobody is in its own null. All are on ``device``, like the student. New ones are
    distilled on trusted ``images`` with the recipe of ``student``, varied in seed, subset,
    temperature and epochs; raises :class:`~analysis.errors.ModelError` when the student does not
    say its recipe.
    """
    if given is not None:
        return _given(teacher, str(given), student, trusted_code, device)
    own = study.references
    if own and wanted is None:
        stored = {name: load_stored(study, name, tuple(trusted_code), device) for name in own}
        handles, without = _but(student, stored)
        orders = {name: stored_order(study, name) for name in handles}
        return References(
            handles=handles,
            orders=orders,
            seconds=0.0,
            said=f"{len(handles)} of the study{without}",
        )
    if not wanted:
        return References(handles={}, orders={}, seconds=0.0, said="none")
    return _made(teacher, wanted, student, images, cache, device, progress)


def _but(
    student: ModelHandle, found: Mapping[str, ModelHandle]
) -> tuple[dict[str, ModelHandle], str]:
    """What of ``found`` is not ``student`` itself, and words about what is."""
    others = {name: one for name, one in found.items() if one.digest != student.digest}
    return others, "" if len(others) == len(found) else ", without the student itself"


def _given(
    teacher: ModelHandle,
    spec: str,
    student: ModelHandle,
    trusted_code: Collection[str | Path],
    device: str,
) -> References:
    found = {}
    for name, one in expand_references([spec]).items():
        handle = load_model(one.spec, trusted_code=trusted_code, device=device)
        made_from = (handle.metadata.get("teacher") or {}).get("digest")
        if made_from not in (None, teacher.digest) or handle.num_classes != teacher.num_classes:
            raise InputError(
                f"reference {name!r} was distilled from another teacher",
                expected="honest students of this teacher",
                remedy="make some with: distillscope reference",
            )
        found[name] = handle
    handles, without = _but(student, found)
    orders: dict[str, Order] = {name: _order(teacher, one) for name, one in handles.items()}
    return References(
        handles=handles,
        orders=orders,
        seconds=0.0,
        said=f"{len(handles)} that were given{without}",
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
    device: str,
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
        handles={one.name: load_model(str(one.weights), device=device) for one in made},
        orders={one.name: None for one in made},
        seconds=sum(one.seconds for one in made),
        said=f"{len(made)} distilled on {len(images)} trusted images",
    )


def stored_order(study: Study, name: str) -> Order:
    """Which output of a student of ``study`` each class is, as the study remembers it."""
    order = study.record(f"order/{name}")
    return None if order is None else tuple(order)
