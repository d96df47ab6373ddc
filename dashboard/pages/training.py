"""Training: a student epoch by epoch, as curves and as a film of its map."""

from __future__ import annotations

import numpy as np
import streamlit as st

from analysis.errors import StudyError
from analysis.records import CLEAN, PERTURBATION, TEACHER, TRIGGER, TRIGGER_PERTURBATION
from analysis.store.study import Study
from dashboard import loading, messages, missing
from dashboard.components.pair_map import pair_map, reported, reported_on
from dashboard.context import Export, View, choose, go, held, write_selection
from dashboard.figures import training
from dashboard.figures.measures import term
from dashboard.figures.numbers import visible
from dashboard.figures.points import MapPoints, map_points, point_colors
from dashboard.figures.tables import csv_text
from dashboard.figures.training import Curve, curve_of
from dashboard.guard import fragment
from dashboard.loading import Pair
from dashboard.loading_training import EpochRow, common_frame, epoch_rows, filmed_students
from dashboard.saving import keep_maps, show_chart
from dashboard.thumbnails import thumbnail_template

SECONDS_AN_EPOCH = 1.4
_PLAYING, _STARTED, _ENDED = "epoch_playing", "epoch_started", "epoch_ended"
_SLIDER = "epoch_slider"
# What the film showed just before: a browser may still report it when the next epoch is drawn.
_FORMER = "epoch_former"
_OTHER = "training_other"
_PICKED = "film_picked"
_COLORS = ("label", "answer", "divergence")
_TITLES = {
    "agreement": "Agreement by epoch",
    "success": "Trigger’s success by epoch",
    "accuracy": "Accuracy by epoch",
    "kl": "Divergence by epoch",
}


def available(study: Study) -> bool:
    """Whether any student has checkpoints that say their epoch."""
    return bool(filmed_students(study))


def show(view: View) -> None:
    """Draw the page."""
    rows = epoch_rows(view.study, view.selection.student)
    if not rows:
        _nothing(view)
        return
    st.html(f'<div class="ds-finding">{_finding(view, rows)}.</div>')
    if not view.sides.against_teacher:
        messages.note("Epochs are compared with the teacher, whatever stands on the left.")
    other = _other_student(view)
    if st.session_state.get(_PLAYING):
        fragment(_film, run_every=SECONDS_AN_EPOCH)(view, rows, other)
    else:
        fragment(_film)(view, rows, other)


def _nothing(view: View) -> None:
    filmed = filmed_students(view.study)
    below = missing.why_no_weights(view.study) or (
        f"These students have some: {', '.join(filmed)}."
        if filmed
        else "Compare with --checkpoints NAME=PATTERN, for example 'run/epoch_*.safetensors'."
    )
    messages.empty(f"No checkpoints of {view.selection.student}", below)


def _finding(view: View, rows: list[EpochRow]) -> str:
    if TRIGGER in view.study.conditions:
        return _backdoor(view, rows)
    return training.parted_sentence(rows)


def _backdoor(view: View, rows: list[EpochRow]) -> str:
    own = view.study.measures(TEACHER, TRIGGER).get("attack_success_rate")
    target = str(view.study.conditions[TRIGGER].parameters.get("target", ""))
    return training.backdoor_sentence(rows, own, target)


def _other_student(view: View) -> str | None:
    """The student whose curves stand beside, quieter; the user may take it away."""
    others = [name for name in filmed_students(view.study) if name != view.selection.student]
    if not others:
        return None
    if st.session_state.get(_OTHER) not in [*others, None]:
        st.session_state[_OTHER] = others[0]
    st.session_state.setdefault(_OTHER, others[0])
    with st.container(horizontal=True, vertical_alignment="center", key="training_controls"):
        st.html('<span class="ds-label">Beside it</span>', width="content")
        chosen = st.selectbox(
            "Beside it", others, key=_OTHER, index=None, placeholder="no other student",
            label_visibility="collapsed", width=190, format_func=lambda name: visible(name),
        )  # fmt: skip
    return chosen if isinstance(chosen, str) else None


def _film(view: View, rows: list[EpochRow], other: str | None) -> None:
    row = _current(rows)
    _curves(view, rows, epoch_rows(view.study, other) if other else [], other, row.epoch)
    _controls(view, rows, row.epoch)
    st.html(training.epoch_facts(row, view.selection.condition))
    _maps(view, rows, row)


def _current(rows: list[EpochRow]) -> EpochRow:
    """The epoch that is shown: the chosen one, else the last; while playing, one on per tick."""
    epochs = [row.epoch for row in rows]
    wanted = held().epoch
    if wanted is not None and wanted not in epochs:
        messages.note(f"There is no checkpoint of epoch {wanted}; this is the last one.")
    at = epochs.index(wanted) if wanted in epochs else len(epochs) - 1
    if st.session_state.get(_PLAYING) and not st.session_state.get(_STARTED):
        st.session_state[_FORMER] = [*st.session_state.get(_FORMER, []), epochs[at]][-2:]
        at = (at + 1) % len(epochs)
        # The address is written when the film stands still, else every epoch would be a page
        # in the browser's history.
        choose(epoch=_named(epochs, epochs[at]))
        st.session_state[_ENDED] = at == len(epochs) - 1
    return rows[at]


