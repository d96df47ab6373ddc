"""Convolutions that add the shortcut and rectify in one pass over memory, on the CPU.

Half of the time that a small residual network spends outside its matrix products goes into
reading and writing activations. oneDNN can add and rectify while a convolution's output is
still in a register, forwards; torch offers that only without gradients, so this file brings the
gradient with it. Gradients are kept channels-last throughout: one that arrives in another layout
would slow every layer below it.

The gradient may be multiplied in bfloat16, the answer may not. Rounding a gradient moves no
rectifier and no probability, so maps stay the same to four digits of rank correlation; rounding
activations flips rectifiers all along the path, and real networks' maps change visibly.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from analysis.attribution.folding import module_called, traced

_ADDITIONS = (operator.add, operator.iadd, torch.add)
_RECTIFIERS = (torch.relu, functional.relu)


def fuse_convolutions(module: nn.Module, gradient_dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return ``module`` with its convolutions fused with what follows them.

    Fused are ``relu(conv(x))`` and ``relu(conv(x) + other)``; of every other ``Conv2d`` only the
    gradient is replaced. Gradients are multiplied in ``gradient_dtype`` (float32 or bfloat16).
    ``module`` must live on the CPU in float32 and may share its weights with the result. It
    comes back unchanged where it cannot be traced.
    """
    graph_module = traced(module)
    if graph_module is None:
        return module
    parts = dict(graph_module.named_modules())
    for index, node in enumerate(list(graph_module.graph.nodes)):
        convolution = module_called(node, parts)
        if isinstance(convolution, nn.Conv2d) and _supported(convolution, node):
            _fuse(graph_module, f"fused_{index}", node, convolution, gradient_dtype, parts)
        elif node.op == "call_function" and node.target is operator.getitem:
            _keep_layout(graph_module.graph, node)
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


class FusedConvolution(nn.Module):
    """``relu(conv(x) + other)``, with either of the two following steps optional."""

    weight: torch.Tensor
    gradient_weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self, convolution: nn.Conv2d, gradient_dtype: torch.dtype, *, rectify: bool
    ) -> None:
        super().__init__()
        weight = _channels_last(convolution.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("gradient_weight", weight.to(gradient_dtype))
        self.register_buffer(
            "bias", None if convolution.bias is None else convolution.bias.detach()
        )
        self.rectify = rectify
        self.geometry = (
            list(convolution.padding), list(convolution.stride),
            list(convolution.dilation), convolution.groups,
        )  # fmt: skip

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """Map (N, C, H, W), and a summand of the output's shape, to the output."""
        if other is not None:
            other = _channels_last(other)
        return _Fused.apply(_channels_last(x), other, self)


class _Fused(torch.autograd.Function):
    """The gradient of a fused convolution with respect to its two inputs."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, other: torch.Tensor | None, layer: FusedConvolution
    ) -> torch.Tensor:
        convolve = torch.ops.mkldnn._convolution_pointwise
        unary = "relu" if layer.rectify else None
        parameters = (layer.weight, layer.bias, *layer.geometry)
        if other is None:
            y = convolve(x, *parameters, unary or "none", [], "")
        else:
            y = convolve.binary(x, other, *parameters, "add", None, unary, [], None)
        ctx.save_for_backward(*((y,) if layer.rectify else ()))
        ctx.layer, ctx.shape, ctx.adds = layer, x.shape, other is not None
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        padding, stride, dilation, groups = ctx.layer.geometry
        weight = ctx.layer.gradient_weight
        grad = _channels_last(grad)
        if ctx.saved_tensors:
            grad = torch.ops.aten.threshold_backward(grad, ctx.saved_tensors[0], 0)
        rounded = grad.to(weight.dtype)
        # Of the input the gradient needs the shape alone: this memory is never touched.
        shape = torch.empty(ctx.shape, dtype=rounded.dtype, memory_format=torch.channels_last)
        below = torch.ops.aten.convolution_backward(
            rounded, shape, weight, None, stride, padding, dilation, False, [0, 0], groups,
            [True, False, False],
        )[0]  # fmt: skip
        return below.to(grad.dtype), (grad if ctx.adds else None), None


class _KeepLayout(torch.autograd.Function):
    """The identity, whose gradient comes back channels-last: that of slicing does not."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return _channels_last(grad)


def keep_layout(x: Any) -> Any:
    """Return ``x``; gradients of a batch of images come back through it channels-last."""
    is_images = isinstance(x, torch.Tensor) and x.ndim == 4 and x.requires_grad
    return _KeepLayout.apply(x) if is_images else x


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _supported(convolution: nn.Conv2d, node: fx.Node) -> bool:
    return (
        convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and convolution.weight.dtype == torch.float32
        and len(node.args) == 1
        and not node.kwargs
    )


def _fuse(
    graph_module: fx.GraphModule,
    name: str,
    node: fx.Node,
    convolution: nn.Conv2d,
    gradient_dtype: torch.dtype,
    parts: dict[str, nn.Module],
) -> None:
    user = _only_user(node)
    after_sum = _only_user(user) if user is not None and _is_addition(user) else None
    inputs, last = list(node.args), node
    if user is not None and after_sum is not None and _rectifies(after_sum, parts):
        inputs.append(user.args[1] if user.args[0] is node else user.args[0])
        last = after_sum
    elif user is not None and _rectifies(user, parts):
        last = user
    fused = FusedConvolution(convolution, gradient_dtype, rectify=last is not node)
    graph_module.add_submodule(name, fused)
    with graph_module.graph.inserting_before(last):
        last.replace_all_uses_with(graph_module.graph.call_module(name, tuple(inputs)))
    graph_module.graph.eliminate_dead_code()


def _keep_layout(graph: fx.Graph, node: fx.Node) -> None:
    source = node.args[0]
    if isinstance(source, fx.Node):
        with graph.inserting_before(node):
            node.args = (graph.call_function(keep_layout, (source,)), *node.args[1:])


def _only_user(node: fx.Node | None) -> fx.Node | None:
    return next(iter(node.users)) if node is not None and len(node.users) == 1 else None


def _is_addition(node: fx.Node) -> bool:
    is_call = node.op == "call_function" and node.target in _ADDITIONS and not node.kwargs
    return is_call and all(isinstance(arg, fx.Node) for arg in node.args) and len({*node.args}) == 2


def _rectifies(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    if isinstance(module_called(node, parts), nn.ReLU):
        return True
    return node.op == "call_function" and node.target in _RECTIFIERS
