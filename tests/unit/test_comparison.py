"""The whole way from model files to a study, on small models."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.special import rel_entr, softmax

import analysis
from analysis.attribution.agreement import AGREEMENTS
from analysis.attribution.null import against_shifts
from analysis.data.imageset import ImageSet
from analysis.data.npz import write_npz
from analysis.data.sources import load_images
from analysis.errors import Cancelled, ImageSetError, InputError, ModelError, StudyError, TrustError
from analysis.models.loading import load_model
from analysis.store import Study
from analysis.store.cache import workspace_cache
from analysis.study.attribution_agreement import DRAWS, STORED, measure_attribution_agreement
from analysis.study.comparison import add_students, compare
from analysis.study.export import export_samples
from analysis.study.headline import MEASURES, headline
from analysis.study.stages import CompareConfig, ConditionConfig, Workbench
from dashboard.loading import load_pair
from tests.conftest import ROOT, TINY, TINY_IMAGES

FAST = CompareConfig(probe=4, steps=4, draws=100, projection=False)
FEW = "signs:test,n=40,seed=9"


def models(tiny_models: dict[str, Path], *names: str) -> dict[str, str]:
    return {name: str(tiny_models[name]) for name in names}


@pytest.fixture
def teacher(tiny_models: dict[str, Path]) -> str:
    return str(tiny_models["teacher"])


def test_the_study_holds_what_the_models_answer(study: Study, tiny_models: dict[str, Path]) -> None:
    images = load_images(TINY_IMAGES)
    handle = load_model(str(tiny_models["alpha"]))
    pixels = torch.from_numpy(np.concatenate([batch for _, batch in images.batches(40)]))
    with torch.no_grad():
        logits, features = handle.traced(pixels)
    trace = study.trace("alpha")
    assert trace.sample_ids.tolist() == images.sample_ids.tolist()
    np.testing.assert_allclose(trace.logits, logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(
        trace.features["penultimate"], features["penultimate"].numpy(), atol=1e-4
    )
    np.testing.assert_array_equal(study.images, images.images)


def test_headline_measures_against_scipy(study: Study) -> None:
    p, q = (
        softmax(np.asarray(study.trace(name).logits, dtype=np.float64), axis=1)
        for name in ("teacher", "alpha")
    )
    agreement = (p.argmax(1) == q.argmax(1)).mean()
    measures = study.measures("alpha")
    assert measures["agreement"].value == pytest.approx(agreement)
    assert measures["churn"].value == pytest.approx(1 - agreement)
    assert measures["kl_teacher_student"].value == pytest.approx(rel_entr(p, q).sum(1).mean())
    assert measures["accuracy"].value == pytest.approx((q.argmax(1) == study.labels).mean())
    for name, interval in measures.items():
        # The bootstrap of the calibration error is biased upwards and may miss its own value.
        assert interval.low <= interval.high
        assert name == "ece" or interval.low <= interval.value <= interval.high


def test_every_part_of_the_study_is_there(study: Study) -> None:
    shown = headline(study)
    assert set(shown["students"]) == {"alpha", "beta"}
    for row in shown["students"].values():
        assert all(row[key] is not None for key in MEASURES)
        assert row["parameters"] > 0
        assert row["macs"] > 0
    json.dumps(shown, allow_nan=False)
    projection = study.projection("beta")
    assert projection.teacher.shape == projection.student.shape == (120, 2)
    assert study.neighbors("alpha").indices.shape == (120, 15)
    assert set(study.thumbnails().ids) == set(study.sample_ids)
    assert study.thumbnails().webp(study.sample_ids[0])[8:12] == b"WEBP"


def test_the_pair_s_map_is_student_minus_teacher(study: Study) -> None:
    maps = study.attributions("alpha")
    assert set(maps) == {"teacher", "student", "pair"}
    same = maps["teacher"].explained_class == maps["student"].explained_class
    difference = maps["student"].values - maps["teacher"].values
    np.testing.assert_allclose(maps["pair"].values[same], difference[same], atol=1e-6)
    assert (maps["pair"].explained_class == maps["student"].explained_class).all()
    table = study.samples("alpha")
    probed = [
        i for i, on in zip(study.sample_ids, table["attributed"].to_pylist(), strict=True) if on
    ]
    assert probed == maps["pair"].sample_ids.tolist()


def test_agreement_of_the_maps_is_stored_for_every_mapped_image(study: Study) -> None:
    maps = study.attributions("alpha")
    found = study.attribution_agreement("alpha")
    assert tuple(found) == STORED
    pair = [np.asarray(maps[part].values) for part in ("teacher", "student")]
    for name, values in found.items():
        expected = AGREEMENTS[name].function(*pair)
        np.testing.assert_allclose(values, expected, atol=1e-6)
        record = study.record("attribution_agreement/alpha/clean")[name]
        assert record["n"] == len(values) == TINY.probe
        assert record["mean"]["value"] == pytest.approx(np.mean(expected), abs=1e-6)
        assert record["mean"]["low"] <= record["mean"]["value"] <= record["mean"]["high"]
        null = against_shifts(*pair, name, draws=DRAWS).draws
        assert record["null"]["mean"] == pytest.approx(null.mean())
        assert record["above_null"] == np.mean(expected > np.percentile(null, 95))
    table = study.samples("alpha")
    by_id = dict(zip(maps["pair"].sample_ids.tolist(), found["top_overlap"].tolist(), strict=True))
    assert table["map_top_overlap"].to_pylist() == [by_id.get(s) for s in study.sample_ids]
    assert table["map_rank_correlation"].null_count == 120 - TINY.probe
    teacher = study.samples("teacher")
    assert teacher["map_rank_correlation"].null_count == 120
    assert study.attribution_agreement("alpha", "trigger") == {}, "not measured"


def test_constant_maps_have_no_agreement(tmp_path: Path) -> None:
    base, arrays = "attribution/alpha/clean", {}
    for part, maps in (("teacher", np.zeros((3, 6, 6))), ("student", np.ones((3, 6, 6)))):
        arrays[f"{base}/{part}/values"] = tmp_path / f"{part}.npy"
        np.save(tmp_path / f"{part}.npy", maps)
    bench = Workbench(workspace_cache(tmp_path), FAST)
    made = measure_attribution_agreement(bench, "alpha", arrays)
    record = made.records["attribution_agreement/alpha/clean"]
    assert record["cosine"] is record["rank_correlation"] is None
    assert np.isnan(np.load(made.arrays["attribution_agreement/alpha/clean/cosine"])).all()
    json.dumps(record, allow_nan=False)
    assert measure_attribution_agreement(bench, "beta", arrays).arrays == {}


def test_students_measured_in_fewer_columns_are_exported_with_the_others(
    study: Study, tmp_path: Path
) -> None:
    """An older release knew fewer columns; a student added since has them all."""
    folder = tmp_path / "study"
    shutil.copytree(study.path, folder)
    for model in ("teacher", "alpha"):
        path = folder / study.manifest.samples[f"{model}/clean"]
        old = pq.read_table(path).drop_columns(["map_rank_correlation", "map_top_overlap"])
        pq.write_table(old, path)
    mixed = Study.open(folder)
    assert export_samples(mixed, tmp_path / "all.parquet") == 360
    table = pq.read_table(tmp_path / "all.parquet")
    assert table["map_top_overlap"].null_count == 360 - TINY.probe
    assert load_pair(mixed, "alpha").sample_ids.tolist() == study.sample_ids.tolist()


def test_rows_join_by_sample_id(study: Study, tmp_path: Path) -> None:
    rows = export_samples(study, tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    assert rows == len(table) == 3 * 120
    names = set(study.class_names)
    assert set(table["answer_name"].to_pylist()) <= names
    teacher = table.filter([m == "teacher" for m in table["model"].to_pylist()])
    assert teacher["agreement"].null_count == 120, "a teacher is not compared with itself"
    export_samples(study, tmp_path / "all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 361
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        export_samples(study, tmp_path / "all.xlsx")


def test_same_seed_same_digest(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path, quiet_threads: None
) -> None:
    made = [
        compare(
            teacher=teacher,
            students=models(tiny_models, "alpha"),
            images=FEW,
            out=tmp_path / folder / "study",
            config=FAST,
        )
        for folder in ("one", "two")
    ]
    assert made[0].digest == made[1].digest


def test_adding_a_student_computes_only_what_is_new(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "study"
    first = compare(
        teacher=teacher, students=models(tiny_models, "alpha"), images=FEW, out=out, config=FAST
    )
    shutil.rmtree(tmp_path / ".distillscope")
    stages: set[str] = set()
    second = add_students(
        out,
        models(tiny_models, "beta"),
        progress=lambda stage, done, total: stages.add(stage),
    )
    assert list(second.students) == ["alpha", "beta"]
    assert not any("teacher" in stage or "alpha" in stage for stage in stages), stages
    assert second.measures("alpha") == first.measures("alpha")
    together = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha", "beta"),
        images=FEW,
        out=tmp_path / "other",
        config=FAST,
    )
    assert second.measures("beta") == together.measures("beta")
    with pytest.raises(InputError, match="already has another student 'beta'"):
        add_students(out, {"beta": str(tiny_models["alpha"])})
    with pytest.raises(InputError, match="is taken"):
        add_students(out, {"ALPHA": str(tiny_models["alpha"])})


def test_a_finished_comparison_is_not_repeated_and_another_is_refused(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = {"teacher": teacher, "students": models(tiny_models, "alpha"), "out": tmp_path / "s"}
    first = compare(images=FEW, config=FAST, **given)
    stages: set[str] = set()
    again = compare(images=FEW, config=FAST, progress=lambda stage, *_: stages.add(stage), **given)
    assert again.digest == first.digest
    assert stages == set()
    with pytest.raises(StudyError, match="a study with other images"):
        compare(images="signs:test,n=41,seed=9", config=FAST, **given)
    with pytest.raises(StudyError, match="probe = 4 where this has 8"):
        compare(images=FEW, config=TINY, **given)


KILLER = """
import os, signal, sys
from analysis.study.comparison import compare
from analysis.study.stages import CompareConfig, ConditionConfig
target = sys.argv[4]
seen = set()
def progress(stage, done, total):
    if stage not in seen:
        seen.add(stage)
        print(stage, flush=True)
    if stage == target:
        os.kill(os.getpid(), signal.SIGKILL)
