"""An invisible element that draws the page again once the theme has changed.

Streamlit paints its own parts in the new theme at once, when the system turns dark or a theme is
chosen in the menu, but it does not run the script: figures and our own colors would stay behind.
"""

from __future__ import annotations

import streamlit as st

_SCRIPT = """
export default function (component) {
  const { drawn } = component.data
  const root = component.parentElement
  const look = () => {
    const color = getComputedStyle(document.querySelector(".stApp")).backgroundColor
    const [red, green, blue] = (color.match(/[0-9.]+/g) || [255, 255, 255]).map(Number)
    const shown = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128 ? "dark" : "light"
    // Asked once: what the server cannot follow must not make it run for ever.
    if (shown !== drawn && root.asked !== shown) component.setTriggerValue("changed", shown)
    root.asked = shown
  }
  if (root.observer) root.observer.disconnect()
  const observer = (root.observer = new MutationObserver(look))
  observer.observe(document.querySelector(".stApp"), { attributes: true })
  look()
  return () => observer.disconnect()
}
"""


def follow_scheme(drawn: str) -> None:
    """Run the script anew where the browser shows another theme than ``drawn``, light or dark."""
    component = st.components.v2.component("distillscope_scheme", js=_SCRIPT)
    component(key="scheme", data={"drawn": drawn}, on_changed_change=_nothing)


def _nothing() -> None:
    """The rerun is all that is wanted."""
