"""The stage that trains and distills into files: headers, folders, normalization, refusals."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from analysis.attack.settings import AttackConfig
from analysis.data.imageset import ImageSet, to_pixels
from analysis.distillation.history import History
from analysis.distillation.objectives import HintonKD
from analysis.distillation.training import TrainingConfig
from analysis.errors import BusyError, InputError
from analysis.models.loading import load_model
from analysis.models.normalization import Normalization
from analysis.store import StageCache
from analysis.study.attack import attack_images
from analysis.study.comparison import compare
from analysis.study.references import trusted_images
from analysis.study.repair_case import load_for
from analysis.study.stages import CompareConfig, Workbench
from analysis.study.training import dataset_normalization, distill_model, run_folder, train_model

QUICK = TrainingConfig(epochs=2, batch_size=16, flip=False, shift=1, threads=1, checkpoint_every=1)
NAMES = ("dark", "medium", "bright")


def squares(count=48, *, name="squares", seed=0, side=8, names=NAMES, labeled=True):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 40, (count, side, side, 3), dtype=np.uint8)
    images += (labels * 90).astype(np.uint8)[:, None, None, None]
    return ImageSet(
        name=name,
        images=images,
        labels=labels if labeled else None,
        sample_ids=np.array([f"{name}/{i}" for i in range(count)]),
        class_names=names,
        source="drawn squares",
    )


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A teacher that was trained and a student that was distilled from its file."""
    folder = tmp_path_factory.mktemp("trained")
    teacher = train_model(
        architecture="convnet", width=4, images=squares(), out=folder / "teacher.safetensors",
        config=QUICK, validation=squares(seed=1, name="held-out"),
    )  # fmt: skip
    student = distill_model(
        teacher=str(teacher.weights), architecture="smallresnet", width=8,
        images=squares(labeled=False), out=folder / "student.safetensors", config=QUICK,
        validation=squares(seed=1, name="held-out"),
    )  # fmt: skip
    return teacher, student


def test_the_files_are_specs_by_themselves(taught):
    teacher, student = (load_model(str(model.weights)) for model in taught)
    assert (teacher.architecture, teacher.width) == ("convnet", 4)
    assert (student.architecture, student.width) == ("smallresnet", 8)
    assert teacher.class_names == student.class_names == NAMES
    assert student.normalization == teacher.normalization == dataset_normalization(squares())
    assert student.metadata["teacher"]["digest"] == teacher.digest
    assert student.metadata["images"]["digest"] == squares(labeled=False).digest
    assert student.metadata["objective"] == HintonKD().recipe()
    assert student.metadata["training"]["seed"] == 0
    assert teacher.metadata["kind"] == "train"


def test_no_folder_enters_a_header(taught, tmp_path):
    for model in taught:
        with safe_open(model.weights, framework="pt") as file:
            assert str(model.weights.parent) not in json.dumps(file.metadata())


def test_checkpoints_are_specs_with_their_epoch(taught):
    _, student = taught
    assert [path.name for path in student.checkpoints.values()] == [
        "epoch_0001.safetensors",
        "epoch_0002.safetensors",
    ]
    early, late = (load_model(str(path)) for path in student.checkpoints.values())
    assert (early.metadata["epoch"], late.metadata["epoch"]) == (1, 2)
    assert late.digest == load_model(str(student.weights)).digest != early.digest


def test_the_run_folder_holds_the_history(taught):
    for model in taught:
        assert model.run == run_folder(model.weights)
        assert model.run.name == model.weights.name.replace(".safetensors", ".run")
        assert History.read(model.run / "history.json") == model.history
    agreement = taught[1].history.epochs[-1].validation_agreement
    assert 0 <= agreement <= 1
    assert taught[0].history.epochs[-1].validation_agreement is None


