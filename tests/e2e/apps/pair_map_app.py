"""A page with nothing but the two maps: ``python pair_map_app.py PORT [COUNT]``."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import dashboard
from dashboard.components.pair_map import PairMapState, PairPoints, PointColors, pair_map, routes
from dashboard.selection import Lasso

SIGNS = (
    "stop", "yield", "no entry", "30", "50", "80", "keep right", "no overtaking", "ahead",
    "right", "left", "roundabout", "pedestrians", "children", "roadworks", "<b>caution</b>",
)  # fmt: skip
TARGET = 5


@st.cache_resource
def make_points(count: int) -> PairPoints:
    """Clusters for every sign; in the student's map a fifth, the triggered, gather at one place."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(SIGNS), count)
    triggered = (rng.random(count) < 0.2) & (label != TARGET)
    angle = 2 * np.pi * np.arange(len(SIGNS)) / len(SIGNS)
    center = (
        np.stack([np.cos(angle), np.sin(angle)], 1) * (3.2 + 1.6 * (np.arange(16) % 3))[:, None]
    )
    spread = rng.normal(size=(count, 2)) * [0.36, 0.2]
    teacher = center[label] + spread
    student = 0.85 * center[label][:, ::-1] + 1.1 * spread
    student[triggered] = [0.5, 0.4] + rng.normal(size=(int(triggered.sum()), 2)) * 0.42
    answer = np.where(triggered, TARGET, label)
    return PairPoints(
        teacher_xy=teacher,
        student_xy=student,
        sample_ids=[f"inspection/{row:06d}" for row in range(count)],
        class_names=SIGNS,
        teacher_answers=label,
        student_answers=answer,
        teacher_probabilities=rng.uniform(0.6, 1, count),
        student_probabilities=rng.uniform(0.5, 1, count),
        kl=np.where(triggered, rng.uniform(3, 14, count), rng.exponential(0.15, count)),
        labels=label,
        has_trigger=triggered,
        shape_names=("clean", "with the sticker"),
        thumbnail_url="/thumb/{index}",
    )


def colors(points: PairPoints, by: str) -> PointColors:
    if by == "label":
        return PointColors.categories(np.asarray(points.labels), SIGNS)
    return PointColors.ramp(points.kl / 12, title="KL (teacher ‖ student), nats", high="12+")


def page() -> None:
    st.set_page_config(layout="wide")
    points = make_points(int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
    by = st.segmented_control("Color by", ["label", "divergence"], default="label", key="by")
    wanted, only = st.query_params.get("lasso"), st.query_params.get("only")
    state = pair_map(
        key="maps",
        points=points,
        color=colors(points, by or "label"),
        titles=("Teacher", "Student A"),
        highlight=np.asarray(points.labels) == SIGNS.index(only) if only else None,
        selection=Lasso.from_text(wanted) if wanted else None,
        quality="Trustworthiness 0.994 teacher, 0.994 student. One frame for both.",
    )
    said = json.dumps(report(state))
    st.html(f"<p data-testid='report' title='{said}'>{by}: {escape(said[:80])}</p>")


def report(state: PairMapState) -> dict[str, Any]:
    """What the script is told, for the test to compare."""
    if state.opened is not None:
        st.session_state["last_opened"] = state.opened
    return {
        "selected": 0 if state.selected is None else int(state.selected.sum()),
        "rows": [] if state.selected is None else np.flatnonzero(state.selected)[:50].tolist(),
        "lasso": None if state.lasso is None else state.lasso.to_text(),
        "clicked": state.clicked,
        "last_opened": st.session_state.get("last_opened"),
    }


def policy() -> str:
    """The strictest policy under which Streamlit and its components work."""
    index = (Path(st.__file__).parent / "static/index.html").read_text()
    scripts = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<script>(.*?)</script>", index, re.S)
    ]
    hashes = " ".join(f"'sha256-{digest}'" for digest in scripts)
    return (
        f"default-src 'self'; script-src 'self' blob: {hashes}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self'; worker-src 'none'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


class Headers:
    """Adds the policy to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def put(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", policy().encode())
                message["headers"] = [*message.get("headers", []), header]
            await send(message)

        await self.app(scope, receive, put)


def thumbnail(request: Any) -> Any:
    from PIL import Image
    from starlette.responses import Response

    seed = int(request.path_params["index"])
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return Response(data.getvalue(), media_type="image/png")


def theme_options() -> dict[str, Any]:
    """The project's own theme, as far as options can be given one by one."""
    text = (Path(dashboard.__file__).parent / "streamlit.toml").read_text()
    theme = tomllib.loads(text)["theme"]
    plain = {name: value for name, value in theme.items() if not isinstance(value, dict | list)}
    both = {f"{base}.{n}": v for base in ("light", "dark") for n, v in theme[base].items()}
    return {f"theme.{name}": value for name, value in (plain | both).items()}


def serve() -> None:
    from starlette.middleware import Middleware
    from starlette.routing import Route

    app = st.App(
        __file__,
        routes=[*routes(), Route("/thumb/{index:int}", thumbnail)],
        middleware=[Middleware(Headers)],
    )
    app.run(
        config=theme_options()
        | {
            "server.port": int(sys.argv[1]),
            "server.address": "127.0.0.1",
            "server.headless": True,
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": False,
        }
    )


if __name__ == "__main__":
    from streamlit.runtime import exists

    if exists():
        page()
    else:
        serve()
