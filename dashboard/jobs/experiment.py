"""The form of a whole experiment, which is a TOML file of the workspace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.errors import ConfigError, nearest
from dashboard.jobs.form import (
    ATTACK_MAIN,
    COMPARISON_LABELS,
    RECIPE,
    RECIPE_LABELS,
    SOURCE,
    Form,
    Input,
    Section,
)
from dashboard.jobs.options import command_options
from dashboard.jobs.orders import Plan, Values
from dashboard.jobs.progress import Part
from dashboard.jobs.texts import toml_text

# --- the whole experiment ------------------------------------------------------------------

HALVES: Mapping[str, tuple[str, str]] = {
    "both": ("students", "backdoored"),
    "none": ("controls", "honest"),
    "trigger": ("controls", "trigger_only"),
    "perturbation": ("controls", "perturbation_only"),
}
"""What is done to a student's images: section and name of that student in an experiment."""


def experiment_values(name: str, values: Values) -> dict[str, Any]:
    """The experiment as its TOML file holds it."""
    inputs = values["inputs"]
    students: dict[str, dict[str, str]] = {"students": {}, "controls": {}}
    for half in _halves(inputs):
        section, student = HALVES[half]
        students[section][student] = half
    spec = inputs.get("teacher")
    images = {key: inputs.get(key) for key in ("distillation", "inspection", "validation")}
    audit: dict[str, Any] = {}
    if inputs.get("audit"):
        audit = {"audit": {"budget": inputs["audit"], **values["audit"]}}
    return {
        "name": name,
        "out": name,
        "seed": inputs.get("seed") or 0,
        "images": {**images, **values["images"]},
        "teacher": {"spec": spec} if spec else dict(values["teacher"]),
        "attack": dict(values["attack"]),
        "distillation": dict(values["distillation"]),
        **students,
        "references": dict(values["references"]),
        "conditions": dict(values["conditions"]),
        "comparison": dict(values["comparison"]),
        **audit,
    }


def _halves(inputs: Mapping[str, Any]) -> list[str]:
    """The halves of the attack that students are made with, in their usual order."""
    asked = inputs.get("halves") or ()
    for half in asked:
        if half not in HALVES:
            raise ConfigError(f"half {half!r}", remedy=nearest(str(half), HALVES))
    return [half for half in HALVES if half in asked]


def _plan_run(name: str, values: Values) -> Plan:
    file = f"{name}.toml"
    return Plan(
        commands=(("run", file),),
        parts=tuple(_parts(values)),
        makes=(name, f"{name}.run", file),
        study=name,
        files={file: toml_text(experiment_values(name, values))},
    )


def _parts(values: Values) -> Iterable[Part]:
    """The parts of an experiment, in the order in which they come."""
    inputs = values["inputs"]
    if not inputs.get("teacher"):
        yield Part(title="Train", stages=("teacher: ",))
    for half in _halves(inputs):
        student = HALVES[half][1]
        if half == "both":
            yield Part(title="Poison", stages=(f"{half} of ",))
        yield Part(title=student, stages=(f"{half} of ", f"{student}: "))
    if values["references"].get("seeds"):
        yield Part(title="References", stages=("reference-",))
    yield Part(title="Compare", stages=("answers of ", "neighbors of ", "perturbed images"))
    if inputs.get("audit"):
        yield Part(title="Audit", stages=AUDIT_STAGES)


AUDIT_STAGES = ("inversion", "screening", "ready stickers", "STRIP", "localization: ")
RUN = Form(
    kind="run",
    title="A whole experiment",
    short="Whole experiment",
    about="Teacher, poisoned images, students with their controls, comparison, audit.",
    makes="the study NAME and its file NAME.toml",
    fields=(
        Input(name="teacher", title="Teacher", kind="spec", example="teacher.safetensors",
              help=f"{command_options('distill')['teacher'].help} Left empty, one is trained."),
        Input(name="distillation", title="Distillation images", kind="source", required=True,
              help="Images that students are distilled on.", example=SOURCE),
        Input(name="inspection", title="Inspection images", kind="source", required=True,
              help="Images that the models are compared on.", example="signs:test,n=500"),
        Input(name="validation", title="Validation images", kind="source",
              help="Images to report accuracy on, by epoch.", example="signs:test,n=200,seed=7"),
        Input(name="halves", title="Students", kind="many", choices=tuple(HALVES), required=True,
              help="What is done to the images of each: the attack, or a control.",
              titles={half: f"{name} ({half})" for half, (_, name) in HALVES.items()},
              default=("both", "none")),
        Input(name="audit", title="Audit afterwards", kind="choice",
              choices=("", "fast", "standard", "thorough"), default="",
              help="Look for a planted trigger in every student; its budget."),
        Input(name="seed", title="Seed", kind="int", help="Seed of everything that is drawn.",
              default=0),
    ),
    sections=(
        Section(name="attack", title="Attack", cards=("attack",), main=ATTACK_MAIN,
                hidden=("flip", "shift", "seed")),
        Section(name="distillation", title="Students’ recipe",
                cards=("network", "objective/*", "training"), main=RECIPE.main,
                hidden=("seed", "device"), labels=RECIPE_LABELS),
        Section(name="comparison", title="Comparison", cards=("comparison",),
                main=("limit", "probe", "projection"), hidden=("seed",),
                labels=COMPARISON_LABELS),
        Section(name="conditions", title="Comparison", cards=("conditions",),
                main=("probe",), labels={"probe": "Perturbed images"},
                hidden=("trigger", "target", "method", "epsilon", "norm", "steps", "margin")),
        Section(name="references", title="Comparison", cards=("references",), main=("seeds",),
                labels={"seeds": "Reference students", "first": "First of their seeds"}),
        Section(name="images", title="How many images", cards=("images",),
                hidden=("distillation", "inspection", "validation")),
        Section(name="teacher", title="Teacher’s recipe, where none is given",
                cards=("network", "objective/supervised", "training"),
                hidden=("objective", "seed", "device"), defaults={"normalize": "dataset"},
                labels=RECIPE_LABELS),
        Section(name="audit", title="Audit", cards=("audit",), hidden=("budget",)),
    ),
    plan=_plan_run,
)  # fmt: skip
