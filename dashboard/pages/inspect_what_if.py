"""Inspect, left column: the image, and what if it were another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from analysis.data.edits import EDITS, Picture, Sticker
from analysis.data.pictures import MOST_BYTES, picture_text
from analysis.divergence.answers import log_softmax
from analysis.errors import DistillscopeError
from dashboard import live, messages, missing
from dashboard.components.what_if import picture, swatches
from dashboard.context import choose, open_page, region_of
from dashboard.figures import attributions
from dashboard.figures.numbers import escaped, nats, percent_text, thousands
from dashboard.pages import inspect_keep
from dashboard.pages.inspect_look import Look
from dashboard.pages.inspect_state import COLORS, change, put_at, slid

PLACED = ("sticker", "picture")
_SLIDERS = {
    "sticker": ("size", "across", "down", "opacity"),
    "picture": ("size", "across", "down", "opacity"),
    "blur": ("sigma",),
    "noise": ("amount",),
    "jpeg": ("quality",),
}


def image_column(look: Look) -> None:
    """Draw the image with its head, the what-if, and what is known of the image."""
    _head(look)
    _picture(look)
    _what_if(look)
    _facts(look)
    st.button(
        "Show on the map", key="show_on_map", on_click=_to_map, args=(look,),
        help="Both maps, with this image selected",
    )  # fmt: skip


def _head(look: Look) -> None:
    view, order = look.view, look.order
    found = np.flatnonzero(order == look.row)
    place = int(found[0]) if len(found) else None
    labels = view.all.labels
    label = "" if labels is None else f"label {escaped(look.names[labels[look.row]], 30)}"
    with st.container(
        horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False, key="image_head"
    ):
        short = escaped(look.sample.removeprefix("inspection/"), 28)
        st.html(
            f'<div class="ds-title ds-cut" title="{escaped(look.sample, 300)}">Image {short}</div>'
            f'<div class="ds-sub">{label}</div>',
            width="stretch",
        )
        for name, icon, step in (("Previous", ":material/arrow_back:", -1),
                                 ("Next", ":material/arrow_forward:", 1)):  # fmt: skip
            to = 0 if place is None else min(max(place + step, 0), len(order) - 1)
            st.button(
                "", icon=icon, help=f"{name} image", key=f"{name.lower()}_image",
                disabled=place == to, on_click=choose,
                kwargs={"sample": str(view.all.sample_ids[order[to]])},
            )  # fmt: skip


_BY_KEYS = ". A click places what is on it; so do the sliders Across and Down"
"""Said of an image that a sticker or a picture can be put on, to whoever has no pointer."""


def _picture(look: Look) -> None:
    source = look.view.picture(look.sample)
    if look.pixels is not None:
        source = attributions.picture_uri(look.pixels)
    if source is None:
        messages.empty("No picture", missing.why_no_picture(look.view.study))
        _where(look)
        return
    placed = look.what_if.on and look.what_if.kind in PLACED and look.pixels is not None
    box = None
    if placed and look.edits and isinstance(look.edits[0], Sticker | Picture):
        box = _box(look)
    picture(
        "shown_image",
        source,
        f"Image {look.sample}{_BY_KEYS if placed else ''}",
        box=box,
        on_place=_placer(look) if placed else None,
    )
    _where(look)


def _where(look: Look) -> None:
    found = np.flatnonzero(look.order == look.row)
    total = thousands(len(look.order))
    where = (
        f"{thousands(int(found[0]) + 1)} of {total}, by how far the two part"
        if len(found)
        else f"Not among the {total} filtered images"
    )
    st.html(f'<div class="ds-sub">{where}</div>')


def _box(look: Look) -> tuple[float, float, float, float]:
    assert look.pixels is not None
    height, width = look.pixels.shape[:2]
    state = look.what_if
    across, down = (state.size / width, state.size / height)
    return state.across / width, state.down / height, across, down


class _Placer:
    """Takes a click on the image as the middle of what is put there."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def __call__(self, across: float, down: float) -> None:
        put_at(round(2 * across * self.width) / 2, round(2 * down * self.height) / 2)


def _placer(look: Look) -> _Placer:
    assert look.pixels is not None
    return _Placer(*look.pixels.shape[:2])


def _what_if(look: Look) -> None:
    state = look.what_if
    with st.container(horizontal=True, vertical_alignment="center", key="what_if_head"):
        st.html('<div class="ds-title">What if it were changed?</div>', width="stretch")
        st.session_state["what_if_on"] = state.on
        st.toggle(
            "What if", key="what_if_on", label_visibility="collapsed",
            disabled=look.refused is not None or look.pixels is None,
            on_change=lambda: change(on=st.session_state["what_if_on"]),
        )  # fmt: skip
    if look.refused:
        messages.note(look.refused)
    if not state.on or look.refused or look.pixels is None:
        return
    st.session_state["what_if_kind"] = state.kind
    st.segmented_control(
        "Change", list(EDITS), key="what_if_kind", required=True, label_visibility="collapsed",
        format_func=lambda name: EDITS[name].title,
        on_change=lambda: change(kind=st.session_state["what_if_kind"]),
    )  # fmt: skip
    if state.kind in PLACED:
        st.html('<div class="ds-sub">Click or drag on the image, or set it here.</div>')
    if state.kind == "picture":
        _upload(look)
    for name in _SLIDERS[state.kind]:
        _slider(look, name)
    if state.kind == "sticker":
        with st.container(
            horizontal=True, vertical_alignment="center", key="row_color", wrap=False
        ):
            st.html('<span class="ds-sub">Color</span>', width=72)
            swatches("what_if_color", COLORS, state.color, lambda color: change(color=color))
    with st.container(horizontal=True, vertical_alignment="center", key="what_if_foot"):
        st.button("Reset", key="what_if_reset", on_click=state.reset, args=(look.view, look.stored))
        inspect_keep.keep_popover(look)
    _status(look)


