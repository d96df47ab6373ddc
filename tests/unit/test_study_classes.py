"""Whose class is whose: labels in the order of the classes that are answered."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.data.imageset import ImageSet
from analysis.errors import ImageSetError
from analysis.study.classes import labels_in_order, relabeled


def images(*names: str) -> ImageSet:
    count = len(names)
    return ImageSet(
        name="inspection",
        images=np.zeros((count, 2, 2, 3), np.uint8),
        labels=np.arange(count),
        sample_ids=np.array([f"inspection/{row}" for row in range(count)]),
        class_names=names,
    )


@pytest.mark.parametrize(
    ("own", "names", "expected"),
    [
        (("b", "a"), ("a", "b"), [1, 0]),
        (("B", "A"), ("a", "b"), [1, 0]),
        (("A", "a"), ("a", "A"), [1, 0]),
        (("x", "y"), ("a", "b"), [0, 1]),
    ],
    ids=["order", "case", "two of one letter", "other names, by position"],
)
def test_labels_go_by_names(
    own: tuple[str, ...], names: tuple[str, ...], expected: list[int]
) -> None:
    found, notes = labels_in_order(images(*own), names, known=True)
    assert found is not None
    assert found.tolist() == expected
    assert [note["kind"] for note in notes] == ["image_classes"] * (own[0] == "x")
    again = relabeled(images(*own), names, of="the teacher").labels
    assert again is not None
    assert again.tolist() == expected


@pytest.mark.parametrize("names", [("a", "b"), ("a", "A")])
def test_a_part_of_the_names_is_refused(names: tuple[str, ...]) -> None:
    for asked in (
        lambda: labels_in_order(images("a", "x"), names, known=True),
        lambda: relabeled(images("a", "x"), names, of="the teacher"),
    ):
        with pytest.raises(ImageSetError, match="class 'x'"):
            asked()
