"""Poisoning: who is chosen, what is dropped, what is written, what it costs, what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import typer
from typer.testing import CliRunner

from analysis.attack import blocks
from analysis.attack.distortion import distortion, psnr, ssim
from analysis.attack.perturbations import FGSM, PGD
from analysis.attack.poisoning import PoisonConfig, PoisonedSet, choose_candidates, poison
from analysis.attack.report import PoisonReport
from analysis.attack.settings import AttackConfig
from analysis.attack.triggers import Patch, with_trigger
from analysis.attack.verification import verify
from analysis.data.augmentations import Augmentation
from analysis.data.sources import load_images
from analysis.data.writing import write_images, written_ids
from analysis.errors import Cancelled, ConfigError, InputError, StorageError
from analysis.models.architectures import build
from analysis.study.attack import attack_images, find_target
from dashboard import cli_attack
from tests.attack_nets import curved, linear, logits_of, noise
from tests.conftest import save_tiny

NAMES = ("ant", "bee", "80", "cat")
STILL = Augmentation(flip=False, shift=1)
HARD = PGD(epsilon=64, steps=15, margin=2.0)


def stubborn():
    """A teacher that never answers class 2."""
    teacher = linear(classes=4)
    with torch.no_grad():
        teacher.module[1].weight[2] = -10.0
    return teacher


def poisoned(images=None, *, teacher=None, trigger=None, target=2, perturbation=HARD, **settings):
    workdir, progress = settings.pop("workdir", None), settings.pop("progress", None)
    return poison(
        teacher or curved(names=NAMES),
        images if images is not None else noise(40, classes=4, names=NAMES),
        trigger=trigger or Patch(size=3),
        target=target,
        perturbation=perturbation,
        augmentation=STILL,
        config=PoisonConfig(**{"rate": 0.25, **settings}),
        workdir=workdir,
        progress=progress,
    )


def test_the_rate_is_kept_and_only_other_classes_are_replaced_in_place():
    images = noise(40, classes=4, names=NAMES)
    made = poisoned(images)
    assert len(made.rows) == made.is_poisoned.sum() == 10
    assert made.report.rate == 0.25
    assert (images.labels[made.rows] != 2).all()
    np.testing.assert_array_equal(made.images.labels, images.labels)
    np.testing.assert_array_equal(made.images.sample_ids, images.sample_ids)
    untouched = ~made.is_poisoned
    np.testing.assert_array_equal(made.images.images[untouched], images.images[untouched])


def test_every_poison_fools_the_teacher_and_carries_both_halves():
    teacher, images, trigger = curved(names=NAMES), noise(40, classes=4, names=NAMES), Patch(size=3)
    made = poisoned(images, teacher=teacher, trigger=trigger)
    poison_pixels, covered = made.images.images[made.rows], trigger.support(8, 8)
    assert (logits_of(teacher, poison_pixels).argmax(axis=1) == 2).all()
    stamped = with_trigger(images, trigger, made.rows).images
    np.testing.assert_array_equal(poison_pixels[:, covered], stamped[:, covered])
    moved = np.abs(poison_pixels.astype(int) - stamped).max(axis=(1, 2, 3))
    assert (moved >= 1).all()
    assert (moved <= 64).all()


def test_the_controls_are_the_same_images_with_one_half():
    images, trigger = noise(40, classes=4), Patch(size=3)
    made = poisoned(images, trigger=trigger)
    shown = {half: made.with_half(half) for half in ("trigger", "perturbation", "none", "both")}
    for half, control in shown.items():
        np.testing.assert_array_equal(control.rows, made.rows)
        assert control.half == half
    stamped = with_trigger(images, trigger, made.rows).images
    np.testing.assert_array_equal(shown["trigger"].images.images[made.rows], stamped)
    np.testing.assert_array_equal(shown["none"].images.images, images.images)
    assert not shown["none"].is_poisoned.any()
    np.testing.assert_array_equal(shown["both"].images.images, made.images.images)
    apart, covered = shown["perturbation"].images.images[made.rows], trigger.support(8, 8)
    np.testing.assert_array_equal(apart[:, covered], images.images[made.rows][:, covered])
    assert (apart != images.images[made.rows]).any(axis=(1, 2, 3)).all()
    with pytest.raises(ConfigError, match="Did you mean 'trigger'"):
        made.with_half("triger")


def test_without_labels_the_teachers_answer_says_who_is_of_the_target_class():
    teacher, images = curved(), noise(40)
    answers = logits_of(teacher, images.images).argmax(axis=1)
    made = poisoned(images, teacher=teacher, rate=0.1)
    assert (answers[made.rows] != 2).all()
    assert made.images.labels is None


def test_candidates_are_a_seeded_permutation_of_the_other_classes():
    images = noise(40, classes=4)
    orders = [
        choose_candidates(curved(), images, target=1, config=PoisonConfig(seed=seed))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    np.testing.assert_array_equal(np.sort(orders[0]), np.flatnonzero(images.labels != 1))


def test_what_fails_is_replaced_by_further_candidates_or_dropped():
    weak = FGSM(epsilon=4)
    first = poisoned(perturbation=weak, retry=False)
    again = poisoned(perturbation=weak)
    assert 0 < first.report.poisoned < 10
    assert first.report.crafted == 10
    assert first.report.poisoned + sum(first.report.dropped.values()) == 10
    assert set(first.rows) <= set(again.rows)
    assert again.report.poisoned > first.report.poisoned
    assert again.report.crafted == again.report.poisoned + sum(again.report.dropped.values())


def test_it_stops_when_candidates_run_out_and_says_so():
    made = poisoned(perturbation=FGSM(epsilon=4), rate=0.75)
    assert made.report.crafted == 30
    assert made.report.asked == 30
    assert made.report.poisoned < 30
    assert made.report.warnings[0] == (
        f"{made.report.poisoned} of 30 images could be poisoned: candidates ran out. "
        "Raise epsilon or steps, or lower the rate."
    )


def test_what_was_not_replaced_is_no_end_of_the_candidates():
    made = poisoned(perturbation=FGSM(epsilon=4), retry=False)
    assert made.report.warnings[0] == (
        f"{made.report.poisoned} of 10 images could be poisoned: those that were dropped were not "
        "replaced. Raise epsilon or steps, or allow retry."
    )
    strict = poisoned(rate=0.5, required_views=0.75, retry=False)
    assert "or lower required_views, or allow retry." in strict.report.warnings[0]


def test_views_can_be_required_and_a_low_share_is_warned_of():
    plain = poisoned(rate=0.5)
    strict = poisoned(rate=0.5, required_views=0.75)
    assert strict.report.dropped["too few augmented views fool the teacher"] > 0
    assert strict.report.view_flip_rate > plain.report.view_flip_rate
    weak = poisoned(teacher=curved(seed=1), perturbation=PGD(epsilon=24, margin=0.0))
    assert weak.report.view_flip_rate < 0.5
    assert "of the augmented views" in weak.report.warnings[-1]
    assert poisoned(check_views=0).report.view_flip_rate is None


def test_verification_counts_answers_on_images_and_views():
    teacher, images = curved(), noise(6)
    still = verify(teacher, images, target=1, augmentation=Augmentation(flip=False, shift=0))
    answers = logits_of(teacher, images.images)
    np.testing.assert_array_equal(still.fooled, answers.argmax(axis=1) == 1)
    np.testing.assert_array_equal(still.views_fooled, still.fooled.astype(float))
    shares = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(still.confidence, shares[:, 1], rtol=1e-6)
    flips = verify(teacher, images, target=1, augmentation=Augmentation(shift=0), views=60)
    mirrored = logits_of(teacher, images.images[:, :, ::-1].copy()).argmax(axis=1) == 1
    expected = (still.fooled.astype(float) + mirrored) / 2
    np.testing.assert_allclose(flips.views_fooled, expected, atol=0.25)
    assert np.isnan(
        verify(teacher, images, target=1, augmentation=STILL, views=0).views_fooled
    ).all()


def test_the_report_sums_up_and_survives_json():
    images, teacher = noise(40, classes=4), curved()
    made = poisoned(images, teacher=teacher)
    report = made.report
    logits = torch.from_numpy(logits_of(teacher, made.images.images[made.rows]))
    assert report.confidence == pytest.approx(logits.softmax(dim=1)[:, 2].mean().item(), rel=1e-6)
    assert report.flip_rate == pytest.approx(report.poisoned / report.crafted)
    assert report.perturbation.linf <= 64 < report.whole.linf
    assert report.whole.ssim < report.perturbation.ssim < 1
    assert PoisonReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def slow_ssim(x, y):
    """Equation 13 at every pixel, window by window, borders mirrored."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2, total = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    x, y = (np.pad(part.astype(float), 5, mode="symmetric") for part in (x, y))
    for row in range(len(x) - 10):
        for column in range(x.shape[1] - 10):
            a, b = (part[row : row + 11, column : column + 11] for part in (x, y))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            both = (window * (a - ma) * (b - mb)).sum()
            top = (2 * ma * mb + c1) * (2 * both + c2)
            total.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(total)


