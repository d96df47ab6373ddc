"""Make the golden study of the current schema: small, with every kind of content.

python tests/golden/make_study.py

One study for each schema version is committed as ``study-v<N>``, made once by the release that
introduced it; every later release must open it. It is made again only before a release.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from analysis.store.manifest import SCHEMA_VERSION  # noqa: E402
from analysis.study.comparison import compare  # noqa: E402
from analysis.study.stages import CompareConfig, ConditionConfig  # noqa: E402
from tests.conftest import save_tiny, train_briefly  # noqa: E402


def main() -> None:
    target = HERE / f"study-v{SCHEMA_VERSION}"
    folder = Path(tempfile.mkdtemp())
    plan = {"teacher": ("resnet8", 1), "alpha": ("convnet", 2), "beta": ("smallresnet", 3)}
    files = {
        name: str(save_tiny(train_briefly(a, seed, width=4), folder / f"{name}.safetensors", a, 4))
        for name, (a, seed) in plan.items()
    }
    attack = ConditionConfig(trigger="patch:size=6,color=#ff0000", target="80", steps=3, probe=8)
    compare(
        teacher=files["teacher"],
        students={"alpha": files["alpha"], "beta": files["beta"]},
        images="signs:test,n=48,seed=11",
        out=folder / "workspace" / "golden",
        config=CompareConfig(probe=4, steps=4, draws=100, epochs=20, attack=attack),
    )
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "workspace" / "golden", target)
    shutil.rmtree(folder)
    print(target)


if __name__ == "__main__":
    main()
