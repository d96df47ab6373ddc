"""The report's second half: the images, pixels, layers and epochs behind it. Results are HTML."""

from __future__ import annotations

from functools import partial

import numpy as np
import plotly.graph_objects as go

from analysis.divergence.layers import CKA, KNN, SIMILARITIES
from analysis.records import CLEAN, TEACHER, TRIGGER
from analysis.store.study import Thumbnails
from dashboard.comparison import Comparison
from dashboard.figures import attributions, layer_words, layers, training
from dashboard.figures.gallery import gallery_order
from dashboard.figures.numbers import (
    MINUS,
    count_of,
    escaped,
    nats,
    percent_text,
    sentence_case,
)
from dashboard.figures.training import Curve, curve_of
from dashboard.loading_layers import LayerTable, layer_table, reference_profiles
from dashboard.loading_maps import maps_between
from dashboard.loading_training import EpochRow, epoch_rows
from dashboard.report.images import picture_uri, pixels_of
from dashboard.report.pieces import columns, figure, section, themed, titled
from dashboard.theme import Palette, color_bar


def samples(c: Comparison, rows: int, thumbnails: Thumbnails | None) -> str:
    """A table of the images on which the two part most, with their pictures."""
    order = gallery_order(c.pair)[:rows]
    if len(order) == 0:
        return ""
    left, right = (escaped(name) for name in c.sides.columns)
    labeled, shared = c.pair.labels is not None, c.pair.overlap is not None
    head = ["", "sample", *(["label"] if labeled else []), left, right, "KL"]
    head += ["shared neighbors"] if shared else []
    title = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(_sample(c, row, thumbnails) for row in order.tolist())
    below = f"The {len(order)} of {count_of(len(c.pair), 'image')} that part most."
    table = (
        f'<table class="ds-table ds-rows samples"><thead><tr>{title}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
    return section("samples", "Which images?", below, table)


def _sample(c: Comparison, row: int, thumbnails: Thumbnails | None) -> str:
    pair, names = c.pair, c.class_names
    sample = str(pair.sample_ids[row])
    uri = picture_uri(thumbnails, sample)
    shown = "" if uri is None else f'<img src="{uri}" alt="">'
    label = "" if pair.labels is None else f"<td>{escaped(names[pair.labels[row]], 28)}</td>"
    answers = "".join(
        f'<td><span class="{mark}"></span><span class="{kind}">{escaped(names[answer], 28)}</span>'
        f' <span class="ds-faint">{confidence:.2f}</span></td>'
        for mark, kind, answer, confidence in (
            ("ds-circle", "ds-teacher", pair.teacher_answer[row], pair.teacher_confidence[row]),
            ("ds-square", "ds-student", pair.student_answer[row], pair.student_confidence[row]),
        )
    )
    overlap = (
        "" if pair.overlap is None else f"<td>{percent_text(float(pair.overlap[row]), 0)}</td>"
    )
    return (
        f'<tr><td>{shown}</td><td class="ds-mono">{escaped(sample, 48)}</td>{label}{answers}'
        f"<td>{nats(float(pair.kl[row]))}</td>{overlap}</tr>"
    )


def pixels(c: Comparison, count: int) -> str:
    """Attribution maps of both models and of the pair, for the stored images that part most."""
    maps = maps_between(c.study, c.left, c.student, c.condition)
    if count == 0 or "pair" not in maps:
        return ""
    parts = [part for part in (TEACHER, "student", "pair") if part in maps]
    rows = {
        part: {str(name): row for row, name in enumerate(maps[part].sample_ids)} for part in parts
    }
    known = [
        str(c.pair.sample_ids[row])
        for row in gallery_order(c.pair).tolist()
        if all(str(c.pair.sample_ids[row]) in rows[part] for part in parts)
    ][:count]
    images = pixels_of(c, known)
    if not known:
        return ""
    pair = maps["pair"]

    def drawn(colors: Palette) -> str:
        cells = []
        for sample in known:
            values = {part: np.asarray(maps[part].values[rows[part][sample]]) for part in parts}
            limit = attributions.common_limit(list(values.values()))
            pictures = [
                attributions.map_picture(values[part], limit, colors, signed=maps[part].signed)
                for part in parts
            ]
            if sample in images:
                pictures.insert(0, attributions.picture_uri(images[sample]))
            shown = "".join(f'<td><img class="ds-map" src="{uri}" alt=""></td>' for uri in pictures)
            cells.append(f'<tr><td class="ds-mono">{escaped(sample, 40)}</td>{shown}</tr>')
        named = {TEACHER: escaped(c.sides.left), "student": escaped(c.sides.right), "pair": "pair"}
        titles = ["", *(["image"] if images else []), *(named[part] for part in parts)]
        head = "".join(f"<th>{title}</th>" for title in titles)
        scale = f"against {color_bar(colors.signed)} for" if pair.signed else ""
        return (
            f'<table class="ds-table maps"><thead><tr>{head}</tr></thead>{"".join(cells)}</table>'
            f'<div class="ds-sub">{scale}</div>'
        )

    method = sentence_case(pair.method).replace("_", " ")
    formula = pair.scalar.replace(" - ", f" {MINUS} ")
    below = (
        f"{escaped(method, 60)}, {escaped(pair.baseline, 40)} baseline; the pair: "
        f"{escaped(formula, 60)}. One scale for the maps of an image. "
        f"{count_of(len(known), 'image')} of the {len(pair.sample_ids)} with stored maps."
    )
    return section("pixels", "Which pixels make them part?", below, themed(drawn))


def layer_section(c: Comparison) -> str:
    """Layer by layer similarity with its null; only against the teacher."""
    table = layer_table(c.study, c.student, c.condition)
    if table is None or not c.sides.against_teacher:
        return ""
    clean = layer_table(c.study, c.student, CLEAN) if c.condition != CLEAN else None
    same = clean is not None and clean.student_layers == table.student_layers
    own = {name: grid.profile for name, grid in table.grids.items()}
    before = {n: g.profile for n, g in clean.grids.items()} if clean is not None and same else None
    name = c.study.conditions[c.condition].name
    words = layer_words.finding(own, table.student_layers, clean=before, condition=name)
    notes = "".join(
        f'<div class="ds-note">{doubt}</div>'
        for doubt in layer_words.doubts(table, own, clean=before)
    )
    measures = [name for name in (CKA, KNN) if name in table.grids]
    body = columns(*(_measure(c, table, measure) for measure in measures))
    return section("layers", "From which layer on?", f"{words}.", notes + body)


def _measure(c: Comparison, table: LayerTable, measure: str) -> str:
    entry, grid = SIMILARITIES[measure], table.grids[measure]
    n = table.n if measure == CKA else table.subset
    head = titled(
        entry.title,
        f"{escaped(entry.about[:1].upper() + entry.about[1:], 200)}. On {entry.basis}, "
        f"{count_of(n, 'image')}.",
    )
    matrix = partial(layers.layer_matrix, measure, grid, table.teacher_layers, table.student_layers)
    references = reference_profiles(c.study, table, c.condition)[measure]

    def profile(colors: Palette) -> go.Figure:
        return layers.profile_figure(
            measure, grid.profile, table.student_layers, colors, references=references
        )

    ticks = f"; ticks: {count_of(len(references), 'reference student')}" if references else ""
    below = titled(
        "",
        "Each student layer’s best match. Band: by chance, "
        f"{table.permutations} permutations{ticks}.",
    )
    return (
        head
        + figure(matrix, alt=f"{entry.title} of all pairs of layers")
        + below
        + figure(profile, alt=f"Best match of each layer by {entry.title}")
    )


def epochs(c: Comparison) -> str:
    """The curves of a student with checkpoints; only against the teacher."""
    rows = epoch_rows(c.study, c.student)
    if not rows or not c.sides.against_teacher:
        return ""
    attacked = TRIGGER in c.study.conditions
    own = c.study.measures(TEACHER, TRIGGER).get("attack_success_rate") if attacked else None
    if attacked:
        target = str(c.study.conditions[TRIGGER].parameters.get("target", ""))
        words = training.backdoor_sentence(rows, own, target)
    else:
        words = training.parted_sentence(rows)
    charts = [
        _curves(title, below, drawn, rows, nats_axis=key == "kl", teacher=level)
        for key, title, below, drawn, level in _charts(c, rows, attacked)
    ]
    return section("epochs", "When did it happen?", f"{words}.", columns(*charts))


def _charts(
    c: Comparison, rows: list[EpochRow], attacked: bool
) -> list[tuple[str, str, str, list[Curve], float | None]]:
    def curves(*wanted: tuple[str, str, str, training.Kind]) -> list[Curve]:
        made = [curve_of(rows, m, slug, name, kind=kind) for m, slug, name, kind in wanted]
        return [curve for curve in made if curve is not None]

    name = c.student
    parted = curves(("agreement", CLEAN, name, "student"))
    if attacked:
        parted += curves(("agreement", TRIGGER, "with trigger", "alarm"))
    accuracy = c.study.measures(TEACHER).get("accuracy")
    level = None if accuracy is None else accuracy.value
    found = [
        ("agreement", "When did they part?", "Same answer as the teacher, %.",
         parted, None),
        ("accuracy", "How good did it become?", "Right on clean images, %; dotted: teacher.",
         curves(("accuracy", CLEAN, name, "student")), level),
        ("kl", "How far apart are their answers?", "KL (teacher ∥ student), nats, mean.",
         curves(("kl_teacher_student", CLEAN, name, "student")), None),
    ]  # fmt: skip
    if attacked:
        success = curves(
            ("base_rate", TRIGGER, "without", "faint"),
            ("attack_success_rate", TRIGGER, "trigger", "alarm"),
        )
        title = "When did the backdoor appear?"
        found.insert(1, ("success", title, "Sent to the target class, %.", success, None))
    return [item for item in found if item[3]]


def _curves(
    title: str,
    below: str,
    drawn: list[Curve],
    rows: list[EpochRow],
    *,
    nats_axis: bool,
    teacher: float | None,
) -> str:
    def chart(colors: Palette) -> go.Figure:
        return training.curves_figure(
            drawn, colors, unit="nats" if nats_axis else "share", epoch=rows[-1].epoch,
            teacher=teacher,
        )  # fmt: skip

    return titled(title, below) + figure(chart, alt=title)
