"""Sources: image folders, built-in sets, and what is common to all."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from analysis.data.imageset import ImageSet
from analysis.data.listing import natural_key
from analysis.data.npz import write_npz
from analysis.data.sources import SOURCES, load_images
from analysis.errors import Cancelled, ImageSetError, StorageError


def paint(path, value=0, *, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Two classes whose images are told apart by their gray value."""
    for label, name in enumerate(("cat", "dog")):
        for row in (10, 9, 1):
            paint(tmp_path / "photos" / name / f"{row}.png", 100 * label + row)
    return tmp_path / "photos"


@pytest.fixture
def full_disk(monkeypatch):
    """Let whatever is written under a temporary name land on a disk without space."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    opened = Path.open

    def on_a_full_disk(path, *args, **options):
        return opened(Path("/dev/full") if path.suffix == ".tmp" else path, *args, **options)

    monkeypatch.setattr(Path, "open", on_a_full_disk)


def ids(images):
    return [key.split("/", 1)[1] for key in images.sample_ids.tolist()]


# --- folders ---------------------------------------------------------------------------------


def test_a_folder_has_a_class_for_each_sub_folder(photos):
    images = load_images(photos)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert ids(images) == [
        "cat/1.png", "cat/9.png", "cat/10.png", "dog/1.png", "dog/9.png", "dog/10.png",
    ]  # fmt: skip
    assert images.images[:, 0, 0, 0].tolist() == [1, 9, 10, 101, 109, 110]
    assert images.source == "photos"


def test_classes_are_in_natural_order(tmp_path):
    for name in ("10", "9", "1"):
        paint(tmp_path / name / "a.png")
    assert load_images(tmp_path).class_names == ("1", "9", "10")


def test_deeper_folders_belong_to_their_class(tmp_path):
    paint(tmp_path / "cat" / "images" / "a.jpeg")
    paint(tmp_path / "cat" / "b.PNG")
    images = load_images(tmp_path)
    assert ids(images) == ["cat/b.PNG", "cat/images/a.jpeg"]
    assert images.class_names == ("cat",)


def test_a_flat_folder_is_unlabeled(tmp_path):
    paint(tmp_path / "b.png", 2)
    paint(tmp_path / "a.png", 1)
    images = load_images(tmp_path)
    assert images.labels is None
    assert images.class_names is None
    assert ids(images) == ["a.png", "b.png"]


def test_one_image_is_enough(tmp_path):
    paint(tmp_path / "only.png", 7)
    assert load_images(tmp_path).images.tolist() == np.full((1, 4, 4, 3), 7).tolist()


def test_hidden_and_other_files_are_passed_over(photos):
    paint(photos / "cat" / ".hidden.png")
    paint(photos / ".git" / "x.png")
    paint(photos / "__MACOSX" / "x.png")
    (photos / "cat" / "notes.txt").write_text("x")
    (photos / "README.md").write_text("x")
    (photos / "annotations").mkdir()
    (photos / "annotations" / "a.xml").write_text("x")
    images = load_images(photos)
    assert len(images) == 6
    assert images.class_names == ("cat", "dog")


def test_an_empty_class_folder_keeps_its_number(photos):
    (photos / "bee").mkdir()
    images = load_images(photos)
    assert images.class_names == ("bee", "cat", "dog")
    assert images.labels.tolist() == [1, 1, 1, 2, 2, 2]


def test_links_are_followed_inside_the_folder_only(photos, tmp_path):
    secret = paint(tmp_path / "secret" / "s.png", 250)
    (photos / "cat" / "out.png").symlink_to(secret)
    (photos / "cat" / "in.png").symlink_to(photos / "cat" / "1.png")
    (photos / "cat" / "loop").symlink_to(photos)
    (photos / "stolen").symlink_to(secret.parent)
    images = load_images(photos)
    assert "cat/in.png" in ids(images)
    assert len(images) == 7
    assert images.images.max() < 250
    assert images.class_names == ("cat", "dog")


def test_only_links_that_lead_out_are_explained(tmp_path):
    secret = paint(tmp_path / "secret" / "s.png")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(secret)
    with pytest.raises(ImageSetError, match=r"no images \(1 links lead out of the folder\)"):
        load_images(tmp_path / "links")


def test_a_split_has_to_be_chosen(photos, tmp_path):
    (tmp_path / "data").mkdir()
    photos.rename(tmp_path / "data" / "train")
    paint(tmp_path / "data" / "test" / "cat" / "t.png")
    with pytest.raises(
        ImageSetError, match=r"'data' holds test and train. Choose one: .*data:test"
    ):
        load_images(tmp_path / "data")
    assert ids(load_images(tmp_path / "data" / "test")) == ["cat/t.png"]
    assert ids(load_images(f"{tmp_path}/data:test")) == ["cat/t.png"]
    assert load_images(f"{tmp_path}/data:test").source == "data:test"
    with pytest.raises(ImageSetError, match="'val' was asked for"):
        load_images(f"{tmp_path}/data:val")


def test_a_class_may_be_called_train(photos):
    paint(photos / "train" / "a.png")
    assert load_images(photos).class_names == ("cat", "dog", "train")


def test_images_beside_classes_are_ambiguous(photos):
    paint(photos / "loose.png")
    with pytest.raises(ImageSetError, match=r"'loose.png' lies beside the class folders cat, dog"):
        load_images(photos)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ImageSetError, match=r"holds no images; expected files ending in .png"):
        load_images(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ImageSetError, match="holds no images"):
        load_images(tmp_path)


def test_different_sizes_are_named_and_can_be_resized(photos):
    paint(photos / "dog" / "big.png", 5, size=(8, 6))
    with pytest.raises(
        ImageSetError,
        match=r"'cat/1.png' is 4 x 4 pixels and 'dog/big.png' is 8 x 6 pixels.*--size 32",
    ):
        load_images(photos)
    assert load_images(photos, size=5).image_shape == (5, 5, 3)


def test_a_corrupt_file_is_named(photos):
    (photos / "dog" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with pytest.raises(ImageSetError, match=r"'dog/bad.png' cannot be decoded"):
        load_images(photos)


def test_an_unreadable_file_is_named(photos, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageSetError, match=r"'cat/1.png' cannot be read \(Permission denied\)"):
        load_images(photos)


def test_names_may_hold_markup_but_no_control_characters(tmp_path):
    paint(tmp_path / "a" / "<b>bold" / "x.png")
    assert load_images(tmp_path / "a").class_names == ("<b>bold",)
    paint(tmp_path / "b" / "tab\t" / "x.png")
    with pytest.raises(ImageSetError, match=r"'tab\\t.*without control characters"):
        load_images(tmp_path / "b")
    paint(tmp_path / "c" / os.fsdecode(b"\xff") / "x.png")
    with pytest.raises(ImageSetError, match="UTF-8"):
        load_images(tmp_path / "c")


def test_a_pipe_among_the_images_is_passed_over(photos):
    os.mkfifo(photos / "cat" / "pipe.png")
    assert len(load_images(photos)) == 6


# --- built-in sets ---------------------------------------------------------------------------


def test_digits_are_scaled_to_the_full_range():
    from sklearn.datasets import load_digits

    images, data = load_images("digits"), load_digits()
    assert images.images.shape == (1797, 8, 8, 1)
    assert np.array_equal(images.images[..., 0], np.floor(data.images * 255 / 16 + 0.5))
    assert np.array_equal(images.labels, data.target)
    assert images.class_names == tuple("0123456789")


def test_the_splits_of_the_digits_share_no_image():
    train, test = load_images("digits:train"), load_images("digits:test")
    assert len(train) + len(test) == 1797
    assert not set(train.sample_ids) & set(test.sample_ids)


def test_digits_can_be_made_to_fit_a_model():
    assert load_images("digits", size=16, channels=3, limit=5).image_shape == (16, 16, 3)


@pytest.fixture
def rendered(monkeypatch):
    """Replace the renderer by one that records what it was asked for."""
    calls = []

    def render_signs(count, *, seed, split="train", processes=1, progress=None):
        calls.append((count, seed, split))
        return ImageSet(
            name="signs",
            images=np.full((count, 2, 2, 3), seed, np.uint8),
            labels=np.zeros(count, np.int64),
            sample_ids=np.array([f"signs/{split}-{row}" for row in range(count)]),
            class_names=("stop",),
        )

    module = ModuleType("analysis.data.signs")
    module.render_signs = render_signs
    monkeypatch.setitem(sys.modules, "analysis.data.signs", module)
    return calls


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("signs", (2000, 0, "test")),
        ("signs:test", (2000, 0, "test")),
        ("signs:train", (6000, 0, "train")),
        ("signs:train,n=7,seed=3", (7, 3, "train")),
        ("signs,n=5", (5, 0, "test")),
    ],
)
def test_signs_are_rendered_as_asked(rendered, text, call):
    images = load_images(text, name="trusted")
    assert rendered == [call]
    assert len(images) == call[0]
    assert images.sample_ids[0] == f"trusted/{call[2]}-0"
    assert images.source == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("signs:dev", "split 'dev' of signs; expected train or test"),
        ("signs,count=5", "unknown option 'count'"),
        ("signs,n=0", "n=0 in 'signs,n=0'; expected a whole number, 1 to"),
        ("signs,n=1e9", "n=1e9"),
        ("signs,seed=-1", "seed=-1"),
        ("signs,n", "option 'n' in 'signs,n'; expected KEY=VALUE"),
        ("signs,n=1,n=2", "each key once"),
        ("digits:dev", "split 'dev' of digits"),
        ("digits,n=5", "digits takes no options"),
    ],
)
def test_wrong_options_are_named(rendered, text, message):
    with pytest.raises(ImageSetError, match=message):
        load_images(text)
    assert rendered == []


# --- all sources -----------------------------------------------------------------------------


@pytest.fixture
def examples(photos, tmp_path, rendered):
    """One location for each source."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [path.read_bytes() for path in sorted(photos.rglob("*.png"))]
    pq.write_table(pa.table({"image": cells, "label": range(6)}), tmp_path / "photos.parquet")
    write_npz(load_images(photos), tmp_path / "photos.npz")
    return {
        "folder": photos,
        "parquet": tmp_path / "photos.parquet",
        "npz": tmp_path / "photos.npz",
        "digits": "digits",
        "signs": "signs,n=9",
    }


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_streams_limits_and_reports(source, examples, tmp_path):
    calls = []
    whole = load_images(examples[source], progress=lambda *call: calls.append(call))
    assert calls[-1] == ("images", len(whole), len(whole))
    streamed = load_images(examples[source], workdir=tmp_path / "work")
    assert isinstance(streamed.images, np.memmap)
    assert streamed.digest == whole.digest
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["images.npy"]
    few = load_images(examples[source], limit=4, seed=5)
    assert few.digest == whole.take(4, seed=5).digest
    assert few.source == f"{whole.source}, 4 of {len(whole)} (seed 5)"
    assert str(tmp_path) not in json.dumps([few.source, few.sample_ids.tolist()])


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_resizes(source, examples):
    assert load_images(examples[source], size=3, channels=1, limit=2).image_shape == (3, 3, 1)


