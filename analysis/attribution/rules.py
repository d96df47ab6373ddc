"""Which networks DeepLift's rules cover, found out by watching one forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import nn
from torch.overrides import TorchFunctionMode

from analysis.models.handle import ModelHandle

_LINEAR = """
add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ __isub__ rsub neg __neg__ mean sum
conv1d conv2d conv3d conv_transpose2d linear batch_norm interpolate upsample pad
avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
flatten unflatten view view_as reshape reshape_as contiguous clone to type type_as float double
permute transpose movedim moveaxis swapaxes squeeze unsqueeze expand expand_as broadcast_to repeat
repeat_interleave cat concat stack chunk split unbind select narrow roll flip __getitem__ __get__
dropout dropout2d feature_dropout alpha_dropout pixel_shuffle pixel_unshuffle requires_grad_
"""
_PRODUCTS = """
mul mul_ multiply __mul__ __rmul__ __imul__ matmul __matmul__ mm bmm einsum addmm baddbmm
"""
_QUOTIENTS = "div div_ divide true_divide __truediv__ __itruediv__"


def deeplift_obstacle(handle: ModelHandle, image_shape: tuple[int, int, int]) -> str | None:
    """Say why DeepLift cannot serve ``handle`` on images of ``image_shape`` (H, W, C), or None.

    Its rules cover linear layers and captum's list of activation modules, each called once.
    """
    height, width, channels = image_shape
    watch = _Watch()
    hooks = [
        hook for name, part in handle.module.named_modules() for hook in watch.over(name, part)
    ]
    try:
        pixels = torch.full((1, channels, height, width), 0.5, requires_grad=True)
        with torch.enable_grad(), watch:
            handle(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.obstacle()


class _Watch(TorchFunctionMode):
    """Notes every operation on what depends on the pixels that no rule covers."""

    def __init__(self) -> None:
        super().__init__()
        self.path: list[str] = []
        self.covered = 0
        self.calls: Counter[str] = Counter()
        self.uncovered: list[str] = []

    def over(self, name: str, part: nn.Module) -> Iterator[Any]:
        """Hook ``part`` so that the watch knows when it runs."""
        has_rule = type(part) in SUPPORTED_NON_LINEAR

        def enter(*_: Any) -> None:
            self.path.append(name)
            self.covered += has_rule
            self.calls[name] += has_rule

        def leave(*_: Any) -> None:
            self.path.pop()
            self.covered -= has_rule

        yield part.register_forward_pre_hook(enter)
        yield part.register_forward_hook(leave)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Judged beforehand: an operation in place makes its own argument depend on the pixels.
        name = getattr(func, "__name__", str(func))
        has_rule = self.covered > 0 or self._has_rule(name, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if not has_rule and _depends(result):
            where = self.path[-1] if self.path else ""
            self.uncovered.append(f"{name} in {where}" if where else name)
        return result

    @staticmethod
    def _has_rule(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        depends = [_depends(value) for value in (*args, *kwargs.values())]
        if name in _LINEAR.split() or not any(depends):
            return True
        if name in _PRODUCTS.split():
            return sum(depends) == 1
        return name in _QUOTIENTS.split() and depends[0] and not any(depends[1:])

    def obstacle(self) -> str | None:
        """Return the first reason found, or None."""
        if self.uncovered:
            return f"DeepLift has no rule for {self.uncovered[0]}"
        reused = [name for name, calls in self.calls.items() if calls > 1]
        return f"DeepLift needs activations called once, {reused[0]} is reused" if reused else None


def _depends(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_depends, value))
    return isinstance(value, torch.Tensor) and value.requires_grad
