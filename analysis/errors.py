"""The errors that Distillscope raises on purpose.

    DistillscopeError
    ├── InputError            what was given is wrong; the command line exits with 2
    │   ├── ConfigError       a configuration value or key
    │   ├── SpecError         a model spec (``ARCH@WEIGHTS[,option=value]``)
    │   ├── ImageSetError     images, labels, sample ids
    │   ├── ModelError        weights, architectures, outputs of a model
    │   ├── StudyError        a study folder: missing, damaged, of a newer schema
    │   ├── TrustError        user code that the command line did not trust
    │   └── BusyError         a study, file or port that somebody else holds
    ├── StorageError          the disk refused: full, read-only, gone
    ├── LiveError             the live worker died, or was too slow
    └── Cancelled             the user asked for it to stop

Every message is one line that names the value, what was expected and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DistillscopeError(Exception):
    """An error with a message that is meant for the user.

    ``what`` names the offending value, ``expected`` what would have been right, ``remedy`` what
    to do about it. ``str(error)`` is the three joined to one line.
    """

    def __init__(self, what: str, *, expected: str | None = None, remedy: str | None = None):
        self.what = what
        self.expected = expected
        self.remedy = remedy
        message = what
        if expected:
            message += f"; expected {expected}"
        if remedy:
            message += f". {remedy[:1].upper()}{remedy[1:]}"
        super().__init__(" ".join(message.split()))


class InputError(DistillscopeError):
    """What was given cannot be used."""


class ConfigError(InputError):
    """A configuration value or key is wrong."""


class SpecError(InputError):
    """A model spec cannot be read."""


class ImageSetError(InputError):
    """Images, labels or sample ids cannot be used."""


class ModelError(InputError):
    """A model cannot be loaded, or answers nonsense."""


class StudyError(InputError):
    """A study folder cannot be opened."""


class TrustError(InputError):
    """User code would have to be executed, and the command line did not allow it."""


class BusyError(InputError):
    """Somebody else holds what is needed."""


class StorageError(DistillscopeError):
    """The disk refused to store something."""


class LiveError(DistillscopeError):
    """The live worker died, or was too slow."""


class Cancelled(DistillscopeError):  # noqa: N818 - a request that was honored, not a failure
    """The user asked for the work to stop."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Name the choice that ``value`` was probably meant to be, as the end of a remedy.

    Returns ``"Did you mean 'resnet20'?"``, or the list of choices when nothing is close.
    """
    known = sorted(choices)
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(value.lower(), list(by_lower), n=3, cutoff=0.6)
    if close:
        best = max(close, key=lambda name: _closeness(value.lower(), name))
        return f"Did you mean {by_lower[best]!r}?"
    return f"Known: {', '.join(known)}"


def _closeness(value: str, name: str) -> tuple[float, int]:
    # Of equally similar names the one with the longer common beginning: resnet21 -> resnet20.
    common = next((i for i, (a, b) in enumerate(zip(value, name, strict=False)) if a != b), 0)
    ratio = difflib.SequenceMatcher(None, value, name).ratio()
    return round(ratio, 6), common