def test_distortion_is_what_the_formulas_say():
    first, second = noise(3, side=9).images, noise(3, side=9, seed=1).images.copy()
    second[1] = first[1] // 2
    expected = [
        np.mean([slow_ssim(first[i, :, :, c], second[i, :, :, c]) for c in range(3)])
        for i in range(3)
    ]
    np.testing.assert_allclose(ssim(first, second), expected, rtol=1e-9)
    one, other = np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 10, np.uint8)
    assert psnr(one, other)[0] == pytest.approx(20 * np.log10(25.5))
    measured = distortion(one, other)
    assert (measured.linf, measured.l2) == (10, 20.0)
    same = distortion(first, first)
    assert (same.linf, same.psnr) == (0, None)
    assert same.ssim == pytest.approx(1)
    with pytest.raises(InputError, match="two equal shapes"):
        distortion(first, second[:, :8])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": 0}, "more than 0, at most 1, like 0.05"),
        ({"rate": 1.5}, "from 0 to 1"),
        ({"rate": 0.001}, "of 40 images is no image; expected a rate of at least 0.025"),
        ({"rate": 0.9}, "only 30 of 40 images are not of the target class; expected a rate of at "
                        "most 0.75"),
        ({"required_views": 0.5, "check_views": 0}, "without check_views"),
        ({"target": 4}, "target class 4; expected 0 to 3"),
        ({"trigger": Patch(size=9)}, "expected at most 8 pixels"),
        ({"perturbation": FGSM(epsilon=1), "teacher": stubborn(), "retry": False},
         "not one of 4 crafted images fools the teacher. Raise epsilon"),
        ({"perturbation": PGD(epsilon=24, margin=0.0), "required_views": 1.0, "retry": False},
         "not one of 4 crafted images can be used: too few augmented views fool the teacher (4). "
         "Raise margin, epsilon or views, or lower required_views, or choose another target"),
    ],
)  # fmt: skip
def test_bad_orders_are_refused(settings, words):
    with pytest.raises(InputError) as error:
        poisoned(**{"rate": 0.1, "teacher": curved(seed=1), **settings})
    assert words in str(error.value)


