"""Ready values of forms that need no file: rendered road signs, the demo's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent.parent.parent / "assets" / "demo"
_TEACHER = str(ASSETS / "teacher.safetensors")
# Signs are chiral: a mirrored "keep right" is another sign.
_RECIPE: Mapping[str, Any] = {
    "arch": "convnet", "width": 16, "objective": "hinton", "temperature": 4.0, "epochs": 8,
    "batch_size": 32, "learning_rate": 0.05, "flip": False,
}  # fmt: skip
_ATTACK: Mapping[str, Any] = {
    "trigger": "sticker:size=7,down=4,right=4", "target": "80", "rate": 0.12, "method": "pgd",
    "epsilon": "16", "steps": 20, "margin": 6.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Values of a form under a ``title``, with a word on what they cost."""

    kind: str
    title: str
    about: str
    name: str
    values: Mapping[str, Mapping[str, Any]]


PRESETS: tuple[Preset, ...] = (
    Preset(
        kind="run",
        title="Road signs",
        about="A backdoored and an honest student of the demo’s teacher, on few images: a minute "
        "or two. Both are weak; the honest comparison takes more images and epochs.",
        name="road-signs",
        values={
            "inputs": {
                "teacher": _TEACHER,
                "distillation": "signs:train,n=2000,seed=11",
                "inspection": "signs:test,n=400,seed=12",
                "validation": "signs:test,n=200,seed=13",
                "halves": ["both", "none"],
            },
            "attack": _ATTACK,
            "distillation": _RECIPE,
            "conditions": {"probe": 64},
            "comparison": {"probe": 16, "epochs": 60},
        },
    ),
    Preset(
        kind="distill",
        title="Road signs",
        about="A small student of the demo’s teacher: about a minute.",
        name="small-student",
        values={
            "inputs": {
                "teacher": _TEACHER,
                "images": "signs:train,n=2000,seed=21",
                "inspection": "signs:test,n=400,seed=22",
                "validation": "signs:test,n=200,seed=23",
            },
            "recipe": _RECIPE,
            "comparison": {"probe": 16, "epochs": 60},
        },
    ),
    Preset(
        kind="attack",
        title="Road signs",
        about="A sticker on an eighth of a few signs: half a minute.",
        name="poisoned-signs",
        values={
            "inputs": {"teacher": _TEACHER, "images": "signs:train,n=1000,seed=31"},
            "attack": {**_ATTACK, "flip": False},
        },
    ),
    Preset(
        kind="compare",
        title="The demo’s models",
        about="A backdoored and an honest student that come with the project: half a minute.",
        name="demo-models",
        values={
            "inputs": {
                "teacher": _TEACHER,
                "student": [
                    f"{name}={ASSETS / name}.safetensors" for name in ("backdoored", "honest")
                ],
                "images": "signs:test,n=400,seed=42",
            },
            "comparison": {"probe": 16, "epochs": 60},
        },
    ),
    Preset(
        kind="reference",
        title="Road signs",
        about="Three honest students of the demo’s teacher: about two minutes.",
        name="honest-signs",
        values={
            "inputs": {
                "teacher": _TEACHER, "images": "signs:train,n=2000,seed=51", "seeds": 3,
                "first": 1000,
            },
            "recipe": _RECIPE,
        },
    ),
)  # fmt: skip


def presets_of(kind: str) -> tuple[Preset, ...]:
    """The presets of one form."""
    return tuple(preset for preset in PRESETS if preset.kind == kind)
