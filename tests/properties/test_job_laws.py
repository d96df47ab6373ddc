"""Form, configuration, TOML file and command line say the same."""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from analysis.attack.settings import AttackConfig
from analysis.audit.settings import InversionConfig
from analysis.config import SettingCard
from analysis.errors import ConfigError
from analysis.remedy.methods import make_remedy
from analysis.study.audit_settings import AuditConfig
from analysis.study.experiment_file import read_experiment
from analysis.study.experiment_settings import Recipe
from analysis.study.repair import RepairConfig
from analysis.study.setting_cards import setting_cards
from analysis.study.stages import CompareConfig
from dashboard.cli import app
from dashboard.jobs.forms import FORMS
from dashboard.jobs.options import WIRING, command_options
from dashboard.jobs.orders import Plan, plan_of
from dashboard.jobs.record import Order
from dashboard.jobs.texts import setting_text, toml_text

QUICK = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CARDS = setting_cards()
texts = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=12)


class CaughtError(Exception):
    def __init__(self, given: Mapping[str, Any]):
        self.given = given


@pytest.fixture
def catching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands go as far as the work, which tells what it was asked for."""

    def catch(*positional: Any, **given: Any) -> Any:
        raise CaughtError({**given, "positional": positional})

    for name in (
        "training.distill_model", "attack.attack_images", "comparison.compare",
        "audit.audit_study", "repair.repair",
    ):  # fmt: skip
        monkeypatch.setattr(f"analysis.study.{name}", catch)
    for module in ("cli_audit", "cli_repair"):
        monkeypatch.setattr(f"dashboard.{module}.Study", _AnyStudy)
    monkeypatch.setattr("dashboard.jobs.orders.check_study", lambda name, workspace: name)


class _AnyStudy:
    @staticmethod
    def open(path: Path) -> _AnyStudy:
        return _AnyStudy()

    def student(self, name: str) -> None:
        return None


def asked(command: tuple[str, ...]) -> Mapping[str, Any]:
    """What the command line asks the analysis for when it is given ``command``."""
    with pytest.raises(CaughtError) as caught:
        app(list(command), standalone_mode=False)
    return caught.value.given


def values_of(card: SettingCard) -> st.SearchStrategy[Any]:
    """Values that a form may hold for ``card``."""
    low = card.low if card.low is not None else -1000
    high = min(card.high if card.high is not None else 10**6, 10**6)
    whole = st.integers(math.ceil(low), math.floor(high))
    made: dict[str, st.SearchStrategy[Any]] = {
        "bool": st.booleans(),
        "int": whole,
        "float": st.floats(low, high, allow_nan=False),
        "ints": st.lists(st.integers(1, 3), max_size=3),
        "texts": st.lists(st.sampled_from(["mask", "warp"]), min_size=1, max_size=2, unique=True),
        "text": st.sampled_from(card.choices) if card.choices else texts,
    }
    return st.none() | made[card.kind] if card.optional else made[card.kind]


FIXED: Mapping[str, st.SearchStrategy[Any]] = {
    "trigger": st.sampled_from(["patch:size=3", "sinusoid", "blend:alpha=0.2", "sticker"]),
    "target": st.sampled_from(["80", "3", "class 2", "yield"]),
    "epsilon": st.sampled_from(["8", "16", "8/255", "12.5"]),
    "filters": st.sampled_from(["median", "median+jpeg"]),
    "normalize": st.sampled_from(["teacher", "dataset", "none", "0.5:0.5:0.5/0.2:0.2:0.2"]),
}


def some(*sections: str, without: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """Some fields of ``sections``, with values."""
    cards = [card for name in sections for card in CARDS[name] if card.name not in without]
    return st.fixed_dictionaries(
        {}, optional={card.name: FIXED.get(card.name, values_of(card)) for card in cards}
    )


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe that is valid."""
    objective = draw(st.sampled_from([n for n in CARDS if n.startswith("objective/")]))
    name = objective.removeprefix("objective/")
    assume(name != "supervised")
    values = draw(some("network", objective, "training", without=("objective",)))
    values = {"arch": "smallresnet", **values, "objective": name}
    valid(Recipe.from_mapping, values)
    return values


def valid(make: Any, values: Mapping[str, Any]) -> Any:
    """What ``make`` makes of ``values``; examples that it refuses say nothing here."""
    try:
        return make({key: value for key, value in values.items() if value is not None})
    except ConfigError:
        assume(False)


