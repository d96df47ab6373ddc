"""Where relative paths in a file start: from the folder that the file is in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from analysis.data.sources import SOURCES
from analysis.models.spec import split_spec


def located(text: str, base: Path) -> str:
    """A path from ``base``; an absolute one, or one from the home folder, stays where it is."""
    return os.path.join(base, os.path.expanduser(text))


def located_source(source: str, base: Path) -> str:
    """A source of images: a path from ``base``, or a generator's text as it is."""
    built_in = {name for name, kind in SOURCES.items() if kind.built_in}
    return source if re.split("[:,]", source)[0] in built_in else located(source, base)


def located_spec(spec: str, base: Path) -> str:
    """A model spec whose files are looked for from ``base``."""
    head, at, weights = split_spec(spec)
    code = located(head, base) if ".py" in head else head
    return f"{code}{at}{located(weights, base)}"
