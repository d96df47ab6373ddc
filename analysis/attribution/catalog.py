"""What can be asked of attribution, by name: methods, baselines, scalars. Needs no torch.

Screens make their menus and requests of these cards; the registries that compute
(:data:`~analysis.attribution.methods.METHODS` and its like) have one entry for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.errors import InputError, nearest

Options = Mapping[str, float]

BASELINE_DESCRIPTIONS: Mapping[str, str] = {
    "blurred": "the image itself, blurred until no detail is left",
    "mean": "the image's mean color everywhere",
    "black": "black everywhere",
}

PAIR_FORMULAS: Mapping[str, str] = {
    "p_student_minus_teacher": "p_S(c) - p_T(c)",
    "margin_student_minus_teacher": "margin_S(c) - margin_T(c)",
    "kl_teacher_student": "KL(T || S)",
}
"""How screens write the numbers of a pair."""


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """What is to be known of an attribution method before it is run.

    ``linear``: the map of a difference of two models' numbers is the difference of their maps.
    ``signed``: negative values speak against. ``complete``: a map sums to the explained number
    minus that of the baseline, exactly or, where points are drawn at random, in expectation.
    ``random`` methods draw numbers. Those that run ``as_built`` attach to a model's modules, so
    the fast copies cannot stand in for it. ``options`` are its numbers with their defaults,
    ``smallest`` the least that each may be.
    """

    name: str
    title: str
    source: str
    linear: bool
    signed: bool
    complete: bool = False
    uses_baseline: bool = False
    uses_gradients: bool = True
    random: bool = False
    as_built: bool = False
    options: Options = field(default_factory=dict)
    smallest: Options = field(default_factory=dict)

    def settle(self, given: Options) -> dict[str, float]:
        """Return the options with defaults filled in.

        Raises :class:`InputError` for an option that this method does not have, and for a value
        that is too small or, where whole numbers are meant, not whole.
        """
        settled = dict(self.options)
        for key, value in given.items():
            if key not in self.options:
                known = nearest(key, self.options) if self.options else "It has no options"
                raise InputError(f"option {key!r} of {self.name}", remedy=known)
            whole = isinstance(self.options[key], int)
            fits = value >= self.smallest[key] and math.isfinite(value)
            if not fits or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise InputError(
                    f"{key} = {value} of {self.name}",
                    expected=f"{kind} of at least {self.smallest[key]:g}",
                )
            settled[key] = int(value) if whole else float(value)
        return settled


METHOD_CARDS: Mapping[str, MethodCard] = {
    card.name: card
    for card in (
        MethodCard(
            name="integrated_gradients",
            title="Integrated gradients",
            source="Sundararajan, Taly, Yan 2017, arXiv 1703.01365",
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            options={"steps": 32},
            smallest={"steps": 1},
        ),
        MethodCard(
            name="saliency",
            title="Saliency (absolute gradient)",
            source="Simonyan, Vedaldi, Zisserman 2013, arXiv 1312.6034",
            linear=False,
            signed=False,
        ),
        MethodCard(
            name="input_x_gradient",
            title="Input times gradient",
            source="Shrikumar, Greenside, Shcherbina, Kundaje 2016, arXiv 1605.01713",
            linear=True,
            signed=True,
        ),
        MethodCard(
            name="smoothgrad",
            title="SmoothGrad (gradient, averaged over noise)",
            source="Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, arXiv 1706.03825",
            linear=True,
            signed=True,
            random=True,
            options={"samples": 16, "noise": 0.1},
            smallest={"samples": 1, "noise": 0.0},
        ),
        MethodCard(
            name="gradient_shap",
            title="Gradient SHAP (expected gradients)",
            source="Lundberg, Lee 2017, arXiv 1705.07874; Erion et al. 2019, arXiv 1906.10670",
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            random=True,
            options={"samples": 32, "noise": 0.0},
            smallest={"samples": 1, "noise": 0.0},
        ),
        MethodCard(
            name="deeplift",
            title="DeepLift (rescale rule)",
            source="Shrikumar, Greenside, Kundaje 2017, arXiv 1704.02685",
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            as_built=True,
        ),
        MethodCard(
            name="grad_cam",
            title="Grad-CAM (last layer with places)",
            source="Selvaraju et al. 2016, arXiv 1610.02391",
            linear=False,
            signed=False,
            as_built=True,
            options={"layers_back": 0},
            smallest={"layers_back": 0},
        ),
        MethodCard(
            name="occlusion",
            title="Occlusion",
            source="Zeiler, Fergus 2013, arXiv 1311.2901",
            linear=True,
            signed=True,
            uses_baseline=True,
            uses_gradients=False,
            options={"window": 4, "stride": 2},
            smallest={"window": 1, "stride": 1},
        ),
        MethodCard(
            name="kernel_shap",
            title="KernelSHAP on superpixels",
            source="Lundberg, Lee 2017, arXiv 1705.07874",
            linear=True,
            signed=True,
            complete=True,
            uses_baseline=True,
            uses_gradients=False,
            random=True,
            options={"segments": 24, "samples": 256},
            smallest={"segments": 2, "samples": 3},
        ),
    )
}


def find_card(name: str) -> MethodCard:
    """Return the card of a method; raises :class:`InputError` naming the nearest."""
    if name not in METHOD_CARDS:
        raise InputError(f"unknown attribution method {name!r}", remedy=nearest(name, METHOD_CARDS))
    return METHOD_CARDS[name]
