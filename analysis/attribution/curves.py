"""Deletion and insertion: does the number follow when pixels go in the order of a map?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from analysis.attribution.subject import Subject

Kind = Literal["deletion", "insertion"]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The explained number while pixels are hidden (deletion) or shown again (insertion).

    ``shares`` (S,) of the pixels from 0 to 1; ``values`` (N, S) in the order of the map, the
    largest values first; ``random`` (R, N, S) in random orders: what any map would give. A faithful
    map makes a deletion curve fall and an insertion curve rise early.
    """

    kind: Kind
    shares: np.ndarray
    values: np.ndarray
    random: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Area under each curve (N,): the mean number on the way; lower is better in deletion."""
        return np.asarray(np.trapezoid(self.values, self.shares, axis=-1))

    @property
    def random_area(self) -> np.ndarray:
        """Areas (R, N) of the random orders."""
        return np.asarray(np.trapezoid(self.random, self.shares, axis=-1))

    @property
    def p_values(self) -> np.ndarray:
        """(1 + random orders at least as good) / (1 + random orders), (N,)."""
        sign = 1 if self.kind == "insertion" else -1
        as_good = sign * self.random_area >= sign * self.area
        return np.asarray((1 + as_good.sum(axis=0)) / (1 + len(self.random)))


def hide(pixels: torch.Tensor, hidden: torch.Tensor, baselines: torch.Tensor) -> torch.Tensor:
    """Replace the pixels of (N, C, H, W) that ``hidden`` (N, H, W) marks by the baselines'."""
    return torch.where(hidden[:, None], baselines, pixels)


def numbers(
    subject: Subject, pixels: torch.Tensor, explained: torch.Tensor, batch: int
) -> np.ndarray:
    """Return ``subject``'s number (N,) float64 of pixels (N, C, H, W), ``batch`` at a time."""
    with torch.no_grad():
        parts = [
            subject(x, c).double().cpu()
            for x, c in zip(pixels.split(batch), explained.split(batch), strict=True)
        ]
    return torch.cat(parts).numpy()


def place_in_order(values: np.ndarray) -> np.ndarray:
    """Place (P,) of each pixel when the largest values come first, ties by position."""
    places = np.empty(values.size, dtype=np.int64)
    places[np.argsort(-values.ravel(), kind="stable")] = np.arange(values.size)
    return places


def curves_of_image(
    subject: Subject,
    pixels: torch.Tensor,
    baseline: torch.Tensor,
    explained: int,
    orders: np.ndarray,
    steps: int,
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion curves (R, steps + 1) of one image (C, H, W) in ``orders`` (R, P).

    ``orders`` hold each pixel's place. Both curves ask for the same number of hidden pixels.
    """
    count = orders.shape[1]
    amounts = np.round(np.linspace(0, 1, steps + 1) * count)
    gone = orders[:, None, :] < amounts[:, None]
    shape = (-1, *pixels.shape[1:])
    found = []
    for hidden in (gone, ~gone):
        masks = torch.from_numpy(hidden.reshape(shape)).to(pixels.device)
        made = [
            numbers(
                subject,
                hide(pixels[None].expand(len(part), -1, -1, -1), part, baseline[None]),
                torch.full((len(part),), explained, device=pixels.device),
                batch,
            )
            for part in masks.split(batch)
        ]
        found.append(np.concatenate(made).reshape(gone.shape[:2]))
    return found[0], found[1]
