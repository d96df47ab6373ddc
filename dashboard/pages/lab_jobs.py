"""The right half of the Lab: what runs, waits and has run, with what can be done about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.manifest import MANIFEST
from dashboard import messages
from dashboard.figures import jobs as shown
from dashboard.figures.chart import CONFIG
from dashboard.figures.numbers import escaped
from dashboard.figures.runs import study_address
from dashboard.guard import fragment
from dashboard.jobs.board import MOST_AT_ONCE, Board, silence
from dashboard.jobs.curves import latest_training
from dashboard.jobs.forms import ORDERS
from dashboard.jobs.orders import plan_of
from dashboard.jobs.progress import Progress, read_progress
from dashboard.jobs.record import Job, log_tail
from dashboard.theme import palette

BUSY, IDLE = 1.5, 6.0
"""Seconds between two looks at the jobs, while some are under way and while none are."""
_FEW = 6
_ERROR, _ALL, _AT_ONCE, _LOGS = "lab_error", "lab_all", "lab_at_once", "lab_logs"


def show_jobs(board: Board) -> None:
    """Draw the list, again and again by itself."""
    busy = any(not job.over for job in board.tend())
    fragment(_list, run_every=BUSY if busy else IDLE, of_study=False)(board, busy)


def _list(board: Board, busy: bool) -> None:
    jobs = board.tend()
    if any(not job.over for job in jobs) != busy:
        st.rerun()  # how often to look is settled by the whole page
    st.html(f'<div class="ds-finding">{shown.finding(jobs)}</div>')
    if (error := st.session_state.pop(_ERROR, None)) is not None:
        messages.refused(error.what, error.expected, error.remedy)
    if not jobs:
        messages.empty(
            "No jobs yet",
            "What is started here runs in the background: it goes on when this page, or the "
            "server, is closed.",
        )
        return
    everything = st.session_state.get(_ALL, False)
    for job in jobs if everything else jobs[:_FEW]:
        _job(board, job)
    with st.container(horizontal=True, vertical_alignment="center", key="lab_jobs_foot"):
        if len(jobs) > _FEW:
            st.toggle(f"All {len(jobs)} jobs", key=_ALL)
        st.space("stretch")
        _how_many(board)


def _how_many(board: Board) -> None:
    st.html('<span class="ds-label">At a time</span>', width="content")
    st.session_state[_AT_ONCE] = board.at_once
    st.number_input(
        "Jobs at a time", 1, MOST_AT_ONCE, key=_AT_ONCE, label_visibility="collapsed", width=96,
        on_change=lambda: _try(lambda: board.set_at_once(st.session_state[_AT_ONCE])),
    )  # fmt: skip


def _try(act: Callable[[], object]) -> None:
    """Do it; what is refused is said when the list is drawn."""
    try:
        act()
    except DistillscopeError as error:
        st.session_state[_ERROR] = error


def _job(board: Board, job: Job) -> None:
    form = ORDERS.get(job.order.kind)
    title = form.short if form is not None else job.order.kind
    with st.container(key=f"job_{job.id}", gap="xsmall"):
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key=f"jobhead_{job.id}"
        ):
            st.html(shown.job_head(job, title, now=time.time()))
            _buttons(board, job)
        if job.state == "running":
            _running(board, job)
        elif job.state == "failed":
            st.html(shown.problem_html(job.message or "it failed", None, None))
        _log(board, job)


def _buttons(board: Board, job: Job) -> None:
    if job.state != "queued":
        st.button(
            "Log", key=f"log_{job.id}", type="tertiary", width="content",
            help="Show or hide the last lines that it printed.", on_click=_turn_log, args=(job.id,),
        )  # fmt: skip
    if not job.over:
        st.button(
            "Cancel", key=f"cancel_{job.id}", disabled=job.stop_asked is not None, width="content",
            on_click=lambda: _try(lambda: board.cancel(job.id)),
        )  # fmt: skip
        return
    if job.state == "done" and job.study is not None:
        _open(board, job, job.study)
    if job.resumable:
        st.button(
            "Resume", key=f"resume_{job.id}", width="content",
            help="Goes on where it stopped; finished stages are not repeated.",
            on_click=lambda: _try(lambda: board.resume(job.id)),
        )  # fmt: skip
    st.button(
        "Remove", key=f"remove_{job.id}", type="tertiary", width="content",
        help="Takes the job off this list. What it made stays.",
        on_click=lambda: _try(lambda: board.remove(job.id)),
    )  # fmt: skip


def _open(board: Board, job: Job, study: str) -> None:
    if not (board.workspace / study / MANIFEST).is_file():
        st.html('<span class="ds-label">its study is gone</span>', width="content")
        return
    form = ORDERS.get(job.order.kind)
    st.html(
        f'<a class="ds-link ds-more" href="{study_address(study, form.page if form else "")}">'
        "Open the study</a>",
        width="content",
    )


def _running(board: Board, job: Job) -> None:
    folder = board.folder(job.id)
    progress = read_progress(folder)
    words = shown.stage_words(progress, silence(folder))
    st.html(
        f"{shown.parts_html(progress)}{shown.bar_html(progress.current)}"
        f'<div class="ds-sub">{words}</div>'
    )
    _curves(board, job, progress)


def _curves(board: Board, job: Job, progress: Progress) -> None:
    """The training that the job is at, or was at last."""
    try:
        makes: Sequence[str] = plan_of(job.order, board.workspace).makes
    except DistillscopeError:
        return
    training = latest_training(board.workspace, makes, since=job.started or 0.0)
    if training is None:
        return
    total = _epochs(job)
    figure = shown.training_figure(training.epochs, palette(st.context.theme.type), total)
    of = f" of {total}" if total else ""
    st.html(
        f'<div class="ds-sub">{_trained(progress)}, epoch {training.epochs[-1].epoch}{of}; dotted: '
        "on the training images</div>"
    )
    st.plotly_chart(
        figure, theme=None, config=CONFIG, key=f"curves_{job.id}",
        alt="Loss, agreement and accuracy by epoch",
    )  # fmt: skip


def _trained(progress: Progress) -> str:
    """Which training was reported last."""
    stages = [stage for stage in progress.stages if stage.name.endswith("training")]
    name = max(stages, key=lambda stage: stage.reported).name if stages else ""
    of = name.rpartition(": ")[0]
    return f"Training of {escaped(of, 30)}" if of else "Training"


def _epochs(job: Job) -> int | None:
    """How many epochs the order asks for."""
    for section in ("recipe", "distillation"):
        value = job.order.values.get(section, {}).get("epochs")
        if isinstance(value, int):
            return value
    return None


def _turn_log(job: str) -> None:
    opened: set[str] = st.session_state.setdefault(_LOGS, set())
    opened.symmetric_difference_update({job})


def _log(board: Board, job: Job) -> None:
    if job.id in st.session_state.get(_LOGS, ()):
        lines = log_tail(board.folder(job.id), 14)
        st.code("\n".join(lines) or "nothing yet", language=None, wrap_lines=True)
