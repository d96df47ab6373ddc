"""Reading an experiment: one TOML file, validated as a whole before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.attack.poisoning import HALVES
from analysis.attack.settings import AttackConfig
from analysis.errors import ConfigError, nearest
from analysis.records import REFERENCE, Role, check_student_name
from analysis.study.conditions import check_conditions
from analysis.study.experiment_settings import (
    AuditPlan,
    Experiment,
    ImagesConfig,
    Recipe,
    ReferencesConfig,
    StudentPlan,
    section,
)
from analysis.study.places import located, located_source, located_spec
from analysis.study.references import choose_seeds, reference_name
from analysis.study.stages import CompareConfig, ConditionConfig

TOP = ("name", "out", "seed")
SECTIONS = (
    "images", "teacher", "attack", "distillation", "students", "controls", "references",
    "conditions", "comparison", "audit",
)  # fmt: skip
REQUIRED = ("images", "teacher", "attack", "distillation")
STUDENTS: Mapping[str, str] = {"backdoored": "both"}
CONTROLS: Mapping[str, str] = {
    "honest": "none",
    "trigger_only": "trigger",
    "perturbation_only": "perturbation",
}
_SHARED = ("trigger", "method", "norm", "steps", "margin")
_PICTURE = re.compile(r"([:,]\s*file=)([^,]+)")


def read_experiment(
    path: str | Path,
    *,
    text: str | None = None,
    changes: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Experiment:
    """Read the experiment in the TOML file ``path``; relative paths start from its folder.

    ``text`` is read as if it stood in that file, which need not be there. ``changes`` replaces
    values, by ``SECTION.KEY`` or top-level key; ``out`` the study's folder (from the working
    directory). Raises :class:`~analysis.errors.ConfigError` for unknown sections and keys (the
    nearest is named) and for values that cannot be used.
    """
    file = Path(path)
    values = _parse(file, text)
    for key, value in (changes or {}).items():
        _change(values, key, value)
    _check_keys(values)
    base = file.resolve().parent
    seed = _seed(values)
    asked = {"device": device, "threads": threads}
    common = _Common({"seed": seed}, {k: v for k, v in asked.items() if v is not None})
    with section("images"):
        images = _images(values["images"], base)
    with section("teacher"):
        teacher = _teacher(values["teacher"], base, common)
    with section("distillation"):
        recipe = Recipe.from_mapping(common.around(values["distillation"]))
    with section("attack"):
        attack = _attack(values["attack"], base, recipe, seed)
    return Experiment(
        name=_text(values, "name", file.stem),
        out=_out(values, file, base) if out is None else Path(out),
        seed=seed,
        device=recipe.training.device,
        images=images,
        teacher=teacher,
        attack=attack,
        students=_students(values, common),
        comparison=_comparison(values, base, attack, seed),
        audit=_audit(values, base, seed),
    )


@dataclass(frozen=True, slots=True)
class _Common:
    """What all trainings share: defaults below the file's values, and what overrules them."""

    below: Mapping[str, Any]
    above: Mapping[str, Any]

    def around(self, *values: Mapping[str, Any]) -> dict[str, Any]:
        """The ``values``, later ones first in rank, between defaults and overrulings."""
        merged = dict(self.below)
        for own in (*values, self.above):
            merged |= own
        return merged


