"""Who decides about the selection: the user on the map, or the page that sets it.

The page hands back what it was told, one or more reruns later. Such an echo must not undo what
the user has selected meanwhile, while a deep link or the browser's back button must win.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from analysis.errors import InputError
from dashboard.selection import Lasso

from .points import PairPoints

_REMEMBERED = 16


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """Selected samples (N,) bool, the polygon if it alone describes them, the sample clicked."""

    mask: np.ndarray
    lasso: Lasso | None = None
    clicked: int | None = None

    @property
    def bits(self) -> bytes:
        """The mask in little-endian bits; also its identity."""
        return np.packbits(self.mask, bitorder="little").tobytes()

    @classmethod
    def of(cls, selection: np.ndarray | Lasso, points: PairPoints) -> Self:
        """What a page asks for; :class:`InputError` for a mask of another length."""
        if isinstance(selection, Lasso):
            return cls(points.within(selection), selection)
        if np.shape(selection) != (len(points),):
            raise InputError(
                f"selection of shape {np.shape(selection)}", expected=f"({len(points)},)"
            )
        return cls(np.asarray(selection, bool))


@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """What the browser says is selected; ``given`` is the last wish that it has followed."""

    chosen: Chosen
    given: int

    @classmethod
    def read(cls, value: Any, points: PairPoints) -> Self | None:
        """Read a component state; None when it is damaged or belongs to other points."""
        try:
            if value["points"] != points.digest:
                return None
            return cls(_chosen(value, len(points)), int(value["given"]))
        except (TypeError, KeyError, ValueError, AttributeError, binascii.Error):
            return None


def _chosen(value: dict[str, Any], count: int) -> Chosen:
    mask = np.zeros(count, bool)
    if value["bits"]:
        packed = np.frombuffer(base64.b64decode(value["bits"], validate=True), np.uint8)
        if len(packed) != -(-count // 8):
            raise ValueError("bits of another length")
        mask = np.unpackbits(packed, count=count, bitorder="little").astype(bool)
    lasso, clicked = value["lasso"], value["clicked"]
    if lasso is not None:
        if lasso["side"] not in ("teacher", "student"):
            raise ValueError("a side of the maps")
        lasso = Lasso(lasso["side"], tuple((float(x), float(y)) for x, y in lasso["points"]))
    if clicked is not None and not 0 <= int(clicked) < count:
        raise ValueError("a row of the points")
    return Chosen(mask, lasso, None if clicked is None else int(clicked))


@dataclass(eq=False, slots=True)
class Exchange:
    """One map's conversation with its page; lives in the session state.

    ``serial`` goes on counting when a map gets other points: what the browser has said of them
    when it last had them is then no answer to a later wish.
    """

    points: str
    serial: int = 0
    wish: Chosen | None = None
    _argument: bytes | None = None
    _last: bytes | None = None
    _heard: list[bytes] = field(default_factory=list)

    def settle(self, report: Report | None, argument: Chosen | None) -> Chosen | None:
        """Decide what is selected now; ``wish`` and ``serial`` are what the browser is sent."""
        remounted = report is None and self._last is not None
        if remounted:
            self.wish, self._last, self._heard = None, None, []
        if report is not None and report.chosen.bits != self._last:
            self._last = report.chosen.bits
            self._heard = [*self._heard, self._last][-_REMEMBERED:]
        if argument is None:
            self._argument = None
        elif remounted or argument.bits != self._argument:
            self._listen(argument)
        return self._effective(report)

    def _listen(self, argument: Chosen) -> None:
        self._argument = argument.bits
        if argument.bits in self._heard:
            self._heard = self._heard[self._heard.index(argument.bits) + 1 :]
            return
        self.serial += 1
        self.wish, self._heard = argument, []

    def _effective(self, report: Report | None) -> Chosen | None:
        if report is not None and (self.wish is None or report.given == self.serial):
            return report.chosen
        return self.wish

    def message(self) -> dict[str, Any] | None:
        """The standing wish for the browser; unchanged, hence not sent again, between wishes."""
        if self.wish is None:
            return None
        lasso = self.wish.lasso
        return {
            "serial": self.serial,
            "bits": base64.b64encode(self.wish.bits).decode(),
            "lasso": None if lasso is None else {"side": lasso.side, "points": list(lasso.points)},
        }
