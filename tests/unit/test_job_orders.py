"""What an order may not say: paths out of the workspace, code, options inside values."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.errors import InputError
from dashboard.jobs.forms import FORMS
from dashboard.jobs.options import as_settings, command_options, written
from dashboard.jobs.orders import check_name, check_new, plan_of
from dashboard.jobs.record import Order
from dashboard.pages.lab_filled import being_made, studies
from dashboard.pages.lab_form import command_lines
from tests.job_orders import tiny_experiment
from tests.workspaces import put_study

COMPARE: dict[str, Any] = {
    "teacher": "t.safetensors", "student": ["s.safetensors"], "images": "signs:test",
}  # fmt: skip


def compare(name: str = "new", section: str = "inputs", **changes: Any) -> Order:
    values = {"inputs": dict(COMPARE), "comparison": {}}
    values[section] = {**values[section], **changes}
    return Order(kind="compare", name=name, values=values)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "-rf", ".hidden", "a b", "a\n", "é", "a\x00", "x" * 65,
     "teacher", "Teacher", "a\\b", "$(x)", "a;b", "~"],
)  # fmt: skip
def test_an_output_is_a_name_in_the_workspace(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a letter or digit first"):
        plan_of(compare(name), tmp_path)


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "0", "x" * 64])
def test_good_names_are_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "value",
    ["net.py:make@w.pt", "NET.PY:make@w.pt", "/tmp/evil.py", "patch:file=x.py",
     "x.py,normalize=none", "x.pyw:f", "a.pyc"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["teacher", "images", "trigger", "student"])
def test_code_is_refused_wherever_it_is_named(value: str, field: str, tmp_path: Path) -> None:
    given = [value] if field == "student" else value
    with pytest.raises(InputError, match=r"names Python code.*trust-code"):
        plan_of(compare(**{field: given}), tmp_path)
    with pytest.raises(InputError, match="names Python code"):
        plan_of(compare(section="comparison", probe=value), tmp_path)


def test_a_name_that_only_looks_like_code_is_none(tmp_path: Path) -> None:
    plan_of(compare(images="photos.python"), tmp_path)
    plan_of(compare(images="happy"), tmp_path)


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\x1b[31m", "\x00", "x" * 5000, {"a": 1}, [["a"]], b"bytes", "\ud800", ["a\r"]],
)
def test_a_value_is_one_plain_line(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no plain value"):
        plan_of(compare(images=value), tmp_path)


@pytest.mark.parametrize(
    ("section", "values"),
    [("shell", {}), ("comparison", {"a b": 1}), ("comparison", {"--x": 1}),
     ("comparison", {"_x": 1}), ("comparison", []), ("inputs", {"A": 1})],
)  # fmt: skip
def test_unknown_sections_and_odd_keys_are_refused(
    section: str, values: Any, tmp_path: Path
) -> None:
    order = dataclasses.replace(compare(), values={"inputs": COMPARE, section: values})
    with pytest.raises(InputError, match="unknown"):
        plan_of(order, tmp_path)


def test_an_option_inside_a_value_stays_a_value(tmp_path: Path) -> None:
    (command,) = plan_of(compare(teacher="--trust-code=x", images="-x"), tmp_path).commands
    assert "--teacher=--trust-code=x" in command
    assert "--images=-x" in command
    assert all(word.startswith("--") and "=" in word for word in command[1:])


@pytest.mark.parametrize("kind", sorted(FORMS))
@pytest.mark.parametrize("name", ["trust_code", "out", "teacher", "study", "quiet", "as_json"])
def test_no_setting_stands_for_what_goes_in_or_out(kind: str, name: str, tmp_path: Path) -> None:
    """A file from a stranger may name any setting; it is handed over as one, and refused there."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "study.json").write_text("{}")
    order = tiny_experiment(tmp_path)
    values = {"inputs": {**order.values["inputs"], **COMPARE, "study": "old", "student": "a"}}
    section = FORMS[kind].sections[0].name
    values[section] = {name: "/elsewhere"}
    if kind == "screen":
        with pytest.raises(InputError, match="no setting"):
            plan_of(Order(kind=kind, name="new", values=values), tmp_path)
        return
    plan = plan_of(Order(kind=kind, name="new", values=values), tmp_path)
    for command in plan.commands:
        assert not any(word.startswith("--trust") for word in command)
        flag = command_options(command[0]).get(name)
        for word in command:
            if "/elsewhere" in word:
                assert word == f"--set={name}=/elsewhere"
                assert flag is None or not word.startswith(flag.flag)


