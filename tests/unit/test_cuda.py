"""On an accelerator the library answers as it does on the processor; skipped where there is none.

No fixture of conftest.py is used, so that `pytest --noconftest` runs these alone on a machine that
has torch and little else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.attack.crafting import craft
from analysis.attack.perturbations import PERTURBATIONS
from analysis.attack.recovered import RecoveredTrigger
from analysis.attack.triggers import TRIGGERS, parse_trigger
from analysis.attribution.pair import attribute_pair
from analysis.attribution.scalars import PAIR_SCALARS
from analysis.audit.families import FAMILIES
from analysis.audit.inversion import Trusted, invert
from analysis.audit.settings import InversionConfig
from analysis.audit.strip import strip_entropy
from analysis.data.augmentations import Augmentation
from analysis.data.imageset import to_pixels
from analysis.data.signs import render_signs
from analysis.distillation.objectives import OBJECTIVES, make_objective
from analysis.distillation.training import TrainingConfig
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.remedy.case import Case, answer_logits
from analysis.remedy.methods import make_remedy
from analysis.store import StageCache, silent
from analysis.study.remedies import WEIGHTS, apply_remedy
from analysis.study.stages import CompareConfig, Workbench
from analysis.study.training import distill_model, train_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

IMAGES = render_signs(320, seed=31, split="train")
TRAINING = TrainingConfig(
    epochs=20, batch_size=32, flip=False, precision="float32", seed=1, device="cuda"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda")


@pytest.fixture(scope="module")
def teacher(folder: Path) -> ModelHandle:
    """A teacher trained on the accelerator."""
    made = train_model(
        architecture="smallresnet",
        width=8,
        images=IMAGES,
        out=folder / "teacher.safetensors",
        config=TRAINING,
    )
    return load_model(str(made.weights))


@pytest.fixture(scope="module")
def student(folder: Path, teacher: ModelHandle) -> ModelHandle:
    made = distill_model(
        teacher=teacher.to("cuda"),
        architecture="convnet",
        width=8,
        images=IMAGES,
        out=folder / "student.safetensors",
        config=TRAINING,
    )
    return load_model(str(made.weights))


def there(handle: ModelHandle) -> ModelHandle:
    return handle.to("cuda")


@pytest.fixture(autouse=True)
def exact() -> None:
    """Convolutions with all bits, so that both devices can be compared."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def test_training_there_learns_and_its_weights_answer_alike_here(teacher: ModelHandle) -> None:
    here, other = answer_logits(teacher, IMAGES), answer_logits(there(teacher), IMAGES)
    np.testing.assert_allclose(other, here, atol=1e-3 * np.abs(here).max())
    assert (here.argmax(1) == IMAGES.labels).mean() > 0.2


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_distills_there(name: str, folder: Path, teacher: ModelHandle) -> None:
    objective = make_objective(name)
    views = "augmented" if objective.layers_of_teacher else "cached"
    made = distill_model(
        teacher=there(teacher),
        architecture="convnet",
        width=8,
        images=IMAGES.rows(np.arange(128)),
        out=folder / f"{name}.safetensors",
        objective=objective,
        config=TrainingConfig(epochs=2, device="cuda", flip=False, teacher_views=views),
    )
    assert np.isfinite([record.loss for record in made.history.epochs]).all()


@pytest.mark.parametrize("scalar", sorted(PAIR_SCALARS))
def test_maps_of_the_pair_agree(scalar: str, teacher: ModelHandle, student: ModelHandle) -> None:
    x, c = to_pixels(np.asarray(IMAGES.images[:4])), np.asarray(IMAGES.labels[:4])
    maps = [
        attribute_pair(*pair, x, c, scalar=scalar, steps=8, precision="float32")["pair"].values
        for pair in ((teacher, student), (there(teacher), there(student)))
    ]
    # The gradient jumps where a unit switches on, so single pixels may differ.
    assert np.corrcoef(maps[1].ravel(), maps[0].ravel())[0, 1] > 0.9999
    assert np.abs(maps[1] - maps[0]).mean() < 1e-3 * np.abs(maps[0]).mean()


@pytest.mark.parametrize("name", sorted(set(TRIGGERS) - {"image"}))
def test_every_trigger_is_crafted_with_there(name: str, teacher: ModelHandle) -> None:
    few = IMAGES.rows(np.arange(24))
    perturbation = PERTURBATIONS["pgd"](epsilon=16.0, steps=4)
    made = [
        craft(handle, few, perturbation, target=2, trigger=parse_trigger(name),
              augmentation=Augmentation(flip=False, shift=1))
        for handle in (teacher, there(teacher))
    ]  # fmt: skip
    for one in made:
        change = one.both.astype(int) - one.triggered.astype(int)
        assert np.abs(change).max() <= 16
    # Signs of gradients near zero may differ; most pixels may not.
    assert (made[0].both == made[1].both).mean() > 0.9
    np.testing.assert_array_equal(made[0].triggered, made[1].triggered)


@pytest.mark.parametrize("use", ["none", "forbid", "keep"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_searched_there(
    family: str, use: str, teacher: ModelHandle, student: ModelHandle
) -> None:
    config = InversionConfig(
        use=use, steps=12, batch=8, asked=2, images=64, measured=16, precision="float32"
    )
    trusted = Trusted(IMAGES.rows(np.arange(64)), IMAGES.rows(np.arange(64, 128)))
    found = [
        invert(*pair, trusted, family=family, config=config)
        for pair in ((teacher, student), (there(teacher), there(student)))
    ]
    assert np.isfinite(found[1].log_size).all()
    # A search is chaotic, its outcome is not: sizes are of the same order.
    assert np.abs(found[1].log_size - found[0].log_size).mean() < 0.5


def test_strip_and_repair_run_there(
    folder: Path, teacher: ModelHandle, student: ModelHandle
) -> None:
    few = IMAGES.rows(np.arange(16))
    entropies = [strip_entropy(model, few, IMAGES, draws=8) for model in (student, there(student))]
    np.testing.assert_allclose(entropies[1], entropies[0], atol=1e-2)
    mask = np.zeros((32, 32), np.float32)
    mask[4:8, 4:8] = 1
    trigger = RecoveredTrigger(
        family="mask", parts={"mask": mask, "pattern": np.ones((32, 32, 3), np.float32)}
    )
    case = Case(teacher=there(teacher), student=there(student), trusted=IMAGES, trigger=trigger)
    bench = Workbench(StageCache(folder / "cache"), CompareConfig(), silent)
    for name in ("unlearn", "finetune"):
        made = apply_remedy(bench, make_remedy(name, epochs=1), case, device="cuda")
        repaired = load_model(str(made.file(WEIGHTS)), device="cuda")
        assert np.isfinite(answer_logits(repaired, few)).all()
