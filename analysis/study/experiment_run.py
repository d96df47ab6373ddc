"""One experiment under way: train a teacher, poison, distill every student, compare.

What is made is named by the digest of what it was made from; where such a file is, it is whole.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.digest import digest_json
from analysis.distillation.objectives import Supervised
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.store import Progress, Study, workspace_cache
from analysis.store.files import write_json
from analysis.store.manifest import MANIFEST
from analysis.study.attack import SET_NAME, attack_images
from analysis.study.comparison import compare
from analysis.study.experiment_keys import Keys
from analysis.study.experiment_settings import Experiment, StudentPlan
from analysis.study.specs import StudentSpec
from analysis.study.training import distill_model, run_folder, train_model

PROVENANCE = "experiment"


class ExperimentRun:
    """What is made in ``folder`` for one experiment; :meth:`complete` makes what is missing."""

    def __init__(
        self,
        experiment: Experiment,
        keys: Keys,
        folder: Path,
        trusted_code: tuple[str | Path, ...],
        progress: Progress,
    ) -> None:
        self.experiment, self.keys, self.folder = experiment, keys, folder
        self.trusted_code, self.progress = trusted_code, progress

    def complete(self) -> Study:
        """Run what is missing, in order."""
        experiment = self.experiment
        students = {name: self._student(name) for name in experiment.students}
        self._note(students)
        return compare(
            teacher=self.teacher,
            students=self._specs(students),
            images=experiment.images.inspection,
            out=experiment.out,
            config=experiment.comparison,
            trusted_code=self.trusted_code,
            name=experiment.name,
            provenance={PROVENANCE: self._provenance()},
            device=experiment.device,
            distillation=self._distillation,
            progress=self.progress,
        )

    def distillation_sets(self) -> dict[str, str]:
        """The images that each student was distilled on, where they still lie in the folder.

        What says which of them are poisoned lies beside them and is not among them.
        """
        plans = self.experiment.students
        folders = {name: self._poisoned(plan.half) for name, plan in plans.items()}
        return {name: str(folder) for name, folder in folders.items() if folder.exists()}

    def _of(self, what: str) -> Progress:
        # Every student trains: without its name a stage would look like one that was done.
        return lambda stage, done, total: self.progress(f"{what}: {stage}", done, total)

    @functools.cached_property
    def teacher(self) -> str:
        """The spec of the teacher, which is trained first where a recipe was given."""
        experiment, recipe = self.experiment, self.experiment.teacher
        if isinstance(recipe, str):
            return recipe
        weights = self.folder / f"teacher-{_short(self.keys.teacher)}.safetensors"
        if not weights.exists():
            images = experiment.images
            source, limit = images.teacher or images.distillation, images.limit
            assert isinstance(recipe.objective, Supervised)
            train_model(
                architecture=recipe.network.arch,
                width=recipe.network.width,
                normalize=recipe.network.normalize,
                images=self._load(source, "training", None if images.teacher else limit),
                validation=self._validation(None),
                objective=recipe.objective,
                config=recipe.training,
                out=weights,
                progress=self._of("teacher"),
            )
        return str(weights)

    @functools.cached_property
    def handle(self) -> ModelHandle:
        """The teacher, loaded."""
        return load_model(
            self.teacher, trusted_code=self.trusted_code, device=self.experiment.device
        )

    def _load(
        self, source: str, name: str, limit: int | None, handle: ModelHandle | None = None
    ) -> ImageSet:
        size = None if handle is None else handle.side
        return load_images(
            source,
            name=name,
            size=size,
            channels=None if handle is None else handle.in_channels,
            limit=limit,
            seed=self.experiment.seed,
            progress=self.progress,
        )

    def _validation(self, handle: ModelHandle | None) -> ImageSet | None:
        images = self.experiment.images
        if images.validation is None:
            return None
        return self._load(images.validation, "validation", images.validation_limit, handle)

    def _poisoned(self, half: str) -> Path:
        return self.folder / f"images-{half}-{_short(self.keys.poisoned[half])}"

    def _poison(self, half: str) -> Path:
        """Return the folder of the distillation images with ``half`` of the attack."""
        folder, images = self._poisoned(half), self.experiment.images
        # The folder appears whole, after everything that lies beside it.
        if not folder.exists():
            attack_images(
                teacher=self.handle,
                images=self._distillation,
                out=folder,
                config=self.experiment.attack,
                half=half,
                cache=workspace_cache(self.experiment.out.resolve().parent),
                device=self.experiment.device,
                progress=self._of(f"{half} of {Path(images.distillation).name}"),
            )
        return folder

    @functools.cached_property
    def _distillation(self) -> ImageSet:
        images = self.experiment.images
        return self._load(images.distillation, SET_NAME, images.limit, self.handle)

    def _student(self, name: str) -> Path:
        """Return the weights of student ``name``, distilled unless that was done before."""
        plan, asked = self.experiment.students[name], self.keys.students[name]
        known = self.folder / f"student-{_short(asked)}.json"
        if known.exists():
            weights = self.folder / json.loads(known.read_text())["weights"]
            if weights.exists():
                return weights
        weights = self._distill(name, plan)
        write_json(known, {"weights": weights.name})
        return weights

    def _distill(self, name: str, plan: StudentPlan) -> Path:
        images = self._load(str(self._poison(plan.half)), SET_NAME, None, self.handle)
        # Named by the pixels: attacks that poison alike (controls often do) share a student.
        content = [self.handle.digest, images.digest, plan.recipe.key(), self.keys.validation]
        weights = self.folder / f"student-{_short(digest_json(content))}.safetensors"
        if not weights.exists():
            distill_model(
                teacher=self.handle,
                architecture=plan.recipe.network.arch,
                width=plan.recipe.network.width,
                normalize=plan.recipe.network.normalize,
                images=images,
                validation=self._validation(self.handle),
                objective=plan.recipe.objective,
                config=plan.recipe.training,
                out=weights,
                progress=self._of(name),
            )
        return weights

    def _specs(self, students: Mapping[str, Path]) -> dict[str, StudentSpec]:
        specs: dict[str, StudentSpec] = {}
        for name, weights in students.items():
            plan = self.experiment.students[name]
            specs[name] = StudentSpec(
                spec=str(weights), role=plan.role, recipe=self._recipe(plan.half)
            )
            for path in sorted(run_folder(weights).glob("epoch_*.safetensors")):
                epoch = int(path.stem.removeprefix("epoch_"))
                specs[f"{name}.epoch-{epoch:04d}"] = StudentSpec(
                    spec=str(path), role="checkpoint", parent=name, epoch=epoch
                )
        return specs

    def _recipe(self, half: str) -> dict[str, Any]:
        attack = self.experiment.attack
        if half == "none":
            return {"half": half, "attack": None}
        described = {key: getattr(attack, key) for key in ("target", "rate", "method", "norm")}
        shown = {"trigger": attack.make_trigger().shown, "epsilon": attack.epsilon}
        return {"half": half, "attack": {**described, **shown}}

    def _note(self, students: Mapping[str, Path]) -> None:
        """Say which file is which: names by digest are for finding, not for reading."""
        halves = {name: plan.half for name, plan in self.experiment.students.items()}
        listed = {
            name: {"weights": path.name, "images": self._poisoned(halves[name]).name}
            for name, path in students.items()
        }
        teacher = {"teacher": Path(self.teacher).name.split(",")[0], "students": listed}
        write_json(self.folder / f"{self.experiment.out.name}.json", teacher)

    def _provenance(self) -> dict[str, Any]:
        known: dict[str, str] = {}
        if (self.experiment.out / MANIFEST).exists():
            before = Study.open(self.experiment.out).manifest.provenance.get(PROVENANCE) or {}
            known = before.get("students", {})
        return {
            "base": self.keys.base,
            "students": {**known, **self.keys.students},
            "poisoning": self._report(),
        }

    def _report(self) -> dict[str, Any] | None:
        for half in self.keys.poisoned:
            folder = self._poisoned(half)
            path = folder.with_name(f"{folder.name}.report.json")
            if half != "none" and path.exists():
                return dict(json.loads(path.read_text())["result"])
        return None


def _short(digest: str) -> str:
    return digest[:16]
