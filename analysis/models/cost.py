"""What a model costs: parameters, multiply-accumulates, file size, latency."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from analysis.models.handle import ModelHandle
from analysis.records import ModelCost

ImageShape = tuple[int, int, int]

_WARM_UP = 3


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values of ``module``; shared ones count once, buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(handle: ModelHandle, image_shape: ImageShape) -> int:
    """Multiply-accumulates that ``handle`` needs for one image of ``image_shape`` (H, W, C).

    Matrix products count (convolutions, linear layers, attention); normalizations, activations
    and sums do not, as is usual in the field. Raises :class:`~analysis.errors.ModelError` when
    such images do not fit the model.
    """
    height, width, channels = image_shape
    pixels = torch.zeros(1, channels, height, width, device=handle.device)
    with _plain_attention(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        handle(pixels)
    return int(counter.get_total_flops()) // 2


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    # The fused kernels for CPUs are unknown to the counter: their products would be missing.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def measure_latency(
    handle: ModelHandle, image_shape: ImageShape, batch: int = 1, repeats: int = 10
) -> float:
    """Median time in milliseconds of one forward pass on ``batch`` images (H, W, C), warmed up.

    It depends on the machine, its load and torch's number of threads: lower is faster.
    """
    height, width, channels = image_shape
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, channels, height, width, generator=generator).to(handle.device)
    times = []
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            handle(pixels)
        for _ in range(repeats):
            _wait(handle.device)
            start = time.perf_counter()
            handle(pixels)
            _wait(handle.device)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _wait(device: torch.device) -> None:
    # Accelerators answer before they have computed.
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def model_cost(handle: ModelHandle, image_shape: ImageShape, *, latency: bool = True) -> ModelCost:
    """Measure ``handle`` on images of ``image_shape`` (H, W, C); without ``latency`` no times."""
    return ModelCost(
        parameters=count_parameters(handle.module),
        macs=count_macs(handle, image_shape),
        file_bytes=handle.file_bytes,
        latency_ms_batch_1=measure_latency(handle, image_shape, 1) if latency else None,
        latency_ms_batch_64=measure_latency(handle, image_shape, 64) if latency else None,
    )