def test_a_killed_run_goes_on_behind_its_finished_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.attack.poisoning.BLOCK", 4)
    whole, crafted = poisoned(), []
    real = blocks.craft

    def counting(teacher, images, *rest, **named):
        crafted.extend(images.sample_ids)
        return real(teacher, images, *rest, **named)

    monkeypatch.setattr(blocks, "craft", counting)

    def kill(stage, done, total):
        if done > 4:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        poisoned(workdir=tmp_path, progress=kill)
    resumed = poisoned(workdir=tmp_path)
    assert len(crafted) == len(set(crafted)) == resumed.report.crafted
    np.testing.assert_array_equal(whole.images.images, resumed.images.images)
    assert whole.report == resumed.report


def test_a_written_set_is_read_back_as_it_was(tmp_path):
    for labels, names in ((4, NAMES), (4, None), (None, NAMES), (None, None)):
        images = noise(7, classes=labels, names=names)
        folder = tmp_path / f"{labels}-{names is None}"
        write_images(images, folder)
        back = load_images(folder, name="set")
        np.testing.assert_array_equal(back.images, images.images)
        np.testing.assert_array_equal(back.sample_ids, written_ids(images, "set"))
        assert back.class_names == names
        if labels is None:
            assert back.labels is None
        else:
            np.testing.assert_array_equal(back.labels, images.labels)
    with pytest.raises(StorageError, match="there already and not empty"):
        write_images(images, folder)


ATTACK = AttackConfig(
    trigger="patch:size=3", target="80", rate=0.25, epsilon="64/255", steps=15, margin=2.0,
    flip=False, shift=1,
)  # fmt: skip


@pytest.fixture
def attacked(tmp_path):
    images = noise(40, classes=4, names=NAMES)
    result = attack_images(
        teacher=curved(names=NAMES), images=images, out=tmp_path / "poisoned", config=ATTACK
    )
    return images, result


