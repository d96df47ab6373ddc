"""What happened in training, epoch by epoch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.errors import ModelError
from analysis.store.files import write_json

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch, counted from 1.

    ``loss`` is the mean over images in the objective's own unit; ``learning_rate`` that of the
    last step. Accuracies and agreements (with the teacher) are shares in [0, 1], or None where
    labels or teacher are missing: training ones on the augmented views while the weights
    moved, validation ones afterwards on the images as they are. ``extra`` is what the caller
    measured. ``seconds`` is provenance.
    """

    epoch: int
    loss: float
    learning_rate: float
    train_accuracy: float | None = None
    train_agreement: float | None = None
    validation_accuracy: float | None = None
    validation_agreement: float | None = None
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the record as a plain mapping."""
        return {**dataclasses.asdict(self), "extra": dict(self.extra)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All epochs of one run, in order, with what the run was made from (``recipe``)."""

    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: tuple[EpochRecord, ...] = ()

    def plus(self, record: EpochRecord) -> History:
        """Return the history with one more epoch."""
        return dataclasses.replace(self, epochs=(*self.epochs, record))

    def to_json(self) -> dict[str, Any]:
        """Return the history as a plain mapping, as ``history.json`` holds it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "recipe": dict(self.recipe),
            "epochs": [record.to_json() for record in self.epochs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> History:
        """Read what :meth:`to_json` returned.

        Raises :class:`~analysis.errors.ModelError` for a newer schema and for anything else
        that is no history.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ModelError(
                f"training history of schema {version!r}",
                expected=f"schema {SCHEMA_VERSION}",
                remedy="read it with the release that wrote it",
            )
        try:
            epochs = tuple(EpochRecord(**record) for record in data["epochs"])
            return cls(recipe=dict(data["recipe"]), epochs=epochs)
        except (KeyError, TypeError) as error:
            raise ModelError(f"damaged training history: {error}") from None

    def write(self, path: Path) -> None:
        """Write ``history.json`` atomically."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a ``history.json``.

        Raises :class:`~analysis.errors.ModelError` when it is missing or damaged.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read training history {path.name!r}: {error}") from None
        if not isinstance(data, dict):
            raise ModelError(f"{path.name!r} is no training history", expected="a JSON object")
        return cls.from_json(data)