def test_the_history_agrees_with_the_file(taught):
    teacher, student = (load_model(str(model.weights)) for model in taught)
    held_out = squares(seed=1)
    with torch.no_grad():
        pixels = torch.from_numpy(to_pixels(held_out.images))
        answers = [handle(pixels).argmax(1).numpy() for handle in (teacher, student)]
    last = taught[1].history.epochs[-1]
    assert last.validation_accuracy == pytest.approx(np.mean(answers[1] == held_out.labels))
    assert last.validation_agreement == pytest.approx(np.mean(answers[0] == answers[1]))


def test_the_same_seed_makes_the_same_file(taught, tmp_path):
    again = train_model(
        architecture="convnet", width=4, images=squares(), out=tmp_path / "again.safetensors",
        config=QUICK, validation=squares(seed=1, name="held-out"),
    )  # fmt: skip
    assert again.weights.read_bytes() == taught[0].weights.read_bytes()


def reordered(images):
    """The same images, their classes numbered in another order."""
    order = np.array([2, 0, 1])
    names = tuple(images.class_names[old] for old in order)
    return replace(images, labels=np.argsort(order)[images.labels], class_names=names)


def numbers(model):
    return [{**record.to_json(), "seconds": 0} for record in model.history.epochs]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_labels_go_by_the_names_of_the_teachers_classes(taught, tmp_path, weight):
    images, held_out = squares(seed=4), squares(seed=1, name="held-out")
    made = [
        distill_model(
            teacher=str(taught[0].weights), architecture="convnet", width=4, images=change(images),
            out=tmp_path / f"{number}.safetensors", config=QUICK, validation=change(held_out),
            objective=HintonKD(hard_label_weight=weight),
        )
        for number, change in enumerate((lambda same: same, reordered))
    ]  # fmt: skip
    plain, moved = made
    assert numbers(moved) == numbers(plain)
    handles = [load_model(str(model.weights)) for model in made]
    assert handles[0].digest == handles[1].digest
    assert handles[1].class_names == NAMES
    assert handles[1].metadata["images"]["digest"] == reordered(images).digest, "as it was given"


def test_validation_labels_go_by_the_names_of_the_training_images(taught, tmp_path):
    given = {
        "architecture": "convnet", "width": 4, "images": squares(), "config": QUICK,
        "out": tmp_path / "w.safetensors",
    }  # fmt: skip
    foreign = squares(seed=1, name="held-out", names=("dark", "medium", "light"))
    with pytest.raises(InputError) as error:
        train_model(**given, validation=foreign)
    assert (
        "image set 'held-out' has a class 'light' that is not among those of the training images"
        in str(error.value)
    )
    assert not list(tmp_path.iterdir())
    made = train_model(**given, validation=reordered(squares(seed=1, name="held-out")))
    assert numbers(made) == numbers(taught[0])


def test_labels_of_classes_that_the_teacher_does_not_have_are_refused(taught, tmp_path):
    given = {
        "teacher": str(taught[0].weights), "architecture": "convnet", "width": 4, "config": QUICK,
        "out": tmp_path / "w.safetensors",
    }  # fmt: skip
    foreign = squares(names=("dark", "medium", "brigth"))
    with pytest.raises(InputError) as error:
        distill_model(**given, images=foreign)
    assert "a class 'brigth' that is not among those of the teacher" in str(error.value)
    assert "Did you mean 'bright'?" in str(error.value)
    assert distill_model(**given, images=replace(foreign, labels=None)).weights.exists()
    capital = squares(names=tuple(name.upper() for name in NAMES))
    distill_model(**{**given, "out": tmp_path / "capital.safetensors"}, images=capital)


def test_sources_are_loaded_by_name(tmp_path):
    given = squares()
    np.savez(tmp_path / "gray.npz", images=given.images[..., 0], labels=given.labels)
    model = train_model(
        architecture="convnet", width=4, images=tmp_path / "gray.npz",
        out=tmp_path / "d.safetensors",
        config=TrainingConfig(epochs=1, flip=False, shift=1, threads=1), normalize="none",
    )  # fmt: skip
    handle = load_model(str(model.weights))
    assert (handle.num_classes, handle.in_channels) == (3, 1)
    assert handle.normalization == Normalization()
    assert handle.metadata["images"]["source"] == "gray.npz"


