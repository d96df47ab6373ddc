"""The script that Streamlit runs on every interaction: navigation, context bar, one page."""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType

import streamlit as st

from analysis.errors import DistillscopeError
from dashboard import bar, context, messages
from dashboard.pages import inspect, map, overview, training
from dashboard.theme import palette

STATIC = Path(__file__).parent / "static"
PAGES: dict[str, ModuleType] = {
    "Overview": overview,
    "Map": map,
    "Inspect": inspect,
    "Training": training,
}


def render(page: ModuleType) -> None:
    """Draw the context bar and ``page``; what goes wrong is a message in place."""
    try:
        view = context.open_view()
        bar.context_bar(view, page.exports(view))
        for note in view.notes:
            messages.note(note)
        page.show(view)
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)


def main() -> None:
    """Run the page that the address names."""
    st.set_page_config(page_title="Distillscope", page_icon=str(STATIC / "icon.svg"), layout="wide")
    colors = palette(st.context.theme.type)
    messages.style(colors)
    st.logo(str(STATIC / f"logo-{colors.name}.svg"), size="large")
    context.navigate(
        {
            title.lower(): st.Page(
                functools.partial(render, module),
                title=title,
                url_path=title.lower(),
                default=title == "Overview",
            )
            for title, module in PAGES.items()
        }
    )


if __name__ == "__main__":
    main()
