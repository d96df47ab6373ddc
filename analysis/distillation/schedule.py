"""When: the learning rate of every step, and the epochs whose weights are kept."""

from __future__ import annotations

import math

_START_DIVISOR = 25.0
_END_DIVISOR = 25.0 * 1e4


def one_cycle(step: int, total: int, *, peak: float, warmup: float) -> float:
    """Return the learning rate of ``step`` (from 0) of ``total``.

    A half cosine from ``peak`` / 25 up to ``peak`` over the ``warmup`` share of the steps, then
    one down to ``peak`` / 250 000. A function of the step alone, so that a resumed run needs
    no schedule state.
    Source: Smith and Topin 2018, arXiv 1708.07120; the shape of torch's ``OneCycleLR``.
    """
    top = warmup * total - 1
    last = total - 1
    if step <= top:
        return _half_cosine(peak / _START_DIVISOR, peak, step / top if top > 0 else 1.0)
    start = max(top, 0.0)
    share = (step - start) / (last - start) if last > start else 0.0
    return _half_cosine(peak, peak / _END_DIVISOR, share)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def checkpoint_epochs(
    epochs: int, *, every: int = 0, count: int = 0, listed: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Return the epochs (from 1) whose weights are kept, ascending: the union of three wishes.

    ``every`` keeps each such epoch (0 none); ``count`` keeps about that many, spaced evenly in
    the logarithm from 1 to ``epochs`` (early epochs change most); ``listed`` names them.
    Epochs beyond ``epochs`` are left out.
    """
    chosen = set(listed)
    if every:
        chosen |= set(range(every, epochs + 1, every))
    if count == 1:
        chosen.add(epochs)
    elif count:
        chosen |= {round(epochs ** (i / (count - 1))) for i in range(count)}
    return tuple(sorted(epoch for epoch in chosen if 1 <= epoch <= epochs))
