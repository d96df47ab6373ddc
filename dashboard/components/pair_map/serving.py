"""The maps' own HTTP route: bulk data and the script, each under the digest of its content.

A URL that names its content is cached by the browser for good, so coordinates travel once
whatever Streamlit reruns, and a new coloring costs its codes alone.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from analysis.digest import digest_bytes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PREFIX = "/distillscope/map"
SCRIPT = Path(__file__).with_name("pair_map.js")
_LIMIT = 256 << 20


class BlobStore:
    """Byte strings by digest; what was longest unused goes when there are more than ``limit``.

    What is lost is put back by the next rerun of a page that shows it.
    """

    def __init__(self, limit: int = _LIMIT):
        self._limit = limit
        self._size = 0
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def put(self, data: bytes, digest: str | None = None) -> str:
        """Keep ``data``, always at least the newest; returns its digest."""
        name = digest or digest_bytes(data)
        with self._lock:
            if name not in self._blobs:
                self._blobs[name] = data
                self._size += len(data)
            self._blobs.move_to_end(name)
            while self._size > self._limit and len(self._blobs) > 1:
                self._size -= len(self._blobs.popitem(last=False)[1])
        return name

    def get(self, digest: str) -> bytes | None:
        """The bytes, or None when they are not (or no longer) kept."""
        with self._lock:
            data = self._blobs.get(digest)
            if data is not None:
                self._blobs.move_to_end(digest)
            return data


BLOBS = BlobStore()


@cache
def script_url() -> str:
    """Path of the built script."""
    return f"{PREFIX}/{digest_bytes(SCRIPT.read_bytes())[:16]}.js"


def publish(data: bytes, digest: str | None = None) -> str:
    """Offer ``data`` under its digest; returns the path for the browser."""
    return f"{PREFIX}/{BLOBS.put(data, digest)}"


def routes() -> list[Route]:
    """Routes that the application must mount for the maps to work."""
    from starlette.routing import Route

    return [Route(f"{PREFIX}/{{name}}", _answer, methods=["GET"])]


async def _answer(request: Request) -> Response:
    from starlette.responses import PlainTextResponse, Response

    headers = {
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        # Compressing megabytes of coordinates costs more than sending them to the same machine.
        "Content-Encoding": "identity",
    }
    if request.url.path == script_url():
        return Response(SCRIPT.read_bytes(), media_type="text/javascript", headers=headers)
    data = BLOBS.get(request.path_params["name"])
    if data is None:
        return PlainTextResponse(
            "These points are no longer kept. Reload the page.", 404, {"Cache-Control": "no-store"}
        )
    return Response(data, media_type="application/octet-stream", headers=headers)
