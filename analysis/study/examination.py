"""What is wrong with values that somebody typed into a form, found before anything runs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.attack.settings import AttackConfig
from analysis.audit.screening import ScreeningConfig
from analysis.audit.settings import InversionConfig
from analysis.errors import DistillscopeError
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.remedy.methods import make_remedy
from analysis.study.attack import find_target
from analysis.study.audit_settings import AuditConfig
from analysis.study.conditions import check_conditions
from analysis.study.experiment_checks import check_experiment, glance
from analysis.study.experiment_file import read_experiment
from analysis.study.experiment_settings import Recipe
from analysis.study.places import located_source, located_spec
from analysis.study.repair import RepairConfig
from analysis.study.specs import name_students
from analysis.study.stages import CompareConfig, ConditionConfig

_SECTION = re.compile(r"\[(?P<section>[a-z_]+)\] (?P<rest>.*)", re.DOTALL)
_FIELD = re.compile(r"(?:no |unknown )?(?P<field>[a-z_]+)\b")

Values = Mapping[str, Any]
Sections = Mapping[str, Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a value is, what was expected, the remedy; of which field, where that is known."""

    section: str
    field: str | None
    what: str
    expected: str | None = None
    remedy: str | None = None


def examine(
    kind: str, values: Sections, *, base: Path, text: str = "", deep: bool = False
) -> tuple[Problem, ...]:
    """Everything that a job of ``kind`` with these values would be refused for.

    Relative paths start at ``base``. ``text`` is the file of a whole experiment. With ``deep``
    models and images are looked at as well, which takes a moment. No user code is run.
    """
    work = _Examination(base, deep)
    EXAMINERS[kind](work, values, text)
    return tuple(work.problems)


class _Examination:
    """Collects problems; what cannot be tried after a problem is left out."""

    def __init__(self, base: Path, deep: bool):
        self.base, self.deep = base, deep
        self.problems: list[Problem] = []

    def attempt(self, section: str, make: Callable[[], Any], field: str | None = None) -> Any:
        """Return what ``make`` makes, or None after a problem."""
        try:
            return make()
        except DistillscopeError as error:
            what, where = error.what, section
            if (named := _SECTION.fullmatch(what)) is not None:
                what, where = named["rest"], named["section"]
            guess = _FIELD.match(what)
            self.problems.append(
                Problem(
                    section=where,
                    field=field or (guess["field"] if guess else None),
                    what=error.what,
                    expected=error.expected,
                    remedy=error.remedy,
                )
            )
            return None

    def model(self, field: str, spec: str | None) -> ModelHandle | None:
        """Load the model of a field, on a deep look."""
        if not self.deep or not spec:
            return None
        found = self.attempt(
            "inputs", lambda: load_model(located_spec(spec, self.base)), field=field
        )
        return found if isinstance(found, ModelHandle) else None

    def images(self, inputs: Values, *fields: str, handle: ModelHandle | None = None) -> None:
        """Look at one image of each field's source, and whether ``handle`` takes it."""
        for field in fields:
            if not self.deep or not inputs.get(field):
                continue
            source = located_source(inputs[field], self.base)
            seen = self.attempt("inputs", functools.partial(glance, source), field=field)
            if seen is not None and handle is not None:
                size = handle.input_size or seen.image_shape[:2]
                shape = (*size, handle.in_channels)
                self.attempt("inputs", functools.partial(handle.check_images, shape), field=field)


def _given(values: Values) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _distill(work: _Examination, values: Sections, text: str) -> None:
    inputs = values["inputs"]
    work.attempt("recipe", lambda: Recipe.from_mapping(_given(values["recipe"])))
    work.attempt("comparison", lambda: CompareConfig.from_mapping(_given(values["comparison"])))
    handle = work.model("teacher", inputs.get("teacher"))
    work.images(inputs, "images", "inspection", "validation", handle=handle)


def _reference(work: _Examination, values: Sections, text: str) -> None:
    inputs = values["inputs"]
    work.attempt("recipe", lambda: Recipe.from_mapping(_given(values["recipe"])))
    work.images(inputs, "images", handle=work.model("teacher", inputs.get("teacher")))


def _attack(work: _Examination, values: Sections, text: str) -> None:
    inputs = values["inputs"]
    config = work.attempt("attack", lambda: AttackConfig.from_mapping(_given(values["attack"])))
    handle = work.model("teacher", inputs.get("teacher"))
    work.images(inputs, "images", handle=handle)
    names = None if handle is None else handle.class_names
    if config is not None and names is not None:
        work.attempt("attack", lambda: find_target(str(config.target), names), field="target")


def _run(work: _Examination, values: Sections, text: str) -> None:
    file = work.base / "experiment.toml"
    experiment = work.attempt("inputs", lambda: read_experiment(file, text=text))
    if experiment is not None and work.deep:
        work.attempt("inputs", lambda: check_experiment(experiment))


def _compare(work: _Examination, values: Sections, text: str) -> None:
    inputs = values["inputs"]
    work.attempt("comparison", lambda: CompareConfig.from_mapping(_given(values["comparison"])))
    attack = _given({key: inputs.get(key) for key in ("trigger", "target", "epsilon")})
    if "trigger" in attack:
        work.attempt("inputs", lambda: check_conditions(ConditionConfig.from_mapping(attack)))
    students = work.attempt(
        "inputs", lambda: name_students(inputs.get("student") or ()), field="student"
    )
    handle = work.model("teacher", inputs.get("teacher"))
    for student in (students or {}).values():
        work.model("student", student.spec)
    work.images(inputs, "images", "distillation", handle=handle)


def _audit(work: _Examination, values: Sections, text: str) -> None:
    search = work.attempt("search", lambda: InversionConfig.from_mapping(_given(values["search"])))
    if search is not None:
        own = {key: value for key, value in values["audit"].items() if key != "references"}
        work.attempt("audit", lambda: AuditConfig.from_mapping({**_given(own), "search": search}))
    work.images(values["inputs"], "images", "distillation_set")


def _screen(work: _Examination, values: Sections, text: str) -> None:
    work.attempt("screening", lambda: ScreeningConfig.from_mapping(_given(values["screening"])))
    work.images(values["inputs"], "images")


def _repair(work: _Examination, values: Sections, text: str) -> None:
    config = work.attempt("repair", lambda: RepairConfig.from_mapping(_given(values["repair"])))
    if config is not None:
        work.attempt("remedy", lambda: make_remedy(config.method, **_given(values["remedy"])))
    work.images(values["inputs"], "images", "distillation_set")


EXAMINERS: Mapping[str, Callable[[_Examination, Sections, str], None]] = {
    "distill": _distill,
    "reference": _reference,
    "attack": _attack,
    "run": _run,
    "compare": _compare,
    "audit": _audit,
    "screen": _screen,
    "repair": _repair,
}
"""How each kind of job is examined."""
