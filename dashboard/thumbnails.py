"""The route that hands out thumbnails: ``/distillscope/thumb/<condition>?id=<sample id>``.

``?at=<row>`` names the sample by its row instead. A sample id is looked up among the study's ids
and never becomes part of a path.
"""

from __future__ import annotations

import functools
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from analysis.errors import DistillscopeError
from analysis.records import CLEAN
from analysis.store.study import Study, Thumbnails
from dashboard.loading import study_stamp

PREFIX = "/distillscope/thumb/"
_LASTING = "private, max-age=31536000, immutable"


def thumbnail_url(sample_id: str, condition: str = CLEAN, version: str = "") -> str:
    """Address of a thumbnail; ``version`` (the study's digest) makes it safe to cache."""
    tail = f"&v={version[:16]}" if version else ""
    return f"{PREFIX}{quote(condition, safe='')}?id={quote(sample_id, safe='')}{tail}"


def thumbnail_template(condition: str, version: str) -> str:
    """Address with ``{index}`` for the row among the ids that ``condition`` covers."""
    return f"{PREFIX}{quote(condition, safe='')}?at={{index}}&v={version[:16]}"


def thumbnail_route(study_dir: Path) -> Route:
    """The route for the study in ``study_dir``; unknown ids and conditions are 404."""

    @functools.lru_cache(maxsize=16)
    def opened(condition: str, stamp: tuple[int, int]) -> tuple[Thumbnails, np.ndarray]:
        study = Study.open(study_dir)
        return study.thumbnails(condition), study.condition_ids(condition)

    def respond(request: Request) -> Response:
        try:
            stamp = study_stamp(study_dir)
            thumbnails, ids = opened(request.path_params["condition"], stamp)
            picture = thumbnails.webp(_sample_id(request, ids))
        except (DistillscopeError, LookupError, OSError, pa.ArrowException):
            return PlainTextResponse("No such picture.\n", status_code=404)
        lasting = _LASTING if "v" in request.query_params else "no-cache"
        return Response(picture, media_type="image/webp", headers={"cache-control": lasting})

    return Route(PREFIX + "{condition}", respond, methods=["GET"])


def _sample_id(request: Request, ids: np.ndarray) -> str:
    at = request.query_params.get("at", "")
    if at.isascii() and at.isdigit() and len(at) < 10:
        return str(ids[int(at)])
    return request.query_params.get("id", "")
