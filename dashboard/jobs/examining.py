"""Forms that examine a study that is there: audit, screening, repair."""

from __future__ import annotations

from dashboard.jobs.experiment import AUDIT_STAGES
from dashboard.jobs.form import Form, Input, Section, command_input
from dashboard.jobs.options import as_settings, written
from dashboard.jobs.orders import Plan, Values
from dashboard.jobs.progress import Part


def _plan_audit(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {key: inputs.get(key) for key in ("student", "images", "distillation_set")}
    own = dict(values["audit"])
    # An option of its own in the command, which also takes a folder.
    references = own.pop("references", None)
    taken["references"] = inputs.get("references") or references
    words = written("audit", taken.items(), own.items())
    study = str(inputs["study"])
    return Plan(
        commands=(("audit", study, *words, *as_settings(values["search"].items())),),
        parts=(
            Part(title="References", stages=("reference",)),
            Part(title="Search", stages=("inversion",)),
            Part(title="Other tests", stages=AUDIT_STAGES[1:]),
        ),
        makes=(),
        study=study,
    )


AUDIT = Form(
    kind="audit",
    title="Audit a study",
    short="Audit",
    about="Is there a planted trigger that nobody told us about?",
    makes="the audit of the study",
    fields=(
        Input(name="study", title="Study", kind="study", required=True,
              help="A study of this workspace."),
        command_input("audit", "student", "Student", "student"),
        command_input("audit", "images", "Trusted images", "source"),
        command_input("audit", "distillation_set", "Distillation images", "source"),
        command_input("audit", "references", "References", "text"),
    ),
    sections=(
        Section(name="audit", title="Audit", cards=("audit",), main=("budget",),
                hidden=("references",)),
        Section(name="search", title="Search", cards=("search",),
                hidden=("families", "restarts")),
    ),
    plan=_plan_audit,
    named=False,
    page="audit",
)  # fmt: skip


def _plan_repair(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {key: inputs.get(key) for key in ("student", "images", "distillation_set")}
    weights, study = f"{name}.safetensors", str(inputs["study"])
    own = {"method": "unlearn", **values["repair"]}
    words = written("repair", {**taken, "name": name, "out": weights}.items(), own.items())
    return Plan(
        commands=(("repair", study, *words, *as_settings(values["remedy"].items())),),
        parts=(Part(title="Repair"),),
        makes=(weights,),
        study=study,
    )


REPAIR = Form(
    kind="repair",
    title="Repair a student",
    short="Repair",
    about="Take a backdoor out of a student, with plain fine-tuning measured beside it.",
    makes="the student NAME of the study, and NAME.safetensors",
    fields=(
        Input(name="study", title="Study", kind="study", required=True,
              help="A study of this workspace."),
        command_input("repair", "student", "Student", "student", required=True),
        command_input("repair", "images", "Trusted images", "source"),
        command_input("repair", "distillation_set", "Distillation images", "source"),
    ),
    sections=(
        Section(name="repair", title="Remedy", cards=("repair",),
                main=("method", "trigger", "target")),
        Section(name="remedy", title="Settings of the remedy", cards=("remedy/*",)),
    ),
    plan=_plan_repair,
    page="audit",
)  # fmt: skip


def _plan_screen(name: str, values: Values) -> Plan:
    inputs = values["inputs"]
    taken = {key: inputs.get(key) for key in ("study", "images", "student")}
    words = written("screen", taken.items(), values["screening"].items())
    return Plan(
        commands=(("screen", *words),),
        parts=(Part(title="Screen"),),
        makes=(),
        study=str(inputs["study"]),
    )


SCREEN = Form(
    kind="screen",
    title="Screen images",
    short="Screen",
    about="Which of the teacher’s answers on a distillation set break under a mild filter?",
    makes="the screening of the study",
    fields=(
        Input(name="study", title="Study", kind="study", required=True,
              help="A study of this workspace."),
        command_input("screen", "images", "Distillation images", "source", required=True),
        command_input("screen", "student", "Student", "student"),
    ),
    sections=(
        Section(name="screening", title="Screening", cards=("screening",), main=("top",),
                hidden=("filters", "gallery")),
    ),
    plan=_plan_screen,
    named=False,
    page="audit",
)  # fmt: skip
