"""The server: Streamlit as an ASGI application with a route for thumbnails and strict headers.

It listens on 127.0.0.1 only, answers only requests that name this machine, and loads nothing
from anywhere else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import threading
import time
import tomllib
import urllib.request
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime.pages_manager import PagesManager

from analysis.errors import BusyError, InputError
from analysis.store.manifest import MANIFEST
from analysis.store.study import Study
from analysis.store.workspace import SWEEP
from dashboard.components.pair_map import routes as pair_map_routes
from dashboard.components.waiting import waiting_route
from dashboard.live import service, trust
from dashboard.loading import STUDY_VARIABLE, WORKSPACE_VARIABLE
from dashboard.thumbnails import thumbnail_route

ADDRESS = "127.0.0.1"
FIRST_PORT = 8501
_PORTS_TRIED = 50
HOSTS = frozenset({"127.0.0.1", "localhost"})
HEALTH = "/_stcore/health"

_FOLDER = Path(__file__).parent
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def settings(port: int) -> dict[str, Any]:
    """Streamlit's options by dotted name, from the packaged ``streamlit.toml``.

    They are handed over as flags, so that no configuration file of the user's changes them.
    """
    table = tomllib.loads((_FOLDER / "streamlit.toml").read_text(encoding="utf-8"))
    return {**_flat(table, ""), "server.port": port, "browser.serverPort": port}


def _flat(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def content_security_policy() -> str:
    """The policy that every response carries.

    The page's one inline script is allowed by its hash; styles are inline because the charts and
    Streamlit's own theme write them at run time. ``blob:`` is how Streamlit loads the script of a
    component of ours.
    """
    index = Path(streamlit.__file__).parent / "static" / "index.html"
    scripts = _INLINE_SCRIPT.findall(index.read_text(encoding="utf-8"))
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    rules = (
        "default-src 'self'",
        f"script-src 'self' blob:{hashes}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-src 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


class Protection:
    """ASGI middleware: refuses foreign hosts and origins, adds security headers to every response.

    The host check stops DNS rebinding: a page elsewhere that resolves its own name to this
    machine does not get an answer, neither by HTTP nor by WebSocket. The origin check stops pages
    of other servers, on this machine too, from driving this one.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        policy = content_security_policy()
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not _host_allowed(scope) or not _origin_allowed(scope):
            await self._refuse(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                mine = {name for name, _ in self.headers}
                dropped = mine | {b"access-control-allow-origin"}
                kept = [(n, v) for n, v in message.get("headers", ()) if n.lower() not in dropped]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        await self.app(scope, receive, send_protected)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode(): value.decode() for name, value in self.headers}
        text = "This server answers only on http://127.0.0.1 and http://localhost.\n"
        await PlainTextResponse(text, status_code=421, headers=headers)(scope, receive, send)


def _origin_allowed(scope: Scope) -> bool:
    """Whether what asks is a page of this server, or nothing says that it is a page at all."""
    found = {
        name: value.decode("latin-1").lower()
        for name, value in scope["headers"]
        if name in (b"host", b"origin")
    }
    origin = found.get(b"origin")
    return origin is None or origin == f"http://{found.get(b'host')}"


def _host_allowed(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and re.sub(r":\d{1,5}$", "", hosts[0]).lower() in HOSTS


def build_app(study_dir: Path | None) -> streamlit.App:
    """The ASGI application that shows the study in ``study_dir``, or those of the workspace."""
    # The pages are functions that app.py names. Without this a first request for /map would run
    # pages/map.py as a script, because a folder of that name lies beside app.py.
    PagesManager.uses_pages_directory = False
    routes: list[Route] = [
        thumbnail_route(study_dir),
        *pair_map_routes(),
        waiting_route(lambda numbers: service().any_done(numbers)),
        Route("/overview", to_first_page),
    ]
    return streamlit.App(_FOLDER / "app.py", routes=routes, middleware=[Middleware(Protection)])


def to_first_page(request: Request) -> Response:
    """The first page has no name of its own in Streamlit; an address with its name leads to it."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/{query}", status_code=307)


def is_workspace(folder: Path) -> bool:
    """Whether ``folder`` is no study, but holds some, or is empty and could."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return False
    empty = not any(folder.iterdir())
    known = (f"*/{MANIFEST}", f"*/{SWEEP}")
    return empty or (folder / ".distillscope").is_dir() or any(any(folder.glob(k)) for k in known)


def free_port(port: int | None) -> int:
    """``port`` when it is free, or the first free one from 8501 for None.

    Raises :class:`BusyError` when ``port`` is in use and :class:`InputError` when it is no port.
    """
    if port is not None and not 0 <= port <= 65535:
        raise InputError(f"port {port}", expected="a number from 0 to 65535")
    if port is None:
        candidates = range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED)
        found = next((found for found in map(_bindable, candidates) if found), None)
        if found is None:
            raise BusyError(
                f"ports {candidates[0]} to {candidates[-1]} are all in use",
                remedy="name a free one with --port, or 0 for any",
            )
        return found
    found = _bindable(port)
    if found is None:
        raise BusyError(f"port {port} is in use", remedy="name another one with --port")
    return found


def _bindable(port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def serve(
    study_dir: Path | str,
    *,
    port: int | None = None,
    open_browser: bool = True,
    trusted_code: Sequence[Path] = (),
) -> None:
    """Show the study in ``study_dir``, and those beside it, until stopped.

    ``study_dir`` may also be a workspace: a folder of studies, or one that is to become it.
    ``trusted_code`` are files of user code that live answers may run.
    The address is printed once the server answers. Raises
    :class:`~analysis.errors.StudyError` when there is no study and
    :class:`~analysis.errors.BusyError` when the port is in use.
    """
    folder = Path(study_dir).resolve()
    study = None if is_workspace(folder) else folder
    if study is not None:
        Study.open(study)
    chosen = free_port(port)
    os.environ.pop(STUDY_VARIABLE, None)
    if study is not None:
        os.environ[STUDY_VARIABLE] = str(study)
    os.environ[WORKSPACE_VARIABLE] = str(folder if study is None else folder.parent)
    trust(trusted_code)
    address = f"http://{ADDRESS}:{chosen}"
    threading.Thread(target=_announce_when_ready, args=(address, open_browser), daemon=True).start()
    app = build_app(study)
    _silence_banner()
    app.run(config=settings(chosen))


def _announce_when_ready(address: str, open_browser: bool) -> None:
    # This machine is not reached by way of a proxy, whatever the environment says.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            with direct.open(address + HEALTH, timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    else:
        return
    print(address)
    if open_browser:
        webbrowser.open(address)


def _silence_banner() -> None:
    # Streamlit prints its own banner with addresses; the command line prints ours.
    from streamlit.web import bootstrap

    bootstrap._print_url = _no_banner


def _no_banner(is_running_hello: bool) -> None:
    """Print nothing."""
