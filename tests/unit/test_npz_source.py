"""NumPy archives: names, layouts and types of arrays, and what is refused."""

import errno
import pickle

import numpy as np
import pytest

from analysis.data.imageset import ImageSet
from analysis.data.npz import write_npz
from analysis.data.sources import load_images
from analysis.errors import ImageSetError, StorageError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 1, 0])


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return tmp_path / "set.npz"

    return save


def test_images_labels_and_class_names(save):
    names = np.array(["a", "b", "<c>"])
    images = load_images(save(images=IMAGES, labels=LABELS, class_names=names))
    assert np.array_equal(images.images, IMAGES)
    assert images.labels.tolist() == LABELS.tolist()
    assert images.class_names == ("a", "b", "<c>")
    assert images.sample_ids[4] == "inspection/000004"


@pytest.mark.parametrize(
    "keys", ["x y", "X Y", "x_test y_test", "test_images test_labels", "data targets"]
)
def test_common_names_are_known(save, keys):
    x, y = keys.split()
    images = load_images(save(**{x: IMAGES, y: LABELS[:, None]}))
    assert np.array_equal(images.images, IMAGES)
    assert images.labels.tolist() == LABELS.tolist()


def test_a_split_has_to_be_chosen(save):
    path = save(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    with pytest.raises(ImageSetError, match=r"'set.npz' holds test and train. Choose one: .*:test"):
        load_images(path)
    assert len(load_images(f"{path}:test")) == 2
    assert len(load_images(f"{path}:train")) == 5
    assert load_images(f"{path}:train").source == "set.npz:train"


@pytest.mark.parametrize(
    "array",
    [
        IMAGES,
        np.asfortranarray(IMAGES),
        np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)),
        (IMAGES / 255).astype(np.float32),
        (IMAGES / 255).astype(np.float64),
        (IMAGES / 255).astype(">f4"),
    ],
    ids=["nhwc", "fortran", "nchw", "float32", "float64", "big-endian"],
)
def test_layouts_and_types_give_the_same_images(save, array):
    assert np.array_equal(load_images(save(images=array)).images, IMAGES)


def test_gray_images_need_no_channel_axis(save):
    images = load_images(save(images=IMAGES[..., 0]))
    assert np.array_equal(images.images, IMAGES[..., :1])


def test_large_archives_are_read_in_pieces(save, tmp_path):
    many = np.random.default_rng(1).integers(0, 256, (700, 2, 3, 1), dtype=np.uint8)
    np.savez_compressed(tmp_path / "many.npz", images=many)
    assert np.array_equal(load_images(tmp_path / "many.npz").images, many)
    few = load_images(tmp_path / "many.npz", limit=9, seed=3)
    rows = [int(key.split("/")[1]) for key in few.sample_ids]
    assert np.array_equal(few.images, many[rows])


def test_labels_are_optional(save):
    assert load_images(save(images=IMAGES)).labels is None


class Trap:
    """An object whose unpickling would be noticed."""

    opened = False

    def __reduce__(self):
        return setattr, (Trap, "opened", True)


def test_python_objects_are_refused_and_not_unpickled(save):
    assert pickle.loads(pickle.dumps(Trap())) is None
    assert Trap.opened
    Trap.opened = False
    objects = np.array([Trap()], dtype=object)
    for arrays in ({"images": objects}, {"images": IMAGES, "labels": objects}):
        with pytest.raises(ImageSetError, match="holds Python objects; expected numbers or text"):
            load_images(save(**arrays))
    assert not Trap.opened


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.5, 255.0])
def test_values_that_are_no_pixels_are_named(save, value):
    floats = (IMAGES / 255).astype(np.float32)
    floats[3, 1, 2, 0] = value
    with pytest.raises(ImageSetError, match=rf"'set.npz', image 3 holds the value {value:g}"):
        load_images(save(images=floats))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "holds pictures; expected images under 'images', 'image', 'x'"),
        ({}, "holds no arrays"),
        ({"images": IMAGES.astype(np.int32)}, "is of type int32; expected uint8"),
        ({"images": IMAGES[0, 0]}, r"has the shape \(6, 3\)"),
        ({"images": IMAGES[:0]}, r"has the shape \(0, 4, 6, 3\)"),
        ({"images": np.zeros((2, 5, 5, 5), np.uint8)}, "with C of 1, 3 or 4"),
        ({"images": IMAGES, "labels": LABELS[:2]}, "one class number for each of the 5 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, "'labels' in 'set.npz' is float64"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a"])}, "label 1 of image"),
        ({"images": IMAGES, "class_names": np.array([1, 2])}, "expected a row of strings"),
        ({"images": IMAGES, "ids": np.array(["a"])}, "1 ids for 5 images"),
    ],
)
def test_what_is_wrong_is_named(save, arrays, message):
    with pytest.raises(ImageSetError, match=message):
        load_images(save(**arrays))


@pytest.mark.parametrize("cut", [0, 30, 200])
def test_a_damaged_archive_is_named(save, cut):
    path = save(images=IMAGES)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ImageSetError, match=r"'set.npz' cannot be read"):
        load_images(path)


def test_an_array_that_ends_too_early_or_is_no_array_is_named(tmp_path):
    import zipfile

    whole = tmp_path / "whole.npy"
    np.save(whole, IMAGES)
    for content in (whole.read_bytes()[:-10], b"nothing", whole.read_bytes()[:20]):
        with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
            archive.writestr("images.npy", content)
        with pytest.raises(ImageSetError, match=r"'set.npz' cannot be read"):
            load_images(tmp_path / "set.npz")


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path):
    import io
    import zipfile

    for key in ("images", "labels"):
        header = io.BytesIO()
        shape = (10**12, 64, 64, 3) if key == "images" else (10**15,)
        claim = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, claim)
        with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
            if key == "labels":
                whole = io.BytesIO()
                np.save(whole, IMAGES)
                archive.writestr("images.npy", whole.getvalue())
            archive.writestr(f"{key}.npy", header.getvalue())
        with pytest.raises(ImageSetError, match=r"'set.npz' cannot be read"):
            load_images(tmp_path / "set.npz")


def test_writing_is_atomic(tmp_path, monkeypatch):
    images = ImageSet(
        name="a", images=IMAGES, sample_ids=np.array([f"a/{row}" for row in range(5)])
    )
    write_npz(images, tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    before = (tmp_path / "a.npz").read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(StorageError, match=r"a.npz: the disk is full"):
        write_npz(images, tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before
