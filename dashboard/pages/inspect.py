"""Inspect: one image, what both models answer, which pixels, which neighbors."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.divergence.answers import log_softmax
from analysis.records import CLEAN, PENULTIMATE, TEACHER, AttributionMaps
from dashboard import messages, missing
from dashboard.components.links import link
from dashboard.context import Export, View, choose, open_page, region_of
from dashboard.figures import answers, attributions
from dashboard.figures.chart import CONFIG
from dashboard.figures.gallery import gallery_order
from dashboard.figures.neighbors import neighbors_html
from dashboard.figures.numbers import THIN, escaped, nats, percent, thousands
from dashboard.figures.sentences import neighbors_line
from dashboard.figures.sides import Sides
from dashboard.figures.tables import csv_text
from dashboard.loading import Pair
from dashboard.loading_maps import maps_between
from dashboard.pages.overview import nothing_left
from dashboard.selection import Selection, find_sample

SHOWN_NEIGHBORS = 6
# Below this share of the common scale a map looks empty, so the page says so in words.
_FAINT = 0.05


def show(view: View) -> None:
    """Draw the page."""
    if len(view.pair) == 0:
        nothing_left(view)
        return
    row, order = _current_row(view)
    left, middle, right = st.columns([5.2, 14, 6], gap="large")
    with left:
        _image(view, row, order)
    with middle:
        _which_pixels(view, row)
        _answers(view, row)
    with right:
        _neighbors(view, row)


def _current_row(view: View) -> tuple[int, np.ndarray]:
    """Row (of all samples) to show, and the rows that previous and next step through."""
    order = np.flatnonzero(view.mask)[gallery_order(view.pair)]
    token = view.selection.sample
    if token is None:
        return _first(view, order), order
    row = find_sample(token, view.all.sample_ids)
    if row is None:
        messages.note(f"There is no image {token!r} here; this is the one that parts most.")
        return _first(view, order), order
    return row, order


def _first(view: View, order: np.ndarray) -> int:
    """The image that parts most among those with attribution maps, else among all."""
    found = _maps(view)
    maps = found.get("pair", found.get("student"))
    if maps is not None:
        mapped = np.isin(view.all.sample_ids[order].astype(str), np.asarray(maps.sample_ids))
        order = order[mapped] if mapped.any() else order
    return int(order[0])


def _image(view: View, row: int, order: np.ndarray) -> None:
    sample = str(view.all.sample_ids[row])
    found = np.flatnonzero(order == row)
    place = int(found[0]) if len(found) else None
    labels = view.all.labels
    label = "" if labels is None else f"label {escaped(view.class_names[labels[row]], 30)}"
    with st.container(
        horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False, key="image_head"
    ):
        short = escaped(sample.removeprefix("inspection/"), 28)
        st.html(
            f'<div class="ds-title ds-cut" title="{escaped(sample, 300)}">Image {short}</div>'
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
    picture = _picture(view, sample)
    if picture is None:
        messages.empty("No picture", missing.why_no_picture(view.study))
    else:
        st.html(f'<img class="ds-image" src="{picture}" alt="{escaped(sample, 200)}">')
    total = thousands(len(order))
    where = (
        f"{thousands(place + 1)} of {total}, by how far the two part"
        if place is not None
        else f"Not among the {total} filtered images"
    )
    st.html(f'<div class="ds-sub">{where}</div>')
    _facts(view.all, row, view.sides)
    st.button("Show on the map", key="show_on_map", on_click=_to_map, args=(view, sample))


def _to_map(view: View, sample: str) -> None:
    open_page("map", picked=region_of(view, [sample], None), sample=sample)


def _picture(view: View, sample: str) -> str | None:
    condition = view.selection.condition
    rows = np.flatnonzero(view.study.condition_ids(condition) == sample)
    key = "images/inspection" if condition == CLEAN else f"images/condition/{condition}"
    if view.study.has_array(key) and len(rows):
        pixels = view.study.condition_images(condition)[rows[0]]
        return attributions.picture_uri(np.asarray(pixels))
    url = view.picture(sample)
    return None if url is None else escaped(url, 8000)


def _facts(pair: Pair, row: int, sides: Sides) -> None:
    facts = [
        (escaped(sides.kl, 80), f"{nats(pair.kl[row])} nats"),
        ("Jensen-Shannon", f"{nats(pair.js[row])} nats"),
    ]
    if pair.overlap is not None:
        facts.append(("Shared neighbors", f"{percent(pair.overlap[row], 0)}{THIN}%"))
    rows = "".join(
        f'<div class="ds-row"><span class="ds-sub">{name}</span>'
        f'<span class="ds-strong">{value}</span></div>'
        for name, value in facts
    )
    st.html(rows)


def _maps(view: View) -> dict[str, AttributionMaps]:
    return maps_between(view.study, view.left, view.selection.student, view.selection.condition)


def _which_pixels(view: View, row: int) -> None:
    maps = _maps(view)
    if "student" not in maps:
        messages.section("Which pixels")
        messages.empty("No attribution maps", missing.why_no_attributions(view.study))
        return
    sample = str(view.all.sample_ids[row])
    rows = {part: np.flatnonzero(found.sample_ids == sample) for part, found in maps.items()}
    at = {part: int(found[0]) for part, found in rows.items() if len(found)}
    if not at:
        _outside_probe(view, row, maps.get("pair", maps["student"]))
        return
    limit = attributions.common_limit([maps[part].values[at[part]] for part in at])
    method = maps["student"].method.replace("_", " ")
    messages.section(
        "Which pixels",
        f"{escaped(method.capitalize())}, {escaped(maps['student'].baseline)} baseline. One scale "
        f"for all three, ±{limit:.2g}. <span style='float:right;white-space:nowrap'>against"
        f"{messages.ramp(view.colors.signed)}for</span>",
    )
    for column, part in zip(st.columns(3), (TEACHER, "student", "pair"), strict=True):
        with column:
            if part in at:
                _one_map(view, row, part, maps[part], at[part], limit)
            else:
                _no_map(view, part)
    if TEACHER in at and "student" in at:
        _agreement(maps[TEACHER], maps["student"], at)


def _marks(view: View, part: str) -> tuple[str, str]:
    """Mark and title of one of the three maps."""
    sides = view.sides
    if part == "pair":
        return "ds-circle ds-lens", "The pair"
    names = (
        ("Teacher", "Student") if sides.against_teacher
        else (escaped(sides.left), escaped(sides.right))
    )  # fmt: skip
    return ("ds-circle", names[0]) if part == TEACHER else ("ds-square", names[1])


def _no_map(view: View, part: str) -> None:
    """Why one of the three is missing: maps of two students come from each one's own."""
    mark, title = _marks(view, part)
    st.html(f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>')
    reason = (
        "Their difference is known where both have maps that explain the same class."
        if part == "pair"
        else "Its maps were computed for other images."
    )
    messages.empty("Not computed for these two" if part == "pair" else "No map here", reason)


def _one_map(view: View, row: int, part: str, maps: AttributionMaps, at: int, limit: float) -> None:
    explained = int(maps.explained_class[at])
    name = escaped(view.class_names[explained], 24)
    left, right = escaped(view.sides.the_left), escaped(view.sides.the_right)
    own = {TEACHER: view.all.teacher_answer[row], "student": view.all.student_answer[row]}
    what = (
        f"why {right} says “{name}” more than {left} does" if part == "pair"
        else f"pixels for {'its own answer, ' if explained == own[part] else ''}“{name}”"
    )  # fmt: skip
    mark, title = _marks(view, part)
    picture = attributions.map_picture(maps.values[at], limit, view.colors, signed=maps.signed)
    error = float(maps.completeness_error[at])
    promise = f"{100 * error:.1f}{THIN}%" if np.isfinite(error) else "none promised"
    st.html(
        f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>'
        f'<div class="ds-sub" style="min-height:36px">{what}</div>'
        f'<img class="ds-map" src="{picture}" alt="{title}: {what}">'
        f'<div class="ds-row ds-sub" style="margin-top:3px"><span>completeness error</span>'
        f'<span class="ds-strong">{promise}</span></div>{_faint(maps.values[at], limit)}'
    )


def _faint(values: np.ndarray, limit: float) -> str:
    """Words for a map that looks empty on the common scale."""
    strongest = float(np.abs(values).max())
    if strongest >= _FAINT * limit:
        return ""
    return f'<div class="ds-sub">Almost nothing moves it: at most {strongest:.1g} a pixel.</div>'


def _agreement(teacher: AttributionMaps, student: AttributionMaps, at: dict[str, int]) -> None:
    pair = [
        maps.values[at[part]][None] for part, maps in ((TEACHER, teacher), ("student", student))
    ]
    correlation = float(rank_correlation(*pair)[0])
    written = "not defined" if not np.isfinite(correlation) else nats(correlation)
    overlap = float(top_overlap(*pair)[0])
    st.html(
        f'<div class="ds-facts"><div>rank correlation of the two <b>{written}</b></div>'
        f"<div>overlap of their top 5 % <b>{nats(overlap)}</b></div></div>"
    )


def _outside_probe(view: View, row: int, maps: AttributionMaps) -> None:
    messages.section("Which pixels")
    covered = f"{thousands(len(maps.sample_ids))} of {thousands(len(view.all))} images"
    messages.empty("No maps for this image", f"Attribution maps were computed for {covered}.")
    nearest = _nearest_mapped(view, row, maps)
    if nearest is not None:
        st.button(
            "Nearest image with maps", key="nearest_mapped", on_click=choose,
            kwargs={"sample": nearest}, help="In the student’s feature space",
        )  # fmt: skip


def _nearest_mapped(view: View, row: int, maps: AttributionMaps) -> str | None:
    """Id of the image with maps that is nearest in the student's feature space."""
    condition = view.selection.condition
    key = f"features/{view.selection.student}/{condition}/{PENULTIMATE}"
    ids = view.study.condition_ids(condition)
    own = np.flatnonzero(ids == view.all.sample_ids[row])
    mapped = np.flatnonzero(np.isin(ids, maps.sample_ids))
    if not view.study.has_array(key) or len(own) == 0 or len(mapped) == 0:
        return None
    features = view.study.array(key)
    here = np.asarray(features[own[0]], dtype=np.float64)
    there = np.asarray(features[mapped], dtype=np.float64)
    there /= np.maximum(np.linalg.norm(there, axis=1, keepdims=True), 1e-12)
    return str(ids[mapped[int(np.argmax(there @ here))]])


def _answers(view: View, row: int) -> None:
    teacher, student = (
        _probabilities(view, name, row) for name in (view.left, view.selection.student)
    )
    sides = view.sides
    messages.section("What each answers", "Probability, %.")
    names = view.class_names
    st.html(
        f'<div class="ds-row"><span class="ds-teacher">{messages.CIRCLE} {escaped(sides.left)}: '
        f'{escaped(names[int(teacher.argmax())], 30)}</span><span class="ds-student">'
        f"{escaped(sides.right)}: {escaped(names[int(student.argmax())], 30)} {messages.SQUARE}"
        "</span></div>"
    )
    st.plotly_chart(
        answers.answers_figure(teacher, student, names, view.colors, sides=sides), theme=None,
        config=CONFIG, alt="Probabilities of the likeliest classes by both models",
    )  # fmt: skip


def _probabilities(view: View, model: str, row: int) -> np.ndarray:
    condition = view.selection.condition
    ids = view.study.condition_ids(condition)
    at = int(np.flatnonzero(ids == view.all.sample_ids[row])[0])
    logits = np.asarray(view.study.array(f"logits/{model}/{condition}")[at], dtype=np.float64)
    return np.exp(log_softmax(logits[None]))[0]


def _neighbors(view: View, row: int) -> None:
    messages.section("Its nearest neighbors", "Closest clean images in feature space, Euclidean.")
    names, clean = view.class_names, view.clean
    own = [names[view.all.teacher_answer[row]], names[view.all.student_answer[row]]]
    student = view.selection.student
    left, right = (f"in {escaped(name)}" for name in (view.sides.the_left, view.sides.the_right))
    spaces = (
        (view.left, "ds-teacher", messages.CIRCLE, left, clean.teacher_answer),
        (student, "ds-student", messages.SQUARE, right, clean.student_answer),
    )
    for model, color, mark, where, answered in spaces:
        found = _nearest(view, model, row)
        if found is None:
            messages.empty("Not measured", missing.why_no_neighbors(view.study, where))
            continue
        samples, distances = found
        groups = answered if clean.labels is None else clean.labels
        class_of = dict(zip(clean.sample_ids.tolist(), groups.tolist(), strict=True))
        classes = [names[class_of[sample]] for sample in samples]
        st.html(
            f'<div class="ds-row"><span class="{color} ds-nowrap">{mark} {where}</span>'
            f'<span class="ds-sub">{neighbors_line(classes, own)}</span></div>'
            + neighbors_html(
                samples,
                classes,
                distances,
                lambda sample: view.picture(sample, CLEAN),
                lambda sample: link("inspect", _clean_image(view, sample)),
            )
        )
    kind = "labels" if clean.labels is not None else "the model’s own answers"
    st.html(f'<div class="ds-sub">Classes are {kind}; numbers are distances.</div>')


def _nearest(view: View, model: str, row: int) -> tuple[list[str], np.ndarray] | None:
    """Ids and distances of the clean images nearest to the image of ``row``, or None."""
    condition = view.selection.condition
    found = view.study.neighbors(model, condition)
    at = np.flatnonzero(view.study.condition_ids(condition) == view.all.sample_ids[row])
    if found is None or len(at) == 0:
        return None
    indices = np.asarray(found.indices[at[0]][:SHOWN_NEIGHBORS])
    return [str(view.study.sample_ids[index]) for index in indices], found.distances[at[0]]


def _clean_image(view: View, sample: str) -> Selection:
    return dataclasses.replace(view.selection, sample=sample, condition=CLEAN)


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""

    def answers_csv() -> str:
        row, _ = _current_row(view)
        left, right = view.sides.columns
        table = {
            "class": list(view.class_names),
            left: _probabilities(view, view.left, row).tolist(),
            right: _probabilities(view, view.selection.student, row).tolist(),
        }
        return csv_text(table)

    return [Export("Both models’ probabilities, CSV", "probabilities.csv", answers_csv)]
