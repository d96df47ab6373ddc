"""Image sets: what they hold, how they are handed out, what they refuse."""

import dataclasses

import numpy as np
import pytest

from analysis.data.imageset import ImageSet, digest_pixels, subset_rows, to_pixels, unique_ids
from analysis.errors import ImageSetError


def make(count=5, *, channels=3, name="inspection", side=4, **changes):
    rng = np.random.default_rng(count)
    values = {
        "name": name,
        "images": rng.integers(0, 256, (count, side, side + 1, channels), dtype=np.uint8),
        "labels": np.arange(count) % 3,
        "sample_ids": np.array([f"{name}/{row}.png" for row in range(count)]),
        "class_names": ("cat", "dog", "eel"),
        "source": "test",
    }
    return ImageSet(**{**values, **changes})


def test_batches_are_the_images_in_order_as_nchw_floats():
    images = make(5)
    rows, pixels = zip(*images.batches(2), strict=True)
    assert [len(part) for part in pixels] == [2, 2, 1]
    assert np.concatenate(rows).tolist() == [0, 1, 2, 3, 4]
    joined = np.concatenate(pixels)
    assert joined.dtype == np.float32
    for index in np.ndindex(joined.shape):
        n, c, y, x = index
        assert joined[index] == np.float32(images.images[n, y, x, c]) / np.float32(255)


def test_batches_of_chosen_rows_keep_their_order():
    images = make(5)
    ((rows, pixels),) = images.batches(8, rows=np.array([4, 1, 1]))
    assert rows.tolist() == [4, 1, 1]
    assert np.array_equal(pixels, to_pixels(images.images[[4, 1, 1]]))


def test_batches_of_a_mapped_file_are_the_same_and_copy_one_batch_only(tmp_path):
    images = make(6)
    np.save(tmp_path / "images.npy", images.images)
    mapped = dataclasses.replace(
        images, images=np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    )
    assert isinstance(mapped.images, np.memmap)
    for (_, memory), (_, disk) in zip(images.batches(4), mapped.batches(4), strict=True):
        assert np.array_equal(memory, disk)
        assert not np.shares_memory(disk, mapped.images)
    assert mapped.digest == images.digest


def test_a_private_mapping_keeps_what_was_changed_in_it(tmp_path):
    images = make(3)
    np.save(tmp_path / "images.npy", images.images)
    private = np.load(tmp_path / "images.npy", mmap_mode="c", allow_pickle=False)
    private[0] = 7
    changed = dataclasses.replace(images, images=private)
    for _ in range(2):
        _, pixels = next(changed.batches(1))
        assert np.all(pixels == np.float32(7) / np.float32(255))