compare(teacher=sys.argv[1], students={"alpha": sys.argv[2]}, images="signs:test,n=40,seed=9",
        out=sys.argv[3], config=CompareConfig(probe=4, steps=4, draws=100, projection=False),
        progress=progress)
"""
STAGES = ("answers of teacher", "cost of teacher", "answers of alpha", "attributions of alpha",
          "thumbnails")  # fmt: skip


def test_a_kill_at_each_stage_loses_nothing(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """One run after another dies in the next stage; each repeats none that was finished."""
    out = tmp_path / "study"
    arguments = [teacher, str(tiny_models["alpha"]), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    previous: list[str] = []
    for target in (*STAGES, "none"):
        done = subprocess.run(
            [sys.executable, "-c", KILLER, *arguments, target],
            capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == (0 if target == "none" else -signal.SIGKILL), done.stderr
        assert out.exists() == (target == "none"), "nothing half-written is visible"
        reported = [stage for stage in done.stdout.splitlines() if stage in STAGES]
        repeated = set(reported) & set(previous[:-1]) - {"cost of teacher"}
        assert not repeated, f"{repeated} were finished before and ran again"
        previous = sorted({*previous, *reported}, key=STAGES.index)
    whole = compare(
        teacher=teacher,
        students={"alpha": str(tiny_models["alpha"])},
        images=FEW,
        out=tmp_path / "elsewhere" / "study",
        config=FAST,
    )
    assert Study.open(out).measures("alpha") == whole.measures("alpha")


def test_cancelling_stops_and_leaves_no_study(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "answers of alpha":
            raise Cancelled("enough")

    given = {"teacher": teacher, "students": models(tiny_models, "alpha"), "images": FEW,
             "out": tmp_path / "study", "config": FAST}  # fmt: skip
    with pytest.raises(Cancelled):
        compare(progress=cancel, **given)
    assert not (tmp_path / "study").exists()
    assert compare(**given).measures("alpha")


def test_without_labels_everything_else_is_measured(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    images = load_images(FEW)
    bare = ImageSet(
        name="inspection",
        images=images.images,
        labels=None,
        sample_ids=images.sample_ids,
        class_names=None,
        source="bare",
    )
    write_npz(bare, tmp_path / "bare.npz")
    made = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=str(tmp_path / "bare.npz"),
        out=tmp_path / "study",
        config=FAST,
    )
    measures = made.measures("alpha")
    unmeasured = {key for key, value in measures.items() if value is None}
    assert unmeasured == {"accuracy", "negative_flips", "ece"}
    assert made.samples("alpha")["correct"].null_count == 40
    assert headline(made)["teacher"]["accuracy"] is None
    assert made.attributions("alpha")


def test_fewer_neighbors_lay_out_too(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=FEW,
        out=tmp_path / "study",
        config=CompareConfig(probe=0, draws=100, neighbors=5, epochs=20),
    )
    assert made.neighbors("alpha").indices.shape == (40, 5)
    assert made.projection("alpha").student.shape == (40, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_one_image_is_enough(
    count: int, teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=f"signs:test,n={count},seed=3",
        out=tmp_path / "study",
        config=CompareConfig(probe=4, steps=4, draws=100),
    )
    assert (made.measures("alpha")["mean_neighborhood_overlap"] is None) == (count == 1)
    assert made.projection("alpha") is None
    assert len(made.attributions("alpha")["pair"].sample_ids) == count


def permuted(source: Path, target: Path, order: list[int], *, names: bool) -> Path:
    """Write a copy of a model whose outputs come in ``order``."""
    state = load_file(source)
    for key in ("linear.weight", "linear.bias"):
        state[key] = state[key][order].contiguous()
    with safe_open(source, "pt") as file:
        header = json.loads(file.metadata()["distillscope"])
    header["class_names"] = [header["class_names"][i] for i in order] if names else None
    save_file(state, target, {"distillscope": json.dumps(header)})
    return target


def test_permuted_classes_are_reported_and_named_classes_are_matched(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    order = [3, 0, 1, 2, *range(4, 14), 15, 14]
    silent = permuted(tiny_models["teacher"], tmp_path / "silent.safetensors", order, names=False)
    named = permuted(tiny_models["teacher"], tmp_path / "named.safetensors", order, names=True)
    given = {"teacher": teacher, "images": TINY_IMAGES, "config": FAST}
    made = compare(
        students={"silent": str(silent), "named": str(named)}, out=tmp_path / "study", **given
    )
    assert made.measures("named")["agreement"].value == 1.0
    assert made.measures("silent")["agreement"].value < 0.9
    assert [note["kind"] for note in made.record("findings/named")] == ["reordered"]
    (finding,) = made.record("findings/silent")
    assert finding["kind"] == "permutation"
    assert "--class-names silent=FILE" in finding["remedy"]
    # A file whose names are wrong: the remedy is about the file's own outputs, reordered or not.
    wrong = [made.class_names[at] for at in [5, *range(5), *range(6, 16)]]
    misnamed = {"silent": wrong}
    third = compare(
        students={"silent": str(silent)}, class_names=misnamed, out=tmp_path / "third", **given
    )
    assert third.record("order/silent") is not None
    found = next(f for f in third.record("findings/silent") if f["kind"] == "permutation")
    assert found["names"] == finding["names"]
    healed = compare(
        students={"silent": str(silent)},
        class_names={"silent": finding["names"]},
        out=tmp_path / "healed",
        **given,
    )
    assert healed.measures("silent")["agreement"].value == 1.0
    np.testing.assert_allclose(
        healed.attributions("silent")["pair"].values, 0.0, atol=1e-5,
        err_msg="explained classes follow the names too",
    )  # fmt: skip
    assert made.record("findings/silent") != healed.record("findings/silent")
    with pytest.raises(StudyError, match="classes in another order"):
        compare(
            students={"silent": str(silent), "named": str(named)},
            out=tmp_path / "study",
            class_names={"silent": finding["names"]},
            **given,
        )


def renamed(names: list[str], path: Path) -> str:
    images = load_images(FEW)
    write_npz(dataclasses.replace(images, class_names=tuple(names)), path)
    return str(path)


def test_images_with_other_class_names_are_not_compared_silently(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = {"teacher": teacher, "students": models(tiny_models, "alpha"), "config": FAST}
    names = list(load_images(FEW).class_names)
    upper = renamed([name.upper() for name in names], tmp_path / "upper.npz")
    same = compare(images=upper, out=tmp_path / "upper", **given)
    assert same.record("findings/alpha") == []
    foreign = renamed([f"c{i}" for i in range(16)], tmp_path / "foreign.npz")
    noted = compare(images=foreign, out=tmp_path / "foreign", **given)
    assert "compared by position" in noted.record("findings/alpha")[0]["text"]
    mixed = renamed([*names[:15], "unicorn"], tmp_path / "mixed.npz")
    with pytest.raises(ImageSetError, match="a class 'unicorn'"):
        compare(images=mixed, out=tmp_path / "mixed", **given)


def test_altered_arrays_are_not_built_upon(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=FEW,
        out=tmp_path / "study",
        config=FAST,
    )
    path = made.array_file("logits/teacher/clean")
    logits = np.load(path)
    path.unlink()
    np.save(path, logits[::-1])
    with pytest.raises(StudyError, match="not what was computed"):
        add_students(tmp_path / "study", models(tiny_models, "beta"))


def test_conditions_under_attack(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    attack = ConditionConfig(
        trigger="patch:size=6,color=#ff0000", target="80", epsilon="8", steps=3, probe=12
    )
    config = CompareConfig(probe=4, steps=4, draws=100, epochs=20, attack=attack)
    out = tmp_path / "study"
    made = compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=FEW,
        out=out,
        config=config,
    )
    assert list(made.conditions) == ["clean", "trigger", "perturbation", "trigger_perturbation"]
    clean, target = np.asarray(made.images), made.class_names.index("80")
    row_of = {name: row for row, name in enumerate(made.sample_ids)}
    for slug, changed in (("trigger", 40), ("perturbation", 12), ("trigger_perturbation", 12)):
        ids, shown = made.condition_ids(slug), made.condition_images(slug)
        assert len(ids) == len(shown) == made.conditions[slug].n == changed
        rows = [row_of[name] for name in ids]
        assert (made.labels[rows] != target).all() or slug == "trigger"
        patch = (shown == [255, 0, 0]).all(axis=-1).sum(axis=(1, 2))
        assert (patch >= 36).all() if "trigger" in slug else (patch < 36).all()
        moved = np.abs(shown.astype(int) - clean[rows]).max(axis=-1)
        outside = np.where((shown == [255, 0, 0]).all(axis=-1), 0, moved)
        assert outside.max() == (0 if slug == "trigger" else 8), "both halves, within epsilon"
        logits = made.trace("alpha", slug).logits
        hits = (np.argmax(logits, axis=1) == target)[made.labels[rows] != target]
        measured = made.measures("alpha", slug)
        assert measured["attack_success_rate"].value == pytest.approx(hits.mean())
        assert measured["titg"].value == pytest.approx(
            measured["attack_success_rate"].value - measured["base_rate"].value
        )
        assert made.projection("alpha", slug).teacher.shape == (40 + changed, 2)
        assert set(made.thumbnails(slug).ids) == set(ids)
    assert set(made.attributions("alpha", "trigger")) == {"teacher", "student", "pair"}
    assert made.attributions("alpha", "perturbation") == {}, "not measured is not there"
    added = add_students(out, models(tiny_models, "beta"))
    assert added.measures("beta", "trigger")["attack_success_rate"] is not None
    cells = headline(added)["conditions"]
    assert cells["clean"]["students"]["beta"]["attack_success_rate"] is None
    assert cells["trigger"]["students"]["beta"]["agreement"] is not None
    assert cells["trigger"]["attack_n"] == (made.labels != target).sum()


def test_a_trigger_is_known_by_its_picture_wherever_that_lies(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    def again(file: Path) -> Study:
        attack = ConditionConfig(
            trigger=f"image:file={file},size=6", target="80", epsilon="8", steps=1, probe=2
        )
        return compare(
            teacher=teacher,
            students=models(tiny_models, "alpha"),
            images=FEW,
            out=tmp_path / "study",
            config=CompareConfig(probe=0, draws=100, projection=False, attack=attack),
        )

    first, second = tmp_path / "first.png", tmp_path / "second.png"
    Image.new("RGBA", (6, 6), (208, 32, 192, 255)).save(first)
    made = again(first)
    assert str(tmp_path) not in json.dumps(made.manifest.config)
    first.rename(second)
    assert again(second).digest == made.digest
    Image.new("RGBA", (6, 6), (32, 208, 64, 255)).save(first)
    with pytest.raises(StudyError, match=r"another picture as image:file=first\.png"):
        again(first)


def test_other_numbers_of_classes_are_refused(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = {"students": models(tiny_models, "alpha"), "out": tmp_path / "s", "config": FAST}
    with pytest.raises(ImageSetError, match="10 classes, the teacher answers 16"):
        compare(teacher=teacher, images="digits", **given)
    assert not (tmp_path / "s").exists()


USER_CODE = """
import torch
class Net(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=4)
        self.head = torch.nn.Linear(4, num_classes)
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))
def make(num_classes=16):
    return Net(num_classes)