def plan(kind: str, **values: Any) -> Plan:
    return plan_of(Order(kind=kind, name="new", values=values), Path("/nowhere"))


def given_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


INPUTS = {"teacher": "t.safetensors", "images": "signs:train", "inspection": "signs:test"}


@QUICK
@given(recipe=recipes(), comparison=some("comparison"))
def test_distilling(catching: None, recipe: dict[str, Any], comparison: dict[str, Any]) -> None:
    made = plan("distill", inputs=INPUTS, recipe=recipe, comparison=comparison)
    wanted = Recipe.from_mapping(given_values(recipe))
    got = asked(made.commands[0])
    assert got["config"] == wanted.training
    assert got["objective"] == wanted.objective
    assert (got["architecture"], got["width"], got["normalize"]) == (
        wanted.network.arch, wanted.network.width, wanted.network.normalize,
    )  # fmt: skip
    assert (got["teacher"], got["images"]) == ("t.safetensors", "signs:train")
    assert str(got["out"]) == "new.safetensors"
    keeps = wanted.training.checkpoint_epochs or any(
        (wanted.training.checkpoint_count, wanted.training.checkpoint_every)
    )
    second = made.commands[1]
    assert any(word.startswith("--checkpoints") for word in second) == bool(keeps)
    without = tuple(word for word in second if not word.startswith("--checkpoints"))
    assert asked(without)["config"] == CompareConfig.from_mapping(given_values(comparison))


@QUICK
@given(values=some("attack"))
def test_attacking(catching: None, values: dict[str, Any]) -> None:
    values = {"target": "80", **values}
    wanted = valid(AttackConfig.from_mapping, values)
    made = plan("attack", inputs={**INPUTS, "half": "trigger"}, attack=values)
    got = asked(made.commands[0])
    assert dataclasses.replace(got["config"], trigger=wanted.trigger) == wanted
    assert got["config"].make_trigger() == wanted.make_trigger()
    assert got["half"] == "trigger"


@QUICK
@given(values=some("comparison"), name=texts)
def test_comparing(catching: None, values: dict[str, Any], name: str) -> None:
    inputs = {
        "teacher": f"t{name}", "student": [f"a=x{name}", "b=y"], "images": f"i{name}",
        "trigger": "patch", "target": "80", "epsilon": "16",
    }  # fmt: skip
    assume(".py" not in name.lower())
    got = asked(plan("compare", inputs=inputs, comparison=values).commands[0])
    config = dataclasses.replace(got["config"], attack=None)
    assert config == CompareConfig.from_mapping(given_values(values))
    assert (got["config"].attack.target, got["config"].attack.epsilon) == ("80", "16")
    assert got["teacher"] == f"t{name}"
    assert got["images"] == f"i{name}"
    assert {key: spec.spec for key, spec in got["students"].items()} == {"a": f"x{name}", "b": "y"}


@QUICK
@given(audit=some("audit", without=("references",)), search=some("search"))
def test_auditing(catching: None, audit: dict[str, Any], search: dict[str, Any]) -> None:
    for name in ("families", "restarts"):
        search.pop(name, None)
    wanted = valid(InversionConfig.from_mapping, search)
    inputs = {"study": "first", "student": "a", "references": "7"}
    got = asked(plan("audit", inputs=inputs, audit=audit, search=search).commands[0])
    assert got["config"] == AuditConfig.from_mapping(
        {**given_values(audit), "references": 7, "search": wanted}
    )
    assert got["students"] == ("a",)
    assert [str(word) for word in got["positional"]] == ["first"]


@QUICK
@given(data=st.data(), method=st.sampled_from([n for n in CARDS if n.startswith("remedy/")]))
def test_repairing(catching: None, data: st.DataObject, method: str) -> None:
    name = method.removeprefix("remedy/")
    own = data.draw(some("repair", without=("method", "threads")))
    remedy = data.draw(some(method))
    wanted = valid(RepairConfig.from_mapping, {**own, "method": name})
    valid(functools.partial(_remedy, name), remedy)
    values = {"repair": {**own, "method": name}, "remedy": remedy}
    made = plan("repair", inputs={"study": "first", "student": "a"}, **values)
    got = asked(made.commands[0])
    assert got["config"] == wanted
    assert make_remedy(name, **got["settings"]) == _remedy(name, given_values(remedy))
    assert (got["student"], got["name"], str(got["out"])) == ("a", "new", "new.safetensors")


