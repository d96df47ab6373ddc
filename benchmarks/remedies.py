"""What each remedy does to the backdoored student of the demo, beside plain fine-tuning.

Prints, for every method of the registry, clean accuracy and the success rate of the trigger
before and after, with 95 % intervals. The study is read, not written; stages are cached in its
workspace. The poisoned set is made by the demo's own recipe when it is not there.

python -m benchmarks.remedies STUDY [--student NAME] [--images TRUSTED] [--methods a,b]
    [--trigger TEXT] [--set KEY=VALUE] [--distillation-set DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from analysis.remedy.methods import REMEDIES
from analysis.store import Study
from analysis.study.repair import RepairConfig, try_remedy
from dashboard.terminal import _lines

MEASURES = ("accuracy", "agreement", "asr_recovered", "asr_true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--student", default="backdoored")
    parser.add_argument("--images", help="trusted images (default: half of the study's)")
    parser.add_argument("--distillation-set", type=Path, help="the images it was distilled on")
    parser.add_argument("--methods", default=",".join(REMEDIES))
    parser.add_argument("--trigger", default="recovered")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    study = Study.open(given.study)
    settings = {key: json.loads(value) for key, value in (t.split("=", 1) for t in given.settings)}
    for method in given.methods.split(","):
        tried = try_remedy(
            study,
            student=given.student,
            config=RepairConfig(method=method, trigger=given.trigger, seed=given.seed, threads=1),
            settings=settings,
            images=given.images,
            distillation_set=given.distillation_set and str(given.distillation_set),
            progress=_lines(),
        )
        for entry in tried.entries:
            print(row(entry), flush=True)


def row(entry: dict) -> str:
    cells = []
    for name in MEASURES:
        before, after, change = (entry[part][name] for part in ("before", "after", "difference"))
        if before is None:
            continue
        cells.append(
            f"{name} {100 * before['value']:.1f} -> {100 * after['value']:.1f} "
            f"({100 * change['value']:+.1f} [{100 * change['low']:+.1f}, "
            f"{100 * change['high']:+.1f}])"
        )
    kind = "control of it" if entry["control"] else entry["method"]
    return f"{kind}: {'; '.join(cells)}; {entry['seconds']:.0f} s, {entry['passes']} passes"


if __name__ == "__main__":
    sys.exit(main())
