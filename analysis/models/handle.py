"""The model handle: a classifier that is called on pixels, whatever is inside."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from analysis.digest import canonical_json, digest_json
from analysis.errors import ModelError, nearest
from analysis.models.layers import Tap, TokenPooling, pool_features, recording, token_pooling
from analysis.models.normalization import Normalization
from analysis.records import PENULTIMATE

__all__ = ["ModelHandle", "Normalization", "weights_digest"]

# Batch normalization counts its training batches; the count never reaches an answer, and old
# checkpoints do not have it.
BOOKKEEPING = "num_batches_tracked"


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelHandle:
    """A classifier with its normalization inside: pixels in [0, 1] go in, logits come out.

    The handle takes ``module`` over: evaluation mode, no parameter needs gradients. ``width``
    is None for user code. ``input_size`` is (H, W), or None when any size will do.
    ``layer_names`` lists what can be traced, in order; ``penultimate`` names the classifier
    module, whose input, pooled, is the penultimate feature ("" when there is no such module:
    then it is the logits). ``token_pooling`` says how transformer tokens are pooled.
    ``spec_text`` holds no directories. ``digest`` identifies architecture, normalization and
    every weight, whatever the file was called and however it was written.
    """

    module: nn.Module
    architecture: str
    normalization: Normalization
    num_classes: int
    in_channels: int
    layer_names: tuple[str, ...]
    penultimate: str
    spec_text: str
    width: int | None = None
    input_size: tuple[int, int] | None = None
    class_names: tuple[str, ...] | None = None
    user_code: str | None = None
    file_bytes: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    token_pooling: TokenPooling = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.normalization.check_channels(self.in_channels)
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ModelError(
                f"{len(self.class_names)} class names for {self.spec_text}",
                expected=f"{self.num_classes}, one per output",
            )
        self.module.eval().requires_grad_(False)
        if any(isinstance(part, nn.Conv2d) for part in self.module.modules()):
            # Convolutions on the CPU are up to half as fast again in this layout, and inputs
            # of any layout follow the weights'.
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        object.__setattr__(self, "token_pooling", token_pooling(self.module))
        object.__setattr__(self, "digest", self._digest())

    def _digest(self) -> str:
        # A user's file is identified by its contents, its name decides nothing.
        architecture = self.architecture.rpartition(":")[2] if self.user_code else self.architecture
        return digest_json(
            {
                "architecture": architecture,
                "user_code": self.user_code,
                "width": self.width,
                "num_classes": self.num_classes,
                "normalization": [self.normalization.mean, self.normalization.std],
                "weights": weights_digest(self.module),
            }
        )

    @property
    def side(self) -> int | None:
        """The side of the square images that the model takes; None for any size or no square.

        Images that are no squares cannot be resized to fit: :meth:`check_images` judges them.
        """
        if self.input_size is None or self.input_size[0] != self.input_size[1]:
            return None
        return self.input_size[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight.device

    @property
    def _weight(self) -> torch.Tensor:
        return next(self.module.parameters(), torch.empty(0))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Answer pixels (N, C, H, W) in [0, 1] with logits (N, K) on the handle's device.

        Differentiable. Raises :class:`ModelError` when the pixels do not fit the model.
        """
        if not isinstance(pixels, torch.Tensor) or pixels.ndim != 4:
            shape = tuple(getattr(pixels, "shape", ()))
            raise ModelError(
                f"{self.spec_text} was given {type(pixels).__name__} {shape}",
                expected="a tensor (N, C, H, W)",
            )
        if not pixels.is_floating_point():
            raise ModelError(
                f"{self.spec_text} was given pixels of type {pixels.dtype}",
                expected="floating point in [0, 1]",
                remedy="divide 8-bit images by 255",
            )
        channels, height, width = pixels.shape[1:]
        self.check_images((height, width, channels))
        weight = self._weight
        logits = self.module(self.normalization(pixels.to(weight.device, weight.dtype)))
        if not isinstance(logits, torch.Tensor) or logits.shape != (len(pixels), self.num_classes):
            shape = tuple(getattr(logits, "shape", ()))
            raise ModelError(
                f"{self.spec_text} answered {type(logits).__name__} {shape}",
                expected=f"logits of shape ({len(pixels)}, {self.num_classes})",
            )
        return logits

    def traced(
        self, pixels: torch.Tensor, layers: Sequence[str] = (PENULTIMATE,)
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Answer ``pixels`` and return (logits (N, K), {layer: pooled features (N, D)}).

        ``layers`` are among :attr:`layer_names` and ``penultimate``. Differentiable.
        """

        def pool(features: torch.Tensor) -> torch.Tensor:
            return pool_features(features, self.token_pooling)

        with recording(self.module, self.taps(layers), pool) as features:
            logits = self(pixels)
        missing = [name for name in layers if name not in features]
        if missing:
            raise ModelError(
                f"{self.spec_text} did not reach layer {missing[0]!r} on these images",
                remedy="choose another layer",
            )
        return logits, {name: features[name] for name in layers}

    def taps(self, layers: Sequence[str]) -> dict[str, Tap]:
        """Where each of ``layers`` is taken; raises :class:`ModelError` naming the nearest."""
        taps = {}
        for name in layers:
            if name == PENULTIMATE:
                taps[name] = Tap(self.penultimate, "input" if self.penultimate else "output")
            elif name in self.layer_names:
                taps[name] = Tap(name)
            else:
                raise ModelError(
                    f"{self.spec_text} has no layer {name!r}",
                    remedy=nearest(name, (*self.layer_names, PENULTIMATE)),
                )
        return taps

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Raise :class:`ModelError` unless images of ``image_shape`` (H, W, C) fit the model."""
        height, width, channels = image_shape
        if channels != self.in_channels:
            raise ModelError(
                f"{self.spec_text} takes {self.in_channels} channels, the images have {channels}",
                remedy="load the images with the model's number of channels",
            )
        if self.input_size is not None and (height, width) != self.input_size:
            raise ModelError(
                f"{self.spec_text} takes images of {self.input_size[0]}x{self.input_size[1]}, "
                f"these are {height}x{width}",
                remedy="resize the images to the model's size",
            )

    def to(self, device: str | torch.device) -> ModelHandle:
        """Return this model on ``device``; raises :class:`ModelError` when there is no such."""
        try:
            target = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"device {str(device)!r} cannot be used: {reason}", remedy="use --device cpu"
            ) from None
        if target == self.device:
            return self
        return replace(self, module=copy.deepcopy(self.module).to(target))


def weights_digest(module: nn.Module) -> str:
    """Digest of every tensor of ``module``: name, dtype, shape and bytes."""
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith(BOOKKEEPING):
            continue
        values = tensor.detach().cpu().contiguous()
        state.update(canonical_json([name, str(values.dtype), list(values.shape)]).encode())
        state.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
