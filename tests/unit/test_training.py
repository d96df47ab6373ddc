"""The training loop: learning, resuming to the bit, histories, checkpoints, refusals."""

import copy
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from analysis.data.imageset import ImageSet, to_pixels
from analysis.distillation.batches import LoadedImages, epoch_generator
from analysis.distillation.history import EpochRecord, History
from analysis.distillation.objectives import FitNets, HintonKD, RelationalKD, Supervised
from analysis.distillation.settings import TrainingConfig
from analysis.distillation.training import TrainingTask, perform, train
from analysis.errors import Cancelled, ConfigError, ImageSetError, InputError, ModelError
from analysis.models.handle import ModelHandle, weights_digest
from analysis.models.normalization import Normalization

HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# One thread: for networks of this size more only wait for each other.
QUICK = {"epochs": 3, "batch_size": 16, "shift": 1, "flip": False, "precision": "float32"}
QUICK["threads"] = 1


def tiny_images(count=40, *, name="signs", labeled=True, seed=0, classes=3, side=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 60, (count, side, side, 3), dtype=np.uint8)
    images[np.arange(count), ..., 0] += (labels * 70).astype(np.uint8)[:, None, None]
    return ImageSet(
        name=name,
        images=images,
        labels=labels if labeled else None,
        sample_ids=np.array([f"{name}/{i}" for i in range(count)]),
    )


def tiny_net(seed=0, *, classes=3, width=6, dropout=0.1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def tiny_teacher(seed=9, *, classes=3, class_names=None):
    return ModelHandle(
        module=tiny_net(seed, classes=classes, width=8),
        architecture="tiny",
        normalization=HALF,
        num_classes=classes,
        in_channels=3,
        layer_names=("2",),
        penultimate="6",
        spec_text="tiny",
        class_names=class_names,
    )


def run(workdir, module=None, images=None, *, objective=None, seed=0, **options):
    settings = {k: options.pop(k) for k in list(options) if k in TrainingConfig.__annotations__}
    return train(
        module or tiny_net(),
        images or tiny_images(),
        objective=objective or Supervised(),
        config=TrainingConfig(**{**QUICK, "seed": seed, **settings}),
        normalization=HALF,
        workdir=workdir,
        **options,
    )


def stopping_at(step):
    def progress(stage, done, total):
        if stage == "training" and done == step:
            raise Cancelled("stopped by the test")

    return progress


def comparable(history):
    return [{**record.to_json(), "seconds": 0} for record in history.epochs]


VARIANTS = {
    "supervised": {"objective": Supervised(label_smoothing=0.1)},
    "cached": {"objective": HintonKD()},
    "adamw": {"objective": HintonKD(), "optimizer": "adamw", "learning_rate": 0.01},
    "bfloat16": {"objective": HintonKD(hard_label_weight=0.5), "precision": "bfloat16"},
    "features": {
        "objective": FitNets(student_layers=("2",), teacher_layers=("2",)),
        "teacher_views": "augmented",
    },
}


def variant(name):
    options = dict(VARIANTS[name])
    if options["objective"].needs_teacher:
        options["teacher"] = tiny_teacher()
    return options


def test_supervised_training_learns(tmp_path):
    images = tiny_images(120)
    result = run(tmp_path, tiny_net(dropout=0), images, epochs=12, validation=images)
    first, last = result.history.epochs[0], result.history.epochs[-1]
    assert last.loss < first.loss / 2
    assert last.validation_accuracy > 0.95


def test_distillation_brings_student_and_teacher_together(tmp_path):
    images = tiny_images(200)
    teacher = tiny_net(7, dropout=0)
    run(tmp_path / "teacher", teacher, images, epochs=10)
    handle = ModelHandle(
        module=teacher, architecture="tiny", normalization=HALF, num_classes=3, in_channels=3,
        layer_names=("2",), penultimate="6", spec_text="tiny",
    )  # fmt: skip
    before = tiny_net(3, dropout=0)
    unlabeled = tiny_images(200, labeled=False)
    result = run(
        tmp_path / "student", before, unlabeled, objective=HintonKD(), teacher=handle,
        validation=unlabeled, epochs=12,
    )  # fmt: skip
    agreements = [record.validation_agreement for record in result.history.epochs]
    assert agreements[-1] > 0.95
    assert result.history.epochs[-1].train_accuracy is None
    assert result.history.epochs[-1].validation_accuracy is None


def plain_training(module, images, optimizer, *, epochs, peak, warmup, seed):
    """The loop as torch alone writes it. Returns (mean loss, last learning rate) by epoch."""
    loaded, rows = LoadedImages(images, torch.device("cpu")), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=3 * epochs, pct_start=warmup, cycle_momentum=False
    )
    for epoch in range(1, epochs + 1):
        total, rate = 0.0, 0.0
        for batch in loaded.shuffled(16, epoch_generator(seed, epoch, "order")):
            rate = optimizer.param_groups[0]["lr"]
            loss = functional.cross_entropy(module((batch.pixels - 0.5) / 0.5), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch.labels)
        rows.append((total / len(images), rate))
    return rows


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_is_a_plain_loop_of_torch(tmp_path, optimizer):
    start, peak, decay = tiny_net(dropout=0), 0.02, 0.1
    ours = run(
        tmp_path, copy.deepcopy(start), seed=5, shift=0, optimizer=optimizer, learning_rate=peak,
        warmup=0.4, momentum=0.8, weight_decay=decay,
    )  # fmt: skip
    theirs = {
        "sgd": lambda p: torch.optim.SGD(p, momentum=0.8, nesterov=True, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, weight_decay=decay),
    }[optimizer](start.parameters())
    rows = plain_training(start, tiny_images(), theirs, epochs=3, peak=peak, warmup=0.4, seed=5)
    for mine, plain in zip(ours.module.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)
    for record, (loss, rate) in zip(ours.history.epochs, rows, strict=True):
        assert record.loss == pytest.approx(loss, rel=1e-4)
        assert record.learning_rate == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_a_run_resumed_after_a_stop_ends_with_the_same_bits(tmp_path, name, step):
    whole = run(tmp_path / "whole", **variant(name))
    with pytest.raises(Cancelled):
        run(tmp_path / "stopped", progress=stopping_at(step), **variant(name))
    resumed = run(tmp_path / "stopped", **variant(name))
    assert weights_digest(resumed.module) == weights_digest(whole.module)
    assert comparable(resumed.history) == comparable(whole.history)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    sys.path.insert(0, sys.argv[1])
    from analysis.distillation.training import save_weights
    from test_training import run, variant

    def progress(stage, done, total):
        if stage == "training" and done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

    def kill_while_saving(path, module, epoch):
        if epoch == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        save_weights(path, module, epoch)

    run(Path(sys.argv[2]), progress=progress, save_checkpoint=kill_while_saving,
        checkpoint_every=1, **variant("features"))
