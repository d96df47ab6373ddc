"""All that the Lab runs: one registry for its menu, the worker and the tests."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard.jobs.demo import DEMO
from dashboard.jobs.examining import AUDIT, REPAIR, SCREEN
from dashboard.jobs.experiment import RUN
from dashboard.jobs.form import Form
from dashboard.jobs.making import ATTACK, COMPARE, DISTILL, REFERENCE

FORMS: Mapping[str, Form] = {
    form.kind: form for form in (RUN, DISTILL, ATTACK, COMPARE, AUDIT, SCREEN, REPAIR, REFERENCE)
}
"""Forms by kind, in the order of the menu."""

ORDERS: Mapping[str, Form] = {**FORMS, DEMO.kind: DEMO}
"""All that a job can be: the forms, and what is started without one."""
