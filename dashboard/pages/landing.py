"""The first steps: what stands in the first page's place while the workspace has no study."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.workspace import Workspace
from dashboard import context, loading, messages
from dashboard.figures.numbers import count_of
from dashboard.jobs.board import Board
from dashboard.jobs.demo import DEMO, demo_order
from dashboard.jobs.orders import check_new, plan_of
from dashboard.jobs.presets import presets_of
from dashboard.pages.lab_filled import free_name
from dashboard.pages.lab_form import prepare
from dashboard.pages.lab_jobs import show_jobs
from dashboard.pages.runs import SWEEPS, choose_view

_ERROR = "landing_error"
_QUESTION = (
    '<div class="ds-finding">Where does a distilled student part from its teacher, why, '
    "and did somebody make it?</div>"
)


def show_alone() -> None:
    """Draw three ways to the first study, and what is under way."""
    board = Board(loading.workspace_path())
    with st.container(key="landing"):
        if sweeps := Workspace(board.workspace).sweeps():
            st.html(_QUESTION)
            _sweeps(len(sweeps))
            st.html('<div class="ds-sub">Three ways to a study beside it:</div>')
        else:
            st.html(
                f'{_QUESTION}<div class="ds-sub">There is no study here yet. Three ways to the '
                "first one:</div>"
            )
        demo, own, poisoned = st.columns(3, gap="large")
        with demo:
            _demo(board)
        with own:
            _own(board)
        with poisoned:
            _poisoned(board)
        if board.jobs():
            with st.container(key="landing_jobs"):
                show_jobs(board)


def _sweeps(count: int) -> None:
    """Say that there are sweeps here, which no study's page would show."""
    with st.container(key="landing_sweeps", horizontal=True, vertical_alignment="center"):
        st.html(
            f"<p>{count_of(count, 'sweep')} of experiments {'is' if count == 1 else 'are'} here: "
            "what each study found, and the studies themselves.</p>",
            width="content",
        )
        st.button("See it" if count == 1 else "See them", key="landing_see", on_click=_to_sweeps)


def _to_sweeps() -> None:
    choose_view(SWEEPS)
    context.go_to_page("runs")


def _demo(board: Board) -> None:
    messages.section("1 \u2002 See it on the demo", "About a minute, no files, no network.")
    st.html(
        "<p>Rendered road signs, a teacher, a student with a backdoor, an honest one and honest "
        "references. Everything the pages show is computed; the audit comes along.</p>"
    )
    under_way = any(job.order.kind == DEMO.kind and not job.over for job in board.jobs())
    st.button(
        "Make the demo", key="landing_demo", type="primary", disabled=under_way,
        on_click=_start_demo, args=(board,),
    )  # fmt: skip
    if (error := st.session_state.pop(_ERROR, None)) is not None:
        messages.refused(error.what, error.expected, error.remedy)


def _start_demo(board: Board) -> None:
    """Queue the demo; what is refused is said below the button."""
    order = demo_order(free_name(board, demo_order().name))
    try:
        plan = plan_of(order, board.workspace)
        check_new(plan, board.workspace)
        board.submit(order, study=plan.study)
    except DistillscopeError as error:
        st.session_state[_ERROR] = error


def _own(board: Board) -> None:
    messages.section(
        "2 \u2002 Compare your own two models", "A teacher, a student, images of yours."
    )
    st.html(
        "<p>In a terminal, with your weights and images in the places in capitals, or by the form "
        "in the Lab:</p>"
    )
    st.code(own_command(board.workspace), language="bash", wrap_lines=True)
    st.button("Fill in the form", key="landing_own", on_click=_to_lab, args=(board, "compare"))


def own_command(workspace: Path) -> str:
    """The command that compares two models, with the places to fill in capitals."""
    out = shlex.quote(str(workspace / "my-study"))
    return (
        "distillscope compare \\\n"
        "  --teacher resnet20@TEACHER.pt \\\n"
        "  --student small=resnet8@STUDENT.pt \\\n"
        f"  --images IMAGES \\\n  --out {out}"
    )


def _poisoned(board: Board) -> None:
    messages.section("3 \u2002 Poison a distillation yourself", "A minute or two, in the Lab.")
    preset = presets_of("run")[0]
    st.html(
        "<p>A whole experiment on road signs: poisoned images, a student with the backdoor and an "
        "honest one. The form is filled in; every value can be changed before it starts.</p>"
    )
    st.button(
        "Open it in the Lab", key="landing_poisoned", help=preset.about, on_click=_to_lab,
        args=(board, preset.kind),
    )  # fmt: skip


def _to_lab(board: Board, kind: str) -> None:
    """Open the Lab on the form of ``kind``; a whole experiment comes filled in."""
    prepare(board, kind, presets_of(kind)[0] if kind == "run" else None)
    context.go_to_page("lab")
