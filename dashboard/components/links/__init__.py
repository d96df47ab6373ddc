"""Links inside ``st.html`` that change the selection without loading the page anew.

A link is an ordinary ``<a class="ds-link" href="inspect?student=...">``: without this component,
in a new tab or from a bookmark it opens the same page. The component listens for plain clicks on
such links and hands the address to the server instead.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

import streamlit as st

from dashboard.selection import Selection

_SCRIPT = """
export default function (component) {
  const follow = (event) => {
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey
    const link = plain && !event.altKey && event.target.closest && event.target.closest("a.ds-link")
    if (!link || event.defaultPrevented) return
    event.preventDefault()
    component.setTriggerValue("follow", link.getAttribute("href"))
  }
  document.addEventListener("click", follow)
  document.documentElement.dataset.dsLinks = "followed"
  return () => document.removeEventListener("click", follow)
}
"""
KEY = "links"
FIRST_PAGE = "overview"  # its address is that of the server


def link(page: str, selection: Selection) -> str:
    """Address of ``page`` with ``selection``, escaped for an attribute."""
    path = "./" if page == FIRST_PAGE else page
    return escape(f"{path}?{urlencode(selection.to_query())}", quote=True)


def parse_link(address: str, pages: tuple[str, ...]) -> tuple[str, dict[str, str]] | None:
    """Page and parameters of an address that :func:`link` made, or None for any other."""
    parts = urlsplit(address)
    page = parts.path.strip("./") or FIRST_PAGE
    if parts.scheme or parts.netloc or page not in pages:
        return None
    return page, dict(parse_qsl(parts.query))


def follow_links(on_follow: Callable[[str], None]) -> None:
    """Listen for clicks; ``on_follow`` gets the address, in a callback before the page runs."""

    def followed() -> None:
        address = st.session_state[KEY].get("follow")
        if isinstance(address, str):
            on_follow(address)

    component = st.components.v2.component("distillscope_links", js=_SCRIPT)
    component(key=KEY, on_follow_change=followed)
