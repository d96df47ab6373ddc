"""The Lab's forms as a browser test fills them in.

While Streamlit draws the next run it keeps parts of the former one beside it for a moment, and a
form that was chosen stands there only once it is drawn: fields are taken of the present run and of
the form that is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CURRENT = ':not([data-retained="true"], [data-retained="true"] *)'


def now(page: Any, found: Any) -> Any:
    """What of ``found`` belongs to the present run."""
    return found.and_(page.locator(CURRENT))


def current(page: Any, kind: str, label: str) -> Any:
    """The field called ``label`` of the form of ``kind``."""
    fields = page.locator(f'[class*="st-key-lab-{kind}-"]').locator(":is(input, textarea)")
    named = now(page, fields).and_(page.get_by_label(label, exact=True))
    return named.locator("visible=true").first


def type_in(page: Any, kind: str, texts: Mapping[str, str]) -> None:
    """Type each text into the field of its name, without a look at what the page makes of it."""
    for label, text in texts.items():
        box = current(page, kind, label)
        box.fill(text)
        box.press("Enter")


def choose(page: Any, kind: str, label: str, option: str) -> None:
    current(page, kind, label).click()
    page.get_by_role("option", name=option, exact=True).click()


def press(page: Any, button: str) -> None:
    now(page, page.get_by_role("button", name=button, exact=True)).click()


def start(page: Any) -> None:
    """Start what the form holds, and wait until its job is in the list."""
    press(page, "Start")
    now(page, page.get_by_text("1 job is running")).wait_for()
