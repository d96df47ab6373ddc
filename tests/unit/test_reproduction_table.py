"""The table of the attack: valid cells, resumed runs, a document made of the file alone."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from analysis.errors import InputError
from analysis.models.architectures import build
from analysis.study.experiment_file import read_experiment
from benchmarks.reproduction import pictures, running, table
from benchmarks.reproduction.cells import BASE, MOST_CELLS, RATES, SEEDS, SETTINGS

TINY: dict[str, Any] = {
    "images.limit": 40,
    "distillation.arch": "convnet",
    "distillation.width": 4,
    "distillation.epochs": 1,
    "attack.steps": 8,
    "attack.epsilon": 128,
    "attack.rate": 0.1,
    "conditions.probe": 8,
    "comparison.limit": 24,
    "comparison.draws": 100,
    "comparison.neighbors": 3,
}


def test_the_cells_are_few_distinct_and_one_factor_from_the_base() -> None:
    assert len(SETTINGS) <= MOST_CELLS
    named = Counter((setting.factor, setting.level) for setting in SETTINGS)
    assert max(named.values()) == 1
    folders = [running.folder_name(setting, seed) for setting, seed in running.experiments()]
    assert len(set(folders)) == len(folders)
    assert all(re.fullmatch(r"[a-z0-9._-]{1,64}", name) for name in folders)
    for setting in SETTINGS:
        sections = {key.partition(".")[0] for key in setting.changes}
        grid = setting.factor == "rate x epsilon"
        assert len(sections) <= 1 or grid
        assert setting.seeds == (SEEDS if setting.factor in ("base", "rate") else (0,))
    assert [setting.controls for setting in SETTINGS] == [True] + [False] * (len(SETTINGS) - 1)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: f"{one.factor}-{one.level}")
def test_every_cell_is_a_valid_experiment(setting: Any) -> None:
    experiment = read_experiment(running.EXPERIMENT, changes=setting.values(1), out="somewhere")
    assert experiment.seed == 1
    assert experiment.attack.rate == setting.values(1)["attack.rate"]


def test_the_base_of_the_example_is_the_base_of_the_table() -> None:
    plain = read_experiment(running.EXPERIMENT, out="somewhere")
    assert plain == read_experiment(
        running.EXPERIMENT, changes=SETTINGS[0].values(0), out="somewhere"
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name, count in (("cifar10-train.parquet", 60), ("cifar10-test.parquet", 40)):
        cells = []
        for row in range(count):
            file = io.BytesIO()
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "png")
            cells.append({"bytes": file.getvalue(), "path": f"{row}.png"})
        labels = (np.arange(count) % 10).tolist()
        pq.write_table(pa.table({"img": cells, "label": labels}), folder / name)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    from analysis.models.normalization import Normalization
    from analysis.models.saving import save_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_model(
        path,
        build("convnet", num_classes=10, width=4),
        architecture="convnet",
        width=4,
        class_names=None,
        normalization=Normalization(),
        num_classes=10,
        in_channels=3,
        metadata={"seed": 0},
    )
    return str(path)


def run(folder: Path, data: Path, teacher: str, only: list[str]) -> list[dict[str, Any]]:
    results = folder / "results.csv"
    running.run_all(
        data=data,
        teacher=teacher,
        out=folder / "studies",
        threads=1,
        only=only,
        results=results,
        smaller=TINY,
        progress=lambda *_: None,
    )
    return running.read_results(results)


def test_a_run_goes_on_repeats_nothing_and_gives_the_same_bits(
    data: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "a", data, teacher, ["hard-label weight"])
    assert [(row["factor"], row["student"]) for row in first] == [
        ("hard-label weight", "backdoored")
    ]
    assert 0 <= first[0]["attack_success_rate"] <= 1
    assert first[0]["teacher_perturbation"] is not None
    again = run(tmp_path / "b", data, teacher, ["hard-label weight"])
    assert again[0]["study_digest"] == first[0]["study_digest"]

    more = run(tmp_path / "a", data, teacher, ["hard-label weight", "student"])
    assert more[0] == first[0]
    assert [row["factor"] for row in more] == ["hard-label weight", "student"]

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a cell that is in the file was run again")

    monkeypatch.setattr(running, "run_cell", never)
    assert run(tmp_path / "a", data, teacher, ["hard-label weight", "student"]) == more


def test_data_that_are_not_there_are_named(tmp_path: Path, teacher: str) -> None:
    with pytest.raises(InputError, match=r"has no cifar10-train\.parquet"):
        run(tmp_path, tmp_path, teacher, [])


def rows() -> list[dict[str, Any]]:
    """Rows of the base (three seeds, a control) and one other rate, made up for the writer."""
    made = []
    for setting, seed in running.experiments():
        if setting.factor not in ("base", "rate") or setting.level == "10 %":
            continue
        success = 0.9 if setting.factor == "base" else 0.05
        for student in ("backdoored", "honest") if setting.controls else ("backdoored",):
            made.append(
                {
                    "factor": setting.factor,
                    "level": setting.level,
                    **{key: str(value) for key, value in BASE.items()},
                    **{key: str(value) for key, value in setting.changes.items()},
                    "seed": seed,
                    "student": student,
                    "attack_success_rate": success if student == "backdoored" else 0.01,
                    "attack_success_rate_low": success - 0.02,
                    "attack_success_rate_high": success + 0.02,
                    "base_rate": 0.01,
                    "accuracy": 0.6 + 0.01 * seed,
                    "agreement": 0.7,
                    "teacher_trigger": 0.01,
                    "teacher_perturbation": 0.9,
                    "teacher_trigger_perturbation": 1.0,
                    "flip_rate": 1.0,
                    "view_flip_rate": 0.9 if setting.factor == "base" else 0.3 + 0.1 * seed,
                }
            )
    return made


def test_the_document_tells_failures_missing_cells_and_spread(tmp_path: Path) -> None:
    path = tmp_path / "reproduction.md"
    path.write_text(f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    table.write_document(rows(), path)
    text = path.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert "**works in 1**" in text
    assert "**fails in 2**" in text
    assert "It fails with: rate 1 %; rate 2.5 %." in text
    assert "| rate | 10 % | not run |" in text
    assert "61.0 [60.0, 62.0]" in text  # accuracy: mean, lowest, highest of three seeds
    assert "| honest distillation | 3 | 1.0 [1.0, 1.0] |" in text
    assert "| perturbation without the trigger | not run |" in text
    table.write_document([], path)
    assert "too few cells were run" in path.read_text()


def test_the_grid_takes_the_mean_over_seeds_and_says_what_was_not_run() -> None:
    assert pictures.cells_of(rows(), BASE["attack.rate"], 8) == pytest.approx([0.89] * 3)
    assert pictures.cells_of(rows(), RATES[-1], 8) == []
    svg = pictures.grid(rows())
    assert "+89 points" in svg
    assert "not run" in svg
    assert pictures.scatter(rows()).count("<title>") == sum(
        row["student"] == "backdoored" for row in rows()
    )


def test_the_committed_file_is_what_the_document_shows() -> None:
    committed = running.read_results()
    document = table.DOCUMENT.read_text(encoding="utf-8")
    section = document.partition(table.BEGIN)[2].partition(table.END)[0]
    assert section.strip() == "\n".join(table.section_lines(committed)).strip()
