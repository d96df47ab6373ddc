"""Conditions: the same images shown in another way, joined by sample id."""

import dataclasses

import numpy as np
import pytest

from analysis.data.conditions import CONDITION_KINDS, clean_condition, present, store_condition
from analysis.data.imageset import ImageSet
from analysis.errors import ImageSetError
from analysis.records import Condition


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return ImageSet(
        name="inspection",
        images=rng.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        labels=np.arange(6) % 2,
        sample_ids=np.array([f"inspection/{row}.png" for row in range(6)]),
        class_names=("cat", "dog"),
    )


@pytest.fixture
def shown(images):
    """Three of the images, in another order, with inverted pixels."""
    part = images.rows([5, 0, 3])
    return dataclasses.replace(part, images=255 - part.images)


def store(images, shown, folder):
    return store_condition(
        images, shown, name="Inverted", slug="inverted", folder=folder, parameters={"of": 255}
    )


def test_the_clean_condition_shows_the_images_as_they_are(images):
    condition = clean_condition(images)
    assert (condition.slug, condition.n, condition.covers_all) == ("clean", 6, True)
    assert present(images, condition) is images


def test_a_stored_condition_comes_back_joined_by_sample_id(images, shown, tmp_path):
    condition = store(images, shown, tmp_path)
    assert (condition.n, condition.covers_all, condition.parameters["of"]) == (3, False, 255)
    # The order of the image set is not the order of the stored rows: only ids join them.
    shuffled = images.rows([2, 3, 0, 1, 5, 4])
    for clean in (images, shuffled):
        back = present(clean, condition, tmp_path)
        assert back.digest == shown.digest
        assert isinstance(back.images, np.memmap)
        for row, key in enumerate(back.sample_ids):
            (at,) = clean.rows_of([key])
            assert np.array_equal(back.images[row], 255 - clean.images[at])
            assert back.labels[row] == clean.labels[at]


def test_a_condition_of_all_images_says_so(images, tmp_path):
    assert store(images, images, tmp_path).covers_all


def test_storing_what_is_not_there_is_refused(images, shown, tmp_path):
    with pytest.raises(ImageSetError, match=r"'inspection/5.png' is not in image set"):
        store(images.rows([0, 3]), shown, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_set_of_images_is_refused(images, shown, tmp_path):
    other = dataclasses.replace(images, images=images.images // 2)
    with pytest.raises(ImageSetError, match="'clean' are not those that it describes"):
        present(other, clean_condition(images))
    with pytest.raises(ImageSetError, match="presents the image set 'inspection'; expected 'x'"):
        present(images.renamed("x"), clean_condition(images))
    condition = store(images, shown, tmp_path)
    with pytest.raises(ImageSetError, match=r"sample id 'inspection/5.png' is not in"):
        present(images.rows([0, 3]), condition, tmp_path)


def test_changed_and_missing_files_are_refused(images, shown, tmp_path):
    condition = store(images, shown, tmp_path)
    with pytest.raises(ImageSetError, match="needs the folder of its stored pixels"):
        present(images, condition)
    pixels = tmp_path / condition.parameters["pixels"]
    np.save(pixels, shown.images // 2)
    with pytest.raises(ImageSetError, match="'inverted' are not those that it describes"):
        present(images, condition, tmp_path)
    np.save(pixels, np.array([None]), allow_pickle=True)
    with pytest.raises(ImageSetError, match="cannot be read"):
        present(images, condition, tmp_path)
    pixels.unlink()
    with pytest.raises(ImageSetError, match=r"pixels.npy' of condition 'inverted' cannot be read"):
        present(images, condition, tmp_path)


@pytest.mark.parametrize("name", ["../secret.npy", "/etc/passwd", "a/b.npy", "..", None, 3, "a\\b"])
def test_file_names_cannot_lead_out_of_the_folder(images, name, tmp_path):
    condition = Condition(
        name="x", slug="x", kind="stored", image_set="inspection", n=1, covers_all=False,
        pixels_digest="", parameters={"pixels": name, "sample_ids": name},
    )  # fmt: skip
    with pytest.raises(ImageSetError, match="file name"):
        present(images, condition, tmp_path)


def test_stored_pixels_cannot_be_a_link(images, shown, tmp_path):
    condition = store(images, shown, tmp_path / "a")
    pixels = tmp_path / "a" / condition.parameters["pixels"]
    pixels.rename(tmp_path / "elsewhere.npy")
    pixels.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(ImageSetError, match="is a link, not a file"):
        present(images, condition, tmp_path / "a")


def test_an_unknown_kind_suggests_the_nearest(images):
    condition = dataclasses.replace(clean_condition(images), kind="stord")
    with pytest.raises(ImageSetError, match=r"'stord'. Did you mean 'stored'"):
        present(images, condition)
    assert set(CONDITION_KINDS) == {"clean", "stored"}