def test_a_cancelled_load_leaves_nothing_behind(tmp_path):
    def cancel(stage, done, total):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        load_images("digits", workdir=tmp_path, progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_load_leaves_nothing_behind(photos, tmp_path):
    (photos / "dog" / "bad.png").write_bytes(b"")
    with pytest.raises(ImageSetError):
        load_images(photos, workdir=tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_full_disk_is_a_storage_error(full_disk, tmp_path):
    with pytest.raises(StorageError, match=r"images.npy: the disk is full. Free some space"):
        load_images("digits", workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phots", "not found; expected an image folder.*Did you mean '.*photos'"),
        ("nowhere/photos", "The folder '.*nowhere' does not exist either"),
        ("qqqqqqqq", "not found.*Check the spelling"),
        ("dogits", "Did you mean 'digits'"),
        ("x" * 5000, "not found"),
        ("a\0b", "not found"),
    ],
)
def test_a_missing_path_suggests_a_near_one(photos, text, message):
    with pytest.raises(ImageSetError, match=message):
        load_images(f"{photos.parent}/{text}")


def test_no_path_is_not_the_current_folder():
    with pytest.raises(ImageSetError, match="not found"):
        load_images("")


def test_other_files_are_refused(photos):
    with pytest.raises(ImageSetError, match=r"are of no known kind.*Give the folder"):
        load_images(photos / "cat" / "1.png")


def test_natural_order_takes_any_number_of_digits():
    names = ["a10", "a9", "a", "a01", "a1", "b²", "9" * 5000, "10"]
    assert sorted(names, key=natural_key) == ["10", "9" * 5000, "a", "a01", "a1", "a9", "a10", "b²"]