def _named(epochs: list[int], epoch: int) -> int | None:
    """The epoch as the selection names it: the last one goes without saying."""
    return None if epoch == epochs[-1] else epoch


def _controls(view: View, rows: list[EpochRow], epoch: int) -> None:
    epochs = [row.epoch for row in rows]
    playing = bool(st.session_state.get(_PLAYING))
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key="epoch_controls"
    ):
        pressed = st.button(
            "Pause" if playing else "Play", key="epoch_play", disabled=len(rows) < 2,
            icon=":material/pause:" if playing else ":material/play_arrow:", on_click=_toggle,
            args=(epochs,),
        )  # fmt: skip
        if len(rows) > 1:
            st.session_state[_SLIDER] = epoch
            st.select_slider(
                "Epoch", epochs, key=_SLIDER, label_visibility="collapsed", on_change=_slid,
                args=(epochs,), format_func=lambda epoch: f"epoch {epoch}",
            )  # fmt: skip
        _coloring(view)
    if not pressed:
        st.session_state.pop(_STARTED, None)
    ended = st.session_state.pop(_ENDED, False)
    if ended:
        st.session_state[_PLAYING] = False
    if not playing or ended:
        write_selection(epoch=_named(epochs, epoch))
    if pressed or ended:
        # Only the whole page can start or stop the clock of this part of it.
        st.rerun()


def _toggle(epochs: list[int]) -> None:
    playing = not st.session_state.get(_PLAYING, False)
    st.session_state[_PLAYING] = playing
    # The epoch on which the film starts stays until the first tick.
    st.session_state[_STARTED] = playing
    st.session_state[_FORMER] = [held().epoch or epochs[-1]]
    if playing and held().epoch in (None, epochs[-1]):
        choose(epoch=epochs[0])


def _slid(epochs: list[int]) -> None:
    epoch = st.session_state[_SLIDER]
    if st.session_state.get(_PLAYING) and epoch in st.session_state.get(_FORMER, []):
        return  # the film's own step, reported late; not the user's hand
    st.session_state[_PLAYING] = False
    choose(epoch=_named(epochs, epoch))


def _colorings(view: View) -> list[str]:
    return [name for name in _COLORS if name != "label" or view.all.labels is not None]


def _color(view: View) -> str:
    """How the film is colored: as was chosen, where it offers that."""
    known = _colorings(view)
    return held().color if held().color in known else known[0]


def _coloring(view: View) -> None:
    st.session_state["training_color"] = _color(view)
    st.segmented_control(
        "Color by", _colorings(view), key="training_color", required=True,
        label_visibility="collapsed",
        on_change=lambda: write_selection(color=st.session_state["training_color"]),
    )  # fmt: skip


def _curves(
    view: View, rows: list[EpochRow], beside: list[EpochRow], other: str | None, epoch: int
) -> None:
    name = view.selection.student
    attacked = TRIGGER in view.study.conditions
    columns = st.columns(4 if attacked else 3, gap="medium")

    def pair_of(measure: str, condition: str = CLEAN) -> list[Curve | None]:
        own = curve_of(rows, measure, condition, name)
        return [curve_of(beside, measure, condition, other or "", kind="quiet"), own]

    with columns[0]:
        messages.section(
            "When did they part?", f"{term('agreement', 'Same answer as the teacher')}, %."
        )
        curves = pair_of("agreement")
        if attacked:
            curves.append(curve_of(rows, "agreement", TRIGGER, "with trigger", kind="alarm"))
        _chart(view, curves, "agreement", epoch)
        if attacked:
            st.html(f'<div class="ds-sub">{training.parted_sentence(rows)}.</div>')
    if attacked:
        with columns[1]:
            messages.section(
                "When did the backdoor appear?",
                f"{term('attack_success_rate', 'Sent to the target class')}, %.",
            )
            _chart(view, _success(view, rows, beside, other), "success", epoch)
    with columns[-2]:
        messages.section(
            "How good did it become?",
            f"{term('accuracy', 'Right on clean images')}, %; dotted: teacher.",
        )
        own = view.study.measures(TEACHER).get("accuracy")
        _chart(view, pair_of("accuracy"), "accuracy", epoch, own.value if own else None)
    with columns[-1]:
        messages.section(
            "How far apart are their answers?",
            f"{term('kl_teacher_student', end=True)}, nats, mean.",
        )
        _chart(view, pair_of("kl_teacher_student"), "kl", epoch)


def _success(
    view: View, rows: list[EpochRow], beside: list[EpochRow], other: str | None
) -> list[Curve | None]:
    measure = "attack_success_rate"
    return [
        curve_of(beside, measure, TRIGGER, other or "", kind="quiet"),
        curve_of(rows, "base_rate", TRIGGER, "without", kind="faint"),
        curve_of(rows, measure, PERTURBATION, "perturbed", kind="dashed"),
        curve_of(rows, measure, TRIGGER_PERTURBATION, "both", kind="student"),
        curve_of(rows, measure, TRIGGER, "trigger", kind="alarm"),
    ]


