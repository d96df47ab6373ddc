"""One training loop, for teachers and students alike; what is learned is the objective's affair."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.data.augmentations import Augmentation
from analysis.data.imageset import ImageSet
from analysis.digest import digest_json
from analysis.distillation.batches import (
    Batch,
    LoadedImages,
    epoch_generator,
    epoch_seed,
    steps_per_epoch,
)
from analysis.distillation.checks import Probe, check_task
from analysis.distillation.history import EpochRecord, History
from analysis.distillation.schedule import checkpoint_epochs, one_cycle
from analysis.distillation.settings import TrainingConfig, computing
from analysis.distillation.signals import Answers, Objective
from analysis.distillation.state import load_state, save_state, save_tensors
from analysis.distillation.tally import Tally
from analysis.distillation.task import TrainingTask
from analysis.distillation.teaching import (
    CachedTeaching,
    LiveTeaching,
    NoTeaching,
    Teaching,
    as_is,
    kept_logits,
    taps,
)
from analysis.errors import ModelError
from analysis.models.handle import ModelHandle
from analysis.models.layers import recording
from analysis.models.normalization import Normalization
from analysis.store import Progress, silent

__all__ = ["TrainingConfig", "TrainingResult", "TrainingTask", "perform", "train"]

STATE, HISTORY = "state.safetensors", "history.json"
_EVALUATION_BATCH = 256

OnEpoch = Callable[[int, nn.Module], Mapping[str, float]]
SaveCheckpoint = Callable[[Path, nn.Module, int], None]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained ``module`` (evaluation mode), its history, and the weights kept, by epoch."""

    module: nn.Module
    history: History
    checkpoints: Mapping[int, Path]


def nothing_more(epoch: int, module: nn.Module) -> Mapping[str, float]:
    """Measure nothing beyond what the history holds anyway."""
    return {}


def save_weights(path: Path, module: nn.Module, epoch: int) -> None:
    """Write the bare weights of a checkpoint."""
    save_tensors(path, module.state_dict(), {"epoch": epoch})


def checkpoint_path(workdir: Path, epoch: int) -> Path:
    """Where the weights of ``epoch`` are kept."""
    return workdir / f"epoch_{epoch:04d}.safetensors"


def train(
    module: nn.Module,
    images: ImageSet,
    *,
    objective: Objective,
    config: TrainingConfig,
    normalization: Normalization,
    workdir: Path,
    teacher: ModelHandle | None = None,
    validation: ImageSet | None = None,
    progress: Progress = silent,
    on_epoch: OnEpoch = nothing_more,
    save_checkpoint: SaveCheckpoint = save_weights,
) -> TrainingResult:
    """Train ``module`` in place on ``images``; go on where an interrupted run stopped.

    ``module`` is called on normalized images. ``workdir`` holds the state after each finished
    epoch, ``history.json``, the teacher's logits and the checkpoints; a finished run is
    returned at once. A resumed run ends with the bits of an uninterrupted one; the same seed,
    machine and thread count give the same bits. ``on_epoch(epoch, module)`` may return numbers
    for the history; ``save_checkpoint(path, module, epoch)`` writes the weights that are kept.

    Raises :class:`~analysis.errors.ModelError` when the loss is not finite or classes differ,
    :class:`~analysis.errors.ImageSetError` when labels are missing or wrong,
    :class:`~analysis.errors.ConfigError` for a setting that cannot be used,
    :class:`~analysis.errors.Cancelled` when ``progress`` does.
    """
    task = TrainingTask(module, images, objective, config, normalization, teacher, validation)
    return perform(
        task,
        workdir=workdir,
        progress=progress,
        on_epoch=on_epoch,
        save_checkpoint=save_checkpoint,
    )


def perform(
    task: TrainingTask,
    *,
    workdir: Path,
    progress: Progress = silent,
    on_epoch: OnEpoch = nothing_more,
    save_checkpoint: SaveCheckpoint = save_weights,
) -> TrainingResult:
    """Train ``task.module`` in place as ``task`` says; all else is as in :func:`train`."""
    with computing(task.config) as device:
        task = task.on(device)
        run = _Run(task, check_task(task, device), device, workdir, progress)
        return run.complete(on_epoch, save_checkpoint)


