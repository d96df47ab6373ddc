"""Several workers on one zoo come to what one comes to, and stop as it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.errors import InputError
from benchmarks.zoo.results import TABLES, Results
from benchmarks.zoo.steps import is_done, names_in_order, steps
from tests.unit.test_zoo_running import kept, run
from tests.zoo_plans import PLAN, Untrained, tiny_zoo

VARIANTS = PLAN.replace("[signs]", '[variant.none]\nuse = "none"\nfamilies = ["mask"]\n\n[signs]')


def test_two_workers_come_to_what_one_comes_to(tmp_path: Path) -> None:
    zoo = tiny_zoo(tmp_path, VARIANTS)
    assert not run(zoo, tmp_path / "two", Untrained(), workers=2, seconds=0.0)
    assert not (tmp_path / "two" / "results" / "zoo-tiny-models.csv").exists()
    told: list[str] = []
    assert run(
        zoo, tmp_path / "two", Untrained(), workers=2,
        progress=lambda stage, done, _: told.append(stage) if done else None,
    )  # fmt: skip
    assert run(zoo, tmp_path / "one", Untrained())
    results = {name: Results(tmp_path / name / "results", "tiny") for name in ("one", "two")}
    names = names_in_order(zoo.teachers[0])
    for table, (column, *_) in TABLES.items():
        rows = {name: kept(found, table) for name, found in results.items()}
        by_place = [names.index(row[column]) for row in rows["two"]]
        assert by_place == sorted(by_place)
        assert sorted(rows["two"], key=repr) == sorted(rows["one"], key=repr), table
    assert any(row["search"] == "none/mask" for row in results["two"].rows("searches"))
    todo = list(steps(zoo, zoo.teachers[0], results["two"]))
    assert all(is_done(step, results["two"], zoo) for step in todo)
    assert len(told) == len(set(told))


def test_what_a_worker_refuses_is_told_as_it_is(tmp_path: Path) -> None:
    text = PLAN.replace('data = "signs"', 'data = "cifar10"').replace("[signs]", "[cifar10]")
    zoo = tiny_zoo(tmp_path, text)
    with pytest.raises(InputError, match=r"needs cifar10-train\.parquet.*--data FOLDER"):
        run(zoo, tmp_path, Untrained(), workers=2)
