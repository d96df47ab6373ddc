"""What lies on disk: opening, refusing what is damaged or hostile, publishing whole."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import BusyError, InputError, StorageError, StudyError
from analysis.records import (
    CLEAN,
    Condition,
    ImageSetCard,
    ModelCost,
    Student,
    check_student_name,
)
from analysis.store import Study, StudyWriter, delete_orphans, writing
from analysis.store import study as study_module
from analysis.store.manifest import SCHEMA_VERSION, Manifest, read_manifest
from analysis.store.study import Thumbnails, read_rows
from analysis.study.specs import default_name

IDS = np.array(["inspection/0", "inspection/<b>&amp;", "inspection/2"])


def manifest(name: str = "small") -> Manifest:
    cost = ModelCost(parameters=10, macs=20, latency_ms_batch_1=1.5, latency_ms_batch_64=2.5)
    return Manifest(
        name=name,
        class_names=("a", "b"),
        models={
            "teacher": Student(
                name="teacher", role="teacher", spec="t", digest="0", architecture="x", cost=cost
            ),
            "s": Student(name="s", role="subject", spec="s", digest="1", architecture="x"),
            "s.epoch-0001": Student(
                name="s.epoch-0001",
                role="checkpoint",
                parent="s",
                epoch=1,
                spec="s",
                digest="2",
                architecture="x",
            ),
        },
        image_sets={
            "inspection": ImageSetCard(
                name="inspection",
                n=3,
                height=1,
                width=1,
                channels=3,
                labeled=False,
                digest="d",
                source="folder",
            )
        },
        conditions={
            CLEAN: Condition(
                name="Clean",
                slug=CLEAN,
                kind=CLEAN,
                image_set="inspection",
                n=3,
                covers_all=True,
                pixels_digest="p",
            )
        },
        config={"seed": 0},
        provenance={"created": "2026-01-01T00:00:00+00:00"},
    )


def publish(folder: Path, name: str = "small") -> Study:
    source = folder.parent / "source.npy"
    np.save(source, IDS)
    with writing(folder):
        writer = StudyWriter(folder)
        writer.put_array("ids/inspection", source)
        writer.put_samples("s", CLEAN, pa.table({"sample_id": IDS}))
        writer.records["measures/s/clean"] = {"agreement": {"value": 0.5, "low": 0.4, "high": 0.6}}
        return writer.publish(manifest(name))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written, opened = publish(tmp_path / "study"), Study.open(tmp_path / "study")
    assert opened.manifest == written.manifest
    assert opened.digest == written.digest
    assert list(opened.students) == ["s"]
    assert [model.epoch for model in opened.checkpoints("s")] == [1]
    assert opened.sample_ids.tolist() == IDS.tolist()
    assert opened.labels is None
    assert opened.samples("s")["sample_id"].to_pylist() == IDS.tolist()
    assert opened.measures("s")["agreement"].low == 0.4
    assert opened.measures("teacher") == {}
    assert opened.teacher.cost.latency_ms_batch_64 == 2.5


def test_the_order_of_a_models_outputs_is_known_where_it_is_another(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    assert opened.class_order("s") is None
    stored = dataclasses.replace(opened.manifest, records={"order/s": [1, 0]})
    assert Study(opened.path, stored).class_order("s") == (1, 0)


def test_a_study_knows_of_which_conditions_it_holds_pixels(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    assert not opened.has_images
    arrays = {**opened.manifest.arrays, "images/condition/again": "arrays/a.npy"}
    other = Study(opened.path, dataclasses.replace(opened.manifest, arrays=arrays))
    assert other.has_condition_images("again")
    assert not other.has_condition_images()


def test_a_timeline_ends_with_the_student_where_its_epoch_is_known(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    assert [model.name for model in opened.timeline("s")] == ["s.epoch-0001"]
    for epoch, names in ((9, ["s.epoch-0001", "s"]), (1, ["s.epoch-0001"])):
        models = dict(opened.models)
        models["s"] = dataclasses.replace(models["s"], epoch=epoch)
        later = Study(opened.path, dataclasses.replace(opened.manifest, models=models))
        assert [model.name for model in later.timeline("s")] == names


def test_provenance_is_outside_the_digest(tmp_path: Path) -> None:
    first = publish(tmp_path / "one")
    path = tmp_path / "one" / "study.json"
    data = json.loads(path.read_text())
    data["provenance"]["created"] = "1999-01-01"
    data["provenance"]["latency"]["teacher"]["latency_ms_batch_1"] = 99.0
    path.write_text(json.dumps(data))
    assert Study.open(tmp_path / "one").digest == first.digest
    assert publish(tmp_path / "two", name="other").digest != first.digest


def test_no_absolute_path_is_kept(tmp_path: Path) -> None:
    publish(tmp_path / "study")
    assert str(tmp_path) not in (tmp_path / "study" / "study.json").read_text()


def test_a_study_may_be_named_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "space" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    with writing(Path()):
        writer = StudyWriter(Path())
        writer.put_samples("s", CLEAN, pa.table({"sample_id": IDS}))
        writer.publish(manifest())
    assert Study.open(here).manifest.samples
    other = here.parent / ".distillscope" / "staging" / "other"
    other.mkdir(parents=True)
    (here / "arrays").mkdir(exist_ok=True)
    for place, name in ((here, "."), (here / "arrays", "..")):
        monkeypatch.chdir(place)
        with writing(Path(name)):
            StudyWriter(Path(name))
        assert other.exists(), "what another study is being made in"


def test_nothing_is_written_or_deleted_through_a_link(tmp_path: Path) -> None:
    home, space = tmp_path / "home", tmp_path / "space"
    (home / "Documents").mkdir(parents=True)
    (home / "Documents" / "letter").write_text("dear")
    hidden = space / ".distillscope"
    hidden.mkdir(parents=True)
    (hidden / "staging").symlink_to(home)
    with pytest.raises(StorageError, match="is a link"):
        StudyWriter(space / "Documents")
    (hidden / "locks").symlink_to(home)
    with pytest.raises(StorageError, match="is a link"), writing(space / "Documents"):
        pass
    (tmp_path / "w").mkdir()
    study = publish(tmp_path / "w" / "study")
    shutil.rmtree(study.path / "arrays")
    (study.path / "arrays").symlink_to(home)
    delete_orphans(study.path, study.manifest)
    assert (home / "Documents" / "letter").read_text() == "dear"
    assert sorted(path.name for path in home.iterdir()) == ["Documents"]


@pytest.mark.parametrize("name", ["v1..2", "v1.", ".v1", "a" * 65, ""])
def test_a_name_that_no_file_may_have_is_no_students(name: str) -> None:
    with pytest.raises(InputError, match="student name"):
        check_student_name(name)


def test_a_file_with_dots_in_its_name_names_a_student() -> None:
    assert check_student_name(default_name("runs/model..final.safetensors")) == "model.final"
    assert check_student_name("v1.2-a_b") == "v1.2-a_b"


def test_nothing_is_visible_before_publishing(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    np.save(tmp_path / "a.npy", IDS)
    with writing(folder):
        writer = StudyWriter(folder)
        writer.put_array("ids/inspection", tmp_path / "a.npy")
        assert not folder.exists()
        writer.publish(manifest())
    assert Study.open(folder).sample_ids.tolist() == IDS.tolist()


def test_readers_keep_what_they_opened(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    ids = opened.array("ids/inspection")
    np.save(tmp_path / "new.npy", IDS[:1])
    with writing(tmp_path / "study"):
        writer = StudyWriter(tmp_path / "study")
        writer.put_array("ids/inspection", tmp_path / "new.npy")
        writer.publish(opened.manifest)
    assert ids.tolist() == IDS.tolist()
    assert opened.array("ids/inspection").tolist() == IDS.tolist()
    assert Study.open(tmp_path / "study").sample_ids.tolist() == IDS[:1].tolist()
    freed = delete_orphans(tmp_path / "study", Study.open(tmp_path / "study").manifest)
    assert freed > 0
    assert len(list((tmp_path / "study" / "arrays").iterdir())) == 1


def _hold(folder: Path, held: object, done: object) -> None:
    with writing(folder):
        held.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_second_writer_is_told_who_is_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path / "study", held, done))
    first.start()
    try:
        assert held.wait(30)
        with (
            pytest.raises(BusyError, match=f"being written by process {first.pid} since"),
            writing(tmp_path / "study"),
        ):
            pass
    finally:
        done.set()
        first.join()
    with writing(tmp_path / "study"):
        pass


def damage(folder: Path, **changes: object) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "Install a newer distillscope"),
        ({"schema_version": "1"}, "schema version '1'"),
        ({"models": [1]}, "is damaged"),
        ({"models": {}}, "is damaged"),
        ({"records": []}, "is damaged"),
        ({"records": {"measures/s/clean": "x"}}, "record 'measures/s/clean'"),
        ({"records": {"measures/s/clean": {"js": {"value": 1}}}}, "record 'measures/s/clean'"),
        ({"records": {"layout_quality/s": "x"}}, "record 'layout_quality/s'"),
        ({"records": {"findings/s": [{"text": 3}]}}, "record 'findings/s'"),
        ({"conditions": {"clean": {"slug": "../x"}}}, "is damaged"),
        ({"arrays": {"ids/inspection": "../../etc/passwd"}}, "a file of the study itself"),
        ({"arrays": {"ids/inspection": "/etc/passwd"}}, "a file of the study itself"),
        ({"samples": {"s/clean": "samples/../clean.parquet"}}, "a file of the study itself"),
        ({"thumbnails": {"clean": 3}}, "a file of the study itself"),
    ],
)
def test_damaged_and_hostile_manifests_are_refused(
    tmp_path: Path, change: dict, message: str
) -> None:
    publish(tmp_path / "study")
    damage(tmp_path / "study", **change)
    with pytest.raises(InputError) as caught:
        Study.open(tmp_path / "study")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no study at"):
        Study.open(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="is not a study"):
        Study.open(tmp_path)
    (tmp_path / "study.json").write_text("not json")
    with pytest.raises(StudyError, match="cannot be read"):
        Study.open(tmp_path)
    (tmp_path / "study.json").write_text("[" * 200_000)
    with pytest.raises(StudyError, match="cannot be read"):
        Study.open(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("precious")
    with pytest.raises(StudyError, match="not empty and is not a study"):
        StudyWriter(tmp_path / "other")


def array_file(study: Study) -> Path:
    return study.path / study.manifest.arrays["ids/inspection"]


def test_pickles_and_huge_headers_in_arrays_are_refused(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    path = array_file(opened)
    shutil.copy(path, tmp_path / "good.npy")
    path.unlink()
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(StudyError, match="cannot be read"):
        opened.array("ids/inspection")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n")
    with pytest.raises(StudyError, match="cannot be read"):
        opened.array("ids/inspection")
    path.unlink()
    with pytest.raises(StudyError, match="is missing"):
        opened.array("ids/inspection")
    path.symlink_to(tmp_path / "good.npy")
    with pytest.raises(StudyError, match="leads outside the study"):
        opened.array("ids/inspection")


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    opened = publish(tmp_path / "study")
    with pytest.raises(InputError, match="no student 'S1'"):
        opened.student("S1")
    with pytest.raises(StudyError, match="'s' was not measured on condition 'trigger'"):
        opened.samples("s", "trigger")
    with pytest.raises(StudyError, match="no array 'nothing'"):
        opened.array("nothing")


def test_tables_of_another_length_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = publish(tmp_path / "study")
    many = 300_000
    bomb = pa.table({"sample_id": ["x"] * many, "webp": [b"y"] * many})
    for name in ("samples/s/clean.parquet", f"thumbnails/{'0' * 64}.parquet"):
        (study.path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(bomb, study.path / name, compression="zstd")
    assert (study.path / name).stat().st_size < 10_000
    pictured = dataclasses.replace(study.manifest, thumbnails={CLEAN: name})
    read: list[Any] = []
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *a, **_: read.append(a))
    for ask in (lambda: study.samples("s"), Study(study.path, pictured).thumbnails):
        with pytest.raises(StudyError, match="has 300000 rows; expected 3, as the manifest says"):
            ask()
    assert not read


@pytest.mark.parametrize("dictionary", [True, False])
def test_tables_that_grow_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: bool
) -> None:
    path = tmp_path / "pictures.parquet"
    table = pa.table({"sample_id": [str(n) for n in range(9000)], "webp": [b"y" * 500] * 9000})
    pq.write_table(table, path, compression="zstd", use_dictionary=dictionary)
    assert path.stat().st_size < 200_000
    monkeypatch.setattr("analysis.store.study.MAX_TABLE_BYTES", 4 << 20)
    with pytest.raises(StudyError, match="holds more than 4 MiB"):
        Thumbnails.read(path, 9000)
    monkeypatch.setattr("analysis.store.study.MAX_TABLE_BYTES", 8 << 20)
    assert Thumbnails.read(path, 9000).webp("8999") == b"y" * 500


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["x"]] * 3),
        pa.array([{"a": 1}] * 3),
        pa.array([b"abcd"] * 3, pa.binary(4)),
    ],
)
def test_rows_of_other_kinds_than_numbers_and_texts_are_refused(
    tmp_path: Path, column: pa.Array
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"sample_id": ["a", "b", "c"], "odd": column}), path)
    with pytest.raises(StudyError, match=r"column 'odd' of .* expected numbers or texts"):
        read_rows(path, 3)


def test_one_long_text_that_stands_in_every_row_is_never_spelled_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pictures.parquet"
    names = pa.array([str(n) for n in range(4000)])
    one = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), pa.array([b"y" * (1 << 20)]))
    table = pa.table({"sample_id": names, "webp": one.cast(pa.dictionary(pa.int32(), pa.binary()))})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000
    before = pa.total_allocated_bytes()
    most = [0]
    spelled = study_module._spelled_out_bytes

    def watched(column: Any) -> int:
        most[0] = max(most[0], pa.total_allocated_bytes() - before)
        return spelled(column)

    monkeypatch.setattr(study_module, "_spelled_out_bytes", watched)
    with pytest.raises(StudyError, match="holds more than 1024 MiB"):
        Thumbnails.read(path, 4000)
    assert 0 < most[0] < 64 << 20, "it would have been 4 GiB"


def test_tables_without_rows_or_columns(tmp_path: Path) -> None:
    path = tmp_path / "pictures.parquet"
    pq.write_table(pa.table({"sample_id": pa.array([], pa.string())}), path)
    assert read_rows(path, 0).schema.names == ["sample_id"]
    with pytest.raises(StudyError, match="cannot be read"):
        Thumbnails.read(path, 0)


def test_the_manifest_round_trips_through_json(tmp_path: Path) -> None:
    manifest().write(tmp_path)
    assert read_manifest(tmp_path) == manifest()
