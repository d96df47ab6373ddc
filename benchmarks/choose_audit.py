"""How well each use of the teacher finds what is planted in the development models.

Every student of ``zoo_development`` is audited with every use of the teacher, the others that are
honest serving as its references; printed are the statistic, the p-value, whether the planted
class is the one that was named, and the power at the largest statistic of an honest student.

python -m benchmarks.choose_audit [--work FOLDER] [--families mask,spatial] [--uses forbid,none]

Searches are kept in the folder and not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.audit.inversion import Inverted, Trusted
from analysis.audit.null import Extreme, judge_sizes, split_by_id
from analysis.audit.settings import InversionConfig
from analysis.audit.teacher_use import USES
from analysis.data.sources import load_images
from analysis.models.loading import load_model
from analysis.store import StageCache
from analysis.study.audit_inversion import Bench, invert_all
from benchmarks.zoo_development import HONEST, PLANTED, REFERENCES, TRUSTED_IMAGES, WORK, show


@dataclass(frozen=True)
class Row:
    """One student under one use of the teacher."""

    use: str
    student: str
    target: int | None
    found: Extreme
    seconds: float
    passes: float


def rows(work: Path, families: tuple[str, ...], uses: list[str], restarts: int) -> list[Row]:
    known = json.loads((work / "zoo.json").read_text())
    teacher = load_model(str(work / "teacher.safetensors"))
    images = load_images(TRUSTED_IMAGES, name="trusted")
    parts = split_by_id(images.sample_ids)
    config = InversionConfig(families=families, restarts=restarts)
    trusted = Trusted(
        images.rows(parts["optimize"][: config.images]),
        images.rows(parts["measure"][: 4 * config.measured]),
    )
    honest = [name for name in (*HONEST, *REFERENCES) if name in known]
    planted = [name for name in PLANTED if name in known]
    result = []
    for use in uses:
        bench = Bench(StageCache(work / "cache"), teacher, trusted, replace(config, use=use), show)
        found = {
            name: invert_all(bench, name, load_model(str(work / f"{name}.safetensors")))
            for name in (*honest, *planted)
        }
        for name in (*honest, *planted):
            others = [found[other] for other in honest if other != name]
            result.append(
                Row(
                    use,
                    name,
                    known[name].get("target"),
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
    parser.add_argument("--families", default="mask")
    parser.add_argument("--uses", default=",".join(USES))
    parser.add_argument("--restarts", type=int, default=1)
    given = parser.parse_args()
    report(
        rows(given.work, tuple(given.families.split(",")), given.uses.split(","), given.restarts)
    )
