"""From one study of the workspace to another: what of a selection means the same there."""

from __future__ import annotations

from analysis.records import CLEAN, TEACHER
from analysis.store.study import Study
from dashboard.selection import SavedSet, Selection


def carried(selection: Selection, old: Study, new: Study, name: str | None) -> Selection:
    """``selection`` of the study ``old`` as one of ``new``, which addresses call ``name``.

    Models and condition are kept where they exist. Classes and expressions are kept where both
    studies have the same classes, an image and a saved set where both look at the same images.
    Polygons, slices, layers and epochs belong to one study alone.
    """
    students = list(new.students)
    student = selection.student if selection.student in students else next(iter(students), "")
    left = selection.left if selection.left in new.models else TEACHER
    classes = old.class_names == new.class_names
    images = old.inspection.digest == new.inspection.digest
    saved = images and isinstance(selection.within, SavedSet)
    return Selection(
        study=name,
        student=student,
        condition=selection.condition if selection.condition in new.conditions else CLEAN,
        left=TEACHER if left == student else left,
        cell=selection.cell if classes else None,
        group=selection.group if classes else None,
        differ=selection.differ,
        where=selection.where if classes else None,
        within=selection.within if saved else None,
        sample=selection.sample if images else None,
        color=selection.color,
    )
