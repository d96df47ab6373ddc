"""Rendered road signs: photographs of sixteen classes, the same for the same seed.

Image ``i`` of a seed and split depends on nothing but those three numbers: not on how many are
asked for, nor on how many processes render them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.data.signs.camera import IMAGE_SIZE, photograph
from analysis.data.signs.scene import Studio
from analysis.data.signs.shapes import SIGN_CLASSES
from analysis.errors import ImageSetError, nearest
from analysis.store import Progress

SPLITS: tuple[str, ...] = ("train", "test")

# First part of every spawn key: which random stream it is.
_IMAGES, _LABELS, _TEMPLATES, _BANK = range(4)
_CHUNK = 64

Work = tuple[int, str, int, np.ndarray]
"""Seed, split, first image, and the labels of the images to render from there on."""
Rendering = tuple[ProcessPoolExecutor, list["Future[np.ndarray]"]]
"""Processes at work, and the pictures that they promise, in order."""

_studios: dict[tuple[int, str], Studio] = {}
_ahead: dict[tuple[int, int, str], Rendering] = {}


def render_signs(
    count: int,
    *,
    seed: int,
    split: str = "train",
    name: str = "inspection",
    processes: int = 1,
    progress: Progress | None = None,
) -> ImageSet:
    """Render ``count`` road signs, 32 x 32 RGB, as an image set of :data:`SIGN_CLASSES`.

    The splits ``train`` and ``test`` share no picture and no background. Every class appears
    equally often, give or take one. ``processes`` changes the time alone; above 1 the calling
    script needs the usual ``if __name__ == "__main__":``, because processes are spawned.
    ``progress`` is called with ("render", done, count).

    Raises :class:`~analysis.errors.ImageSetError` for a count or number of processes below 1, a
    negative seed or an unknown split.
    """
    images, labels = render_arrays(
        count, seed=seed, split=split, processes=processes, progress=progress
    )
    return ImageSet(
        name=name,
        images=images,
        labels=labels,
        sample_ids=np.array([f"{name}/{row:05d}" for row in range(count)]),
        class_names=SIGN_CLASSES,
        source=f"rendered road signs, {split}, {count} images, seed {seed}",
    )


def render_arrays(
    count: int,
    *,
    seed: int,
    split: str = "train",
    processes: int = 1,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render without wrapping: images (count, 32, 32, 3) uint8 and labels (count,) int64.

    Arguments and errors are those of :func:`render_signs`.
    """
    _check(count, seed, split, processes)
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    labels = sign_labels(count, seed=seed, split=split)
    under_way = _ahead.pop((count, seed, split), None)
    work = [] if under_way else _work(count, seed, split, labels)
    done = 0
    for chunk in _awaited(under_way) if under_way else _rendered(work, processes):
        images[done : done + len(chunk)] = chunk
        done += len(chunk)
        if progress is not None:
            progress("render", done, count)
    return images, labels


@contextlib.contextmanager
def rendering_ahead(count: int, *, seed: int, split: str, processes: int) -> Iterator[None]:
    """Render in ``processes`` others meanwhile; who asks for these images inside gets those.

    Arguments and errors are those of :func:`render_signs`. With one process nothing is begun: it
    would be the caller's own.
    """
    _check(count, seed, split, processes)
    if processes == 1:
        yield
        return
    key = (count, seed, split)
    under_way = _begun(
        _work(count, seed, split, sign_labels(count, seed=seed, split=split)), processes
    )
    _ahead[key] = under_way
    try:
        yield
    finally:
        if _ahead.pop(key, None) is not None:
            under_way[0].shutdown(wait=True, cancel_futures=True)


def sign_labels(count: int, *, seed: int, split: str) -> np.ndarray:
    """Labels (count,) int64: every class once in each run of sixteen, in a seeded order."""
    size = len(SIGN_CLASSES)
    rng = _stream(seed, split, _LABELS)
    runs = [rng.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(runs)[:count].astype(np.int64)


def _check(count: int, seed: int, split: str, processes: int) -> None:
    if count < 1:
        raise ImageSetError(f"{count} road signs", expected="a count of at least 1")
    if seed < 0:
        raise ImageSetError(f"seed {seed} of road signs", expected="at least 0")
    if split not in SPLITS:
        raise ImageSetError(
            f"split {split!r} of road signs",
            expected="train or test",
            remedy=nearest(split, SPLITS),
        )
    if processes < 1:
        raise ImageSetError(f"{processes} processes", expected="at least 1")


def _work(count: int, seed: int, split: str, labels: np.ndarray) -> list[Work]:
    return [
        (seed, split, start, labels[start : start + _CHUNK]) for start in range(0, count, _CHUNK)
    ]


def _rendered(work: list[Work], processes: int) -> Iterator[np.ndarray]:
    """Render chunk by chunk, in order."""
    if processes == 1 or len(work) == 1:
        return map(_render_chunk, work)
    return _awaited(_begun(work, processes))


def _begun(work: list[Work], processes: int) -> Rendering:
    # Spawned, not forked: the caller may hold threads (torch, a dashboard) that do not survive
    # a fork.
    context = multiprocessing.get_context("spawn")
    # An executor, not a Pool: when a worker cannot start, it fails where a Pool starts workers
    # forever.
    pool = ProcessPoolExecutor(min(processes, len(work)), mp_context=context)
    try:
        return pool, [pool.submit(_render_chunk, item) for item in work]
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def _awaited(rendering: Rendering) -> Iterator[np.ndarray]:
    pool, futures = rendering
    try:
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render_chunk(work: Work) -> np.ndarray:
    seed, split, start, labels = work
    studio = _studio(seed, split)
    chunk = np.empty((len(labels), IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for offset, label in enumerate(labels.tolist()):
        rng = _stream(seed, split, _IMAGES, start + offset)
        chunk[offset] = photograph(studio.scene(label, rng), rng)
    return chunk


def _studio(seed: int, split: str) -> Studio:
    """The studio of a seed and split; the last one is kept, as chunks of one call follow."""
    key = (seed, split)
    if key not in _studios:
        _studios.clear()
        # Both splits show the same makes of signs, but against backgrounds of their own.
        makes = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        _studios[key] = Studio(makes, _stream(seed, split, _BANK))
    return _studios[key]


def _stream(seed: int, split: str, *key: int) -> np.random.Generator:
    """An independent random stream for each seed, split and key."""
    sequence = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *key))
    return np.random.Generator(np.random.Philox(sequence))
