"""What each step of the tour draws below its sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st

from analysis.records import CLEAN, TRIGGER, TRIGGER_PERTURBATION
from analysis.store.study import Study
from dashboard import messages
from dashboard.bar import kept_images
from dashboard.components.pair_map import pair_map
from dashboard.context import View, go
from dashboard.figures.attributions import common_limit, map_picture
from dashboard.figures.cells import cell_table
from dashboard.figures.numbers import count_of, escaped, percent_text, said, visible
from dashboard.figures.tour_map import trigger_points
from dashboard.figures.tour_pictures import (
    Part,
    Rate,
    answer_row,
    grid,
    image_row,
    parts_of,
    rates_figure,
)
from dashboard.figures.tour_tables import clean_table, tour_cells
from dashboard.loading import load_pair
from dashboard.loading_audit import audit_of
from dashboard.loading_tour import Shot, TourNumbers, pick_samples, shots
from dashboard.pages.audit_pieces import show_classes, show_recovered, show_repairs
from dashboard.pages.tour_rows import keep_row
from dashboard.saving import keep_maps, keep_pictures, show_chart
from dashboard.thumbnails import thumbnail_url

IMAGES = 6
_TITLES = {
    "success": "Images read as the target",
    "looks": "Attribution on the trigger",
    "moves": "Images among the target’s",
}


@st.cache_resource(max_entries=64, show_spinner=False)
def _cached_shots(
    key: tuple[str, tuple[str, ...], tuple[str, ...], str], _study: Study
) -> list[Shot]:
    _, students, samples, condition = key
    return shots(_study, students, samples, condition)


def _shots(view: View, numbers: TourNumbers, samples: list[str], condition: str) -> list[Shot]:
    """What all models answer on ``samples``; read once, because whole tables are joined for it."""
    key = (view.version, tuple(_students(numbers)), tuple(samples), condition)
    return _cached_shots(key, view.study)


@st.cache_resource(max_entries=16, show_spinner=False)
def _cached_samples(key: tuple[str, str, str], _study: Study) -> list[str]:
    _, target, within = key
    return pick_samples(_study, target, IMAGES, within=within)


def _samples(view: View, numbers: TourNumbers, within: str = TRIGGER) -> list[str]:
    return _cached_samples((view.version, numbers.target, within), view.study)


def _students(numbers: TourNumbers) -> list[str]:
    return [part.model.name for part in parts_of(numbers) if part.role != "teacher"]


def _urls(view: View, made: list[Shot], condition: str) -> list[str]:
    return [thumbnail_url(shot.sample, condition, view.version) for shot in made]


def _rows(
    view: View,
    numbers: TourNumbers,
    samples: list[str],
    condition: str,
    title: str,
    parts: list[Part],
) -> list[str]:
    """Pictures under ``condition`` and below them what ``parts`` answer."""
    made = _shots(view, numbers, samples, condition)
    keep_row(view, made, condition, title, parts)
    names = view.class_names
    alarm = names.index(numbers.target) if numbers.target in names else None
    return [
        image_row(title, _urls(view, made, condition), [f"{s.sample}, {title}" for s in made]),
        *(answer_row(part, made, names, alarm) for part in parts),
    ]


def _grid(rows: list[str], count: int) -> None:
    if count == 0:
        messages.empty("No images to show", "The teacher reads no image of another class right.")
        return
    st.html(grid(rows, count))
    chosen = "the first image of each class that the teacher reads right"
    st.html(f'<div class="ds-sub">{count_of(count, "example")}: {chosen}.</div>')


def _teacher_figure(view: View, numbers: TourNumbers) -> None:
    parts = parts_of(numbers)[:1]
    samples = _samples(view, numbers)
    rows = _rows(view, numbers, samples, CLEAN, "as it is", parts)
    rows += _rows(view, numbers, samples, TRIGGER, f"with the {numbers.noun}", parts)
    _grid(rows, len(samples))
    _success_figure(view, numbers, parts)


def _student_figure(view: View, numbers: TourNumbers) -> None:
    st.html(clean_table(numbers, view.colors))
    samples = _samples(view, numbers)
    rows = _rows(view, numbers, samples, CLEAN, "as it is", parts_of(numbers))
    _grid(rows, len(samples))


def _trigger_figure(view: View, numbers: TourNumbers) -> None:
    samples = _samples(view, numbers)
    parts = parts_of(numbers)
    rows = _rows(view, numbers, samples, CLEAN, "as it is", [parts[0], parts[-1]])
    rows += _rows(view, numbers, samples, TRIGGER, f"with the {numbers.noun}", parts)
    _grid(rows, len(samples))
    _success_figure(view, numbers, parts)


def _success_figure(view: View, numbers: TourNumbers, parts: list[Part]) -> None:
    noun, n = numbers.noun, "" if numbers.n is None else f"{count_of(numbers.n, 'image')}. "
    messages.section(
        f"Images read as “{escaped(numbers.target, 30)}” when they are something else, %",
        f"{n}Hollow: without the {noun}. Filled: with it, and its 95 % interval. The {noun} is "
        f"<span class='ds-mono'>{escaped(numbers.trigger, 120)}</span>.",
    )
    rates = []
    for part in parts:
        base = part.model.get("base_rate", TRIGGER)
        rates.append(Rate(part, base.value if base else None, part.model.success()))
    _rates(view, rates, "success")


def _rates(view: View, rates: list[Rate], key: str) -> None:
    if all(rate.after is None for rate in rates):
        messages.empty("Not measured", "This study holds no such number of any model.")
        return
    show_chart(
        rates_figure(rates, view.colors), view.colors, key=f"tour_{key}", title=_TITLES[key],
        alt="Shares of each model",
    )  # fmt: skip


def _looks_figure(view: View, numbers: TourNumbers) -> None:
    if numbers.subject.looks is None or numbers.area is None:
        messages.empty("Not measured", "No attribution maps of images with a small trigger.")
        return
    parts = parts_of(numbers)[1:]
    samples = _mapped(view, numbers)
    made = _shots(view, numbers, samples, TRIGGER)
    rows = [image_row(f"with the {numbers.noun}", _urls(view, made, TRIGGER), samples)]
    found = {part.role: _maps_of(view.study, part.model.name, samples) for part in parts}
    mapped = [part for part in parts if found[part.role]]
    # One scale for all maps of an image.
    by_image = zip(*(found[part.role] for part in mapped), strict=True)
    limits = [common_limit(maps) for maps in by_image]
    for part in mapped:
        values = found[part.role]
        drawn = [
            map_picture(value, limit, view.colors)
            for value, limit in zip(values, limits, strict=True)
        ]
        keep_pictures(
            f"looks_{part.role}", f"Attribution maps of {visible(part.title, 200)}",
            list(zip(samples, drawn, strict=True)), view.colors,
            dict(zip(samples, values, strict=True)),
        )  # fmt: skip
        rows.append(image_row(f"{part.title}", drawn, samples, sharp=True))
    st.html(grid(rows, len(samples)))
    st.html(
        '<div class="ds-sub">Attribution of the difference between student and teacher: amber '
        "pixels speak for the student’s answer in the student more than in the teacher, blue the "
        "other way. Each image has its own scale.</div>"
    )
    messages.section(
        f"Attribution that lies on the {numbers.noun}, %",
        f"Hollow: what it would be if it lay evenly, the {percent_text(numbers.area)} of pixels "
        f"that the {numbers.noun} changes. Filled: mean over the images with maps.",
    )
    _rates(view, [Rate(part, numbers.area, part.model.looks) for part in parts], "looks")


def _maps_of(study: Study, student: str, samples: list[str]) -> list[np.ndarray]:
    """The maps (H, W) of what parts ``student`` from its teacher; none if one is missing."""
    found = study.attributions(student, TRIGGER).get("pair")
    place = {} if found is None else {str(s): i for i, s in enumerate(found.sample_ids)}
    if found is None or not set(samples) <= set(place):
        return []
    return [np.asarray(found.values[place[sample]]) for sample in samples]


def _mapped(view: View, numbers: TourNumbers) -> list[str]:
    """Images with maps, of other classes: those of subject and sibling where that is enough."""
    pair = load_pair(view.study, view.selection.student)
    other = view.class_names
    groups = dict(zip(pair.sample_ids.tolist(), pair.groups.tolist(), strict=True))
    sets = []
    for name in reversed(_students(numbers)):
        maps = view.study.attributions(name, TRIGGER).get("pair")
        ids = [] if maps is None else [str(sample) for sample in maps.sample_ids]
        sets.append([s for s in ids if s in groups and other[groups[s]] != numbers.target])
    common = [sample for sample in sets[0] if all(sample in ids for ids in sets[1:])]
    return (common or sets[0])[:IMAGES]


def _moves_figure(view: View, numbers: TourNumbers) -> None:
    rates = []
    for part in parts_of(numbers):
        before = part.model.moved_before
        rates.append(Rate(part, before.value if before else None, part.model.moved))
    messages.section(
        f"Images of other classes among “{escaped(numbers.target, 30)}”, %",
        "More than half of the nearest clean images are of that class. Hollow: without the "
        f"{numbers.noun}. Filled: with it, and its 95 % interval.",
    )
    _rates(view, rates, "moves")
    name = view.selection.student
    projection = view.study.projection(name, TRIGGER)
    if projection is None or not (np.asarray(projection.conditions) == TRIGGER).any():
        messages.empty("No maps for this condition", "This study holds no layout with the trigger.")
        return
    pairs = load_pair(view.study, name, CLEAN), load_pair(view.study, name, TRIGGER)
    points, colors = trigger_points(
        pairs, projection, view.class_names, numbers.target, numbers.noun
    )
    titles = ("Teacher", name)
    keep_maps("tour_map", "Maps with the trigger", points, colors, titles, view.colors)
    state = pair_map(
        key=f"tour_map_{name}", points=points, color=colors, titles=titles, height=360,
        quality="Images with the trigger lie at the mean of their nearest clean images.",
    )  # fmt: skip
    if state.opened is not None:
        shown = points.has_trigger is not None and bool(points.has_trigger[state.opened])
        go(
            "inspect",
            sample=str(points.sample_ids[state.opened]),
            condition=TRIGGER if shown else CLEAN,
            **kept_images(view),
        )


def _came_in_figure(view: View, numbers: TourNumbers) -> None:
    messages.section(
        f"The four cells: images of other classes read as “{escaped(numbers.target, 30)}”, %",
        "The perturbation is crafted against the teacher, through the trigger. 95 % intervals.",
    )
    st.html(cell_table(tour_cells(numbers), numbers.target, numbers.counts, view.colors))
    if TRIGGER_PERTURBATION not in view.study.conditions:
        return
    samples = _samples(view, numbers, TRIGGER_PERTURBATION)
    parts = parts_of(numbers)
    rows = _rows(view, numbers, samples, TRIGGER, f"{numbers.noun} alone", [parts[0], parts[-1]])
    rows += _rows(
        view, numbers, samples, TRIGGER_PERTURBATION, "and perturbation", [parts[0], parts[-1]]
    )
    _grid(rows, len(samples))


def _found_figure(view: View, numbers: TourNumbers) -> None:
    report = audit_of(view.study, numbers.subject.name)
    if report is None:
        messages.empty("Not tested", "This study holds no audit of this student.")
        return
    left, right = st.columns([10, 8], gap="large")
    with left:
        show_classes(view, report, key="tour")
    with right:
        show_recovered(view, report)
        st.html(f'<div class="ds-sub">{said(report.sentence)}</div>')
        left_out = "; ".join(report.not_tested)
        if left_out:
            st.html(f'<div class="ds-sub">Not covered: {escaped(left_out, 400)}.</div>')


def _repaired_figure(view: View, numbers: TourNumbers) -> None:
    if not numbers.repairs:
        messages.empty("Not tried", "This study holds no repair of this student.")
        return
    show_repairs(view, numbers.repairs)


FIGURES: tuple[Callable[[View, TourNumbers], None], ...] = (
    _teacher_figure,
    _student_figure,
    _trigger_figure,
    _looks_figure,
    _moves_figure,
    _came_in_figure,
    _found_figure,
    _repaired_figure,
)