class _Run:
    """One training: what is constant over its epochs, and the steps that use it."""

    def __init__(
        self,
        task: TrainingTask,
        probe: Probe,
        device: torch.device,
        workdir: Path,
        progress: Progress,
    ) -> None:
        self.module, self.objective, self.config = task.module, task.objective, task.config
        self.normalization, self.device = task.normalization, device
        self.workdir, self.progress = workdir, progress
        self.augmentation = Augmentation(flip=self.config.flip, shift=self.config.shift)
        self.recipe = task.recipe()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.taps = taps(self.module, self.objective.layers_of_student, probe.classifier)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.config.seed, 0, "adapters"))
            adapters = self.objective.adapters(probe.student_shapes, probe.teacher_shapes)
        self.trained = nn.ModuleDict({"module": self.module, "adapters": adapters.to(device)})
        self.optimizer = self.config.make_optimizer(self.trained.parameters())
        self.images = LoadedImages(task.images, device)
        self.steps = steps_per_epoch(len(task.images), self.config.batch_size)
        self.alteration = task.alteration
        self.teaching = self._teaching(task)
        self.validation = None
        self.validation_teaching: Teaching = NoTeaching()
        if task.validation is not None:
            self.validation = LoadedImages(task.validation, device)
            if task.teacher is not None:
                self.validation_teaching = self._cached(task.teacher, task.validation, "validation")

    def _teaching(self, task: TrainingTask) -> Teaching:
        if task.teacher_logits is not None:
            return CachedTeaching(task.teacher_logits, self.device)
        if task.teacher is None:
            return NoTeaching()
        if self.config.teacher_views == "cached":
            return self._cached(task.teacher, task.images, "training")
        return LiveTeaching(task.teacher, self.objective.layers_of_teacher)

    def _cached(self, teacher: ModelHandle, images: ImageSet, purpose: str) -> Teaching:
        path = self.workdir / f"teacher_{purpose}.npy"
        stage = f"teacher on the {purpose} images"
        logits = kept_logits(
            teacher, images, path, device=self.device, progress=self.progress, stage=stage
        )
        return CachedTeaching(logits, self.device)

    def complete(self, on_epoch: OnEpoch, save_checkpoint: SaveCheckpoint) -> TrainingResult:
        """Run the epochs that are not done yet."""
        run = digest_json(self.recipe)
        state = self.workdir / STATE
        history = load_state(state, self.trained, self.optimizer, run=run)
        if history is None:
            history = History(recipe=self.recipe)
            # Weights of another run would pass for epochs of this one.
            for stale in self.workdir.glob("epoch_*.safetensors"):
                stale.unlink()
        else:
            # A kill may have come between the two files.
            history.write(self.workdir / HISTORY)
        kept = self._kept_epochs()
        for epoch in range(len(history.epochs) + 1, self.config.epochs + 1):
            record = self._epoch(epoch)
            history = history.plus(replace(record, extra=dict(on_epoch(epoch, self.module))))
            if epoch in kept:
                save_checkpoint(checkpoint_path(self.workdir, epoch), self.module, epoch)
            save_state(state, self.trained, self.optimizer, run=run, history=history)
            history.write(self.workdir / HISTORY)
        paths = {epoch: checkpoint_path(self.workdir, epoch) for epoch in kept}
        checkpoints = {epoch: path for epoch, path in paths.items() if path.exists()}
        return TrainingResult(self.module.eval(), history, checkpoints)

    def _kept_epochs(self) -> tuple[int, ...]:
        config = self.config
        return checkpoint_epochs(
            config.epochs,
            every=config.checkpoint_every,
            count=config.checkpoint_count,
            listed=config.checkpoint_epochs,
        )

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.perf_counter()
        tally, rate = Tally(), 0.0
        order = epoch_generator(self.config.seed, epoch, "order")
        views = epoch_generator(self.config.seed, epoch, "augmentation")
        altered = epoch_generator(self.config.seed, epoch, "alteration")
        self.trained.train()
        with torch.random.fork_rng(devices=[]), recording(self.module, self.taps, as_is) as seen:
            torch.manual_seed(epoch_seed(self.config.seed, epoch, "layers"))
            first = (epoch - 1) * self.steps
            for step, batch in enumerate(self.images.shuffled(self.config.batch_size, order)):
                self.progress("training", first + step, self.config.epochs * self.steps)
                rate = self._set_learning_rate(first + step)
                augmented = replace(batch, pixels=self.augmentation(batch.pixels, views))
                self._step(augmented, seen, tally, epoch, altered)
        self.progress("training", epoch * self.steps, self.config.epochs * self.steps)
        self._check_weights(epoch)
        # What looks at the network now, on_epoch too, must not move its running statistics.
        self.trained.eval()
        validation = self._validate()
        return EpochRecord(
            epoch=epoch,
            loss=tally.loss / tally.count,
            learning_rate=rate,
            train_accuracy=tally.accuracy,
            train_agreement=tally.agreement,
            validation_accuracy=validation.accuracy,
            validation_agreement=validation.agreement,
            seconds=time.perf_counter() - started,
        )

    def _set_learning_rate(self, step: int) -> float:
        total, config = self.config.epochs * self.steps, self.config
        rate = one_cycle(step, total, peak=config.learning_rate, warmup=config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(
        self,
        batch: Batch,
        seen: Mapping[str, Tensor],
        tally: Tally,
        epoch: int,
        altered: torch.Generator,
    ) -> None:
        theirs = self.teaching.answers(batch.rows, batch.pixels)
        if self.alteration is not None:
            shown = self.alteration(batch.rows, batch.pixels, altered)
            batch = replace(batch, pixels=shown)
        with torch.autocast(
            self.device.type,
            torch.bfloat16,
            enabled=self.config.effective_precision == "bfloat16",
        ):
            logits = self.module(self._input(batch.pixels))
        mine = Answers(logits.float(), dict(seen))
        loss = self.objective.loss(mine, theirs, batch.labels, self.trained["adapters"])
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged(f"the loss became {value}", epoch, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        tally.add(value, logits, theirs, batch.labels)

    def _input(self, pixels: Tensor) -> Tensor:
        return self.normalization(pixels).contiguous(memory_format=torch.channels_last)

    def _check_weights(self, epoch: int) -> None:
        # The last step of an epoch may spoil the weights after its loss was still finite.
        if not all(bool(torch.isfinite(p).all()) for p in self.module.parameters()):
            raise _diverged("the weights are no longer finite", epoch, self.config)

    @torch.no_grad()
    def _validate(self) -> Tally:
        tally = Tally()
        if self.validation is None:
            return tally
        for batch in self.validation.in_order(_EVALUATION_BATCH):
            logits = self.module(self._input(batch.pixels))
            theirs = self.validation_teaching.answers(batch.rows, batch.pixels)
            tally.add(0.0, logits, theirs, batch.labels)
        return tally


def _diverged(what: str, epoch: int, config: TrainingConfig) -> ModelError:
    return ModelError(
        f"training diverged in epoch {epoch}: {what}",
        remedy=f"lower the learning rate (it is {config.learning_rate:g})",
    )
