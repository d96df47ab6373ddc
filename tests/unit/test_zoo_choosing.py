"""Searches to choose between are compared on the same students, at a fixed rate of false alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.audit.null import judge_sizes
from analysis.data.signs import SIGN_CLASSES
from benchmarks.zoo.choosing import compare_searches, comparison_lines
from benchmarks.zoo.plan import Zoo
from benchmarks.zoo.results import Results
from tests.zoo_plans import PLAN, tiny_zoo

CLASSES, TARGET = len(SIGN_CLASSES), 5
VARIANTS = PLAN.replace("[signs]", '[variant.none]\nuse = "none"\n\n[signs]').replace(
    '{ name = "h3", seed = 13 }',
    '{ name = "h3", seed = 13 }, { name = "h4", seed = 17 }, { name = "h5", seed = 18 }',
)


def write(results: Results, student: str, search: str, sizes: np.ndarray) -> None:
    text = " ".join(f"{size:.4f}" for size in sizes)
    results.put(
        "searches",
        [{"student": student, "search": search, "classes": text, "passes": 100.0}],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Zoo, Results]:
    """Five honest students and two planted ones; one search finds both, the other one."""
    folder = tmp_path_factory.mktemp("choosing")
    zoo, results = tiny_zoo(folder, VARIANTS), Results(folder, "tiny")
    rng = np.random.default_rng(0)
    for student in zoo.students:
        planted = student.kind == "planted"
        results.put(
            "models",
            [
                {
                    "model": student.name,
                    "kind": student.kind,
                    "family": student.family or None,
                    "outcome": "positive" if planted else None,
                    "target": SIGN_CLASSES[TARGET] if planted else None,
                }
            ],
        )
        for search, families in (("ours", ("mask", "warp")), ("none", ("mask", "warp"))):
            finds = planted and (search == "ours" or student.name == "tiny-patch")
            for family in families:
                sizes = rng.normal(4, 0.1, CLASSES)
                sizes[TARGET] -= 5 * finds
                write(results, student.name, f"{search}/{family}", sizes)
    # Only a search was made of one honest student: it counts for none.
    rows = [r for r in results.rows("searches") if not (
        r["student"] == "tiny-h5" and r["search"].startswith("none/")
    )]  # fmt: skip
    results.path("searches").unlink()
    results.put("searches", rows)
    return zoo, results


def test_power_is_read_at_the_same_rate_of_false_alarms(made: tuple[Zoo, Results]) -> None:
    ours, none = compare_searches(*made)
    assert (ours.name, none.name) == ("ours", "none")
    for one in (ours, none):
        assert len(one.honest) == 4
        assert len(one.positives) == 2
        assert one.passes == 200
    assert ours.found(0.0) == 2
    assert none.found(0.0) == 1
    assert all(subject.right_class for subject in ours.positives)
    area = ours.area()
    assert area is not None
    assert area.value == 1
    # With every honest student allowed to alarm, only the right class is left to ask for.
    assert none.found(0.99) <= 2


def test_every_student_is_judged_by_the_honest_ones_it_is_not(made: tuple[Zoo, Results]) -> None:
    _, results = made
    sizes = {
        (row["student"], row["search"]): np.array([float(x) for x in row["classes"].split()])
        for row in results.rows("searches")
    }
    names = [f"tiny-h{number}" for number in (1, 2, 3, 4)]
    families = ("mask", "warp")
    expected = [
        judge_sizes(
            {family: sizes[name, f"ours/{family}"] for family in families},
            {
                family: np.stack([sizes[o, f"ours/{family}"] for o in names if o != name])
                for family in families
            },
        ).statistic
        for name in names
    ]
    ours = compare_searches(*made)[0]
    assert [subject.statistic for subject in ours.honest] == pytest.approx(expected)


def test_the_table_says_what_was_compared(made: tuple[Zoo, Results]) -> None:
    lines = comparison_lines(compare_searches(*made))
    assert "2 positives, 4 honest students" in lines[0]
    assert sum(line.startswith("|") for line in lines) == 4
    assert "| the audit's search | 2 | 2 |" in lines[4]


def test_without_results_there_is_nothing_to_compare(tmp_path: Path) -> None:
    zoo = tiny_zoo(tmp_path, VARIANTS)
    assert compare_searches(zoo, Results(tmp_path, "tiny")) == []
    assert comparison_lines([]) == []
