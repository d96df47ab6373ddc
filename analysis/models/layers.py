"""Layers of a network: which there are, what they put out, and that pooled to one row an image."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from analysis.errors import ModelError

Side = Literal["input", "output"]
TokenPooling = Literal["class token", "mean"]
Reduce = Callable[[torch.Tensor], torch.Tensor]

_CLASS_TOKEN = re.compile(r"(^|\.)(cls|class)_?(token|embedding)$")


@dataclass(frozen=True, slots=True)
class Tap:
    """Where a feature is taken: a module's name ("" is the whole network) and its side."""

    module: str
    side: Side = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a trace found: layers worth inspecting, the classifier's name, how tokens are pooled.

    ``classifier`` is "" when no module could be told to be the classifier.
    """

    layer_names: tuple[str, ...]
    classifier: str
    token_pooling: TokenPooling
    output: Any


def pool_features(features: torch.Tensor, tokens: TokenPooling = "mean") -> torch.Tensor:
    """Reduce features to (N, D): maps (N, D, H, W) by their mean over positions, tokens
    (N, T, D) to the class token (the first) or their mean; (N, D) stays as it is.
    """
    if features.ndim < 2:
        raise ModelError(
            f"features of shape {tuple(features.shape)}", expected="one row per image at least"
        )
    if features.ndim == 2:
        return features
    if features.ndim == 3:
        return features[:, 0] if tokens == "class token" else features.mean(dim=1)
    return features.flatten(2).mean(dim=2)


@contextlib.contextmanager
def recording(
    module: nn.Module, taps: Mapping[str, Tap], reduce: Reduce
) -> Iterator[dict[str, torch.Tensor]]:
    """Record ``reduce(feature)`` of every tap, by the tap's key, during forward passes.

    Yields the dictionary that each pass fills anew. Hooks are removed on leaving, also after an
    error. A module that is called several times leaves its last call.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(key: str, side: Side, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        feature = inputs[0] if side == "input" and inputs else output
        if not isinstance(feature, torch.Tensor):
            raise ModelError(
                f"layer {key!r} puts out a {type(feature).__name__}", expected="one tensor"
            )
        reduced = reduce(feature)
        # An in-place operation further on would change what was recorded.
        found[key] = reduced.clone() if reduced is feature else reduced

    handles = [
        module.get_submodule(tap.module).register_forward_hook(partial(keep, key, tap.side))
        for key, tap in taps.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@dataclass(slots=True)
class _Calls:
    """Which modules were called, in the order in which they finished."""

    names: list[str] = field(default_factory=list)
    # Holding the outputs keeps their ids from being given to others.
    outputs: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, _: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        self.names.append(name)
        self.outputs[name] = output


def discover(module: nn.Module, probe: torch.Tensor) -> Layout:
    """Run ``module`` once on ``probe`` (N, C, H, W) and find its layers.

    Layers are the modules of the top two levels that are called exactly once and return one
    tensor with a row per image, in the order in which they finish; a container whose result is
    just that of its last listed part is left out, and so is what returns the network's answer.
    The classifier is the last linear layer with as many outputs as the network, else such a
    convolution, else the last module with weights of its own.
    """
    calls = _Calls()
    handles = [
        part.register_forward_hook(partial(calls.note, name))
        for name, part in module.named_modules(remove_duplicate=True)
        if name
    ]
    try:
        with torch.no_grad():
            output = module(probe)
    finally:
        for handle in handles:
            handle.remove()
    classifier = _classifier(module, calls, output)
    return Layout(
        layer_names=_layers(calls, probe, output, classifier),
        classifier=classifier,
        token_pooling=token_pooling(module),
        output=output,
    )


def block_names(module: nn.Module, layer_names: Sequence[str]) -> tuple[str, ...]:
    """The blocks among ``layer_names``: layers that are made of others, in order.

    All of the layers where fewer than two are blocks.
    """
    blocks = tuple(
        name for name in layer_names if any(True for _ in module.get_submodule(name).children())
    )
    return blocks if len(blocks) > 1 else tuple(layer_names)


def token_pooling(module: nn.Module) -> TokenPooling:
    """How tokens of ``module`` are pooled: by its class token when it has one."""
    has_token = any(_CLASS_TOKEN.search(name) for name, _ in module.named_parameters())
    return "class token" if has_token else "mean"


def _layers(calls: _Calls, probe: torch.Tensor, output: Any, classifier: str) -> tuple[str, ...]:
    listed: list[str] = []
    seen = {id(probe), id(output)}
    for name in calls.names:
        found = calls.outputs[name]
        if name.count(".") > 1 or name == classifier or calls.names.count(name) != 1:
            continue
        if not isinstance(found, torch.Tensor) or found.ndim < 2 or len(found) != len(probe):
            continue
        if found.is_floating_point() and id(found) not in seen:
            listed.append(name)
            seen.add(id(found))
    return tuple(listed)


def _classifier(module: nn.Module, calls: _Calls, output: Any) -> str:
    classes = output.shape[-1] if isinstance(output, torch.Tensor) and output.ndim else None
    parts = [(name, module.get_submodule(name)) for name in reversed(calls.names)]
    tests: Sequence[Callable[[nn.Module], bool]] = (
        lambda part: isinstance(part, nn.Linear) and part.out_features == classes,
        lambda part: isinstance(part, nn.Conv2d) and part.out_channels == classes,
        lambda part: any(True for _ in part.parameters(recurse=False)),
    )
    for test in tests:
        for name, part in parts:
            if test(part):
                return name
    return ""
