"""An invisible element that draws its fragment again once a live answer is there.

It asks the route ``/distillscope/live`` whether anything is done; the route answers when it is.
Neither the page's script nor the browser polls fast, and nothing blocks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import streamlit as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/distillscope/live"
_HOLD, _LOOK = 20.0, 0.03
_NUMBERS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9}){0,31}")

_SCRIPT = """
export default function (component) {
  const root = component.parentElement
  const address = component.data.address
  if (root.awaited === address) return
  root.awaited = address
  const current = () => root.isConnected && root.awaited === address
  const wait = async () => {
    while (address && current()) {
      const answer = await fetch(address, { cache: "no-store" })
      if (answer.status === 202) continue
      if (current()) component.setTriggerValue("ready", address)
      return
    }
  }
  wait().catch(() => {})
}
"""


def waiting(key: str, numbers: Sequence[int]) -> None:
    """Wait for any of the tickets ``numbers``."""
    address = f"{PATH}?for={','.join(map(str, numbers[:32]))}" if numbers else ""
    component = st.components.v2.component("distillscope_waiting", js=_SCRIPT)
    component(key=key, data={"address": address}, on_ready_change=_nothing)


def _nothing() -> None:
    """The rerun is all that is wanted."""


def waiting_route(done: Callable[[list[int]], bool]) -> Route:
    """The route: 200 once a ticket is done or unknown; 202 after a while."""

    async def respond(request: Request) -> Response:
        text = request.query_params.get("for", "")
        if not _NUMBERS.fullmatch(text):
            return Response(status_code=404)
        numbers = [int(part) for part in text.split(",")]
        headers = {"cache-control": "no-store"}
        for _ in range(round(_HOLD / _LOOK)):
            if done(numbers):
                return Response(status_code=200, headers=headers)
            if await request.is_disconnected():
                break
            await asyncio.sleep(_LOOK)
        return Response(status_code=202, headers=headers)

    return Route(PATH, respond, methods=["GET"])
