"""The state of an unfinished run: one file, whole or absent, and no pickle.

Every random number of an epoch comes from (seed, epoch) and the learning rate from the step,
so weights, optimizer and history are all there is to keep.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.distillation.history import History
from analysis.errors import ModelError
from analysis.store.files import atomic_path

_HEADER = "distillscope"


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header into one safetensors file, atomically."""
    # safetensors refuses views and shared memory; a copy of each tensor has neither.
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={_HEADER: json.dumps(header, allow_nan=False)})


def save_state(
    path: Path, trained: nn.Module, optimizer: torch.optim.Optimizer, *, run: str, history: History
) -> None:
    """Write the state after ``len(history.epochs)`` epochs of the run with digest ``run``."""
    tensors = {f"model.{key}": value for key, value in trained.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        kept = {key: value for key, value in values.items() if value is not None}
        tensors |= {f"optimizer.{index}.{key}": value for key, value in kept.items()}
    save_tensors(path, tensors, {"run": run, "history": history.to_json()})


def load_state(
    path: Path, trained: nn.Module, optimizer: torch.optim.Optimizer, *, run: str
) -> History | None:
    """Load the state of run ``run`` into module and optimizer; return its history.

    Returns None, and changes nothing, when there is no state or it belongs to another run.
    Raises :class:`~analysis.errors.ModelError` when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            if header["run"] != run:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        history = History.from_json(header["history"])
        trained.load_state_dict(_under("model", tensors))
        _load_optimizer(optimizer, _under("optimizer", tensors))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"training state {path.name!r} is damaged: {error}",
            remedy="delete it to start the training over",
        ) from error
    return history


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        # The memory format decides the order of additions: a resumed run must repeat it.
        same = value.shape == like.shape
        value = torch.empty_like(like).copy_(value).detach() if same else value
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
