"""Inspect, this selection: mean maps, how alike they are, where pixels and answers disagree."""

from __future__ import annotations

import numpy as np
import streamlit as st

from analysis.records import TEACHER
from dashboard import messages
from dashboard.context import View, choose
from dashboard.figures import attributions
from dashboard.figures.many_maps import agreement_figure
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import count_of, escaped, nats, percent_text, thousands
from dashboard.figures.sides import Sides
from dashboard.loading_many_maps import PARTS, ManyMaps, many_maps, most_at_odds
from dashboard.messages import cell
from dashboard.pages.inspect_look import stored_maps
from dashboard.saving import keep_pictures, show_chart
from dashboard.theme import color_bar

MODE = "inspect_mode"
ONE, MANY = "This image", "This selection"
_KINDS = ("Same answer, different pixels", "Different answers, same pixels", "All with maps")


@st.cache_resource(max_entries=8, show_spinner=False)
def _gathered(key: str, _view: View) -> ManyMaps | None:
    return many_maps(stored_maps(_view), _view.pair)


def selection_part(view: View) -> None:
    """Draw the part of the page about all images that the filter leaves."""
    found = _gathered(view.key, view)
    if found is None:
        mapped = stored_maps(view).get("pair")
        covered = "none" if mapped is None else thousands(len(mapped.sample_ids))
        messages.empty(
            "No image of this selection has maps",
            f"The study holds maps of {covered} of {count_of(len(view.all), 'image')} under this "
            "condition. Take the filter off, or look at one image: its maps are computed live.",
        )
        return
    left, right = st.columns([14, 10], gap="large")
    with left:
        _means(view, found)
    with right:
        _agreement(view, found)
    _table(view, found)


def _of(found: ManyMaps) -> str:
    return f"{thousands(len(found))} of {count_of(found.selected, 'image')} with stored maps"


def marks_of(sides: Sides) -> dict[str, tuple[str, str, str]]:
    """Mark, title and meaning of each of the three maps; plain text."""
    left, right = (
        ("Teacher", "Student") if sides.against_teacher else (sides.left, sides.right)
    )  # fmt: skip
    own = "where its own answers come from"
    return {
        TEACHER: ("ds-circle", left, own),
        "student": ("ds-square", right, own),
        "pair": ("ds-circle ds-lens", "The pair", f"why {sides.the_right} says its answer more"),
    }


def _means(view: View, found: ManyMaps) -> None:
    magnitude = bool(st.session_state.get("inspect_magnitude", True))
    chosen = {
        part: mean.magnitude if magnitude else mean.values for part, mean in found.means.items()
    }
    limit = attributions.common_limit(list(chosen.values()))
    colors = view.colors
    ramp = color_bar(colors.divergence if magnitude else colors.signed)
    ends = ("0", f"{limit:.2g}") if magnitude else ("against", "for")
    kind = "Mean magnitude" if magnitude else "Mean"
    with st.container(horizontal=True, vertical_alignment="center", key="means_head"):
        with st.container(width="stretch"):
            messages.section(
                "Which pixels, on average",
                f"{kind} of the maps, n = {_of(found)}. {ends[0]}{ramp}{ends[1]}",
            )
        st.toggle("Magnitude", value=True, key="inspect_magnitude")
    drawn = {
        part: attributions.map_picture(chosen[part], limit, colors, signed=not magnitude)
        for part in PARTS
    }
    marks = marks_of(view.sides)
    named = [(marks[part][1], drawn[part]) for part in PARTS]
    names = {TEACHER: view.sides.left, "student": view.sides.right, "pair": "pair"}
    values = {names[part]: chosen[part] for part in PARTS}
    keep_pictures("mean_maps", "Mean attribution maps", named, colors, values)
    for column, part in zip(st.columns(3), PARTS, strict=True):
        mark, title, what = (escaped(words, 80) for words in marks[part])
        picture = drawn[part]
        with column:
            st.html(
                f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>'
                f'<div class="ds-sub">{what}</div>'
                + attributions.map_html(picture, f"{title}: {what}", None)
            )


def _agreement(view: View, found: ManyMaps) -> None:
    agree = view.pair.agree[found.rows]
    differ = f'<span style="color:{view.colors.alarm}">different answers</span>'
    messages.section(
        term("rank_correlation", "How alike the two models’ maps are"),
        f"n = {_of(found)}; same answer gray, {differ}.",
    )
    show_chart(
        agreement_figure(found.correlation, agree, view.colors), view.colors,
        key="many_agreement", title="How alike the maps are",
        alt="Histogram of the rank correlation of the two models’ maps",
    )  # fmt: skip
    facts = [
        ("same answer", _median(found.correlation[agree])),
        ("different answers", _median(found.correlation[~agree])),
        (
            term("top_overlap", "overlap of the top 5 %, mean", end=True),
            _mean_share(found.overlap),
        ),
    ]
    st.html(
        '<div class="ds-facts">'
        + "".join(f"<div>{name} <b>{value}</b></div>" for name, value in facts)
        + "</div>"
    )


def _median(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"median {nats(float(np.median(known)))}, n = {len(known)}" if len(known) else "none"


def _mean_share(values: np.ndarray) -> str:
    """An overlap is not defined of a map that is zero everywhere."""
    known = values[np.isfinite(values)]
    return f"{percent_text(float(known.mean()), 0)}, n = {len(known)}" if len(known) else "none"


def _table(view: View, found: ManyMaps) -> None:
    same, other = most_at_odds(found, view.pair)
    everything = np.argsort(np.nan_to_num(found.correlation, nan=2.0), kind="stable")
    with st.container(horizontal=True, vertical_alignment="center", key="odds_head"):
        with st.container(width="stretch"):
            messages.section(
                "Where pixels and answers disagree", "A click on a row opens the image."
            )
        kind = st.segmented_control(
            "Which", _KINDS, default=_KINDS[0], key="odds_kind", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
    chosen = {_KINDS[0]: same, _KINDS[1]: other}.get(str(kind), everything)
    if len(chosen) == 0:
        messages.empty("No such image", f"Among {_of(found)}.")
        return
    pair, rows = view.pair, found.rows[chosen]
    names = [cell(name) for name in view.class_names]
    first, second = view.sides.columns
    table: dict[str, object] = {
        "sample": [cell(name) for name in pair.sample_ids[rows]],
    }
    if pair.labels is not None:
        table["label"] = [names[label] for label in pair.labels[rows]]
    table |= {
        first: [names[answer] for answer in pair.teacher_answer[rows]],
        second: [names[answer] for answer in pair.student_answer[rows]],
        "KL": pair.kl[rows],
        "rank correlation": found.correlation[chosen],
        "top 5 % shared": found.overlap[chosen],
    }
    numbers = {
        "KL": "kl_teacher_student", "rank correlation": "rank_correlation",
        "top 5 % shared": "top_overlap",
    }  # fmt: skip
    key = f"odds_{_KINDS.index(str(kind))}_{hash(view.key) & 0xFFFF}"
    st.dataframe(
        table, hide_index=True, row_height=27, height=37 + 27 * min(len(chosen), 11), key=key,
        column_config={
            n: st.column_config.NumberColumn(n, format="%.2f", help=MEASURES[measure].help)
            for n, measure in numbers.items()
        },
        selection_mode="single-cell", on_select=lambda: _opened(key, pair.sample_ids[rows]),
    )  # fmt: skip


def _opened(key: str, samples: np.ndarray) -> None:
    cells = st.session_state[key].selection.cells
    if cells:
        choose(sample=str(samples[cells[0][0]]))
        st.session_state[MODE] = ONE