def _upload(look: Look) -> None:
    state = look.what_if
    given = st.file_uploader(
        "Picture", type=["png", "jpg", "jpeg", "webp"], key="what_if_upload",
        label_visibility="collapsed", max_upload_size=MOST_BYTES >> 20,
    )  # fmt: skip
    if given is not None and given.file_id != st.session_state.get("what_if_taken"):
        st.session_state["what_if_taken"] = given.file_id
        try:
            text = picture_text(given.getvalue(), given.name[:80])
        except DistillscopeError as error:
            messages.refused(error.what, error.expected, error.remedy)
            return
        change(picture=text)
        st.rerun(scope="fragment")
    if not state.picture:
        messages.note("Give a picture; transparent parts stay transparent.")


def _slider(look: Look, name: str) -> None:
    """A row: the quantity's name, the slider."""
    assert look.pixels is not None
    height, width = look.pixels.shape[:2]
    step = 0.5 if look.what_if.side <= 64 else 1.0
    title, low, high, by, form = {
        "size": ("Size, px", 0.0 if look.what_if.kind == "sticker" else 1.0,
                 float(round(0.75 * look.what_if.side)), step, "%g"),
        "across": ("Across, px", 0.0, float(width), step, "%g"),
        "down": ("Down, px", 0.0, float(height), step, "%g"),
        "opacity": ("Opacity", 0.0, 1.0, 0.05, "%.2f"),
        "sigma": ("Blur, px", 0.0, look.what_if.side / 8, 0.1, "%.1f"),
        "amount": ("Noise", 0.0, 0.5, 0.01, "%.2f"),
        "quality": ("Quality", 1, 95, 1, "%d"),
    }[name]  # fmt: skip
    key = _key(name, look.what_if.placing)
    value = getattr(look.what_if, name)
    st.session_state[key] = type(low)(min(max(value, low), high))
    with st.container(horizontal=True, vertical_alignment="center", key=f"row_{name}", wrap=False):
        st.html(f'<span class="ds-sub">{title}</span>', width=72)
        st.slider(
            title, low, high, step=by, key=key, format=form, label_visibility="collapsed",
            on_change=_slid, args=(name, look.what_if.placing),
        )  # fmt: skip


def _key(name: str, placing: int) -> str:
    return f"what_if_{name}_{placing}"


def _slid(name: str, placing: int) -> None:
    slid(name, st.session_state[_key(name, placing)], placing)


def _status(look: Look) -> None:
    """Whether the answers shown are those of the shown image."""
    if look.error is not None:
        messages.refused(look.error.what, look.error.expected, look.error.remedy)
        st.button("Try again", key="live_again", on_click=live.try_again)
    elif look.waiting:
        words = "The live worker starts" if live.starting() else "Both models are answering"
        st.html(f'<div class="ds-sub" data-live="waiting">{words}…</div>')
    elif look.edits:
        st.html('<div class="ds-sub" data-live="answered">Both have answered this image.</div>')


def _facts(look: Look) -> None:
    left, student = (log_softmax(look.logits[name][None])[0] for name in look.models)
    pair, row = look.view.all, look.row
    rows = [
        (escaped(look.sides.kl, 80), f"{nats(_kl(left, student))} nats"),
        ("Jensen-Shannon", f"{nats(_js(left, student))} nats"),
    ]
    if pair.overlap is not None and not look.edits:
        rows.append(("Shared neighbors", percent_text(pair.overlap[row], 0)))
    stale = ' class="ds-stale"' if look.waiting else ""
    st.html(f"<div{stale}>{_list(rows)}</div>")


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<div class="ds-row"><span class="ds-sub">{name}</span>'
        f'<span class="ds-strong">{value}</span></div>'
        for name, value in rows
    )


def _kl(first: np.ndarray, second: np.ndarray) -> float:
    """KL of two logarithms of probabilities (K,), in nats."""
    return float((np.exp(first) * (first - second)).sum())


def _js(first: np.ndarray, second: np.ndarray) -> float:
    middle = np.logaddexp(first, second) - np.log(2)
    return (_kl(first, middle) + _kl(second, middle)) / 2


def _to_map(look: Look) -> None:
    open_page("map", picked=region_of(look.view, [look.sample], None), sample=look.sample)