def test_arrays_are_read_only_and_the_given_array_is_left_alone():
    given = np.zeros((2, 3, 3, 1), np.uint8)
    images = make(2, images=given)
    for array in (images.images, images.labels, images.sample_ids):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert given.flags.writeable


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((5, 4, 5, 3), np.uint8)},
        {"labels": np.zeros(5, np.int64)},
        {"labels": None},
        {"sample_ids": np.array([f"inspection/{row}.jpg" for row in range(5)])},
        {"class_names": ("cat", "dog", "elk")},
        {"class_names": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_follows_every_part(change):
    assert make(5).digest == make(5).digest
    assert make(5, **change).digest != make(5).digest


def test_the_digest_leaves_out_where_the_images_came_from():
    assert make(5, source="elsewhere").digest == make(5).digest


def test_the_pixel_digest_sees_shape_and_order():
    images = np.arange(48, dtype=np.uint8).reshape(2, 4, 6, 1)
    assert digest_pixels(images) != digest_pixels(images.reshape(2, 6, 4, 1))
    assert digest_pixels(images) != digest_pixels(images[::-1])
    many = np.zeros((2049, 1, 1, 1), np.uint8)
    changed = many.copy()
    changed[-1] = 1
    assert digest_pixels(many) != digest_pixels(changed)


def test_rows_and_rows_of_are_joined_by_sample_id():
    images = make(5)
    part = images.rows([3, 0])
    assert part.sample_ids.tolist() == ["inspection/3.png", "inspection/0.png"]
    assert part.labels.tolist() == [0, 0]
    assert np.array_equal(part.images[0], images.images[3])
    assert images.rows_of(part.sample_ids).tolist() == [3, 0]


def test_take_is_a_seeded_subset_in_order():
    images = make(50)
    taken = images.take(10, seed=1)
    rows = images.rows_of(taken.sample_ids)
    assert len(rows) == 10
    assert np.all(np.diff(rows) > 0)
    assert rows.tolist() != list(range(10))
    assert images.take(10, seed=1).digest == taken.digest
    assert images.take(10, seed=2).digest != taken.digest
    assert images.take(50) is images


def test_renaming_changes_the_ids_only():
    images = make(3).renamed("trusted")
    assert images.sample_ids.tolist() == ["trusted/0.png", "trusted/1.png", "trusted/2.png"]
    assert images.pixels_digest == make(3).pixels_digest


def test_the_card_says_what_the_set_is():
    card = make(3, labels=None).card()
    assert (card.n, card.height, card.width, card.channels) == (3, 4, 5, 3)
    assert not card.labeled
    assert card.digest == make(3, labels=None).digest


def test_one_image_and_markup_in_names_are_fine():
    images = make(1, class_names=("<script>alert(1)</script>",), labels=np.array([0]))
    assert len(images) == 1
    assert images.class_names == ("<script>alert(1)</script>",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a/b"}, "image set name 'a/b'; expected"),
        ({"images": np.zeros((5, 4, 4, 3), np.float32)}, "float32.*expected uint8"),
        ({"images": np.zeros((5, 4, 4), np.uint8)}, r"shape \(5, 4, 4\); expected"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "no images; expected at least one"),
        ({"images": np.zeros((5, 4, 4, 2), np.uint8)}, "C = 1 .gray. or 3"),
        ({"images": np.zeros((5, 0, 4, 3), np.uint8)}, "no side of 0"),
        ({"labels": np.array([0, 1, 2, 3, 0])}, "label 3 of image 3; expected .* 0 to 2"),
        ({"labels": np.array([0, -1, 2, 0, 0])}, "label -1 of image 1"),
        ({"labels": np.zeros(4, np.int64)}, r"shape \(4,\); expected integers of shape \(5,\)"),
        ({"labels": np.zeros(5)}, "float64"),
        ({"sample_ids": np.array(["inspection/a"] * 5)}, "'inspection/a' occurs twice"),
        ({"sample_ids": np.array(["inspection/a"])}, "1 sample ids for 5 images"),
        ({"sample_ids": np.array(list("abcde"))}, "sample id 'a'; expected 'inspection/'"),
        ({"class_names": ("a", "b\n", "c")}, r"class name 'b\\n'; expected text without control"),
        ({"class_names": ("a", "b\u202e", "c")}, "control"),
        ({"class_names": ("a", "b\udc80", "c")}, "UTF-8"),
        ({"class_names": ()}, "no class names"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(ImageSetError, match=message) as caught:
        make(5, **change)
    assert "\n" not in str(caught.value)


def test_wrong_requests_are_refused():
    images = make(3)
    with pytest.raises(ImageSetError, match="batch size 0"):
        next(images.batches(0))
    with pytest.raises(ImageSetError, match=r"'inspection/9.png' is not in image set"):
        images.rows_of(["inspection/9.png"])
    with pytest.raises(ImageSetError, match="no image of 'inspection' is left"):
        images.rows([])
    with pytest.raises(ImageSetError, match="limit 0"):
        images.take(0)


def test_repeated_ids_get_an_ordinal():
    assert unique_ids(["a", "b", "a", "a#2", "a"]) == ["a", "b", "a#3", "a#2", "a#4"]


def test_subset_rows_show_every_part_of_a_sorted_source():
    classes = np.repeat(np.arange(10), 100)
    assert set(classes[subset_rows(1000, 100, seed=0)]) == set(range(10))