def test_a_student_can_have_a_normalization_of_its_own(taught, tmp_path):
    given = {}
    for normalize in ("dataset", "cifar10"):
        model = distill_model(
            teacher=str(taught[0].weights), architecture="convnet", width=4,
            images=squares(seed=5), out=tmp_path / f"{normalize}.safetensors",
            config=TrainingConfig(epochs=1, shift=0, threads=1), normalize=normalize,
        )  # fmt: skip
        given[normalize] = load_model(str(model.weights)).normalization
    assert given["dataset"] == dataset_normalization(squares(seed=5))
    assert given["cifar10"] == Normalization.parse("cifar10")


def test_a_vision_transformer_is_distilled_like_anything_else(taught, tmp_path):
    model = distill_model(
        teacher=str(taught[0].weights), architecture="vit_tiny", width=32, images=squares(),
        out=tmp_path / "vit.safetensors",
        config=TrainingConfig(epochs=1, shift=0, optimizer="adamw", learning_rate=1e-3, threads=1),
    )  # fmt: skip
    assert load_model(str(model.weights)).input_size == (8, 8)


def test_a_model_of_images_that_are_not_square_can_be_used(tmp_path):
    given, source = squares(), tmp_path / "wide.npz"
    wide = np.concatenate([given.images, given.images[:, :, :4]], axis=2)
    np.savez(source, images=wide, labels=given.labels)
    config = TrainingConfig(epochs=1, shift=0, optimizer="adamw", learning_rate=1e-3, threads=1)
    asked = {"architecture": "vit_tiny", "width": 32, "images": source, "config": config}
    made = train_model(**asked, out=tmp_path / "teacher.safetensors")
    teacher = load_model(str(made.weights))
    assert (teacher.input_size, teacher.side) == ((8, 12), None)
    student = distill_model(**asked, teacher=teacher, out=tmp_path / "student.safetensors")
    assert trusted_images(source, teacher).image_shape == (8, 12, 3)
    bench = Workbench(StageCache(tmp_path / "cache"), CompareConfig())
    assert load_for(bench, str(source), "trusted", teacher).image_shape == (8, 12, 3)
    poisoned = attack_images(
        teacher=teacher, images=source, out=tmp_path / "poisoned", half="none",
        config=AttackConfig(target=1, rate=0.1, epsilon=255, trigger="patch:size=2"),
    )  # fmt: skip
    assert poisoned.poisoned.images.image_shape == (8, 12, 3)
    study = compare(
        teacher=str(made.weights), students={"s": str(student.weights)}, images=str(source),
        out=tmp_path / "space" / "study",
        config=CompareConfig(projection=False, probe=2, draws=100),
    )  # fmt: skip
    assert study.inspection.width == 12
    np.savez(tmp_path / "square.npz", images=given.images)
    with pytest.raises(InputError, match="takes images of 8x12, these are 8x8"):
        distill_model(
            **{**asked, "images": tmp_path / "square.npz"}, teacher=teacher,
            out=tmp_path / "none.safetensors",
        )  # fmt: skip


def test_dataset_normalization_is_mean_and_deviation_of_all_pixels():
    images = squares(50, seed=3)
    flat = images.images.reshape(-1, 3) / 255
    found = dataset_normalization(images)
    np.testing.assert_allclose(found.mean, flat.mean(axis=0).round(4), atol=1e-9)
    np.testing.assert_allclose(found.std, flat.std(axis=0).round(4), atol=1e-9)


def test_a_constant_channel_gets_a_deviation_of_one():
    images = np.full((4, 2, 2, 1), 51, np.uint8)
    constant = ImageSet(name="s", images=images, sample_ids=np.array([f"s/{i}" for i in range(4)]))
    assert dataset_normalization(constant) == Normalization((0.2,), (1.0,))


