"""What is said of values before anything runs: which field, what was expected, the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.data.signs import SIGN_CLASSES
from analysis.study.examination import Problem, examine
from dashboard.jobs.orders import plan_of
from dashboard.jobs.presets import PRESETS, Preset
from dashboard.jobs.record import Order
from tests.job_orders import tiny_experiment


def found(kind: str, base: Path, *, deep: bool = False, **values: Any) -> tuple[Problem, ...]:
    order = Order(kind=kind, name="new", values={"inputs": {}, **values})
    return of_order(order, base, deep=deep)


def of_order(order: Order, base: Path, *, deep: bool = False) -> tuple[Problem, ...]:
    text = "".join(plan_of(order, base).files.values()) if order.kind == "run" else ""
    sections = (
        "recipe", "comparison", "attack", "audit", "search", "repair", "remedy", "screening",
    )  # fmt: skip
    empty: Mapping[str, Any] = {name: {} for name in sections}
    return examine(order.kind, {**empty, **order.values}, base=base, text=text, deep=deep)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda one: one.kind)
def test_nothing_is_wrong_with_a_preset(preset: Preset, tmp_path: Path) -> None:
    order = Order(kind=preset.kind, name=preset.name, values=preset.values)
    assert of_order(order, tmp_path, deep=True) == ()


@pytest.mark.parametrize(
    ("kind", "section", "values", "field", "says"),
    [
        ("distill", "recipe", {"arch": "resnet21"}, None, "Did you mean 'resnet20'?"),
        ("distill", "recipe", {"arch": "resnet8", "epochs": 0}, "epochs", "from 1 to"),
        ("distill", "recipe", {"arch": "resnet8", "ephocs": 1}, None, "'epochs'"),
        ("distill", "recipe", {}, "arch", "arch = "),
        ("reference", "recipe", {"arch": "convnet", "optimizer": "adam"}, "optimizer", "one of"),
        ("attack", "attack", {"epsilon": "0.03"}, "epsilon", "write 8"),
        ("attack", "attack", {"trigger": "patch:color=red"}, "color", "#ffdd00"),
        ("compare", "comparison", {"draws": 3}, "draws", "from 100 to"),
        ("audit", "search", {"batch": 2}, "asked", "at most batch"),
        ("screen", "screening", {"top": 0.9}, "top", "from 0.001"),
        ("repair", "repair", {"method": "pray"}, "method", "unlearn"),
        ("repair", "remedy", {"stamped": 3.0}, "stamped", "from 0 to 1"),
    ],
)
def test_a_wrong_value_is_found_in_its_section(
    kind: str, section: str, values: dict[str, Any], field: str | None, says: str, tmp_path: Path
) -> None:
    (problem,) = found(kind, tmp_path, **{section: values})
    assert problem.section == section
    assert field is None or problem.field == field
    assert says in f"{problem.what} {problem.expected} {problem.remedy}"


def test_an_experiment_is_read_as_its_file(tmp_path: Path) -> None:
    order = tiny_experiment(tmp_path)
    assert of_order(order, tmp_path, deep=True) == ()
    order.values["attack"]["epsilon"] = "0.1"
    (problem,) = of_order(order, tmp_path)
    assert (problem.section, problem.field) == ("attack", "epsilon")
    order.values["attack"]["epsilon"] = "96"
    order.values["inputs"]["inspection"] = "nowhere.npz"
    assert of_order(order, tmp_path) == ()
    (problem,) = of_order(order, tmp_path, deep=True)
    assert "nowhere.npz" in problem.what


def test_models_and_images_are_looked_at_from_the_base(
    tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    (tmp_path / "t.safetensors").write_bytes(tiny_models["teacher"].read_bytes())
    inputs = {"teacher": "t.safetensors", "images": "signs:train", "inspection": "missing.npz"}
    values = {"inputs": inputs, "recipe": {"arch": "convnet"}}
    assert found("distill", tmp_path, **values) == ()
    problems = found("distill", tmp_path, deep=True, **values)
    assert [one.field for one in problems] == ["inspection"], problems
    inputs |= {"inspection": "signs:test", "validation": "nowhere", "teacher": "none.safetensors"}
    problems = found("distill", tmp_path, deep=True, **values)
    assert [one.field for one in problems] == ["teacher", "validation"]
    inputs = {"teacher": "t.safetensors", "images": "signs:train"}
    assert found("attack", tmp_path, deep=True, inputs=inputs, attack={"target": "80"}) == ()
    (problem,) = found("attack", tmp_path, deep=True, inputs=inputs, attack={"target": "90"})
    assert (problem.section, problem.field) == ("attack", "target")
    assert any(name in f"{problem.remedy}" for name in SIGN_CLASSES)


def test_students_are_named_and_loaded(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    inputs = {
        "teacher": str(tiny_models["teacher"]), "images": "signs:test",
        "student": [f"a={tiny_models['alpha']}", f"a={tiny_models['beta']}"],
    }  # fmt: skip
    (problem,) = found("compare", tmp_path, inputs=inputs)
    assert problem.field == "student"
    inputs["student"] = [f"a={tiny_models['alpha']}", "b=none.safetensors"]
    (problem,) = found("compare", tmp_path, deep=True, inputs=inputs)
    assert problem.field == "student"
    inputs |= {"student": [str(tiny_models["alpha"])], "trigger": "patch", "epsilon": "x"}
    (problem,) = found("compare", tmp_path, inputs=inputs)
    assert problem.field == "epsilon"
