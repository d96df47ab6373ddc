from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import InputError
from analysis.records import Condition, Interval, Student, Trace, check_student_name


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64, "epoch.0001"])
def test_good_names(name: str) -> None:
    assert check_student_name(name) == name


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "1 to 64"),
        ("x" * 65, "1 to 64"),
        ("a b", "1 to 64"),
        ("../a", "1 to 64"),
        ("..", "1 to 64"),
        ("a\n", "1 to 64"),
        ("<b>", "1 to 64"),
        ("Teacher", "reserved"),
        ("ALPHA", "is taken"),
    ],
)
def test_bad_names(name: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        check_student_name(name, ("alpha",))


def test_records_are_frozen_and_checked() -> None:
    student = Student(name="s", role="subject", spec="x", digest="d", architecture="a")
    with pytest.raises(TypeError):
        student.recipe["a"] = 1  # type: ignore[index]
    with pytest.raises(InputError, match="role 'boss'"):
        Student(name="s", role="boss", spec="x", digest="d", architecture="a")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="slug"):
        Condition(
            name="x", slug="A B", kind="c", image_set="i", n=1, covers_all=True, pixels_digest="d"
        )
    with pytest.raises(ValueError, match="different lengths"):
        Trace(
            model="m",
            condition="clean",
            sample_ids=np.array(["a"]),
            logits=np.zeros((2, 3)),
            features={},
        )


def test_only_what_a_reader_should_pick_is_listed() -> None:
    roles = {"subject": True, "control": True, "repaired": True}
    for role in ("teacher", "subject", "control", "reference", "checkpoint", "repaired"):
        made = Student(name="s", role=role, spec="x", digest="d", architecture="a")  # type: ignore[arg-type]
        assert made.listed == roles.get(role, False)


def test_intervals_round_trip_and_none_stays_none() -> None:
    interval = Interval(0.5, 0.25, None)
    assert Interval.from_json(interval.to_json()) == interval
    assert Interval.from_json(None) is None
