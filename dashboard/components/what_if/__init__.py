"""The image under change: a click or a drag on it says where a sticker lies; color swatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

_PICTURE = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  let frame = parentElement.querySelector(".frame")
  if (!frame) {
    frame = document.createElement("div")
    frame.className = "frame"
    frame.innerHTML = '<img draggable="false"><div class="box"></div>'
    parentElement.appendChild(frame)
  }
  const image = frame.querySelector("img"), box = frame.querySelector(".box")
  image.src = data.src
  image.alt = data.alt
  frame.classList.toggle("placeable", data.placeable)
  const draw = (x, y) => {
    box.style.display = data.box ? "block" : "none"
    if (!data.box) return
    box.style.width = `${100 * data.box.width}%`
    box.style.height = `${100 * data.box.height}%`
    box.style.left = `${100 * (x - data.box.width / 2)}%`
    box.style.top = `${100 * (y - data.box.height / 2)}%`
  }
  const drawn = () => draw(data.box ? data.box.x : 0, data.box ? data.box.y : 0)
  drawn()
  const at = (event) => {
    const area = frame.getBoundingClientRect()
    const share = (value) => Math.min(1, Math.max(0, value))
    return [share((event.clientX - area.left) / area.width),
            share((event.clientY - area.top) / area.height)]
  }
  frame.onpointerdown = (event) => {
    if (!data.placeable || event.button !== 0) return
    frame.setPointerCapture(event.pointerId)
    draw(...at(event))
    const over = () => {
      frame.onpointermove = frame.onpointerup = null
      frame.onpointercancel = frame.onlostpointercapture = null
    }
    frame.onpointermove = (moved) => draw(...at(moved))
    frame.onpointercancel = frame.onlostpointercapture = () => { over(); drawn() }
    frame.onpointerup = (up) => {
      over()
      const [across, down] = at(up)
      setTriggerValue("place", { across, down })
    }
    event.preventDefault()
  }
}
"""
_PICTURE_STYLE = """
.frame { position: relative; max-width: 320px; border-radius: 4px; overflow: hidden;
  line-height: 0; touch-action: none; user-select: none; }
.frame img { width: 100%; image-rendering: pixelated; display: block; background: var(--ds-panel); }
.placeable { cursor: crosshair; }
.box { position: absolute; box-sizing: border-box; border: 1.5px solid var(--ds-text);
  outline: 1px solid var(--ds-background); pointer-events: none; }
"""
_SWATCHES = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  let row = parentElement.querySelector(".row")
  if (!row) {
    row = document.createElement("div")
    row.className = "row"
    parentElement.appendChild(row)
  }
  row.replaceChildren(...data.colors.map((color) => {
    const button = document.createElement("button")
    button.style.background = color.value
    button.title = color.name
    button.setAttribute("aria-label", `Color ${color.name}`)
    button.setAttribute("aria-pressed", String(color.value === data.chosen))
    button.onclick = () => setTriggerValue("color", color.value)
    return button
  }))
}
"""
_SWATCHES_STYLE = """
.row { display: flex; gap: 8px; align-items: center; min-height: 32px; padding-left: 3px; }
button { width: 24px; height: 24px; border-radius: 5px; border: 1px solid var(--ds-edge);
  padding: 0; cursor: pointer; }
button[aria-pressed="true"] { outline: 2px solid var(--ds-control); outline-offset: 2px; }
button:focus-visible { outline: 2px solid var(--ds-text); outline-offset: 2px; }
"""


def picture(
    key: str,
    source: str,
    alt: str,
    *,
    box: tuple[float, float, float, float] | None,
    on_place: Callable[[float, float], None] | None,
) -> None:
    """Show the image ``source``, pixel by pixel, with a frame around what was put on it.

    ``box`` is (middle across, middle down, width, height) as shares of the image. ``on_place``
    hears, in a callback, of the place that was clicked or dragged to, as shares.
    """

    def placed() -> None:
        value = st.session_state[key].get("place")
        if on_place is not None and isinstance(value, dict):
            on_place(float(value["across"]), float(value["down"]))

    names = ("x", "y", "width", "height")
    data = {
        "src": source,
        "alt": alt,
        "placeable": on_place is not None,
        "box": None if box is None else dict(zip(names, box, strict=True)),
    }
    component = st.components.v2.component("distillscope_picture", js=_PICTURE, css=_PICTURE_STYLE)
    component(key=key, data=data, on_place_change=placed)


def swatches(
    key: str,
    colors: Sequence[tuple[str, str]],
    chosen: str,
    on_color: Callable[[str], None],
) -> None:
    """A row of ``colors`` (name, #rrggbb); ``on_color`` hears, in a callback, which was chosen."""

    def picked() -> None:
        value = st.session_state[key].get("color")
        if value in {color for _, color in colors}:
            on_color(value)

    data = {"colors": [{"name": n, "value": v} for n, v in colors], "chosen": chosen}
    component = st.components.v2.component(
        "distillscope_swatches", js=_SWATCHES, css=_SWATCHES_STYLE
    )
    component(key=key, data=data, on_color_change=picked)
