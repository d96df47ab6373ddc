"""How well each use of the teacher finds what is planted in the development models.

Every student is audited with every use of the teacher, the others that are honest serving as its
references; printed are the statistic, the p-value, whether the planted class is the one that was
named, and the power at the largest statistic of an honest student. The models are those of
``zoo_development``, or, with ``--studies``, the students of experiments with one teacher (such as
the table of ``benchmarks.reproduction``): a subject whose attack success lies at least 60 points
over its base rate is planted, a control that saw no crafted image and lies under 10 points is
honest, the others are left out. None of them may be a model that the audit is judged on.

python -m benchmarks.choose_audit [--work FOLDER | --studies FOLDER] [--families mask,spatial]
    [--uses forbid,none,keep]

Searches are kept in the folder and not repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from analysis.audit.inversion import Inverted, Trusted
from analysis.audit.null import Extreme, judge_sizes, split_by_id
from analysis.audit.settings import InversionConfig
from analysis.audit.teacher_use import USES
from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.records import TEACHER, TRIGGER
from analysis.store import StageCache, Study
from analysis.store.manifest import MANIFEST
from analysis.study.audit_inversion import Bench, invert_all
from analysis.study.images import images_of_study
from analysis.study.models import load_stored
from benchmarks.zoo_development import HONEST, PLANTED, REFERENCES, TRUSTED_IMAGES, WORK, show

POSITIVE, HONEST_BELOW = 0.6, 0.1
"""How far attack success lies over the base rate in a planted and in an honest student."""
CLEAN_CONTROLS = ("honest", "trigger_only")
"""Controls without a crafted image: a student of the perturbation alone is poisoned too."""


@dataclass
class World:
    """A teacher, trusted images, students without a backdoor, and planted ones with their class."""

    teacher: ModelHandle
    images: ImageSet
    honest: dict[str, ModelHandle] = field(default_factory=dict)
    planted: dict[str, tuple[ModelHandle, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One student under one use of the teacher."""

    use: str
    student: str
    target: int | None
    found: Extreme
    seconds: float
    passes: float


def road_signs(work: Path) -> World:
    """The models of ``zoo_development`` in ``work``, as far as they are made."""
    known = json.loads((work / "zoo.json").read_text())

    def load(name: str) -> ModelHandle:
        return load_model(str(work / f"{name}.safetensors"))

    return World(
        load("teacher"),
        load_images(TRUSTED_IMAGES, name="trusted"),
        {name: load(name) for name in (*HONEST, *REFERENCES) if name in known},
        {name: (load(name), known[name]["target"]) for name in PLANTED if name in known},
    )


def experiments(folder: Path) -> World:
    """The students of every study in ``folder``, each once; all have one teacher.

    The first study's images are the trusted ones for all: no student was distilled on them.
    """
    studies = [Study.open(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    world = World(load_stored(studies[0], TEACHER), images_of_study(studies[0]))
    seen = set()
    for study in studies:
        assert study.teacher.digest == world.teacher.digest, study.path
        for name, role, lift in _lifts(study):
            handle = load_stored(study, name)
            if handle.digest in seen:
                continue
            seen.add(handle.digest)
            called = f"{study.path.name}: {name}"
            if role == "subject" and lift >= POSITIVE:
                target = str(study.conditions[TRIGGER].parameters["target"])
                world.planted[called] = (handle, study.class_names.index(target))
            elif name in CLEAN_CONTROLS and lift < HONEST_BELOW:
                world.honest[called] = handle
    return world


def _lifts(study: Study) -> Iterator[tuple[str, str, float]]:
    """Name, role and attack success over the base rate of every subject and control."""
    for name, model in study.models.items():
        if model.role in ("subject", "control"):
            found = study.measures(name, TRIGGER)
            success, base = found["attack_success_rate"], found["base_rate"]
            assert success is not None
            assert base is not None
            yield name, model.role, success.value - base.value


def rows(
    world: World, work: Path, families: tuple[str, ...], uses: list[str], restarts: int
) -> list[Row]:
    """Audit every student of ``world`` with every use of the teacher."""
    parts = split_by_id(world.images.sample_ids)
    config = InversionConfig(families=families, restarts=restarts)
    trusted = Trusted(
        world.images.rows(parts["optimize"][: config.images]),
        world.images.rows(parts["measure"][: 4 * config.measured]),
    )
    targets = {name: target for name, (_, target) in world.planted.items()}
    handles = world.honest | {name: handle for name, (handle, _) in world.planted.items()}
    result = []
    for use in uses:
        bench = Bench(
            StageCache(work / "cache"), world.teacher, trusted, replace(config, use=use), show
        )
        found = {name: invert_all(bench, name, handle) for name, handle in handles.items()}
        for name in handles:
            others = [found[other] for other in world.honest if other != name]
            result.append(
                Row(
                    use,
                    name,
                    targets.get(name),
                    judge_sizes(sizes(found[name]), references(others)),
                    sum(one.seconds for one in found[name].values()),
                    sum(one.passes for one in found[name].values()),
                )
            )
    return result


def sizes(found: dict[str, Inverted]) -> dict[str, np.ndarray]:
    return {family: one.log_size for family, one in found.items()}


def references(found: list[dict[str, Inverted]]) -> dict[str, np.ndarray]:
    return {family: np.stack([one[family].log_size for one in found]) for family in found[0]}


def report(found: list[Row]) -> None:
    print("| use | student | statistic | p | class named | seconds |")
    print("|---|---|---|---|---|---|")
    for row in found:
        named = "" if row.target is None else str(row.found.target_class == row.target)
        print(
            f"| {row.use} | {row.student} | {row.found.statistic:.2f} | {row.found.p_value:.3g} "
            f"| {named} | {row.seconds:.0f} |"
        )
    for use in dict.fromkeys(row.use for row in found):
        own = [row for row in found if row.use == use]
        honest = [row.found.statistic or 0.0 for row in own if row.target is None]
        hits = [
            (row.found.statistic or 0.0) > max(honest) and row.found.target_class == row.target
            for row in own
            if row.target is not None
        ]
        print(
            f"{use}: {sum(hits)} of {len(hits)} planted students above all {len(honest)} honest "
            f"ones (up to {max(honest):.2f}) with the right class"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--studies", type=Path)
    parser.add_argument("--families", default="mask")
    parser.add_argument("--uses", default=",".join(USES))
    parser.add_argument("--restarts", type=int, default=1)
    given = parser.parse_args()
    models = road_signs(given.work) if given.studies is None else experiments(given.studies)
    report(
        rows(
            models,
            given.work,
            tuple(given.families.split(",")),
            given.uses.split(","),
            given.restarts,
        )
    )