def _chart(
    view: View,
    curves: list[Curve | None],
    key: str,
    epoch: int,
    teacher: float | None = None,
) -> None:
    drawn = [curve for curve in curves if curve is not None]
    if not drawn:
        messages.empty("Not measured", "No checkpoint of this student holds this measure.")
        return
    figure = training.curves_figure(
        drawn, view.colors, unit="nats" if key == "kl" else "share", epoch=epoch, teacher=teacher
    )
    show_chart(
        figure, view.colors, key=f"training_{key}", title=_TITLES[key], alt=f"{key} by epoch"
    )


@st.cache_resource(max_entries=32, show_spinner=False)
def _frame(key: tuple[str, str, str], _study: Study) -> tuple[Pair, MapPoints] | None:
    """One epoch's rows and points on ``condition``, or None without a layout."""
    version, model, condition = key
    pair = loading.load_pair(_study, model, condition)
    projection = loading.projection_of(_study, model, condition)
    if projection is None or len(pair) == 0:
        return None
    clean = loading.projection_of(_study, model, CLEAN) if condition != CLEAN else None
    pictured = condition in _study.manifest.thumbnails
    return pair, map_points(
        pair,
        projection,
        _study.class_names,
        thumbnail_template(condition, version) if pictured else None,
        triggered=condition in (TRIGGER, TRIGGER_PERTURBATION),
        beneath=None if clean is None else (loading.load_pair(_study, model), clean),
    )


@st.cache_resource(max_entries=16, show_spinner=False)
def _bounds(key: tuple[str, str], _study: Study) -> tuple[float, float, float, float] | None:
    return common_frame(_study, [row.model for row in epoch_rows(_study, key[1])])


def _maps(view: View, rows: list[EpochRow], row: EpochRow) -> None:
    condition = view.selection.condition
    try:
        frame = _frame((view.version, row.model, condition), view.study)
    except StudyError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return
    if frame is None:
        messages.empty("No maps of the checkpoints", "This study holds no layout of this epoch.")
        return
    pair, found = frame
    drawn = pair.rows(found.rows)
    kept = None
    if view.selection.filtered:
        inside = np.isin(drawn.sample_ids.astype(str), view.pair.sample_ids.astype(str))
        kept = found.spread(inside)
    color = found.colors(point_colors(drawn, _color(view), view.class_names))
    titles = ("Teacher", f"{view.selection.student}, epoch {row.epoch}")
    bounds = _bounds((view.version, view.selection.student), view.study)
    keep_maps(
        "film", "Maps of the epoch", found.points, color, titles, view.colors, highlight=kept,
        frame=bounds,
    )  # fmt: skip
    key = f"film_{view.selection.student}_{condition}"
    picked = np.isin(drawn.sample_ids.astype(str), _picked(view, key))
    wish = found.spread(picked) if kept is None else found.spread(picked) & kept
    state = pair_map(
        key=key,
        points=found.points,
        color=color,
        titles=titles,
        selection=wish,
        highlight=kept,
        quality="One frame for the teacher and all epochs.",
        frame=bounds,
    )
    chosen = [] if state.selected is None else drawn.sample_ids[state.selected[: len(drawn)]]
    models = st.session_state[_PICKED][1] | {found.points.digest: row.model}
    st.session_state[_PICKED] = ((view.version, key), models, [str(name) for name in chosen])
    if state.opened is not None:
        go("inspect", sample=str(drawn.sample_ids[state.opened]))


def _picked(view: View, key: str) -> list[str]:
    """Ids of what is selected on the film, on whichever epoch that was done."""
    if st.session_state.get(_PICKED, (None,))[0] != (view.version, key):
        st.session_state[_PICKED] = ((view.version, key), {}, [])
    models: dict[str | None, str]
    samples: list[str]
    _, models, samples = st.session_state[_PICKED]
    model = models.get(reported_on(key))
    if model is None:
        return samples
    frame = _frame((view.version, model, view.selection.condition), view.study)
    said = None if frame is None else reported(key, frame[1].points)
    if frame is None or said is None:
        return samples
    pair, found = frame
    return [str(name) for name in pair.sample_ids[found.rows[said[: len(found.rows)]]]]


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    rows = epoch_rows(view.study, view.selection.student)

    def epochs_csv() -> str:
        table: dict[str, list[object]] = {
            name: [] for name in ("epoch", "condition", "measure", "value", "low", "high")
        }
        for row in rows:
            for condition, measures in row.measures.items():
                for measure, value in measures.items():
                    if value is not None:
                        cells = (row.epoch, condition, measure, value.value, value.low, value.high)
                        for name, cell in zip(table, cells, strict=True):
                            table[name].append(cell)
        return csv_text(table)

    return [Export("Epochs, CSV", f"{view.selection.student}-epochs.csv", epochs_csv)]
