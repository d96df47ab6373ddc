"""One browser tab as the server sees it: a light client of Streamlit's web socket.

It asks for pages as the browser's navigation does and reads every answer to its end, but draws
nothing; so that many sessions cost the machine little beside what they cost the server.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

_REFUSED = 'class="ds-refused"'
_RERUN = ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN
_FRAGMENT = ForwardMsg.ScriptFinishedStatus.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
_MOST_BYTES = 512 << 20
_TAG = re.compile(r"<[^>]*>")


class PageError(Exception):
    """A page showed an error instead of what it is for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one page change: seconds until the page's last part was there, and its bytes."""

    page: str
    seconds: float
    received: int


@dataclass
class Session:
    """A tab on the server at ``address``; ``pages`` maps each page's path to its identity."""

    address: str
    limit: float = 60.0
    pages: dict[str, str] = field(default_factory=dict)
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _socket: ClientConnection | None = None

    def open(self, query: str = "") -> Answer:
        """Connect, and open the first page as an address with ``query`` would."""
        host = urlsplit(self.address).netloc
        connecting = connect(
            f"ws://{host}/_stcore/stream", subprotocols=["streamlit"], max_size=_MOST_BYTES,
            compression=None, open_timeout=self.limit,
        )  # fmt: skip
        self._socket = self._opened.enter_context(connecting)
        return self._ask("", "", query)

    def change_to(self, page: str) -> Answer:
        """Click on ``page`` in the navigation; raises :class:`PageError` for an error there."""
        return self._ask(page, self.pages[page], "")

    def close(self) -> None:
        """Close the tab."""
        self._opened.close()
        self._socket = None

    def _ask(self, page: str, identity: str, query: str) -> Answer:
        assert self._socket is not None
        asked = BackMsg()
        asked.rerun_script.page_script_hash = identity
        asked.rerun_script.query_string = query
        asked.rerun_script.context_info.timezone = "UTC"
        begun = time.perf_counter()
        self._socket.send(asked.SerializeToString())
        received = self._read(page, begun)
        return Answer(page, time.perf_counter() - begun, received)

    def _read(self, page: str, begun: float) -> int:
        """Read until the run has ended; runs of fragments and runs cut short do not end it."""
        assert self._socket is not None
        received, started = 0, False
        while True:
            left = self.limit - (time.perf_counter() - begun)
            data = self._socket.recv(timeout=max(left, 0.001))
            received += len(data)
            message = ForwardMsg.FromString(data if isinstance(data, bytes) else data.encode())
            kind = message.WhichOneof("type")
            if kind == "navigation":
                self.pages = {
                    one.url_pathname or one.page_name.lower(): one.page_script_hash
                    for one in message.navigation.app_pages
                    if not one.is_hidden
                }
            elif kind == "new_session":
                started = True
            elif kind == "page_not_found":
                raise PageError(f"{page}: there is no such page")
            elif kind == "delta":
                _check(page, message)
            elif (
                kind == "script_finished"
                and started
                and message.script_finished not in (_RERUN, _FRAGMENT)
            ):
                return received


def _check(page: str, message: ForwardMsg) -> None:
    element = message.delta.new_element
    if element.HasField("exception"):
        raise PageError(f"{page}: {element.exception.message}")
    if element.HasField("html") and _REFUSED in element.html.body:
        raise PageError(f"{page}: {_TAG.sub(' ', element.html.body)[:300]}")
