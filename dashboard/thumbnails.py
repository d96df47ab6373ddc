"""The route that hands out thumbnails: ``/distillscope/thumb/<condition>?id=<sample id>``.

``?at=<row>`` names the sample by its row instead. A sample id is looked up among the study's ids
and never becomes part of a path.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
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
from dashboard.loading import study_stamp, study_version

PREFIX = "/distillscope/thumb/"
_LASTING = "private, max-age=31536000, immutable"
_VERSION = 16
_MOST_OPENED = 256
# Studies that pages of this server have shown, by the start of their version; the latest last.
_opened: dict[str, Path] = {}
_changing = threading.Lock()


def thumbnail_url(sample_id: str, condition: str = CLEAN, version: str = "") -> str:
    """Address of a thumbnail; ``version`` (:func:`study_version`) makes it safe to cache."""
    tail = f"&v={version[:_VERSION]}" if version else ""
    return f"{PREFIX}{quote(condition, safe='')}?id={quote(sample_id, safe='')}{tail}"


def thumbnail_template(condition: str, version: str) -> str:
    """Address with ``{index}`` for the row among the ids that ``condition`` covers."""
    return f"{PREFIX}{quote(condition, safe='')}?at={{index}}&v={version[:_VERSION]}"


def remember(study: Study) -> None:
    """Let the route hand out pictures of ``study``, which a page shows."""
    remember_all([(study_version(study), study.path)])


def remember_all(studies: Iterable[tuple[str, Path]]) -> None:
    """Let the route hand out pictures of all ``studies``, each a version and a folder.

    What no page has shown for longest goes, but none of these, however many they are.
    """
    shown = {version[:_VERSION]: path for version, path in studies}
    with _changing:
        for version, path in shown.items():
            _opened.pop(version, None)
            _opened[version] = path
        for version in list(_opened)[: -max(_MOST_OPENED, len(shown))]:
            del _opened[version]


def thumbnail_route(study_dir: Path | None) -> Route:
    """The route for the study in ``study_dir`` and those that pages opened beside it.

    Unknown studies, ids and conditions are 404: an address that names a study gets pictures of
    that one or none, because it may be cached for long.
    """

    @functools.lru_cache(maxsize=1)
    def served(path: Path, stamp: tuple[int, int]) -> str:
        return study_version(Study.open(path))[:_VERSION]

    def place(version: str) -> Path:
        if version in _opened:
            return _opened[version]
        if study_dir is not None and version in ("", served(study_dir, study_stamp(study_dir))):
            return study_dir
        raise LookupError

    @functools.lru_cache(maxsize=16)
    def opened(
        path: Path, condition: str, stamp: tuple[int, int]
    ) -> tuple[Thumbnails, np.ndarray, str]:
        study = Study.open(path)
        version = study_version(study)[:_VERSION]
        return study.thumbnails(condition), study.condition_ids(condition), version

    def respond(request: Request) -> Response:
        version = request.query_params.get("v", "")
        try:
            path = place(version)
            condition = request.path_params["condition"]
            thumbnails, ids, found = opened(path, condition, study_stamp(path))
            picture = thumbnails.webp(_sample_id(request, ids))
        except (DistillscopeError, LookupError, OSError, pa.ArrowException):
            return PlainTextResponse("No such picture.\n", status_code=404)
        lasting = _LASTING if version == found else "no-cache"
        return Response(picture, media_type="image/webp", headers={"cache-control": lasting})

    return Route(PREFIX + "{condition}", respond, methods=["GET"])


def _sample_id(request: Request, ids: np.ndarray) -> str:
    at = request.query_params.get("at", "")
    if at.isascii() and at.isdigit() and len(at) < 10:
        return str(ids[int(at)])
    return request.query_params.get("id", "")
