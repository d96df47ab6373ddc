"""The committed plans: enough of everything, possible attacks, seeds that nothing else has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.attack.triggers import TRIGGERS
from analysis.audit.settings import STANDARD, InversionConfig
from analysis.data.signs import SIGN_CLASSES
from analysis.errors import InputError
from analysis.models.architectures import ARCHITECTURES
from analysis.study.attack import find_target
from benchmarks.zoo.plan import CIFAR, POOLS, Zoo, read_zoo, zoo_names
from benchmarks.zoo.trial import smaller
from tests.zoo_plans import PLAN, tiny_zoo

ROOT = Path(__file__).parents[2]
CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@pytest.fixture(params=zoo_names())
def zoo(request: pytest.FixtureRequest) -> Zoo:
    return read_zoo(request.param)


@pytest.fixture(params=[name for name in zoo_names() if read_zoo(name).frozen])
def report(request: pytest.FixtureRequest) -> Zoo:
    """A zoo that the audit is judged by."""
    return read_zoo(request.param)


def test_a_report_zoo_has_enough_of_everything(report: Zoo) -> None:
    kinds = {kind: [s for s in report.students if s.kind == kind] for kind in ("honest", "planted")}
    assert len(report.teachers) >= 4
    assert len(kinds["honest"]) >= 30
    assert len(kinds["planted"]) >= 24
    assert any(student.kind == "foreign" for student in report.students)
    of_cifar = {teacher.name for teacher in report.teachers if teacher.data == CIFAR}
    for students in kinds.values():
        assert 4 * sum(student.teacher in of_cifar for student in students) >= len(students)
    signs = [teacher for teacher in report.teachers if teacher.data != CIFAR]
    assert len({teacher.architecture for teacher in signs}) >= 3


def test_a_report_zoo_varies_what_an_attacker_may(report: Zoo) -> None:
    planted = [student for student in report.students if student.attack is not None]
    attacks = [student.attack for student in planted if student.attack is not None]
    families = {student.family for student in planted}
    assert families == set(TRIGGERS)
    for family in families:
        assert len({s.teacher for s in planted if s.family == family}) == len(report.teachers)
    assert len({attack.trigger for attack in attacks}) == len(attacks)
    for values in (
        {attack.rate for attack in attacks},
        {attack.epsilon for attack in attacks},
        {student.objective.name for student in planted},
        {getattr(student.objective, "temperature", None) for student in planted},
        {(student.architecture, student.width) for student in planted},
    ):
        assert len(values) >= 3
    for teacher in report.teachers:
        targets = {s.attack.target for s in teacher.of_kind("planted") if s.attack is not None}
        assert len(targets) == len(teacher.of_kind("planted"))


def test_honest_students_have_the_recipes_of_planted_ones_and_foreign_ones_do_not(
    report: Zoo,
) -> None:
    for teacher in report.teachers:
        own = {(s.architecture, s.width) for s in teacher.of_kind("planted", "honest")}
        assert len(own) == 1
        objectives = {s.objective.name for s in teacher.of_kind("planted")}
        assert objectives <= {s.objective.name for s in teacher.of_kind("honest")}
        known = {(s.architecture, s.width, s.objective) for s in teacher.of_kind("honest")}
        for student in teacher.of_kind("foreign"):
            assert (student.architecture, student.width, student.objective) not in known


def test_no_seed_of_a_plan_occurs_anywhere_else(zoo: Zoo) -> None:
    others = [seed for name in zoo_names() if name != zoo.name for seed in read_zoo(name).seeds()]
    assert not set(zoo.seeds()) & set(others)
    found: set[int] = set()
    for pattern in ("**/*.py", "**/*.toml", "**/*.md", "**/*.json"):
        for folder in ("analysis", "assets", "benchmarks", "dashboard", "docs", "examples"):
            for path in (ROOT / folder).glob(pattern):
                if path.parent != ROOT / "benchmarks" / "zoo":
                    text = path.read_text(encoding="utf-8", errors="replace")
                    # What a zoo came to names its own seeds.
                    text = re.sub(r"(?s)<!-- zoo \w+: begin -->.*?<!-- zoo \w+: end -->", "", text)
                    found |= {int(n) for n in re.findall(r"(?i)seeds?\W{0,6}(\d{1,9})\b", text)}
    assert {101, 301} <= found
    assert not set(zoo.seeds()) & (found | set(range(2300)))


def test_every_student_of_a_plan_can_be_made(zoo: Zoo) -> None:
    for teacher in zoo.teachers:
        classes = CIFAR_CLASSES if teacher.data == CIFAR else SIGN_CLASSES
        assert set(teacher.seeds) == {*(f"pool_{pool}" for pool in POOLS), "trusted", "measured"}
        assert teacher.architecture in ARCHITECTURES
        for student in teacher.students:
            assert student.pool in POOLS
            assert student.architecture in ARCHITECTURES
            assert student.training.flip == (teacher.data == CIFAR)
            assert (student.attack is not None) == (student.kind == "planted")
            if student.attack is not None:
                find_target(student.attack.target, classes)
                student.attack.make_trigger().support(32, 32)
                assert student.attack.flip == student.training.flip


def test_the_search_is_the_audits_but_for_the_number_of_starts(zoo: Zoo) -> None:
    # The first report zoo was made before the audit looked for pictures.
    families = ("mask", "spatial", "frequency", "warp") if zoo.name == "report" else STANDARD
    assert zoo.search == InversionConfig(families=families, restarts=1)


def test_only_report_zoos_are_frozen() -> None:
    assert {name: read_zoo(name).frozen for name in zoo_names()} == {
        "development": False, "report": True, "second": True,
    }  # fmt: skip


def test_the_second_report_zoo_plants_no_trigger_of_the_first() -> None:
    first, second = (
        {s.attack.trigger for s in read_zoo(name).students if s.attack is not None}
        for name in ("report", "second")
    )
    assert len(first) == len(second) == 28
    assert not first & second
    assert not any("ring.png" in trigger for trigger in second)


def test_a_trial_has_every_kind_and_names_no_commit(zoo: Zoo) -> None:
    small = smaller(zoo)
    assert not small.frozen
    for teacher in small.teachers:
        assert [student.kind for student in teacher.students] == [
            *3 * ["honest"], "foreign", "planted", "planted",
        ]  # fmt: skip
    assert len(small.students) < len(zoo.students)


def test_wrong_plans_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no zoo 'reprt'.*report"):
        read_zoo("reprt")
    with pytest.raises(InputError, match=r"tiny\.toml: seed 12 occurs twice"):
        tiny_zoo(tmp_path, PLAN.replace("seed = 14", "seed = 12"))
    with pytest.raises(InputError, match=r"tiny\.toml: student tiny-h1 occurs twice"):
        tiny_zoo(tmp_path, PLAN.replace('"f1"', '"h1"'))