def _parse(path: Path, text: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8") if text is None else text)
    except FileNotFoundError:
        raise ConfigError(f"there is no experiment {path}", expected="a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiment {path} cannot be read", expected="a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"experiment {path.name} is not valid TOML: {error}") from error


def _change(values: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.partition(".")
    if not dot:
        values[section] = value
    elif not name or "." in name or section not in SECTIONS:
        known = [*SECTIONS, "seed"]
        raise ConfigError(f"{key!r}", expected="SECTION.KEY", remedy=nearest(section, known))
    else:
        table = values.get(section, {})
        values[section] = {**table, name: value} if isinstance(table, dict) else table


def _check_keys(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key not in (*TOP, *SECTIONS):
            raise ConfigError(
                f"unknown {'section' if isinstance(value, dict) else 'key'} {key!r}",
                remedy=nearest(key, (*TOP, *SECTIONS)),
            )
        if key in SECTIONS and not isinstance(value, dict):
            raise ConfigError(f"{key} = {value!r}", expected=f"a section [{key}]")
    for key in REQUIRED:
        if key not in values:
            raise ConfigError(f"the experiment has no [{key}]", expected=", ".join(REQUIRED))


def _text(values: Mapping[str, Any], key: str, default: str) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} = {value!r}", expected="a text")
    return value


def _seed(values: Mapping[str, Any]) -> int:
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed = {seed!r}", expected="a whole number of at least 0")
    return seed


def _out(values: Mapping[str, Any], file: Path, base: Path) -> Path:
    out = Path(located(_text(values, "out", f"studies/{file.stem}"), base))
    if not out.name:
        raise ConfigError(f"out = {values['out']!r}", expected="the name of a new folder")
    return out


def _images(values: Mapping[str, Any], base: Path) -> ImagesConfig:
    config = ImagesConfig.from_mapping(values)
    sources = {name: located_source(source, base) for name, source in config.sources().items()}
    return ImagesConfig(**{**config.to_mapping(), **sources})


def _teacher(values: Mapping[str, Any], base: Path, common: _Common) -> str | Recipe:
    if "spec" not in values:
        return Recipe.from_mapping(common.around(values), of_teacher=True)
    for key in values:
        if key != "spec":
            raise ConfigError(f"{key} beside spec", expected="spec alone, or a recipe without spec")
    return located_spec(_text(values, "spec", ""), base)


def _attack(values: Mapping[str, Any], base: Path, recipe: Recipe, seed: int) -> AttackConfig:
    # The views of the attack are those that the students will see, unless the file says otherwise.
    training = recipe.training
    defaults = {"flip": training.flip, "shift": training.shift, "seed": seed}
    target = values.get("target")
    # A class that is named by a number is named: `80` is the class "80" where there is one.
    named = (
        {"target": str(target)} if isinstance(target, int) and not isinstance(target, bool) else {}
    )
    return AttackConfig.from_mapping({**defaults, **values, **named, **_trigger(values, base)})


def _trigger(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    trigger = values.get("trigger")
    if not isinstance(trigger, str):
        return {}
    return {
        "trigger": _PICTURE.sub(lambda match: match[1] + located(match[2].strip(), base), trigger)
    }


def _students(values: Mapping[str, Any], common: _Common) -> dict[str, StudentPlan]:
    plans: dict[str, StudentPlan] = {}
    groups: tuple[tuple[str, Role, Mapping[str, str]], ...] = (
        ("students", "subject", STUDENTS),
        ("controls", "control", CONTROLS),
    )
    for group, role, usual in groups:
        taken = {name.lower() for name in plans}
        default = {name: half for name, half in usual.items() if name not in taken}
        for name, value in values.get(group, default).items():
            with section(group):
                check_student_name(name, tuple(plans))
                plans[name] = _student(name, value, role, values["distillation"], common)
    if not plans:
        raise ConfigError("the experiment has no student", expected="[students] or [controls]")
    return plans | _references(values, plans, common)


def _references(
    values: Mapping[str, Any], taken: Mapping[str, StudentPlan], common: _Common
) -> dict[str, StudentPlan]:
    """The reference students: as ``[distillation]`` says, on clean images, with other seeds.

    None has the seed of a student on clean images: it would be that student.
    """
    with section("references"):
        asked = ReferencesConfig.from_mapping(values.get("references", {}))
        plain = {"checkpoint_every": 0, "checkpoint_count": 0, "checkpoint_epochs": ()}
        recipe = values["distillation"]
        clean = [plan.recipe.training.seed for plan in taken.values() if plan.half == "none"]
        avoid = [recipe.get("seed", common.below["seed"]), *clean]
        plans: dict[str, StudentPlan] = {}
        for seed in choose_seeds(asked.seeds, asked.first, avoid=avoid) if asked.seeds else []:
            name = check_student_name(reference_name(seed), tuple(taken))
            made = Recipe.from_mapping(common.around(recipe, {**plain, "seed": seed}))
            plans[name] = StudentPlan(role=REFERENCE, half="none", recipe=made)
        return plans


def _student(
    name: str, value: Any, role: Role, recipe: Mapping[str, Any], common: _Common
) -> StudentPlan:
    table = value if isinstance(value, dict) else {"half": value}
    own = {key: item for key, item in table.items() if key != "half"}
    half = table.get("half", "both")
    if half not in HALVES:
        raise ConfigError(f"{name}: half {half!r}", remedy=nearest(str(half), HALVES))
    with section(name):
        made = Recipe.from_mapping(common.around(recipe, own))
    return StudentPlan(role=role, half=half, recipe=made)


def _comparison(
    values: Mapping[str, Any], base: Path, attack: AttackConfig, seed: int
) -> CompareConfig:
    given = values.get("conditions", {})
    shared = {name: getattr(attack, name) for name in _SHARED}
    texts = {"target": attack.target, "epsilon": attack.epsilon, **given}
    texts = {key: _number(value) for key, value in texts.items() if key in ("target", "epsilon")}
    with section("conditions"):
        conditions = ConditionConfig.from_mapping(
            {**shared, **given, **texts, **_trigger(given, base)}
        )
        check_conditions(conditions)
    with section("comparison"):
        own = values.get("comparison", {})
        if "attack" in own:
            raise ConfigError("attack", remedy="write it as the section [conditions]")
        return CompareConfig.from_mapping({"seed": seed, **own, "attack": conditions})


def _audit(values: Mapping[str, Any], base: Path, seed: int) -> AuditPlan | None:
    if "audit" not in values:
        return None
    with section("audit"):
        given = dict(values["audit"])
        search = {"seed": seed, **dict(given.pop("search", {}))}
        sources = (
            ("images", located_source),
            ("given", located),
            ("distillation_set", located_source),
        )
        for key, locate in sources:
            if isinstance(given.get(key), str):
                given[key] = locate(given[key], base)
        return AuditPlan.from_mapping({**given, "search": search})


def _number(value: Any) -> Any:
    # A condition keeps target and epsilon as texts; 16 and 16.0 are the same one.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{value:g}"