"""


@pytest.mark.parametrize(("step", "epoch"), [(4, 0), (-1, 2)])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, step, epoch):
    here = os.path.dirname(__file__)
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), here, tmp_path / "killed", str(step),
         str(epoch)],
        check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL
    state = load_file(tmp_path / "killed" / "state.safetensors")
    assert state
    steps = []
    resumed = run(
        tmp_path / "killed", checkpoint_every=1,
        progress=lambda stage, done, total: steps.append(done) if stage == "training" else None,
        **variant("features"),
    )  # fmt: skip
    whole = run(tmp_path / "whole", checkpoint_every=1, **variant("features"))
    assert min(steps) == 3, "the first epoch was finished and must not be repeated"
    assert weights_digest(resumed.module) == weights_digest(whole.module)
    for kept in whole.checkpoints:
        ours, theirs = load_file(resumed.checkpoints[kept]), load_file(whole.checkpoints[kept])
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_seed_decides_the_weights(tmp_path):
    digests = [
        weights_digest(run(tmp_path / name, seed=seed).module)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_training_leaves_torchs_random_state_and_threads_alone(tmp_path):
    torch.manual_seed(11)
    module, before = tiny_net(), torch.get_num_threads()
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    run(tmp_path, module, threads=before + 1)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == before


def test_a_finished_run_is_not_repeated(tmp_path):
    first = run(tmp_path)
    steps = []
    again = run(tmp_path, progress=lambda stage, done, total: steps.append(stage))
    assert steps == []
    assert weights_digest(again.module) == weights_digest(first.module)


def test_a_history_that_a_kill_left_behind_is_caught_up_on(tmp_path):
    first = run(tmp_path)
    (tmp_path / "history.json").unlink()
    run(tmp_path)
    assert History.read(tmp_path / "history.json") == first.history


def test_another_configuration_starts_over_and_removes_stale_checkpoints(tmp_path):
    run(tmp_path, checkpoint_every=1)
    changed = run(tmp_path, learning_rate=0.01, checkpoint_epochs=(3,))
    fresh = run(tmp_path / "fresh", learning_rate=0.01, checkpoint_epochs=(3,))
    assert weights_digest(changed.module) == weights_digest(fresh.module)
    assert [path.name for path in tmp_path.glob("epoch_*")] == ["epoch_0003.safetensors"]


def test_checkpoints_hold_the_weights_of_their_epochs(tmp_path):
    seen = {}

    def look(epoch, module):
        seen[epoch] = copy.deepcopy(module.state_dict())
        return {"epoch_squared": epoch**2}

    result = run(tmp_path, epochs=5, checkpoint_count=3, on_epoch=look)
    assert list(result.checkpoints) == [1, 2, 5]
    for epoch, path in result.checkpoints.items():
        kept = load_file(path)
        assert all(torch.equal(kept[key], value) for key, value in seen[epoch].items())
    assert [record.extra["epoch_squared"] for record in result.history.epochs] == [1, 4, 9, 16, 25]


def test_looking_at_the_network_changes_nothing(tmp_path):
    images, modes = tiny_images(40), []

    def look(epoch, module):
        modes.append(module.training)
        with torch.no_grad():
            module(HALF(torch.from_numpy(to_pixels(images.images[:8]))))
        return {}

    looked = run(tmp_path / "looked", batch_norm(), images, on_epoch=look)
    assert modes == [False] * 3
    plain = run(tmp_path / "plain", batch_norm(), images)
    assert weights_digest(looked.module) == weights_digest(plain.module)


def batch_norm():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.BatchNorm1d(3))


def test_validation_numbers_are_those_of_the_trained_module(tmp_path):
    validation, teacher = tiny_images(30, name="held-out", seed=4), tiny_teacher()
    result = run(tmp_path, validation=validation, teacher=teacher, objective=HintonKD())
    pixels = torch.from_numpy(to_pixels(validation.images))
    with torch.no_grad():
        answer = result.module(HALF(pixels)).argmax(1).numpy()
        theirs = teacher(pixels).argmax(1).numpy()
    last = result.history.epochs[-1]
    assert last.validation_accuracy == pytest.approx(np.mean(answer == validation.labels))
    assert last.validation_agreement == pytest.approx(np.mean(answer == theirs))


def test_the_teacher_is_asked_once_for_each_image_when_cached(tmp_path):
    teacher, shown = tiny_teacher(), []
    teacher.module.register_forward_hook(lambda m, inputs, out: shown.append(len(inputs[0])))
    run(tmp_path, teacher=teacher, objective=HintonKD())
    probe = 2
    assert sum(shown) == probe + 40
    run(tmp_path, teacher=teacher, objective=HintonKD(), learning_rate=0.01)
    assert sum(shown) == probe + 40 + probe, "a second run uses the kept logits"


def test_cached_logits_are_finished_after_a_kill(tmp_path):
    images, teacher = tiny_images(600), tiny_teacher()
    calls = []

    def progress(stage, done, total):
        calls.append((stage, done))
        if stage.startswith("teacher") and done == 256 and calls.count((stage, done)) == 1:
            raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        run(tmp_path, images=images, teacher=teacher, objective=HintonKD(), epochs=1,
            progress=progress)  # fmt: skip
    run(tmp_path, images=images, teacher=teacher, objective=HintonKD(), epochs=1,
        progress=progress)  # fmt: skip
    assert calls.count(("teacher on the training images", 0)) == 1
    kept = np.load(tmp_path / "teacher_training.npy")
    with torch.no_grad():
        expected = teacher(torch.from_numpy(to_pixels(images.images))).numpy()
    np.testing.assert_allclose(kept, expected, atol=1e-5)


def test_logits_of_another_teacher_are_not_used(tmp_path):
    run(tmp_path, teacher=tiny_teacher(1), objective=HintonKD())
    changed = run(tmp_path, teacher=tiny_teacher(2), objective=HintonKD())
    fresh = run(tmp_path / "fresh", teacher=tiny_teacher(2), objective=HintonKD())
    assert weights_digest(changed.module) == weights_digest(fresh.module)


def test_cached_and_augmented_teaching_agree_without_augmentation(tmp_path):
    options = {"teacher": tiny_teacher(), "objective": HintonKD(), "shift": 0}
    cached = run(tmp_path / "cached", **options)
    live = run(tmp_path / "live", teacher_views="augmented", **options)
    for a, b in zip(cached.module.parameters(), live.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_an_augmented_teacher_sees_what_the_student_sees(tmp_path):
    teacher, student = tiny_teacher(), tiny_net()
    shown = {"teacher": [], "student": []}
    teacher.module.register_forward_hook(lambda m, x, y: shown["teacher"].append(x[0].clone()))
    student.register_forward_hook(lambda m, x, y: shown["student"].append(x[0].clone()))
    run(tmp_path, student, teacher=teacher, objective=HintonKD(), flip=True,
        teacher_views="augmented", epochs=1)  # fmt: skip
    both = list(zip(shown["teacher"][-3:], shown["student"][-3:], strict=True))
    assert all(torch.equal(a, b) for a, b in both)


def test_penultimate_features_can_be_distilled_whatever_the_layer_is_called(tmp_path):
    result = run(
        tmp_path, objective=RelationalKD(), teacher=tiny_teacher(), teacher_views="augmented"
    )
    assert all(np.isfinite(record.loss) for record in result.history.epochs)


def test_adapters_are_not_part_of_the_student(tmp_path):
    result = run(tmp_path, checkpoint_epochs=(3,), **variant("features"))
    assert set(load_file(result.checkpoints[3])) == set(tiny_net().state_dict())


def test_a_batch_of_one_image_left_over_does_not_stop_the_run(tmp_path):
    result = run(tmp_path, nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.BatchNorm1d(3)),
                 tiny_images(17), batch_size=16)  # fmt: skip
    assert len(result.history.epochs) == 3


def test_the_history_file_is_what_the_result_holds(tmp_path):
    result = run(tmp_path, teacher=tiny_teacher(), objective=HintonKD())
    assert History.read(tmp_path / "history.json") == result.history
    text = (tmp_path / "history.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["recipe"]["objective"]["temperature"] == 4.0


def test_a_history_of_another_schema_or_none_is_refused(tmp_path):
    path = tmp_path / "history.json"
    with pytest.raises(ModelError, match=r"cannot read training history 'history.json'"):
        History.read(path)
    path.write_text('{"schema_version": 99}')
    with pytest.raises(ModelError, match="schema 99; expected schema 1"):
        History.read(path)
    path.write_text("[]")
    with pytest.raises(ModelError, match="expected a JSON object"):
        History.read(path)
    path.write_text('{"schema_version": 1, "recipe": {}, "epochs": [{"epoch": 1}]}')
    with pytest.raises(ModelError, match="damaged training history"):
        History.read(path)


def test_a_record_survives_json():
    record = EpochRecord(epoch=2, loss=0.5, learning_rate=0.1, extra={"rate": 0.25})
    assert EpochRecord(**json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize("damage", [b"", b"\x80\x04K\x01.", b"\x00" * 100])
def test_a_damaged_state_is_named_with_the_way_out(tmp_path, damage):
    run(tmp_path)
    (tmp_path / "state.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, match=r"'state.safetensors' is damaged.*Delete it"):
        run(tmp_path)


def test_divergence_names_the_remedy(tmp_path):
    module = tiny_net()
    with torch.no_grad():
        module[0].weight.fill_(1e38)
    with pytest.raises(
        ModelError, match=r"diverged in epoch 1.*Lower the learning rate \(it is 0\.05"
    ):
        run(tmp_path, module)
    assert not list(tmp_path.glob("*.tmp"))


def test_weights_that_the_last_step_spoiled_are_noticed(tmp_path):
    with pytest.raises(ModelError, match="the weights are no longer finite"):
        run(tmp_path, nn.Sequential(_Exploding(), tiny_net()), batch_size=64, epochs=1)


class _Exploding(nn.Module):
    """A parameter with an infinite gradient and no influence on the loss."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        if self.training:
            self.weight.register_hook(lambda gradient: gradient * 0 + torch.inf)
        return x + 0 * self.weight


