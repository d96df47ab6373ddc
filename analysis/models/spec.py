"""Model specs: one line of text that names a model.

``ARCH@WEIGHTS[,normalize=..][,classes=N][,width=N]``, where ARCH is a built-in name or
``path/to/file.py:factory``; or the path of a ``.safetensors`` file written by Distillscope.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import SpecError, nearest
from analysis.models.normalization import Normalization

SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin")
FORM = "ARCH@WEIGHTS[,normalize=..][,classes=N][,width=N]"

_CODE = re.compile(r"(.*?\.py(?::[^@/]*)?)@(.*)", re.DOTALL)
_OPTIONS = ("normalize", "classes", "width")
_OPTION = re.compile(r"([A-Za-z_][\w-]*)=(.*)", re.DOTALL)


def split_spec(body: str) -> tuple[str, str, str]:
    """Cut ``ARCH@WEIGHTS`` in two around its "@"; a path may hold an "@" of its own.

    A built-in name ends at the first one that no directory stands before, user code at the first
    behind ``.py`` or ``.py:NAME``. Without either, all is the path of the weights.
    """
    code = _CODE.match(body)
    if code is not None:
        return code[1], "@", code[2]
    head, at, weights = body.partition("@")
    return (head, at, weights) if at and not set(head) & {"/", os.sep} else ("", "", body)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model by name: architecture or user code, weights file, options.

    ``architecture`` is a built-in name, or None for user code and for files that say themselves
    what they hold. ``code`` is the user's file and ``factory`` a function in it.
    """

    weights: Path
    architecture: str | None = None
    code: Path | None = None
    factory: str | None = None
    normalization: Normalization | None = None
    num_classes: int | None = None
    width: int | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Read a spec; raises :class:`SpecError` naming what is wrong and the nearest option."""
        body, options = _split_options(text.strip())
        architecture, at, weights = split_spec(body)
        if at and body.endswith(".safetensors") and Path(body).is_file():
            architecture, weights = "", body
        if at and not architecture and weights != body:
            raise SpecError(f"model spec {text!r} names no architecture", expected=FORM)
        path = Path(weights).expanduser()
        if path.suffix.lower() not in SUFFIXES:
            raise SpecError(
                f"model spec {text!r} names no weights file",
                expected=f"{FORM} with a file ending in {', '.join(SUFFIXES)}",
            )
        if not architecture and path.suffix.lower() != ".safetensors":
            raise SpecError(
                f"model spec {text!r} names no architecture",
                expected=FORM,
                remedy=f"write e.g. resnet20@{path.name}",
            )
        normalize = options.get("normalize")
        name, code, factory = _architecture(architecture)
        return cls(
            weights=path,
            architecture=name,
            code=code,
            factory=factory,
            normalization=None if normalize is None else Normalization.parse(normalize),
            num_classes=_count("classes", options, 2),
            width=_count("width", options, 1),
        )

    @property
    def label(self) -> str | None:
        """The architecture as records name it: built-in name, ``file.py:factory`` or None."""
        return self.architecture if self.code is None else f"{self.code.name}:{self.factory}"

    @property
    def text(self) -> str:
        """The spec without any directory."""
        label = self.label
        parts = [self.weights.name if label is None else f"{label}@{self.weights.name}"]
        if self.normalization is not None:
            parts.append(f"normalize={self.normalization.text}")
        if self.num_classes is not None:
            parts.append(f"classes={self.num_classes}")
        if self.width is not None:
            parts.append(f"width={self.width}")
        return ",".join(parts)


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    """Take options off the end; what does not look like one belongs to the path."""
    options: dict[str, str] = {}
    while True:
        body, comma, last = text.rpartition(",")
        match = _OPTION.fullmatch(last.strip()) if comma else None
        if match is None:
            return text, options
        key, value = match.groups()
        if key not in _OPTIONS:
            if "/" in value or "@" in value or Path(value).suffix.lower() in SUFFIXES:
                return text, options
            raise SpecError(
                f"unknown option {key!r} in model spec {text!r}", remedy=nearest(key, _OPTIONS)
            )
        if key in options:
            raise SpecError(f"option {key!r} is given twice in a model spec", expected="once")
        options[key] = value.strip()
        text = body


def _architecture(text: str) -> tuple[str | None, Path | None, str | None]:
    """Read what stands before the ``@``: (built-in name, user file, factory)."""
    if ".py:" in text:
        file, _, factory = text.rpartition(":")
        if not factory.isidentifier():
            raise SpecError(f"factory {factory!r}", expected="the name of a function in the file")
        return None, Path(file).expanduser(), factory
    if text.endswith(".py"):
        raise SpecError(
            f"user code {text!r} without a factory", expected=f"{text}:NAME", remedy="name it"
        )
    return text or None, None, None


def _count(key: str, options: dict[str, str], low: int) -> int | None:
    value = options.get(key)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < low:
        raise SpecError(f"{key}={value}", expected=f"a whole number of at least {low}")
    return int(value)