def test_a_finished_model_is_replaced_by_none_but_itself(tmp_path):
    out = tmp_path / "w.safetensors"
    given = {"architecture": "convnet", "width": 4, "images": squares(), "out": out}
    first = train_model(**given, config=QUICK)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    others = (
        {"config": replace(QUICK, epochs=3)},
        {"config": QUICK, "width": 8},
        {"config": QUICK, "images": squares(seed=7)},
        {"config": QUICK, "normalize": "none"},
    )
    for other in others:
        with pytest.raises(InputError) as error:
            train_model(**{**given, **other})
        assert str(error.value) == (
            f"{out} is there already and is another model. Choose another --out, or delete it"
        )
        assert {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()} == kept
    moved = replace(squares(), source="the same from elsewhere")
    again = train_model(**{**given, "images": moved}, config=QUICK)
    assert numbers(again) == numbers(first)
    assert sorted(again.checkpoints) == [1, 2]
    out.write_bytes(b"no weights of ours")
    with pytest.raises(InputError, match="is there already and is another model"):
        train_model(**given, config=QUICK)
    out.unlink()
    train_model(**{**given, "width": 8}, config=QUICK)
    assert load_model(str(out)).width == 8, "a run without its file starts over"


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    out = tmp_path / "w.safetensors"
    holder = """
        import sys
        from pathlib import Path
        from filelock import FileLock
        with FileLock(Path(sys.argv[1]) / ".lock"):
            print("held", flush=True)
            sys.stdin.read()
    """
    run_folder(out).mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(holder), run_folder(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="another process is training in"):
            train_model(architecture="convnet", images=squares(), out=out, config=QUICK)
        assert (run_folder(out) / ".lock").exists()
    finally:
        child.communicate()
    train_model(architecture="convnet", width=4, images=squares(), out=out, config=QUICK)
    assert out.exists()


BAD = {
    "ending": ({"out": "w.pt"}, "weights file 'w.pt'; expected a name ending in .safetensors"),
    "architecture": ({"architecture": "resnet_20"}, "Did you mean 'resnet20'?"),
    "labels": (
        {"images": squares(labeled=False, names=None)},
        "image set 'squares' has no labels; expected labeled images",
    ),
    "unlabeled but named": ({"images": squares(labeled=False)}, "has no labels, objective"),
    "one class": (
        {"images": ImageSet(name="s", images=np.zeros((2, 8, 8, 3), np.uint8),
                            labels=np.zeros(2, np.int64), sample_ids=np.array(["s/0", "s/1"]))},
        "with 1 classes; expected at least 2",
    ),
    "source": ({"images": "nowhere/at/all"}, "nowhere/at/all"),
    "normalize": ({"normalize": "imagnet"}, "Did you mean 'imagenet'?"),
    "device": ({"config": TrainingConfig(device="gpu")}, "device 'gpu' cannot be used"),
    "width": ({"architecture": "vit_tiny", "width": 17}, "expected a positive multiple of 16"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_leaves_nothing_behind(tmp_path, name):
    options, message = BAD[name]
    out = tmp_path / options.get("out", "w.safetensors")
    given = {"architecture": "convnet", "images": squares(), "config": QUICK}
    with pytest.raises(InputError) as error:
        train_model(**{**given, **options, "out": out})
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_images_that_do_not_fit_the_teacher_are_refused(taught, tmp_path):
    gray = ImageSet(
        name="gray", images=np.zeros((4, 8, 8, 1), np.uint8),
        sample_ids=np.array([f"gray/{i}" for i in range(4)]),
    )  # fmt: skip
    out = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="takes 3 channels, the images have 1"):
        distill_model(teacher=str(taught[0].weights), architecture="convnet", images=gray, out=out)
    assert not run_folder(out).exists()
