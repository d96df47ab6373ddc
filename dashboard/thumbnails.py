"""The route that hands out thumbnails: ``/distillscope/thumb/<condition>?id=<sample id>``.

A sample id is looked up among the study's ids and never becomes part of a path.
"""

from __future__ import annotations

import functools
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from analysis.errors import DistillscopeError
from analysis.records import CLEAN
from analysis.store.study import Study, Thumbnails
from dashboard.loading import study_stamp

PREFIX = "/distillscope/thumb/"
_MAX_ID = 4096


def thumbnail_url(sample_id: str, condition: str = CLEAN, version: str = "") -> str:
    """Address of a thumbnail; ``version`` (the study's digest) makes it safe to cache."""
    tail = f"&v={version[:16]}" if version else ""
    return f"{PREFIX}{quote(condition, safe='')}?id={quote(sample_id, safe='')}{tail}"


def thumbnail_route(study_dir: Path) -> Route:
    """The route for the study in ``study_dir``; unknown ids and conditions are 404."""

    @functools.lru_cache(maxsize=16)
    def thumbnails(condition: str, stamp: tuple[int, int]) -> Thumbnails:
        return Study.open(study_dir).thumbnails(condition)

    def respond(request: Request) -> Response:
        sample_id = request.query_params.get("id", "")
        try:
            stamp = study_stamp(study_dir)
            found = thumbnails(request.path_params["condition"], stamp)
            picture = found.webp(sample_id[:_MAX_ID])
        except (DistillscopeError, KeyError, OSError):
            return PlainTextResponse("No such picture.\n", status_code=404)
        lasting = "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
        return Response(picture, media_type="image/webp", headers={"cache-control": lasting})

    return Route(PREFIX + "{condition}", respond, methods=["GET"])