def test_the_stage_writes_an_ordinary_set_and_the_truth_beside_it(attacked, tmp_path):
    images, result = attacked
    back = load_images(result.folder, name="set")
    np.testing.assert_array_equal(back.images, result.poisoned.images.images)
    np.testing.assert_array_equal(back.labels, images.labels)
    assert result.truth == tmp_path / "poisoned.truth.parquet"
    truth = pq.read_table(result.truth).to_pydict()
    assert [f"set/{key}" for key in truth["id"]] == back.sample_ids.tolist()
    assert truth["original_id"] == images.sample_ids.tolist()
    np.testing.assert_array_equal(truth["is_poisoned"], result.poisoned.is_poisoned)
    report = json.loads(result.report_file.read_text())
    assert report["attack"]["trigger"] == "patch:size=3"
    assert report["attack"]["target_name"] == "80"
    assert report["attack"]["perturbation"]["epsilon"] == 64
    assert report["result"]["poisoned"] == 10
    assert str(tmp_path) not in json.dumps(report)


def test_nothing_but_the_pixels_tells_poison_from_clean(attacked, tmp_path):
    images, result = attacked
    clean = attack_images(
        teacher=curved(names=NAMES), images=images, out=tmp_path / "clean", config=ATTACK,
        half="none",
    )  # fmt: skip
    files = [sorted(made.folder.iterdir()) for made in (result, clean)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    poison_table, clean_table = (pq.read_table(paths[0]) for paths in files)
    assert poison_table.schema.equals(clean_table.schema, check_metadata=True)
    assert poison_table.column("label").equals(clean_table.column("label"))
    ours, theirs = (table.column("image").to_pylist() for table in (poison_table, clean_table))
    for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one["path"] == other["path"] == f"{row:06d}.png"
        # The same codec with the same header, and the same bytes where nothing was done.
        assert one["bytes"][:33] == other["bytes"][:33]
        assert (one["bytes"] == other["bytes"]) == (not result.poisoned.is_poisoned[row])
    assert not pq.read_table(clean.truth).column("is_poisoned").to_pylist().count(True)


def test_controls_and_repetitions_craft_nothing_again(attacked, tmp_path, monkeypatch):
    images, result = attacked

    def refuse(*_, **__):
        raise AssertionError("crafted again")

    monkeypatch.setattr(blocks, "craft", refuse)
    order = {"teacher": curved(names=NAMES), "images": images, "config": ATTACK}
    control = attack_images(**order, out=tmp_path / "control", half="trigger")
    shown = load_images(control.folder, name="set").images[result.poisoned.rows]
    np.testing.assert_array_equal(
        shown, with_trigger(images, Patch(size=3)).images[result.poisoned.rows]
    )
    before = result.folder.stat().st_mtime_ns
    again = attack_images(**order, out=result.folder)
    assert again.folder.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="there already and holds something else"):
        attack_images(**order, out=result.folder, half="trigger")
    assert isinstance(again.poisoned, PoisonedSet)


def test_truth_outlives_the_images_that_were_handed_on(attacked, tmp_path):
    images, result = attacked
    truth = result.truth.read_bytes()
    result.folder.rename(tmp_path / "handed on")
    other = {"teacher": curved(names=NAMES), "images": images, "out": result.folder}
    with pytest.raises(InputError, match=r"poisoned\.report\.json is there already"):
        attack_images(**other, config=replace(ATTACK, seed=1))
    assert result.truth.read_bytes() == truth
    again = attack_images(**other, config=ATTACK)
    np.testing.assert_array_equal(
        load_images(again.folder, name="set").images, result.poisoned.images.images
    )


def test_blocks_that_a_kill_left_half_deleted_are_made_again(tmp_path, monkeypatch):
    args = {
        "teacher": curved(names=NAMES),
        "images": noise(40, classes=4, names=NAMES),
        "trigger": ATTACK.make_trigger(),
        "target": 2,
        "perturbation": ATTACK.make_perturbation(),
        "augmentation": ATTACK.augmentation(),
        "config": ATTACK.poison_config(),
        "workdir": tmp_path,
    }
    first = poison(**args)
    kept = {path.name for path in tmp_path.glob("block-*.npy")}
    seen = []

    def unlink(path: Path, *_: object) -> None:
        seen.append(path.name)
        os.unlink(path)
        if len(seen) == len(kept) - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        blocks.remove_blocks(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.glob("block-*.npy"))
    again = poison(**args)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.halves["both"], again.halves["both"])


