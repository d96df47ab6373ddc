"""Attribution methods, by name. captum does the work; an entry says what its maps mean.

Menus and tests iterate over :data:`METHODS`, so a new entry is shown and tested without another
edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Occlusion, Saliency

from analysis.errors import InputError, nearest

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(pixels (N, C, H, W), explained class (N,)) -> the explained number (N,)."""

Options = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One batch to be explained: pixels and baselines (N, C, H, W), classes (N,).

    ``batch`` is how many images go through the model at once, ``seed`` starts what is random.
    """

    forward: Forward
    pixels: torch.Tensor
    baselines: torch.Tensor
    classes: torch.Tensor
    options: Options
    batch: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Method:
    """An attribution method.

    ``explain`` returns attributions (N, C, H, W). ``linear``: the map of a difference of two
    outputs is the difference of their maps. ``signed``: negative values speak against.
    ``complete``: a map sums to the explained number minus that of the baseline.
    ``options`` are its numbers with their defaults, ``smallest`` the least that each may be.
    """

    name: str
    title: str
    source: str
    explain: Callable[[Task], torch.Tensor]
    linear: bool
    signed: bool
    complete: bool = False
    uses_baseline: bool = False
    uses_gradients: bool = True
    options: Options = field(default_factory=dict)
    smallest: Options = field(default_factory=dict)

    def settle(self, given: Options) -> dict[str, float]:
        """Return the options with defaults filled in.

        Raises :class:`InputError` for an option that this method does not have, and for a value
        that is too small or, where whole numbers are meant, not whole.
        """
        for key, value in given.items():
            if key not in self.options:
                known = nearest(key, self.options) if self.options else "It has no options"
                raise InputError(f"option {key!r} of {self.name}", remedy=known)
            whole = isinstance(self.options[key], int)
            if not value >= self.smallest[key] or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise InputError(
                    f"{key} = {value} of {self.name}",
                    expected=f"{kind} of at least {self.smallest[key]:g}",
                )
        return {**self.options, **given}


def find_method(name: str) -> Method:
    """Return the method called ``name``; raises :class:`InputError` naming the nearest."""
    if name not in METHODS:
        raise InputError(f"unknown attribution method {name!r}", remedy=nearest(name, METHODS))
    return METHODS[name]


def _integrated_gradients(task: Task) -> torch.Tensor:
    # Gauss-Legendre nodes are the best for smooth paths: the trapezoid rule needs several times
    # the steps for the same completeness error.
    return IntegratedGradients(task.forward).attribute(
        task.pixels,
        task.baselines,
        additional_forward_args=(task.classes,),
        n_steps=int(task.options["steps"]),
        method="gausslegendre",
        internal_batch_size=max(task.batch, len(task.pixels)),
    )


def _saliency(task: Task) -> torch.Tensor:
    pixels = task.pixels.detach().requires_grad_()
    return Saliency(task.forward).attribute(pixels, additional_forward_args=(task.classes,))


def _input_x_gradient(task: Task) -> torch.Tensor:
    pixels = task.pixels.detach().requires_grad_()
    return InputXGradient(task.forward).attribute(pixels, additional_forward_args=(task.classes,))


def _smoothgrad(task: Task) -> torch.Tensor:
    tunnel = NoiseTunnel(Saliency(task.forward))
    devices = [task.pixels.device] if task.pixels.device.type == "cuda" else []
    maps = []
    for pixels, classes in zip(task.pixels.split(1), task.classes.split(1), strict=True):
        with torch.random.fork_rng(devices):
            # The same noise for both models, or their difference would be noise too, and for
            # every image, so that no map depends on the batch that an image came in.
            torch.manual_seed(task.seed)
            maps.append(
                tunnel.attribute(
                    pixels.detach().requires_grad_(),
                    nt_type="smoothgrad",
                    nt_samples=int(task.options["samples"]),
                    nt_samples_batch_size=task.batch,
                    stdevs=float(task.options["noise"]),
                    abs=False,
                    additional_forward_args=(classes,),
                )
            )
    return torch.cat(maps)


def _occlusion(task: Task) -> torch.Tensor:
    channels, height, width = task.pixels.shape[1:]
    window = int(task.options["window"])
    if window > min(height, width):
        raise InputError(
            f"window = {window} on images of {height}x{width}",
            expected=f"at most {min(height, width)}",
        )
    stride = min(int(task.options["stride"]), window)
    with torch.no_grad():
        values = Occlusion(task.forward).attribute(
            task.pixels,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, stride, stride),
            baselines=task.baselines,
            additional_forward_args=(task.classes,),
            perturbations_per_eval=max(1, task.batch // len(task.pixels)),
        )
    # captum gives every channel under a window the whole effect of that window.
    return values / channels


METHODS: Mapping[str, Method] = {
    entry.name: entry
    for entry in (
        Method(
            name="integrated_gradients",
            title="Integrated gradients",
            source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
            explain=_integrated_gradients,
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            options={"steps": 32},
            smallest={"steps": 1},
        ),
        Method(
            name="saliency",
            title="Saliency (absolute gradient)",
            source="Simonyan, Vedaldi, Zisserman 2013, arXiv 1312.6034",
            explain=_saliency,
            linear=False,
            signed=False,
        ),
        Method(
            name="input_x_gradient",
            title="Input times gradient",
            source="Shrikumar, Greenside, Shcherbina, Kundaje 2016, arXiv 1605.01713",
            explain=_input_x_gradient,
            linear=True,
            signed=True,
        ),
        Method(
            name="smoothgrad",
            title="SmoothGrad (gradient, averaged over noise)",
            source="Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, arXiv 1706.03825",
            explain=_smoothgrad,
            linear=True,
            signed=True,
            options={"samples": 16, "noise": 0.1},
            smallest={"samples": 1, "noise": 0.0},
        ),
        Method(
            name="occlusion",
            title="Occlusion",
            source="Zeiler, Fergus 2013, arXiv 1311.2901",
            explain=_occlusion,
            linear=True,
            signed=True,
            uses_baseline=True,
            uses_gradients=False,
            options={"window": 4, "stride": 2},
            smallest={"window": 1, "stride": 1},
        ),
    )
}
