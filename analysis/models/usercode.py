"""User code: a network that a file of the user's own builds, run only when it was trusted."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from analysis.digest import digest_bytes
from analysis.errors import ModelError, SpecError, TrustError, nearest
from analysis.models.layers import Layout, discover
from analysis.models.weights import require_file

_SIDES = (32, 28, 64, 224, 96, 48, 16, 8, 128, 256, 299, 384)


def build_user_module(
    code: Path,
    factory: str,
    *,
    num_classes: int | None,
    width: int | None,
    trusted_code: Collection[Path | str] = (),
) -> tuple[nn.Module, str]:
    """Run ``factory`` of the user's file ``code``; return the module and the file's sha256.

    ``num_classes`` and ``width`` are handed over when they are known and the factory takes them.
    Raises :class:`TrustError` unless ``code`` is among ``trusted_code``, and
    :class:`ModelError` naming whatever the user's code raised.
    """
    require_trust(code, trusted_code)
    source = code.read_bytes()
    digest = digest_bytes(source)
    module = _execute(code, source, f"distillscope_user_{digest[:16]}")
    make = getattr(module, factory, None)
    if not callable(make):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise SpecError(f"{code.name} has no function {factory!r}", remedy=nearest(factory, names))
    arguments = _arguments(make, {"num_classes": num_classes, "width": width})
    network = _guarded(lambda: make(**arguments), f"{factory}() of {code.name}")
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{factory}() of {code.name} returned a {type(network).__name__}",
            expected="a torch.nn.Module",
        )
    return network, digest


def require_trust(code: Path, trusted_code: Collection[Path | str]) -> None:
    """Raise :class:`TrustError` unless the file ``code`` is among ``trusted_code``."""
    require_file(code)
    if code.resolve() not in {Path(path).expanduser().resolve() for path in trusted_code}:
        raise TrustError(
            f"the model's code {code} would have to be executed",
            remedy=f"if you trust it, pass --trust-code {code}",
        )


def trace_user_module(
    module: nn.Module, *, what: str, channels: int | None
) -> tuple[Layout, int, tuple[int, int] | None]:
    """Run ``module`` on noise; return (its layout, channels, image size or None for any).

    Channels come from ``channels``, the first convolution, or trying 3 and 1; sizes are tried.
    Raises :class:`ModelError` unless it answers some size with finite logits (N, K).
    """
    module.eval()
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    known = channels or (first.in_channels if first is not None else None)
    reason: Exception | None = None
    for count in (3, 1) if known is None else (known,):
        for side in _SIDES:
            try:
                layout = discover(module, _noise(count, side))
            # Whatever the user's code raises only says that this size is not the one.
            except Exception as error:
                reason = reason or error
                continue
            _check_output(layout.output, what)
            size = None if _takes(module, _noise(count, side + 8)) else (side, side)
            return layout, count, size
    raise ModelError(
        f"{what} answers images of no common size ({type(reason).__name__}: {_line(reason)})",
        expected=f"square images, one of {', '.join(map(str, _SIDES))} pixels wide",
    )


def _execute(code: Path, source: bytes, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, code)
    if spec is None:
        raise ModelError(f"{code.name} cannot be imported", expected="a Python file")
    module = importlib.util.module_from_spec(spec)
    # Classes look their module up by name while they are being defined.
    sys.modules[name] = module
    try:
        # The very bytes that the digest was taken of: the file may change meanwhile.
        _guarded(lambda: exec(compile(source, str(code), "exec"), vars(module)), code.name)
    except ModelError:
        del sys.modules[name]
        raise
    return module


def _guarded(action: Callable[[], Any], what: str) -> Any:
    try:
        return action()
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{what} raised {type(error).__name__}: {_line(error)}", remedy="correct the file"
        ) from error


def _arguments(make: Callable[..., Any], known: dict[str, int | None]) -> dict[str, int]:
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {name: value for name, value in known.items() if value is not None}
    required = {name for name, p in parameters.items() if p.default is p.empty}
    for option, name in (("classes", "num_classes"), ("width", "width")):
        if name in required and name not in given:
            raise SpecError(f"the factory needs {name}", remedy=f"add ,{option}=N to the spec")
    return {name: value for name, value in given.items() if keywords or name in parameters}


def _noise(channels: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, channels, side, side, generator=generator)


def _takes(module: nn.Module, probe: torch.Tensor) -> bool:
    try:
        with torch.no_grad():
            module(probe)
    except Exception:
        return False
    return True


def _check_output(output: Any, what: str) -> None:
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"{what} answers with a {type(output).__name__}", expected="logits of shape (N, K)"
        )
    if output.ndim != 2 or len(output) != 2 or output.shape[1] < 2:
        raise ModelError(
            f"{what} answers 2 images with shape {tuple(output.shape)}",
            expected="logits of shape (2, K) with at least 2 classes",
        )
    if not output.is_floating_point() or not bool(torch.isfinite(output).all()):
        raise ModelError(
            f"{what} answers noise with NaN, infinite or {output.dtype} values",
            expected="finite floating point logits",
        )


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:300]
