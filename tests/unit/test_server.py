"""The server: who gets an answer, with which headers, and what the thumbnail route hands out."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from analysis.errors import BusyError, InputError, StudyError
from analysis.store import Study
from dashboard import server
from dashboard.loading import study_version
from dashboard.server import Protection, content_security_policy, free_port, settings
from dashboard.thumbnails import thumbnail_route, thumbnail_template, thumbnail_url


def ask(
    app: Any,
    path: str,
    *,
    host: str | None = "127.0.0.1:8501",
    kind: str = "http",
    origin: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send one request to an ASGI application and collect the answer."""
    raw, _, query = path.partition("?")
    scope = {
        "type": kind, "method": "GET", "path": raw, "raw_path": raw.encode(), "root_path": "",
        "query_string": query.encode(), "scheme": "http", "http_version": "1.1",
        "headers": [
            (name, value.encode())
            for name, value in ((b"host", host), (b"origin", origin))
            if value is not None
        ],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8501),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect" if kind == "websocket" else "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    if sent[0]["type"] == "websocket.close":
        return sent[0]["code"], {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


async def echo(request: Request) -> Response:
    loose = {"content-security-policy": "default-src *", "access-control-allow-origin": "*"}
    return PlainTextResponse("hello", headers=loose)


PROTECTED = Starlette(routes=[Route("/", echo)], middleware=[Middleware(Protection)])


def test_the_first_page_has_an_address_too() -> None:
    app = Starlette(routes=[Route("/overview", server.to_first_page)])
    status, headers, _ = ask(app, "/overview?student=b&within=set_1")
    assert status == 307
    assert headers["location"] == "/?student=b&within=set_1"
    assert ask(app, "/overview")[1]["location"] == "/"


# --- headers and hosts ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/missing"])
def test_every_answer_carries_the_headers_once(path: str) -> None:
    _, headers, _ = ask(PROTECTED, path)
    assert headers["content-security-policy"] == content_security_policy()
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


def test_the_policy_is_strict() -> None:
    rules = dict(rule.split(" ", 1) for rule in content_security_policy().split("; "))
    assert "*" not in content_security_policy()
    assert "unsafe-eval" not in content_security_policy()
    assert "unsafe-inline" not in rules["script-src"]
    assert "'sha256-" in rules["script-src"]
    assert rules["default-src"] == "'self'"
    assert rules["object-src"] == "'none'"
    assert rules["base-uri"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:1", "LOCALHOST", "127.0.0.1"])
def test_this_machine_gets_an_answer(host: str) -> None:
    assert ask(PROTECTED, "/", host=host)[::2] == (200, b"hello")


@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8501", "127.0.0.1@evil.com", "",
             "[::1]:8501", None],
)  # fmt: skip
def test_another_name_gets_none(host: str | None) -> None:
    status, headers, body = ask(PROTECTED, "/", host=host)
    assert status == 421
    assert b"127.0.0.1" in body
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8501", 200),
        ("http://localhost:8501", 421),
        ("http://127.0.0.1:3000", 421),
        ("https://evil.example", 421),
        ("null", 421),
    ],
)
def test_pages_of_other_servers_get_no_answer(origin: str, status: int) -> None:
    assert ask(PROTECTED, "/", origin=origin)[0] == status
    if status != 200:
        assert ask(PROTECTED, "/", origin=origin, kind="websocket")[0] == 1008


def test_no_configuration_file_opens_the_server_to_other_origins() -> None:
    given = server.settings(8501)
    assert given["server.enableCORS"] is True
    assert given["server.enableXsrfProtection"] is True
    assert given["server.corsAllowedOrigins"] == []
    assert given["server.baseUrlPath"] == ""


def test_a_websocket_of_another_name_is_closed() -> None:
    assert ask(PROTECTED, "/", host="evil.com", kind="websocket")[0] == 1008


# --- settings and ports --------------------------------------------------------------------


def test_the_settings_are_known_to_streamlit_and_keep_to_this_machine() -> None:
    from streamlit.web.server.starlette.starlette_app import _validate_run_config

    options = settings(8601)
    assert _validate_run_config(options) == options
    assert options["server.port"] == 8601
    assert options["server.address"] == "127.0.0.1"
    assert options["server.fileWatcherType"] == "none"
    assert options["browser.gatherUsageStats"] is False
    assert set(options["server.allowedHosts"]) == {"127.0.0.1", "localhost"}


def test_the_fonts_of_the_theme_are_packaged() -> None:
    folder = Path(server.__file__).parent / "static"
    faces = settings(1)["theme.fontFaces"]
    assert len(faces) == 5
    for face in faces:
        assert (folder / face["url"].removeprefix("app/static/")).is_file()
    assert (folder / "OFL.txt").is_file()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(BusyError, match=f"port {port} is in use.*--port"):
            free_port(port)


def test_free_ports_are_found() -> None:
    assert free_port(0) > 0
    assert free_port(None) >= server.FIRST_PORT
    with pytest.raises(InputError, match="port 70000"):
        free_port(70000)


def test_no_study_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study"):
        server.serve(tmp_path / "missing", open_browser=False)


# --- thumbnails ----------------------------------------------------------------------------


@pytest.fixture
def pictures(tiny_study: Path) -> Starlette:
    return Starlette(routes=[thumbnail_route(tiny_study)])


def test_a_thumbnail_is_found_by_id_and_by_row(pictures: Starlette, study: Study) -> None:
    sample = str(study.sample_ids[7])
    expected = study.thumbnails().webp(sample)
    status, headers, body = ask(pictures, thumbnail_url(sample, version=study_version(study)))
    assert (status, body) == (200, expected)
    assert headers["content-type"] == "image/webp"
    assert "immutable" in headers["cache-control"]
    by_row = thumbnail_template("clean", study_version(study)).replace("{index}", "7")
    assert ask(pictures, by_row)[2] == expected
    assert ask(pictures, thumbnail_url(sample))[1]["cache-control"] == "no-cache"
    # Two studies may have one digest: it names neither.
    assert ask(pictures, thumbnail_url(sample, version=study.digest))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "clean?id=nobody", "clean?id=../../../../etc/passwd", "clean?id=", "clean",
        "clean?at=99999", "clean?at=-1", "clean?at=²", "clean?at=1e3",
        "nothing?id=x", "..%2F..%2Fetc?id=x", "clean?id=" + "x" * 9000, "clean?id=%00",
    ],
)  # fmt: skip
def test_unknown_pictures_are_404(pictures: Starlette, path: str) -> None:
    status, _, body = ask(pictures, "/distillscope/thumb/" + quote(path, safe="/?=%&.-"))
    assert status == 404
    assert b"webp" not in body.lower()


def test_a_study_that_is_gone_is_404(tiny_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study, copy)
    app = Starlette(routes=[thumbnail_route(copy)])
    at_first = thumbnail_template("clean", "").replace("{index}", "0")
    assert ask(app, at_first)[0] == 200
    shutil.rmtree(copy)
    assert ask(app, at_first)[0] == 404
