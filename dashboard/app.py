"""The script that Streamlit runs on every interaction: navigation, context bar, one page."""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.study import Study
from dashboard import bar, context, loading, messages, saving
from dashboard.components.scheme import follow_scheme
from dashboard.guard import shown_in_place
from dashboard.pages import (
    audit,
    inspect,
    lab,
    landing,
    layers,
    map,
    overview,
    runs,
    tour,
    training,
)
from dashboard.theme import palette

STATIC = Path(__file__).parent / "static"
PAGES: dict[str, ModuleType] = {
    "Tour": tour,
    "Overview": overview,
    "Map": map,
    "Inspect": inspect,
    "Layers": layers,
    "Training": training,
    "Audit": audit,
    "Lab": lab,
    "Runs": runs,
}
# The page at the server's own address; without studies the first steps stand there. (Streamlit
# would print a bare string of this file on every page.)
FIRST = "Overview"


def render(page: ModuleType) -> None:
    """Draw the context bar and ``page``; what goes wrong is a message in place.

    A page about the workspace stands alone: it needs no study.
    """
    alone = hasattr(page, "show_alone")
    with shown_in_place(of_study=not alone):
        if alone:
            page.show_alone()
            return
        view = context.open_view()
        place = bar.context_bar(view)
        for note in view.notes:
            messages.note(note)
        saving.begin()
        page.show(view)
        with place:
            saving.save_menu(view, page.exports(view))


@st.cache_resource(max_entries=16, show_spinner=False)
def _titles(path: str, stamp: tuple[int, int]) -> tuple[str, ...]:
    study = Study.open(path)
    return tuple(
        title
        for title, module in PAGES.items()
        if not hasattr(module, "available") or module.available(study)
    )


def shown_pages() -> dict[str, ModuleType]:
    """The pages that have something to show in the session's study.

    A page whose module says when it is ``available`` appears only then. A workspace without
    studies has the pages that need none, the first steps among them.
    """
    if context.nothing_to_show():
        alone = {title: page for title, page in PAGES.items() if hasattr(page, "show_alone")}
        return {FIRST: landing, **alone}
    try:
        path = context.session_path()
        titles = _titles(str(path), loading.study_stamp(path))
    except DistillscopeError:
        titles = tuple(t for t, module in PAGES.items() if not hasattr(module, "available"))
    return {title: PAGES[title] for title in titles}


def main() -> None:
    """Run the page that the address names."""
    st.set_page_config(page_title="Distillscope", page_icon=str(STATIC / "icon.svg"), layout="wide")
    colors = palette(st.context.theme.type)
    messages.style(colors)
    follow_scheme(colors.name)
    st.logo(str(STATIC / f"logo-{colors.name}.svg"), size="large")
    context.navigate(
        {
            title.lower(): st.Page(
                functools.partial(render, module),
                title=title,
                url_path=title.lower(),
                default=title == FIRST,
            )
            for title, module in shown_pages().items()
        }
    )


if __name__ == "__main__":
    main()
