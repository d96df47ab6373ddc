"""One tiny study for all tests, small trained models, and the rule about skips."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.data.signs import SIGN_CLASSES, render_signs
from analysis.models.architectures import build
from analysis.models.loading import save_model
from analysis.models.normalization import Normalization
from analysis.store import Study
from analysis.study.comparison import compare
from analysis.study.stages import CompareConfig
from tests.made_once import made_once, own_copy

# A defect is to be seen, not shown as a message.
os.environ["DISTILLSCOPE_TRACEBACK"] = "1"

ROOT = Path(__file__).parent.parent
ALLOWED_SKIPS = ROOT / "tests" / "allowed_skips.txt"
TINY = CompareConfig(probe=8, steps=8, epochs=40, draws=100)
TINY_IMAGES = "signs:test,n=120,seed=5"

# Two threads on two busy cores wait for each other more than they help on models this small.
torch.set_num_threads(1)


def train_briefly(
    architecture: str, seed: int, *, width: int = 8, steps: int = 120
) -> torch.nn.Module:
    """Fit a small network to road signs well enough that it answers every class."""
    torch.manual_seed(seed)
    images = render_signs(640, seed=77, split="train")
    pixels = torch.from_numpy(np.array(images.images)).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(np.array(images.labels))
    module = build(architecture, num_classes=len(SIGN_CLASSES), width=width)
    optimizer = torch.optim.Adam(module.parameters(), lr=4e-3)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(pixels), (64,), generator=order)
        loss = torch.nn.functional.cross_entropy(module(pixels[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def save_tiny(module: torch.nn.Module, path: Path, architecture: str, width: int = 8) -> Path:
    return save_model(
        path,
        module,
        architecture=architecture,
        width=width,
        class_names=SIGN_CLASSES,
        normalization=Normalization(),
        num_classes=len(SIGN_CLASSES),
        in_channels=3,
        metadata={"seed": 1},
    )


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher and two students of road signs, as weights files that say what they are."""
    plan = {"teacher": ("resnet8", 1), "alpha": ("smallresnet", 2), "beta": ("convnet", 3)}

    def make(folder: Path) -> None:
        for name, (arch, seed) in plan.items():
            save_tiny(train_briefly(arch, seed), folder / f"{name}.safetensors", arch)

    folder = made_once(tmp_path_factory, "models", make)
    return {name: folder / f"{name}.safetensors" for name in plan}


@pytest.fixture(scope="session")
def tiny_study(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study: a teacher, students alpha and beta, 120 road signs of 16 classes.

    Read-only by agreement; copy it before writing to it.
    """

    def make(folder: Path) -> None:
        compare(
            teacher=str(tiny_models["teacher"]),
            students={name: str(tiny_models[name]) for name in ("alpha", "beta")},
            images=TINY_IMAGES,
            out=folder / "tiny",
            config=TINY,
        )

    made = made_once(tmp_path_factory, "workspace", make)
    return own_copy(tmp_path_factory, made) / "tiny"


@pytest.fixture(scope="session")
def study(tiny_study: Path) -> Study:
    """The tiny study, opened."""
    return Study.open(tiny_study)


@pytest.fixture(scope="session")
def attacked_study(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study under attack: students backdoored and honest, with checkpoints.

    Read-only by agreement; copy it before writing to it.
    """
    from tests.attacked import make_attacked

    made = made_once(
        tmp_path_factory, "attacked", lambda folder: make_attacked(tiny_models["teacher"], folder)
    )
    return own_copy(tmp_path_factory, made / "workspace") / "attacked"


@pytest.fixture(scope="session")
def layered_study(attacked_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the study under attack with its layers compared and one pair of them mapped.

    Read-only by agreement; copy it before writing to it.
    """
    from analysis.study.layer_batches import LayersConfig
    from analysis.study.layer_map import map_layers
    from analysis.study.layers import measure_layers

    def make(folder: Path) -> None:
        target = folder / "layered"
        shutil.copytree(attacked_study, target)
        measure_layers(target, config=LayersConfig(images=48, batch=24, permutations=4))
        map_layers(
            target,
            student="backdoored",
            teacher_layer="layer2.0",
            student_layer="layer3.0",
            conditions=["trigger"],
        )

    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "layers", make)) / "layered"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; its tests are skipped where there is none (in CI that fails)."""
    from tests.find_browser import find

    path = find()
    if path is None:
        pytest.skip("no Chromium")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real CIFAR-10; tests that use it run without it, skipped."""
    folder = Path(os.environ.get("DISTILLSCOPE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "cifar10-test.parquet").exists():
        pytest.skip("no CIFAR-10 at hand")
    return folder


_skipped: list[tuple[str, str]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skip that is not in the committed list fails the run."""
    if hasattr(session.config, "workerinput"):
        return  # Of tests run beside one another: the one that all report to says it.
    allowed = [
        re.compile(line)
        for line in ALLOWED_SKIPS.read_text().splitlines()
        if line and not line.startswith("#")
    ]
    surprising = [
        (test, why) for test, why in _skipped if not any(rule.search(test) for rule in allowed)
    ]
    if surprising and os.environ.get("CI"):
        for test, why in surprising:
            print(f"\nskipped, but not in {ALLOWED_SKIPS.name}: {test} ({why})")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _same_main() -> Iterator[None]:
    """Put ``__main__`` back: AppTest replaces it, and spawned processes would run the page."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def quiet_threads() -> Iterator[None]:
    """Run a test on one thread, for results that must be equal to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
