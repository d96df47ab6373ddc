"""Forms that make something new: a student, poisoned images, a comparison, references."""

from __future__ import annotations

from dashboard.jobs.form import (
    ATTACK_MAIN,
    COMPARISON,
    RECIPE,
    RECIPE_LABELS,
    SOURCE,
    Form,
    Input,
    Section,
    command_input,
)
from dashboard.jobs.options import command_options, written
from dashboard.jobs.orders import Plan, Values
from dashboard.jobs.progress import Part


def _plan_distill(name: str, values: Values) -> Plan:
    inputs, weights = values["inputs"], f"{name}.safetensors"
    taken = {key: inputs.get(key) for key in ("teacher", "images", "validation", "limit")}
    recipe = {"objective": "hinton", **values["recipe"]}
    distill = written("distill", {**taken, "out": weights}.items(), recipe.items())
    keeps = any(recipe.get(f"checkpoint_{how}") for how in ("every", "count", "epochs"))
    compare = {
        "teacher": inputs.get("teacher"),
        "student": f"{name}={weights}",
        "images": inputs.get("inspection"),
        "checkpoints": f"{name}={name}.run/epoch_*.safetensors" if keeps else None,
        "distillation": inputs.get("images"),
        "out": name,
    }
    return Plan(
        commands=(
            ("distill", *distill),
            ("compare", *written("compare", compare.items(), values["comparison"].items())),
        ),
        parts=(Part(title="Distill"), Part(title="Compare", command=1)),
        makes=(weights, f"{name}.run", name),
        study=name,
    )


DISTILL = Form(
    kind="distill",
    title="Distill a student",
    short="Distill",
    about="A new student of a teacher, and the study that compares the two.",
    makes="the student NAME.safetensors and the study NAME",
    fields=(
        command_input("distill", "teacher", "Teacher", "spec", required=True,
               example="teacher.safetensors"),
        command_input("distill", "images", "Distillation images", "source", required=True,
               example=SOURCE),
        command_input("compare", "images", "Inspection images", "source", name="inspection",
                      required=True,
               example="signs:test,n=500"),
        command_input("distill", "validation", "Validation images", "source",
               example="signs:test,n=200,seed=7"),
        command_input("distill", "limit", "Image limit", "int"),
    ),
    sections=(RECIPE, COMPARISON),
    plan=_plan_distill,
)  # fmt: skip


def _plan_attack(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {key: inputs.get(key) for key in ("teacher", "images", "limit", "half")}
    words = written("attack", {**taken, "out": name}.items(), values["attack"].items())
    return Plan(
        commands=(("attack", *words),),
        parts=(Part(title="Poison"),),
        makes=(name, f"{name}.truth.parquet", f"{name}.report.json"),
    )


ATTACK = Form(
    kind="attack",
    title="Poison images",
    short="Poison",
    about="A distillation set that carries a backdoor: the teacher answers the target on it.",
    makes="the image folder NAME, its truth beside it",
    fields=(
        command_input("attack", "teacher", "Teacher", "spec", required=True,
               example="teacher.safetensors"),
        command_input("attack", "images", "Images", "source", required=True, example=SOURCE),
        command_input("attack", "half", "Half of the attack", "choice", default="both",
               choices=("both", "trigger", "perturbation", "none")),
        command_input("attack", "limit", "Image limit", "int"),
    ),
    sections=(
        Section(name="attack", title="Attack", cards=("attack",), main=ATTACK_MAIN),
    ),
    plan=_plan_attack,
)  # fmt: skip


def _plan_compare(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {
        key: inputs.get(key)
        for key in ("teacher", "student", "images", "reference", "distillation", "trigger",
                    "target", "epsilon")
    }  # fmt: skip
    words = written("compare", {**taken, "out": name}.items(), values["comparison"].items())
    return Plan(
        commands=(("compare", *words),),
        parts=(Part(title="Compare"),),
        makes=(name,),
        study=name,
    )


COMPARE = Form(
    kind="compare",
    title="Compare models",
    short="Compare",
    about="A teacher and students that are there already, on images of yours.",
    makes="the study NAME",
    fields=(
        command_input("compare", "teacher", "Teacher", "spec", required=True,
               example="resnet20@teacher.th,normalize=imagenet"),
        command_input("compare", "images", "Images", "source", required=True,
                      example="test.parquet"),
        command_input("compare", "distillation", "Distillation images", "source"),
        command_input("compare", "student", "Students", "specs", required=True,
                      example="small=student.safetensors"),
        command_input("compare", "reference", "Reference students", "specs",
                      example="references"),
        command_input("compare", "trigger", "Trigger", "text", example="patch:size=4"),
        command_input("compare", "target", "Target class", "text"),
        command_input("compare", "epsilon", "Epsilon", "text", example="8"),
    ),
    sections=(COMPARISON,),
    plan=_plan_compare,
)  # fmt: skip


def _plan_reference(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {key: inputs.get(key) for key in ("teacher", "images", "limit")}
    recipe = {"objective": "hinton", **values["recipe"]}
    counted = {"seeds": inputs.get("seeds"), "seed": inputs.get("first")}
    words = written("reference", {**taken, **counted, "out": name}.items(), recipe.items())
    commands: list[tuple[str, ...]] = [("reference", *words)]
    study = inputs.get("study")
    parts = [Part(title="References")]
    if study:
        commands.append(("add", str(study), f"--reference={name}"))
        parts.append(Part(title="Add", command=1))
    return Plan(commands=tuple(commands), parts=tuple(parts), makes=(name,), study=study or None)


REFERENCE = Form(
    kind="reference",
    title="Make references",
    short="References",
    about="Honest students of a teacher: what any student of it can be expected to show.",
    makes="the folder NAME of weights, added to the study where one is named",
    fields=(
        command_input("reference", "teacher", "Teacher", "spec", required=True,
               example="teacher.safetensors"),
        command_input("reference", "images", "Trusted images", "source", required=True,
               example=SOURCE),
        command_input("reference", "seeds", "How many", "int", default=3),
        Input(name="first", title="First seed", kind="int", default=1000,
              help=command_options("reference")["seed"].help),
        Input(name="study", title="Study", kind="study",
              help="A study of this workspace that they are added to."),
        command_input("reference", "limit", "Image limit", "int"),
    ),
    sections=(
        Section(name="recipe", title="Recipe", cards=RECIPE.cards, main=RECIPE.main,
                hidden=("seed", "device"), labels=RECIPE_LABELS),
    ),
    plan=_plan_reference,
)  # fmt: skip
