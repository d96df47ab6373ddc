"""Where the two models part most, on the Overview: slices that were found, else classes."""

from __future__ import annotations

import dataclasses

import streamlit as st

from dashboard import messages
from dashboard.components.links import link
from dashboard.context import View
from dashboard.figures import classes, slices
from dashboard.figures.gallery import gallery_html, gallery_order
from dashboard.figures.numbers import count_of, escaped, percent_text, thousands
from dashboard.loading_slices import SliceList, SliceRow, slice_list
from dashboard.selection import SliceSet

_ROWS = 10
_PICTURES = 8
_BY = ("slices", "classes")


def where_it_parts(view: View) -> None:
    """Draw the section: slices where the study found some, classes where it did not or on wish."""
    found = _found(view)
    if found is None or not found.rows:
        _classes(view, _why_no_slices(view, found))
        return
    st.session_state.setdefault("parts_by", _BY[0])
    if st.session_state["parts_by"] == _BY[0]:
        _slices(view, found)
    else:
        _classes(view, "")
        _by()


def _found(view: View) -> SliceList | None:
    """Slices are those of a student against its teacher."""
    if not view.sides.against_teacher:
        return None
    return slice_list(view.study, view.selection.student, view.selection.condition)


def _why_no_slices(view: View, found: SliceList | None) -> str:
    if not view.sides.against_teacher:
        return "Slices are found against the teacher only."
    if found is None:
        return "Nobody looked for slices in this study."
    tried = "none stood out" if found.candidates == 0 else "none held on images not searched"
    return f"No slice: of {count_of(found.candidates, 'candidate')} {tried}."


def _by() -> None:
    st.segmented_control(
        "Part by", _BY, key="parts_by", required=True, label_visibility="collapsed",
    )  # fmt: skip


def _slices(view: View, found: SliceList) -> None:
    compared = any(row.references for row in found.rows)
    order = "the gap to the references" if compared else "the gap to the rest"
    messages.section(
        "Where it parts most",
        f"Slices found on one half of the images and tested on the other, by {order}.",
    )
    shown = found.rows if st.session_state.get("all_slices") else found.rows[:_ROWS]
    chosen = view.selection.within.id if isinstance(view.selection.within, SliceSet) else None

    def address(wanted: str) -> str:
        within = None if wanted == chosen else SliceSet(wanted)
        return link("overview", dataclasses.replace(view.selection, within=within))

    table = slices.slice_table(shown, view.colors, view.class_names, address, chosen=chosen)
    st.html(f'{table}<div class="ds-sub" style="margin-top:6px">{_note(view, found)}</div>')
    with st.container(horizontal=True, vertical_alignment="center", key="parts_controls"):
        _by()
        if len(found.rows) > _ROWS:
            st.toggle(f"All {len(found.rows)} slices", key="all_slices")
    row = next((row for row in found.rows if row.id == chosen), None)
    if row is not None:
        _gallery(view, row)


def _note(view: View, found: SliceList) -> str:
    return (
        "A slice filters every page; these are all images, whatever the filter. "
        f"{count_of(found.candidates, 'candidate')} tested; chance of any false slice "
        f"{percent_text(found.alpha, 0)}."
        + ("" if view.study.has_images else " Without images nothing was asked of their looks.")
    )


def _gallery(view: View, row: SliceRow) -> None:
    """The images of the chosen slice that the filter leaves, on which the two part most."""
    shown = gallery_order(view.pair)[:_PICTURES]
    messages.section(
        escaped(row.words, 80), f"The {len(shown)} of {thousands(len(view.pair))} that part most."
    )
    html = gallery_html(
        view.pair,
        shown,
        view.class_names,
        view.picture,
        lambda sample: link("inspect", dataclasses.replace(view.selection, sample=sample)),
        sides=view.sides,
    )
    st.html(html)


def _classes(view: View, why: str) -> None:
    """Both models class by class; ``why`` says why there are no slices, or is empty."""
    pair = view.without("group")
    rows = classes.class_rows(pair, view.class_names)
    sides = view.sides
    kind = "label" if pair.labels is not None else f"{escaped(sides.the_left)}’s answer"
    messages.section("Where it parts most", f"By {kind}, the lowest agreement first. {why}")
    shown = rows if st.session_state.get("all_classes") else rows[:_ROWS]

    def address(index: int) -> str:
        group = None if index == view.selection.group else index
        return link("overview", dataclasses.replace(view.selection, group=group))

    note = "A class filters every page."
    if pair.labels is not None:
        left = "Teacher" if sides.against_teacher else escaped(sides.left)
        note += f" {left} and {escaped(sides.right)}: % right."
    table = classes.class_table(
        shown, view.colors, address, chosen=view.selection.group, sides=sides
    )
    st.html(f'{table}<div class="ds-sub" style="margin-top:6px">{note}</div>')
    if len(rows) > _ROWS:
        st.toggle(f"All {len(rows)} classes", key="all_classes")
