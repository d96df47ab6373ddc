"""The table of a sweep, read back: keys, levels, repeats, and what is held."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from analysis.errors import StudyError
from analysis.study.sweep import table_text
from analysis.study.sweep_table import MAX_BYTES, read_sweep

RATES, EPSILONS = (0.01, 0.1, 0.05), (8, 16, 4)


def rows() -> list[dict[str, object]]:
    found = []
    for rate in RATES:
        for epsilon in EPSILONS:
            for seed in (0, 1, 2) if epsilon == 8 else (0,):
                for student in ("backdoored", "honest"):
                    value = rate + epsilon / 100 + seed / 1000
                    found.append({
                        "factor": "f", "level": "l", "attack.rate": rate,
                        "attack.epsilon": epsilon, "attack.method": "pgd", "seed": seed,
                        "student": student, "role": "subject",
                        "attack_success_rate": value if student == "backdoored" else 0.01,
                        "agreement": None, "study": f"{rate}-{epsilon}-{seed}",
                    })  # fmt: skip
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "sweep.csv"
    target.write_text(table_text(rows()))
    return target


def test_keys_are_what_varies_but_seeds(path: Path) -> None:
    table = read_sweep(path)
    assert table.keys == ("attack.rate", "attack.epsilon")
    assert table.levels["attack.rate"] == ("0.01", "0.05", "0.1")
    assert table.levels["attack.epsilon"] == ("4", "8", "16")
    assert table.students == ("backdoored", "honest")
    assert table.measures == ("attack_success_rate",)


def test_repeats_are_averaged_as_a_slow_count_says(path: Path) -> None:
    table = read_sweep(path)
    held = table.usual("backdoored", ("attack.rate",))
    assert held == {"attack.epsilon": "8"}
    cells = table.cells("backdoored", "attack_success_rate", ("attack.rate",), held)
    assert [cell.levels for cell in cells] == [("0.01",), ("0.05",), ("0.1",)]
    for cell in cells:
        wanted = [
            row["attack_success_rate"] for row in rows()
            if row["student"] == "backdoored" and row["attack.epsilon"] == 8
            and str(row["attack.rate"]) == cell.levels[0]
        ]  # fmt: skip
        assert cell.values == pytest.approx(wanted)
        assert cell.mean == pytest.approx(statistics.mean(wanted))
        assert (cell.low, cell.high) == pytest.approx((min(wanted), max(wanted)))
        assert len(cell.studies) == 3


def test_two_keys_make_a_grid(path: Path) -> None:
    table = read_sweep(path)
    axes = ("attack.rate", "attack.epsilon")
    cells = table.cells("backdoored", "attack_success_rate", axes, {})
    assert len(cells) == 9
    counted = Counter(len(cell.values) for cell in cells)
    assert counted == {1: 6, 3: 3}
    assert cells[0].levels == ("0.01", "4")


def test_only_rows_with_the_held_values_count(path: Path) -> None:
    table = read_sweep(path)
    cells = table.cells("honest", "attack_success_rate", ("attack.rate",), {"attack.epsilon": "16"})
    assert [len(cell.values) for cell in cells] == [1, 1, 1]
    assert table.cells("nobody", "attack_success_rate", ("attack.rate",), {}) == ()
    assert table.cells("honest", "agreement", ("attack.rate",), {}) == ()


def test_seeds_are_a_key_where_nothing_else_varies(tmp_path: Path) -> None:
    same = [row for row in rows() if row["attack.rate"] == 0.1 and row["attack.epsilon"] == 8]
    (tmp_path / "sweep.csv").write_text(table_text(same))
    assert read_sweep(tmp_path / "sweep.csv").keys == ("seed",)


def test_empty_fields_are_a_level_of_their_own(tmp_path: Path) -> None:
    changed = [{**row, "attack.method": None if row["seed"] else "pgd"} for row in rows()]
    (tmp_path / "sweep.csv").write_text(table_text(changed))
    assert read_sweep(tmp_path / "sweep.csv").levels["attack.method"] == ("pgd", "")


@pytest.mark.parametrize(
    "data",
    [b"", b"student\n", b"a,b\n1,2\n", b"\xff\xfe\x00", b"student,study\na,b\n",
     b"seed,student,accuracy\n0,a,\n", b"seed,student,accuracy\n0,a,nan\n",
     b'x,student,accuracy\n"' + b"y" * 200_000 + b'",a,1\n'],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "sweep.csv"
    path.write_bytes(data)
    with pytest.raises(StudyError) as caught:
        read_sweep(path)
    assert "\n" not in str(caught.value)


def test_missing_and_huge_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        read_sweep(tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(StudyError, match="larger than"):
        read_sweep(tmp_path / "sweep.csv")


def test_rows_that_are_too_short_or_too_long_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text("seed,x,student,accuracy\n0,1,a,0.5\n1,2\n0,2,a,0.7,more,and,more\n")
    table = read_sweep(path)
    assert table.keys == ("x",)
    assert [c.values for c in table.cells("a", "accuracy", ("x",), {})] == [(0.5,), (0.7,)]


def test_reading_loads_no_torch(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from analysis.study.sweep_table import read_sweep;"
        f"read_sweep(Path({str(path)!r})); assert not {{'torch', 'umap'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
