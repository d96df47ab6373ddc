"""How a network is trained: the configuration, and what it comes to on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from analysis.config import Config, field
from analysis.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """Everything about a training but model, images and objective."""

    epochs: int = field(12, "passes over the images", low=1, high=100_000)
    batch_size: int = field(128, "images per step", low=1, high=65_536)
    learning_rate: float = field(0.05, "peak of the one-cycle schedule", low=1e-8, high=100.0)
    warmup: float = field(0.3, "share of the steps until the peak", low=0.0, high=1.0)
    optimizer: str = field(
        "sgd", "sgd (Nesterov momentum) or adamw (transformers)", choices=("sgd", "adamw")
    )
    momentum: float = field(0.9, "momentum of sgd", low=0.0, high=0.9999)
    weight_decay: float = field(5e-4, "decay of all weights", low=0.0, high=10.0)
    flip: bool = field(True, "mirror half of the images left to right")
    shift: int = field(2, "largest random shift along each axis, in pixels", low=0, high=1024)
    seed: int = field(0, "seed of weights, order and augmentation", low=0, high=2**63 - 1)
    teacher_views: str = field(
        "cached",
        "cached: the teacher answers once, on images as they are; "
        "augmented: on every view that the student sees",
        choices=("cached", "augmented"),
    )
    precision: str = field(
        "auto",
        "bfloat16 computes convolutions in half the bits; auto uses it where the processor does",
        choices=("auto", "float32", "bfloat16"),
    )
    checkpoint_every: int = field(0, "keep the weights every so many epochs; 0 never", low=0)
    checkpoint_count: int = field(
        0, "keep the weights of about so many epochs, spaced in the logarithm", low=0
    )
    checkpoint_epochs: tuple[int, ...] = field((), "keep the weights of these epochs")
    threads: int = field(
        0, "threads to compute with; 0 leaves torch's choice", low=0, provenance=True
    )
    device: str = field("cpu", "where to compute: cpu, cuda, mps", provenance=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = [epoch for epoch in self.checkpoint_epochs if not 1 <= epoch <= self.epochs]
        if wrong:
            raise ConfigError(
                f"checkpoint_epochs has {wrong[0]}", expected=f"epochs from 1 to {self.epochs}"
            )

    @property
    def effective_precision(self) -> str:
        """``float32`` or ``bfloat16``: what ``auto`` comes to on this machine."""
        if self.precision != "auto":
            return self.precision
        if _named_device(self.device).type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        return "bfloat16" if self.device == "cpu" and _cpu_computes_bfloat16() else "float32"

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Build the configured optimizer of ``parameters``."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(
                parameters, lr=self.learning_rate, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )

    def result_key(self) -> dict[str, object]:
        """Return :meth:`key` with ``auto`` resolved, since it decides the result."""
        return {**self.key(), "precision": self.effective_precision}


def _named_device(name: str) -> torch.device:
    """The device of that name, there or not; raises :class:`ConfigError` when none has it."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise _unusable(name, error) from error


def _unusable(device: str, error: Exception) -> ConfigError:
    reason = str(error).splitlines()[0]
    return ConfigError(f"device {device!r} cannot be used: {reason}", remedy="use device cpu")


def _cpu_computes_bfloat16() -> bool:
    # Emulated bfloat16 is slower than float32. Older torch cannot tell, and gets float32.
    ask = getattr(torch.cpu, "get_capabilities", None)
    known = ask() if ask is not None else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


@contextlib.contextmanager
def computing(config: TrainingConfig) -> Iterator[torch.device]:
    """Yield the configured device, with the configured threads until the end of the block.

    Raises :class:`~analysis.errors.ConfigError` when the device is not there.
    """
    try:
        device = _named_device(config.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _unusable(config.device, error) from error
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads if config.threads > 0 else before)
    try:
        yield device
    finally:
        torch.set_num_threads(before)