def test_studies_are_those_of_the_workspace(tmp_path: Path) -> None:
    space = tmp_path / "space"
    (space / "in").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for folder in (space / "in", tmp_path / "out"):
        (folder / "study.json").write_text("{}")
    for name in ("../out", str(tmp_path / "out"), "nothing", "-in", ".", "in/../in"):
        order = Order(kind="audit", name="x", values={"inputs": {"study": name}})
        with pytest.raises(InputError, match="no study"):
            plan_of(order, space)
    order = Order(kind="audit", name="x", values={"inputs": {"study": "in"}})
    assert plan_of(order, space).commands == (("audit", "in"),)
    assert plan_of(order, space).study == "in"


def test_a_study_may_be_called_whatever_can_be_seen(tmp_path: Path) -> None:
    name = "日本 & 2nd try"
    put_study(tmp_path, name)
    for kind in ("audit", "screen"):
        inputs = {"study": name, "images": "signs:test"}
        plan = plan_of(Order(kind=kind, name=name, values={"inputs": inputs}), tmp_path)
        assert plan.study == name
        assert name in " ".join(plan.commands[0])
        assert shlex.split(command_lines(tmp_path, plan))[2:] == ["distillscope", *plan.commands[0]]
    for hostile in ("-x", "--trust-code=x"):
        put_study(tmp_path, hostile)
        with pytest.raises(InputError, match="no study"):
            plan_of(Order(kind="audit", name="x", values={"inputs": {"study": hostile}}), tmp_path)
    assert studies(tmp_path) == [name]


def test_what_is_required_is_asked_for_in_the_words_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no teacher; expected SPEC of the teacher"):
        plan_of(compare(teacher=""), tmp_path)
    with pytest.raises(InputError, match="no students"):
        plan_of(compare(student=[]), tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    plan = plan_of(compare("fresh"), tmp_path)
    check_new(plan, tmp_path)
    with pytest.raises(InputError, match="fresh is there already"):
        check_new(plan, tmp_path, ["other", "Fresh"])
    (tmp_path / "fresh").symlink_to("/nowhere")
    with pytest.raises(InputError, match="fresh is there already"):
        check_new(plan, tmp_path)


def test_a_job_whose_study_is_gone_keeps_no_other_from_starting(tmp_path: Path) -> None:
    put_study(tmp_path, "there")
    orders = [compare(), Order(kind="audit", name="gone", values={"inputs": {"study": "gone"}})]
    waiting: Any = SimpleNamespace(
        workspace=tmp_path,
        jobs=lambda: [SimpleNamespace(over=False, order=order) for order in reversed(orders)],
    )
    assert being_made(waiting) == ["gone", "new"]
    plan = plan_of(
        Order(kind="audit", name="there", values={"inputs": {"study": "there"}}), tmp_path
    )
    check_new(plan, tmp_path, being_made(waiting))


def test_halves_are_known_ones(tmp_path: Path) -> None:
    order = tiny_experiment(tmp_path, halves=["both", "nothing"])
    with pytest.raises(InputError, match="half 'nothing'"):
        plan_of(order, tmp_path)


def test_each_form_says_what_it_makes_and_its_inputs_are_options_or_its_own() -> None:
    for form in FORMS.values():
        assert form.title
        assert form.about.endswith((".", "?"))
        names = [field.name for field in form.fields]
        assert len(set(names)) == len(names), form.kind
        assert all(field.help for field in form.fields), form.kind
        assert len({section.name for section in form.sections}) == len(form.sections)


def test_options_are_written_as_the_command_takes_them() -> None:
    assert written("distill", [("teacher", "t")], [("flip", False), ("width", 8)]) == [
        "--teacher=t", "--no-flip", "--width=8",
    ]  # fmt: skip
    assert written("distill", [], [("flip", True), ("momentum", 0.5), ("seed", None)]) == [
        "--flip", "--set=momentum=0.5",
    ]  # fmt: skip
    assert as_settings([("a", "true"), ("b", "x"), ("c", None)]) == ['--set=a="true"', "--set=b=x"]
    with pytest.raises(InputError, match="no option"):
        written("distill", [("shell", "x")])
    with pytest.raises(InputError, match="several values"):
        written("distill", [("teacher", ["a", "b"])])
