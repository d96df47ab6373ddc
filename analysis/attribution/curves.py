"""Deletion and insertion: does the number follow when pixels go in the order of a map?"""

from __future__ import annotations

import numpy as np
import torch

from analysis.attribution.subject import Subject


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