"""


def test_user_code_runs_only_when_trusted_and_is_never_stored(teacher: str, tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text(USER_CODE)
    namespace: dict[str, object] = {}
    exec(USER_CODE, namespace)
    torch.manual_seed(0)
    torch.save(namespace["make"]().state_dict(), tmp_path / "net.pt")  # type: ignore[operator]
    spec = f"{code}:make@{tmp_path / 'net.pt'},normalize=none"
    given = {"teacher": teacher, "students": {"mine": spec}, "images": FEW, "config": FAST}
    with pytest.raises(TrustError, match="--trust-code"):
        compare(out=tmp_path / "study", **given)
    assert not (tmp_path / "study").exists()
    made = compare(out=tmp_path / "study", trusted_code=[code], **given)
    model = made.models["mine"]
    assert len(model.user_code) == 64
    assert str(tmp_path) not in (made.path / "study.json").read_text()
    assert b"conv.weight" in made.weights("mine").read_bytes()
    stored = [path for path in made.path.rglob("*") if path.suffix == ".py"]
    assert stored == []


def test_a_study_with_a_teacher_of_user_code_needs_the_same_file(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    code = tmp_path / "net.py"
    code.write_text(USER_CODE)
    namespace: dict[str, object] = {}
    exec(USER_CODE, namespace)
    torch.save(namespace["make"]().state_dict(), tmp_path / "net.pt")  # type: ignore[operator]
    out = tmp_path / "study"
    compare(
        teacher=f"{code}:make@{tmp_path / 'net.pt'}",
        students=models(tiny_models, "alpha"),
        images=FEW,
        out=out,
        config=FAST,
        trusted_code=[code],
    )
    with pytest.raises(TrustError, match=r"--trust-code net\.py"):
        add_students(out, models(tiny_models, "beta"))
    added = add_students(out, models(tiny_models, "beta"), trusted_code=[code])
    assert list(added.students) == ["alpha", "beta"]
    code.write_text(USER_CODE + "\n# changed")
    with pytest.raises(TrustError, match="not what the study was computed with"):
        add_students(out, {"gamma": str(tiny_models["alpha"])}, trusted_code=[code])


def test_a_model_that_answers_nonsense_leaves_no_study(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    state = load_file(tiny_models["alpha"])
    with safe_open(tiny_models["alpha"], "pt") as file:
        metadata = file.metadata()
    state["linear.weight"] = torch.zeros_like(state["linear.weight"])
    save_file(state, tmp_path / "flat.safetensors", metadata)
    with pytest.raises(ModelError, match="flat"):
        compare(
            teacher=teacher,
            students={"flat": str(tmp_path / "flat.safetensors")},
            images=FEW,
            out=tmp_path / "study",
            config=FAST,
        )
    assert not (tmp_path / "study").exists()


def test_the_library_gives_the_same_in_five_lines(
    teacher: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = analysis.compare(
        teacher=teacher,
        students=models(tiny_models, "alpha"),
        images=FEW,
        out=tmp_path / "study",
        config=analysis.CompareConfig(probe=0, draws=100, projection=False),
    )
    assert analysis.headline(made)["students"]["alpha"]["agreement"]
    assert made.attributions("alpha") == {}
    assert sorted(analysis.__all__) == sorted(analysis._HOMES)
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        analysis.nothing  # noqa: B018


def test_images_are_resized_when_asked(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    config = dataclasses.replace(FAST, size=24, probe=0)
    study = compare(
        teacher=str(tiny_models["teacher"]), students=models(tiny_models, "alpha"), images=FEW,
        out=tmp_path / "study", config=config,
    )  # fmt: skip
    assert study.images.shape == (40, 24, 24, 3)
