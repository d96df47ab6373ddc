"""The demo as a job: the embedded road-sign models, compared in the workspace."""

from __future__ import annotations

from dashboard.jobs.form import Form
from dashboard.jobs.orders import Plan, Values
from dashboard.jobs.progress import Part
from dashboard.jobs.record import Order

NAME = "road-signs"


def _plan_demo(name: str, values: Values) -> Plan:
    return Plan(
        commands=(("demo", f"--out={name}", "--make-only"),),
        parts=(Part(title="Compare the embedded models"),),
        makes=(name,),
        study=name,
    )


DEMO = Form(
    kind="demo",
    title="The demo",
    short="Demo",
    about="A backdoored and an honest student that come with the project.",
    makes="the study NAME",
    fields=(),
    sections=(),
    plan=_plan_demo,
)


def demo_order(name: str = NAME) -> Order:
    """The order for the demo's study under ``name``."""
    return Order(kind=DEMO.kind, name=name, values={})
