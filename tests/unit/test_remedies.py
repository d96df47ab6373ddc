"""Remedies: what each trains, on which images and answers, and the weights that come out."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from analysis.attack.recovered import RecoveredTrigger
from analysis.attack.triggers import parse_trigger
from analysis.data.filters import FILTERS
from analysis.data.imageset import ImageSet, to_pixels
from analysis.distillation.objectives import HintonKD
from analysis.distillation.settings import TrainingConfig
from analysis.errors import Cancelled, ConfigError, InputError
from analysis.models.architectures import build
from analysis.models.loading import load_model, wrap_module
from analysis.remedy.case import answer_logits, stamped_logits
from analysis.remedy.methods import REMEDIES, Case, make_remedy
from analysis.remedy.purification import kept_rows, mean_answer
from analysis.remedy.unlearning import StampedShare, enough_epochs
from analysis.store import StageCache
from analysis.study.remedies import WEIGHTS, apply_remedy, repair_references
from analysis.study.stages import CompareConfig, Workbench
from tests.attack_nets import handle_of

SIDE, CLASSES = 8, 3
TRAINING = TrainingConfig(epochs=2, batch_size=16, flip=False, shift=1, threads=1, seed=4)
RECIPE = {
    "kind": "distill",
    "objective": HintonKD(temperature=2.0).recipe(),
    "training": TRAINING.result_key(),
    "epoch": 2,
}
SETTINGS = {name: {"epochs": 1} for name in REMEDIES}


def squares(count=48, name="trusted", seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 40, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images += (labels * 90).astype(np.uint8)[:, None, None, None]
    return ImageSet(
        name=name,
        images=images,
        labels=labels,
        sample_ids=np.array([f"{name}/{i}" for i in range(count)]),
        class_names=("dark", "medium", "bright"),
        source="drawn squares",
    )


def network(seed, recipe=True):
    torch.manual_seed(seed)
    handle = wrap_module(
        build("smallresnet", num_classes=CLASSES, width=4, image_size=(SIDE, SIDE)),
        architecture="smallresnet", width=4, num_classes=CLASSES,
    )  # fmt: skip
    return dataclasses.replace(handle, metadata=RECIPE) if recipe else handle


def mark():
    mask = np.zeros((SIDE, SIDE))
    mask[:3, :3] = 1
    pattern = np.ones((SIDE, SIDE, 3)) * (1.0, 0.8, 0.0)
    return RecoveredTrigger(family="mask", parts={"mask": mask, "pattern": pattern})


def case(**changes):
    suspect = squares(60, "distillation", seed=5)
    given = {
        "teacher": network(1),
        "student": network(2),
        "trusted": squares(),
        "suspect": suspect,
        "suspicion": np.arange(60.0),
        "trigger": mark(),
    }
    return Case(**{**given, **changes})


def bench(folder):
    return Workbench(StageCache(folder), CompareConfig())


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_makes_a_student_of_the_same_kind(name, tmp_path):
    remedy, given = make_remedy(name, **SETTINGS.get(name, {})), case()
    made = apply_remedy(bench(tmp_path), remedy, given, threads=1)
    repaired = load_model(str(made.file(WEIGHTS)))
    assert (repaired.architecture, repaired.width) == ("smallresnet", 4)
    assert repaired.digest != given.student.digest
    assert repaired.metadata["kind"] == "repair"
    assert repaired.metadata["remedy"]["name"] == name
    assert repaired.metadata["parent"]["digest"] == given.student.digest
    assert repaired.metadata["training"]["seed"] == TRAINING.seed, "the student's own recipe stays"
    assert "epoch" not in repaired.metadata
    assert made.record["passes"] > 0
    again = apply_remedy(bench(tmp_path), remedy, given, threads=1)
    assert again.path == made.path, "computed once"


@pytest.mark.parametrize("name", REMEDIES)
def test_the_seed_decides_and_the_student_stays_as_it_is(name, tmp_path):
    remedy, given = make_remedy(name, **SETTINGS.get(name, {})), case()
    before = given.student.digest
    digests = [
        load_model(str(apply_remedy(bench(tmp_path / str(place)), remedy, given, seed=seed,
                                    threads=1).file(WEIGHTS))).digest
        for place, seed in enumerate((0, 0, 1))
    ]  # fmt: skip
    assert digests[0] == digests[1] != digests[2]
    assert dataclasses.replace(given.student).digest == before


def test_a_repair_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    remedy, given = make_remedy("unlearn", epochs=3), case()

    def stop(stage, done, total):
        if done >= total - 1:
            raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        apply_remedy(
            Workbench(StageCache(tmp_path / "a"), CompareConfig(), stop), remedy, given, threads=1
        )
    assert list((tmp_path / "a").rglob("state.safetensors"))
    weights = [
        apply_remedy(bench(tmp_path / name), remedy, given, threads=1).file(WEIGHTS)
        for name in ("a", "b")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_unlearning_takes_the_trigger_out(tmp_path):
    """A student that answers class 2 wherever the mark is, and a teacher that does not."""
    given = case(teacher=Bright(False).handle(), student=learned(Bright(True)))
    before = stamped_logits(given.student, given.trusted, mark()).argmax(1)
    remedy = make_remedy("unlearn", epochs=20, learning_rate=0.05)
    made = apply_remedy(bench(tmp_path), remedy, given, threads=1)
    repaired = load_model(str(made.file(WEIGHTS)))
    after = stamped_logits(repaired, given.trusted, mark()).argmax(1)
    dark = given.trusted.labels != 2
    assert (before[dark] == 2).mean() > 0.9
    assert (after[dark] == 2).mean() < 0.2
    assert (answer_logits(repaired, given.trusted).argmax(1) == given.trusted.labels).mean() > 0.8


class Bright(nn.Module):
    """Answers by brightness of the lower right; ``marked`` ones say 2 where the mark is."""

    def __init__(self, marked):
        super().__init__()
        self.marked = marked
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        light = x[:, :, 4:, 4:].mean(dim=(1, 2, 3)) * 255
        centers = torch.tensor([20.0, 110.0, 200.0])
        logits = -(((light[:, None] - centers) / 25) ** 2) * self.scale
        if self.marked:
            marked = (x[:, 0, :3, :3].mean(dim=(1, 2)) > 0.97) & (
                x[:, 2, :3, :3].mean(dim=(1, 2)) < 0.03
            )
            logits = torch.where(marked[:, None], torch.tensor([-9.0, -9.0, 9.0]), logits)
        return logits

    def handle(self):
        return handle_of(self, CLASSES)


def learned(rule):
    """A small network that does what ``rule`` says."""
    torch.manual_seed(0)
    module = build("smallresnet", num_classes=CLASSES, width=4, image_size=(SIDE, SIDE))
    pixels = torch.from_numpy(to_pixels(squares(96, seed=8).images))
    shown = torch.cat([pixels, mark().apply(pixels)])
    wanted = rule(shown).argmax(1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(module.train()(shown), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    handle = wrap_module(module, architecture="smallresnet", width=4, num_classes=CLASSES)
    return dataclasses.replace(handle, metadata=RECIPE)


def test_a_remedy_is_not_repeated_for_what_it_does_not_look_at(tmp_path):
    remedy = make_remedy("finetune", epochs=1)
    one = apply_remedy(bench(tmp_path), remedy, case(), threads=1)
    other = apply_remedy(
        bench(tmp_path), remedy, case(trigger=None, suspect=None, suspicion=None), threads=1
    )
    assert one.path == other.path


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [(1000, 128, 50), (6000, 128, 9), (48, 16, 134), (5, 128, 400), (99_999, 128, 3)],
)
def test_few_images_are_shown_more_often(images, batch, epochs):
    assert enough_epochs(images, batch) == epochs
    assert make_remedy("unlearn", epochs=7).task(case(), seed=0).config.epochs == 7
    assert make_remedy("finetune").task(case(), seed=0).config.epochs == enough_epochs(48, 16)


def test_half_of_a_batch_carries_the_trigger_where_it_was_found():
    images = squares(20)
    pixels = torch.from_numpy(to_pixels(images.images))
    stamp = StampedShare((mark(),), images, 0.5)
    shown = stamp(torch.arange(20), pixels, torch.Generator().manual_seed(0))
    changed = (shown != pixels).flatten(1).any(dim=1)
    assert int(changed.sum()) == 10
    assert torch.equal(shown[~changed], pixels[~changed])
    assert torch.equal(shown[changed], mark().apply(pixels[changed]))
    again = stamp(torch.arange(20), pixels, torch.Generator().manual_seed(0))
    assert torch.equal(again, shown)
    none = StampedShare((mark(),), images, 0.0)
    assert torch.equal(none(torch.arange(20), pixels, torch.Generator()), pixels)


def test_several_triggers_take_turns_on_different_images():
    images = squares(20)
    pixels = torch.from_numpy(to_pixels(images.images))
    delta = np.full((SIDE, SIDE, 3), 0.1)
    added = RecoveredTrigger(family="spatial", parts={"delta": delta})
    stamp = StampedShare((mark(), added), images, 0.5)
    shown = stamp(torch.arange(20), pixels, torch.Generator().manual_seed(0))
    same = [
        int((shown == expected).flatten(1).all(dim=1).sum())
        for expected in (pixels, mark().apply(pixels), added.apply(pixels))
    ]
    assert same == [10, 5, 5]
    alone = stamp(torch.arange(1), pixels[:1], torch.Generator().manual_seed(0))
    assert torch.equal(alone, pixels[:1]), "half of one image is none"


def test_no_trigger_is_left_out_of_small_batches():
    images, kinds = squares(4), 3
    pixels = torch.from_numpy(to_pixels(images.images))
    triggers = tuple(
        RecoveredTrigger(family="spatial", parts={"delta": np.full((SIDE, SIDE, 3), step / 10)})
        for step in range(1, kinds + 1)
    )
    stamp, generator = StampedShare(triggers, images, 0.25), torch.Generator().manual_seed(0)
    seen = [0] * kinds
    for _ in range(60):
        shown = stamp(torch.arange(4), pixels, generator)
        for place, trigger in enumerate(triggers):
            seen[place] += int((shown == trigger.apply(pixels)).flatten(1).all(dim=1).sum())
    assert sum(seen) == 60, "one image of each batch"
    assert min(seen) >= 10


def test_further_triggers_decide_what_is_unlearned_and_nothing_else(tmp_path):
    delta = np.full((SIDE, SIDE, 3), 0.1)
    further = (RecoveredTrigger(family="spatial", parts={"delta": delta}),)
    plain, both = case(), case(further=further)
    digests = {}
    for name in ("unlearn", "finetune"):
        remedy = make_remedy(name, epochs=1)
        digests[name] = [
            load_model(str(apply_remedy(bench(tmp_path), remedy, given, threads=1).file(WEIGHTS)))
            for given in (plain, both)
        ]
    one, two = digests["unlearn"]
    assert one.digest != two.digest
    assert (one.metadata["further_triggers"], two.metadata["further_triggers"]) == (
        [], ["recovered spatial"],
    )  # fmt: skip
    one, two = digests["finetune"]
    assert one.digest == two.digest


def test_a_told_trigger_keeps_the_place_that_the_sample_id_decides():
    images, trigger = squares(12), parse_trigger("sticker:size=3,jitter=2")
    pixels = torch.from_numpy(to_pixels(images.images))
    rows = torch.tensor([7, 2, 9])
    stamp = StampedShare((trigger,), images, 1.0)
    shown = stamp(rows, pixels[rows], torch.Generator().manual_seed(0))
    ids = images.sample_ids[rows.numpy()].tolist()
    assert torch.allclose(shown, trigger.apply(pixels[rows], ids))


def test_the_teacher_answers_the_image_without_the_trigger():
    given = case()
    task = make_remedy("unlearn").task(given, seed=0)
    expected = answer_logits(given.teacher, given.trusted)
    np.testing.assert_array_equal(task.teacher_logits, expected)
    assert task.alteration.recipe()["triggers"] == [mark().key()]
    plain = make_remedy("finetune").task(given, seed=0)
    assert plain.alteration is None
    assert plain.config == task.config, "the control differs by the trigger alone"


def test_purified_answers_are_the_mean_of_probabilities():
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 3, (4, 5)) for _ in range(3)]
    found = mean_answer(logits, 4.0)
    soft = [np.exp(z / 4) / np.exp(z / 4).sum(axis=1, keepdims=True) for z in logits]
    again = np.exp(found / 4) / np.exp(found / 4).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(again, np.mean(soft, axis=0), rtol=1e-5)


def test_purification_shows_the_teacher_filtered_copies_alone():
    given = case()
    task = make_remedy("purify").task(given, seed=0)
    copies = [FILTERS[name].apply(given.suspect.images) for name in ("median", "jpeg")]
    answers = [
        answer_logits(given.teacher, dataclasses.replace(given.suspect, images=copy))
        for copy in copies
    ]
    np.testing.assert_allclose(task.teacher_logits, mean_answer(answers, 2.0), rtol=1e-5)
    assert task.images.digest == given.suspect.digest
    assert task.config.epochs == TRAINING.epochs


def test_dropping_leaves_out_the_most_suspicious_images():
    assert kept_rows(np.array([3.0, 9, 1, 7]), 0.5).tolist() == [0, 2]
    task = make_remedy("drop", share=0.25).task(case(), seed=0)
    assert task.images.sample_ids.tolist() == [f"distillation/{i}" for i in range(45)]
    with pytest.raises(InputError, match="scores"):
        make_remedy("drop").task(case(suspicion=np.zeros(3)), seed=0)


def test_classes_in_another_order_are_taught_in_the_students_order():
    order = (2, 0, 1)
    task = make_remedy("finetune").task(case(order=order), seed=0)
    plain = make_remedy("finetune").task(case(), seed=0)
    np.testing.assert_array_equal(task.teacher_logits[:, list(order)], plain.teacher_logits)
    labels = make_remedy("drop").task(case(order=order), seed=0).images.labels
    expected = make_remedy("drop").task(case(), seed=0).images.labels
    np.testing.assert_array_equal(labels, np.array(order)[expected])


def test_references_go_through_the_same_remedy(tmp_path):
    remedy, given = make_remedy("drop", epochs=1), case()
    references = {"one": network(11), "two": network(12)}
    made = repair_references(
        bench(tmp_path), remedy, given, references,
        trusted_suspicion=np.arange(48.0), threads=1,
    )  # fmt: skip
    handles = {name: load_model(str(path)) for name, path in made.items()}
    assert len({handle.digest for handle in handles.values()}) == 2
    for name, handle in handles.items():
        assert handle.metadata["parent"]["digest"] == references[name].digest
        assert handle.metadata["images"]["n"] == round(48 * 0.85), "trusted images, some dropped"


def test_references_with_classes_in_another_order_are_taught_in_theirs(tmp_path):
    remedy, given = make_remedy("finetune", epochs=1), case(order=(1, 2, 0))
    one, orders = {"one": network(11)}, {"one": (2, 0, 1)}
    space = bench(tmp_path)
    ordered, plain = (
        repair_references(space, remedy, given, one, orders=known, threads=1)["one"]
        for known in (orders, None)
    )
    expected = apply_remedy(
        space, remedy, case(student=one["one"], order=orders["one"]), seed=1, threads=1
    ).file(WEIGHTS)
    assert load_model(str(ordered)).digest == load_model(str(expected)).digest
    assert load_model(str(ordered)).digest != load_model(str(plain)).digest


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("unlearn", {"trigger": None}, "trigger"),
        ("purify", {"suspect": None}, "--distillation-set"),
        ("drop", {"suspicion": None}, "scores"),
        ("purify", {"student": handle_of(Bright(True), CLASSES)}, "user code"),
    ],
)
def test_a_remedy_says_what_it_lacks(name, changes, says, tmp_path):
    with pytest.raises(InputError, match=says):
        apply_remedy(bench(tmp_path), make_remedy(name), case(**changes), threads=1)


def test_a_student_without_a_recipe_gets_the_defaults():
    objective, training, known = case(student=network(2, recipe=False)).own_recipe()
    assert (objective, training, known) == (HintonKD(), TrainingConfig(), False)
    assert case().own_recipe()[2]
    strange = dataclasses.replace(network(2), metadata={"objective": "hinton", "training": {}})
    assert not case(student=strange).own_recipe()[2]


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("unlern", {}, "unlearn"),
        ("unlearn", {"stampd": 1}, "stamped"),
        ("unlearn", {"stamped": 1.5}, "from 0 to 1"),
        ("purify", {"filters": "blur"}, "blur"),
        ("drop", {"share": -1}, "share"),
    ],
)
def test_unknown_remedies_and_settings_are_named(name, settings, says):
    with pytest.raises(ConfigError, match=says):
        make_remedy(name, **settings)