def _remedy(name: str, values: Mapping[str, Any]) -> Any:
    return make_remedy(name, **values)


@QUICK
@given(
    recipe=recipes(), attack=some("attack", without=("flip", "shift", "seed")),
    comparison=some("comparison", without=("seed",)), seed=st.integers(0, 99),
    audit=some("audit", without=("budget",)),
)  # fmt: skip
def test_a_whole_experiment(
    recipe: dict[str, Any], attack: dict[str, Any], comparison: dict[str, Any], seed: int,
    audit: dict[str, Any],
) -> None:  # fmt: skip
    recipe = {key: value for key, value in recipe.items() if key != "seed"}
    attack = {"target": "80", **attack}
    wanted = valid(AttackConfig.from_mapping, {**attack, "seed": seed})
    valid(Recipe.from_mapping, recipe)
    inputs = {
        "teacher": "t.safetensors", "distillation": "signs:train", "inspection": "x.npz",
        "halves": ["none", "both"], "seed": seed, "audit": "fast",
    }  # fmt: skip
    made = plan(
        "run", inputs=inputs, distillation=recipe, attack=attack, comparison=comparison,
        audit=audit, references={"seeds": 2},
    )  # fmt: skip
    assert made.commands == (("run", "new.toml"),)
    read = read_experiment("/space/new.toml", text=made.files["new.toml"])
    expected = Recipe.from_mapping({"seed": seed, **given_values(recipe)})
    assert read.students["backdoored"].recipe == expected
    assert read.students["honest"].recipe == expected
    assert list(read.students)[2:] == ["reference-1000", "reference-1001"]
    assert {name: one.half for name, one in read.students.items()}["honest"] == "none"
    views = {"flip": expected.training.flip, "shift": expected.training.shift}
    assert read.attack == dataclasses.replace(wanted, **views)
    assert read.out == Path("/space/new")
    assert (read.seed, read.teacher) == (seed, "/space/t.safetensors")
    assert read.images.inspection == "/space/x.npz"
    assert dataclasses.replace(read.comparison, attack=None) == CompareConfig.from_mapping(
        {"seed": seed, **given_values(comparison)}
    )
    assert read.audit is not None
    assert read.audit.config == AuditConfig.from_mapping(
        {"budget": "fast", "search": {"seed": seed}, **given_values(audit)}
    )


# --- texts ---------------------------------------------------------------------------------

plain = st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
plain |= st.floats(allow_nan=False)
everything = st.recursive(
    st.dictionaries(texts, plain | st.lists(texts) | st.lists(st.integers(0, 9)), max_size=4),
    lambda inner: st.dictionaries(texts, inner | plain, max_size=3),
    max_leaves=6,
)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(everything, anything, anything)
def test_toml_is_read_back(values: dict[str, Any], key: str, text: str) -> None:
    values = {**values, key: text}
    assert tomllib.loads(toml_text(values)) == values


def test_what_is_none_is_left_out_of_toml() -> None:
    assert tomllib.loads(toml_text({"a": None, "b": {"c": None}})) == {"b": {}}


@given(plain | st.lists(texts))
def test_a_setting_is_read_back(value: Any) -> None:
    from dashboard.cli_options import read_settings

    assert read_settings([f"key={setting_text(value)}"]) == {"key": value}


# --- what is not sent is the same on both sides --------------------------------------------


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_a_field_that_is_left_alone_means_what_its_card_says(kind: str) -> None:
    """The command's own default is the record's, else the form has to send the field."""
    differing = set()
    for section in FORMS[kind].sections:
        command = {"comparison": "compare"}.get(section.name, kind)
        if kind == "run" or section.name in ("search", "remedy"):
            continue
        options = command_options(command)
        for card in (card for name in section.cards for card in CARDS.get(name, ())):
            option = options.get(card.name)
            if option is None or card.name in (*section.hidden, *WIRING):
                continue
            if option.default is not None and str(option.default) != str(card.default):
                differing.add(card.name)
    assert differing <= {"trigger", "epsilon"}, "epsilon is 8 in both, trigger is tested above"


def test_the_help_of_inputs_is_that_of_the_command() -> None:
    group: Any = typer.main.get_command(app)
    found = {param.name: param.help for param in group.commands["distill"].params}
    field = next(one for one in FORMS["distill"].fields if one.name == "teacher")
    assert field.help == found["teacher"]
