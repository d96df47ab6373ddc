"""Inference against the bare forward passes, and its peak memory.

Ours is ``run_inference`` as a study calls it: batches are made from 8-bit images, logits and
penultimate features land on the disk, checked and resumable. The peer only runs the networks
on batches that are floating point, normalized and in memory already, in whichever memory format
and batch size is faster. Same threads and dtype, both warmed up, and interleaved, since machines
drift.

python -m benchmarks.bench_inference [--images N]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.inference import run_inference
from analysis.models.architectures import build
from analysis.models.handle import ModelHandle, Normalization
from analysis.models.loading import wrap_module

IMAGES, SIDE, CLASSES = 10_000, 32, 10
BATCHES = (64, 128, 256)
PAIR = ("resnet56", "resnet20")
# Activations decide the memory of a batch, and these have the widest of the pair above.
MEMORY_PAIR = ("resnet8", "smallresnet")
FEW, MANY = 20_000, 100_000
TIME_LIMIT, MEMORY_LIMIT_GIB, FLAT_LIMIT = 1.3, 4.0, 1.1
CHUNKS = 4
ROOT = Path(__file__).parent.parent


def load(name: str) -> ModelHandle:
    torch.manual_seed(0)
    module = build(name, num_classes=CLASSES)
    return wrap_module(
        module,
        architecture=name,
        width=16,
        num_classes=CLASSES,
        normalization=Normalization.parse("cifar10"),
    )


def image_set(pixels: np.ndarray) -> ImageSet:
    ids = np.array([f"inspection/{i}" for i in range(len(pixels))])
    return ImageSet(name="inspection", images=pixels, sample_ids=ids)


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.inference_mode()
def forward(module: nn.Module, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        module(batch)


def prepare(
    handle: ModelHandle, images: ImageSet, memory_format: torch.memory_format, batch: int
) -> list[torch.Tensor]:
    return [
        handle.normalization(torch.from_numpy(pixels)).contiguous(memory_format=memory_format)
        for _, pixels in images.batches(batch)
    ]


def fastest_way(name: str, images: ImageSet) -> tuple[torch.memory_format, int]:
    """Time one network in both memory formats and all batch sizes, twice, and take the best."""
    times: dict[tuple[torch.memory_format, int], float] = {}
    for memory_format in (torch.contiguous_format, torch.channels_last):
        handle = load(name)
        module = handle.module.to(memory_format=memory_format)
        for batch in BATCHES:
            batches = prepare(handle, images, memory_format, batch)
            forward(module, batches[:1])
            times[memory_format, batch] = min(
                seconds(partial(forward, module, batches)) for _ in range(2)
            )
    return min(times, key=lambda key: times[key])


def compare(name: str, count: int) -> tuple[float, float, str]:
    """Seconds of ours and of the peer for one network, and the peer's way of running it."""
    few = image_set(random_pixels(3 * max(BATCHES)))
    chosen, batch = fastest_way(name, few)
    ours, bare = load(name), load(name)
    bare.module.to(memory_format=chosen)
    forward(bare.module, prepare(bare, few, chosen, batch))
    totals = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        run_inference(ours, few, workdir=Path(folder) / "warm")
        for chunk in range(CHUNKS):
            images = image_set(random_pixels(count // CHUNKS, seed=chunk))
            images.digest  # noqa: B018 - a study computes it once for all models
            batches = prepare(bare, images, chosen, batch)
            work = [
                partial(run_inference, ours, images, workdir=Path(folder) / str(chunk)),
                partial(forward, bare.module, batches),
            ]
            # Whoever starts alternates.
            for turn in (0, 1) if chunk % 2 else (1, 0):
                totals[turn] += seconds(work[turn])
    return totals[0], totals[1], f"{str(chosen).removeprefix('torch.')} in batches of {batch}"


def peak_memory(count: int) -> float:
    """Peak resident memory in GiB of a fresh process that runs two networks on ``count`` images."""
    command = [sys.executable, "-m", "benchmarks.bench_inference", "--memory-of", str(count)]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def run_for_memory(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        shape = (count, SIDE, SIDE, 3)
        with path.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, 5000):
                file.write(random_pixels(min(5000, count - start), seed=start).tobytes())
        images = image_set(np.load(path, mmap_mode="r"))
        for name in MEMORY_PAIR:
            run_inference(load(name), images, workdir=Path(folder) / name)
        return own_peak() / 2**20


def own_peak() -> int:
    """Peak resident memory of this process in KiB.

    What ``getrusage`` says begins, on Linux, with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def time_row(count: int) -> dict:
    results = [compare(name, count) for name in PAIR]
    ours, bare = (sum(result[i] for result in results) for i in (0, 1))
    formats = ", ".join(f"{n} {r[2]}" for n, r in zip(PAIR, results, strict=True))
    return {
        "name": f"inference, {count} images {SIDE}x{SIDE}, ResNet-56 + ResNet-20",
        "value": ours,
        "unit": "s",
        "peer": "bare forward passes",
        "peer_value": bare,
        "ratio": ours / bare,
        "limit": TIME_LIMIT,
        "met": ours / bare <= TIME_LIMIT,
        "note": f"The peer at its fastest: {formats}.",
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "warmup": f"both, on {3 * max(BATCHES)} images",
    }


def memory_rows() -> list[dict]:
    few, many = peak_memory(FEW), peak_memory(MANY)
    shared = {
        "value": many,
        "unit": "GiB",
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "warmup": "none",
    }
    pair = " + ".join(MEMORY_PAIR)
    return [
        {
            **shared,
            "name": f"peak memory of inference, {MANY} images {SIDE}x{SIDE}, 2 models",
            "peer": None,
            "peer_value": None,
            "ratio": None,
            "limit": MEMORY_LIMIT_GIB,
            "met": many < MEMORY_LIMIT_GIB,
            "note": f"{pair}, images memory-mapped; with the writing of all arrays.",
        },
        {
            **shared,
            "name": f"growth of that memory from {FEW} to {MANY} images",
            "peer": f"{FEW} images",
            "peer_value": few,
            "ratio": many / few,
            "limit": FLAT_LIMIT,
            "met": many / few <= FLAT_LIMIT,
            "note": "A ratio of 1 is flat in the number of images; sample ids are held as text.",
        },
    ]


def run(images: int = IMAGES) -> list[dict]:
    return [time_row(images), *memory_rows()]


def main() -> None:
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES, help="images to time")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(run_for_memory(arguments.memory_of))
        return
    rows = run(arguments.images)
    print(json.dumps(rows))
    print("\n".join(map(describe, rows)))


if __name__ == "__main__":
    main()