BAD = {
    "labels": (
        {"images": tiny_images(labeled=False)},
        "image set 'signs' has no labels, objective 'supervised' needs them. Give labeled images",
    ),
    "hard labels": (
        {
            "images": tiny_images(labeled=False),
            "objective": HintonKD(hard_label_weight=0.5),
            "teacher": tiny_teacher(),
        },
        "objective 'hinton' needs them",
    ),
    "label range": (
        {"images": tiny_images(classes=4)},
        "label 3 in image set 'signs'; expected 0 to 2",
    ),
    "no teacher": ({"objective": HintonKD()}, "objective 'hinton' without a teacher"),
    "teacher classes": (
        {"objective": HintonKD(), "teacher": tiny_teacher(classes=4)},
        "the teacher has 4 classes, the student 3",
    ),
    "cached features": (
        {"objective": RelationalKD(), "teacher": tiny_teacher()},
        "expected teacher_views = augmented",
    ),
    "student layer": (
        {
            "objective": FitNets(student_layers=("9",), teacher_layers=("2",)),
            "teacher": tiny_teacher(),
            "teacher_views": "augmented",
        },
        "Sequential has no layer '9'",
    ),
    "validation shape": (
        {"validation": tiny_images(side=12)},
        "validation images of shape (12, 12, 3); expected (8, 8, 3)",
    ),
    "device": ({"device": "cuda:77"}, "device 'cuda:77' cannot be used"),
    "no device": ({"device": "gpu"}, "device 'gpu' cannot be used"),
    "model": ({"module": nn.Linear(7, 3)}, "the model does not take images of shape (8, 8, 3)"),
    "output": (
        {"module": nn.Conv2d(3, 3, 3)},
        "the model answers Tensor (2, 3, 6, 6); expected logits",
    ),
    "shift": ({"shift": 8}, "shift = 8 on images of 8 x 8 pixels"),
    "checkpoint": (
        {"checkpoint_epochs": (7,)},
        "checkpoint_epochs has 7; expected epochs from 1 to 3",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_is_refused(tmp_path, name):
    options, message = BAD[name]
    with pytest.raises(InputError) as error:
        run(tmp_path, **options)
    assert message in str(error.value)
    assert not (tmp_path / "state.safetensors").exists()


def test_class_names_in_another_order_are_refused_with_labels(tmp_path):
    images = tiny_images()
    named = ImageSet(name="signs", images=images.images, labels=images.labels,
                     sample_ids=images.sample_ids, class_names=("a", "b", "c"))  # fmt: skip
    teacher = tiny_teacher(class_names=("a", "c", "b"))
    with pytest.raises(ImageSetError, match="class 'b' of image set 'signs' is not at its place"):
        run(tmp_path, images=named, teacher=teacher, objective=HintonKD(hard_label_weight=0.5))
    with pytest.raises(ImageSetError, match="has 3 classes; expected 4"):
        run(tmp_path, tiny_net(classes=4), named)
    with pytest.raises(ImageSetError, match="is not at its place in the teacher's classes"):
        run(tmp_path, images=named, teacher=teacher, objective=HintonKD())
    with pytest.raises(ImageSetError, match="is not at its place in the training images' classes"):
        run(tmp_path, images=named, validation=replace(named, class_names=("a", "c", "b")))
    run(tmp_path, images=replace(named, labels=None), teacher=teacher, objective=HintonKD())


def test_a_teacher_that_answers_nan_is_refused(tmp_path):
    teacher = tiny_teacher()
    with torch.no_grad():
        teacher.module[6].bias[0] = torch.nan
    with pytest.raises(ModelError, match="the teacher answers NaN or infinity on image 'signs/0'"):
        run(tmp_path, teacher=teacher, objective=HintonKD())


@pytest.mark.parametrize(
    ("key", "value"),
    [("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")),
     ("warmup", 1.5), ("precision", "float16"), ("optimizer", "adam"), ("seed", -1),
     ("teacher_views", "both")],
)  # fmt: skip
def test_settings_out_of_bounds_are_named(key, value):
    with pytest.raises(ConfigError, match=f"{key} = "):
        TrainingConfig(**{key: value})


def test_threads_and_device_are_provenance():
    assert TrainingConfig(threads=1, device="cpu").digest() == TrainingConfig(threads=2).digest()
    assert TrainingConfig(seed=1).digest() != TrainingConfig(seed=2).digest()


def test_automatic_precision_is_resolved_in_the_recipe():
    config = TrainingConfig()
    assert config.result_key()["precision"] in ("float32", "bfloat16")
    assert TrainingConfig(precision="float32").effective_precision == "float32"
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used"):
        TrainingConfig(device="gpu").result_key()


class Inverted:
    """Show the student the negative of what the teacher answered."""

    def __init__(self):
        self.seen = []

    def __call__(self, rows, pixels, generator):
        self.seen.append((rows.clone(), float(torch.rand(1, generator=generator))))
        return 1 - pixels

    def recipe(self):
        return {"name": "inverted"}


def task(images=None, **changes):
    given = {
        "module": tiny_net(),
        "images": images or tiny_images(),
        "objective": HintonKD(),
        "config": TrainingConfig(**{**QUICK, "seed": 0, "shift": 0}),
        "normalization": HALF,
        "teacher": tiny_teacher(),
    }
    return TrainingTask(**{**given, **changes})


def test_given_logits_stand_in_for_the_teacher(tmp_path):
    images, teacher = tiny_images(), tiny_teacher()
    with torch.no_grad():
        logits = teacher(torch.from_numpy(to_pixels(images.images))).numpy()
    asked = perform(task(images, teacher=teacher), workdir=tmp_path / "a")
    told = perform(task(images, teacher=None, teacher_logits=logits), workdir=tmp_path / "b")
    assert weights_digest(asked.module) == weights_digest(told.module)
    other = perform(task(images, teacher_logits=-logits), workdir=tmp_path / "c")
    assert weights_digest(other.module) != weights_digest(told.module)
    assert not (tmp_path / "b" / "teacher_training.npy").exists()


def test_an_alteration_lies_between_teacher_and_student(tmp_path):
    """Learning from the negatives is learning from a set of negatives, with the same answers."""
    images, teacher = tiny_images(), tiny_teacher()
    with torch.no_grad():
        logits = teacher(torch.from_numpy(to_pixels(images.images))).numpy()
    change = Inverted()
    altered = perform(task(images, alteration=change), workdir=tmp_path / "a")
    negatives = replace(images, images=255 - images.images)
    plain = perform(task(negatives, teacher_logits=logits), workdir=tmp_path / "b")
    for mine, theirs in zip(altered.module.parameters(), plain.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    drawn = [number for _, number in change.seen]
    assert len(set(drawn)) == len(drawn), "epochs and batches draw anew"


def test_alteration_and_logits_are_part_of_a_runs_identity():
    plain = task().recipe()
    assert {"teacher_logits", "alteration"}.isdisjoint(plain), "earlier runs keep theirs"
    logits = np.zeros((40, 3), np.float32)
    assert task(teacher_logits=logits).recipe() != task(teacher_logits=logits + 1).recipe()
    assert task(alteration=Inverted()).recipe()["alteration"] == {"name": "inverted"}


def test_logits_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ModelError, match="one row per training image"):
        perform(task(teacher_logits=np.zeros((7, 3), np.float32)), workdir=tmp_path)
    features = FitNets(student_layers=("2",), teacher_layers=("2",))
    with pytest.raises(ConfigError, match="features"):
        perform(
            task(objective=features, teacher_logits=np.zeros((40, 3), np.float32),
                 config=TrainingConfig(**QUICK, teacher_views="augmented")),
            workdir=tmp_path,
        )  # fmt: skip
