"""Inside the worker: the models it holds, and how each kind of request is answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.attribution.copies import InferenceCopy, inference_copy
from analysis.data.edits import edits_from_json
from analysis.data.imageset import to_pixels
from analysis.embedding.neighbors import nearest_neighbors
from analysis.live.explaining import check, explain
from analysis.live.remembering import remembered
from analysis.live.requests import (
    Attribute,
    Describe,
    Examine,
    Explanation,
    Keep,
    Look,
    Near,
    Predict,
    Request,
    Trust,
)
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PENULTIMATE, Neighbors
from analysis.store import Study
from analysis.study.inference import kept_batch
from analysis.study.keeping import keep_condition
from analysis.study.models import load_stored

if TYPE_CHECKING:
    from analysis.live.worker import Task

_MOST_MODELS = 32
_AT_ONCE = 64


class Answering:
    """Answers requests; ``trusted_code`` are the files of user code that may run."""

    def __init__(self, trusted_code: tuple[Path, ...] = ()) -> None:
        self.trusted_code = trusted_code
        self._study: Study | None = None
        self._handles: OrderedDict[str, ModelHandle] = OrderedDict()
        self._copies: OrderedDict[tuple[str, tuple[int, ...] | None], InferenceCopy] = OrderedDict()
        self._task: Task | None = None
        self._kinds: dict[type[Request], Callable[[Any], Any]] = {
            Predict: self._predict,
            Near: self._near,
            Attribute: self._attribute,
            Trust: self._trust,
            Keep: self._keep,
            Describe: self._describe,
            Examine: self._examine,
        }

    def answer(self, task: Task) -> Any:
        """Answer the request of ``task``; errors are its author's to catch."""
        self._task = task
        try:
            kind = next(kind for kind in self._kinds if isinstance(task.request, kind))
            return self._kinds[kind](task.request)
        finally:
            self._task = None

    def _opened(self, request: Request) -> Study:
        held = self._study
        if held is None or str(held.path) != request.study or held.digest != request.version:
            self._study = held = Study.open(request.study)
        return held

    def handle(self, study: Study, name: str) -> ModelHandle:
        """The model ``name`` of ``study``, loaded once; every pass of it can be stopped."""
        digest = study.models[name].digest
        if digest not in self._handles:
            handle = load_stored(study, name, self.trusted_code)
            handle.module.register_forward_pre_hook(self._check)
            self._handles[digest] = handle
            if len(self._handles) > _MOST_MODELS:
                self._handles.popitem(last=False)
        self._handles.move_to_end(digest)
        return self._handles[digest]

    def _check(self, *_: object) -> None:
        if self._task is not None:
            self._task.check()

    def copy(self, study: Study, name: str) -> InferenceCopy:
        """The fast copy of a model that attribution runs, made once."""
        order = study.class_order(name)
        key = (study.models[name].digest, order)
        if key not in self._copies:
            sample = torch.from_numpy(to_pixels(np.asarray(study.images[:4])))
            # Whether bfloat16 may be used takes longer to find out than a map of one image.
            copy = inference_copy(
                load_stored(study, name, self.trusted_code),
                sample,
                precision="float32",
                class_order=order,
            )
            copy.register_forward_pre_hook(self._check)
            self._copies[key] = copy
            if len(self._copies) > _MOST_MODELS:
                self._copies.popitem(last=False)
        self._copies.move_to_end(key)
        return self._copies[key]

    def _predict(self, request: Predict) -> dict[str, np.ndarray]:
        study = self._opened(request)
        batch, row = request.images, None
        if request.place is not None:
            # The same shape and the same row in it: then the same sums in the same order.
            row, size = kept_batch(*request.place)
            batch = np.repeat(batch[:1], size, axis=0)
        answers = {}
        for name in request.models:
            parts = [self._traced(study, name, part)[0] for part in _split(batch, row)]
            logits = np.concatenate(parts)
            answers[name] = logits if row is None else logits[row : row + 1]
        return answers

    def _traced(self, study: Study, name: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Logits in the study's order, penultimate features) of a model on ``images``."""
        handle = self.handle(study, name)
        with torch.inference_mode():
            pixels = torch.from_numpy(to_pixels(images))
            logits, features = handle.traced(pixels, (PENULTIMATE,))
        order = study.class_order(name)
        values = logits.float().cpu().numpy()
        values = values if order is None else values[:, list(order)]
        return values, features[PENULTIMATE].float().cpu().numpy()

    def _near(self, request: Near) -> dict[str, Neighbors]:
        study = self._opened(request)
        found = {}
        for name in request.models:
            _, features = self._traced(study, name, request.image[None])
            clean = study.array(f"features/{name}/{CLEAN}/{PENULTIMATE}")
            found[name] = nearest_neighbors(clean, request.count, queries=features)
        return found

    def _attribute(self, request: Attribute) -> Explanation:
        study = self._opened(request)

        def compute() -> Explanation:
            copies = self.copy(study, request.left), self.copy(study, request.student)
            return explain(request, *copies)

        return remembered(study, request, compute) if request.lasts else compute()

    def _trust(self, request: Trust) -> Any:
        study = self._opened(request)
        copies = self.copy(study, request.asked.left), self.copy(study, request.asked.student)
        return check(request.asked, *copies)

    def _keep(self, request: Keep) -> str:
        assert self._task is not None
        return keep_condition(
            request.study,
            name=request.name,
            edits=edits_from_json(request.edits),
            trusted_code=self.trusted_code,
            progress=self._task.progress,
        )

    def _describe(self, request: Describe) -> Any:
        # All that trains: seconds, and who asks what can be set will ask whether it may be next.
        import analysis.study.examination  # noqa: F401
        from analysis.study.setting_cards import setting_cards

        return setting_cards()

    def _examine(self, request: Examine) -> Any:
        from analysis.study.examination import examine

        return examine(
            request.form,
            request.values,
            base=Path(request.base),
            text=request.text,
            deep=isinstance(request, Look),
        )


def _split(batch: np.ndarray, row: int | None) -> list[np.ndarray]:
    if row is not None:
        return [batch]
    return [batch[start : start + _AT_ONCE] for start in range(0, len(batch), _AT_ONCE)]