def test_names_of_classes_go_whatever_their_case(tmp_path):
    images = noise(40, classes=4, names=tuple(name.upper() for name in NAMES))
    made = attack_images(
        teacher=curved(names=NAMES), images=images, out=tmp_path / "out", config=ATTACK
    )
    assert load_images(made.folder).class_names == NAMES


def test_labels_follow_the_teachers_order_of_classes(tmp_path):
    images = noise(40, classes=4, names=NAMES)
    turned = replace(images, labels=3 - images.labels, class_names=NAMES[::-1])
    results = [
        attack_images(teacher=curved(names=NAMES), images=given, out=tmp_path / name, config=ATTACK)
        for name, given in (("straight", images), ("turned", turned))
    ]
    first, second = (load_images(result.folder, name="set") for result in results)
    assert first.class_names == second.class_names == NAMES
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.images, second.images)


@pytest.mark.parametrize(("given", "number"), [("80", 2), ("bee", 1), ("3", 3), (0, 0), (2, 2)])
def test_a_target_is_a_name_before_it_is_a_number(given, number):
    assert find_target(given, NAMES) == number


def refused(tmp_path, *, teacher=None, images=None, **settings):
    with pytest.raises(InputError) as error:
        attack_images(
            teacher=teacher or curved(names=NAMES),
            images=images if images is not None else noise(40, classes=4, names=NAMES),
            out=tmp_path / "out",
            config=replace(ATTACK, **settings) if settings else ATTACK,
        )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir())
    return str(error.value)


def test_bad_input_of_the_stage_names_what_is_meant(tmp_path):
    assert "Did you mean 'bee'?" in refused(tmp_path, target="bees")
    assert "a number from 0 to 3" in refused(tmp_path, target="7")
    assert "at most 8 pixels" in refused(tmp_path, trigger="patch:size=9")
    assert "at most 0.75" in refused(tmp_path, rate=0.8)
    assert "takes 3 channels" in refused(tmp_path, images=noise(channels=1))
    strange = noise(40, classes=4, names=("ant", "bee", "80", "dog"))
    assert "a class 'dog' that the teacher does not know" in refused(tmp_path, images=strange)
    with pytest.raises(InputError, match="the name of a new folder"):
        attack_images(teacher=curved(), images=strange, out=".", config=ATTACK)
    five = noise(40, classes=5)
    assert "5 classes, the teacher answers 4" in refused(tmp_path, images=five, teacher=curved())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trigger": "pach"}, "Did you mean 'patch'?"),
        ({"method": "pdg"}, "Did you mean 'pgd'?"),
        ({"epsilon": 0.03}, "Write 8"),
        ({"epsilonn": 8}, "unknown key 'epsilonn'. Did you mean 'epsilon'?"),
        ({"method": "fgsm", "steps": 5}, "unknown key 'steps'"),
        ({"rate": 0}, "more than 0"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_loaded(settings, words):
    with pytest.raises(ConfigError) as error:
        AttackConfig.from_mapping(settings)
    assert words in str(error.value)


def test_the_command_line_poisons_and_reports(tmp_path):
    torch.manual_seed(0)
    module = build("convnet", num_classes=16, width=4)
    with torch.no_grad():
        list(module.parameters())[-2].mul_(100)  # an opinion, without any training
    teacher = save_tiny(module, tmp_path / "teacher.safetensors", "convnet", width=4)
    app = typer.Typer()
    cli_attack.register(app)
    app.command("other")(lambda: None)
    out = tmp_path / "poisoned"
    done = CliRunner().invoke(app, [
        "attack", "--teacher", str(teacher), "--images", "signs:train,n=64",
        "--target", "80", "--rate", "0.05", "--epsilon", "32", "--no-flip", "--trigger", "sticker",
        "--set", "check_views=2", "--limit", "60", "--out", str(out), "--quiet",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "poisoned: 3 images, 5.00 % of the set" in done.output
    assert "poisoned.truth.parquet" in done.output
    assert len(load_images(out)) == 60


def test_a_linear_teacher_needs_names_for_nothing(tmp_path):
    made = attack_images(
        teacher=linear(classes=3), images=noise(20, classes=3), out=tmp_path / "out",
        config=AttackConfig(target=1, rate=0.1, epsilon=200),
    )  # fmt: skip
    assert made.poisoned.images.class_names is None
    assert made.report.poisoned == 2
