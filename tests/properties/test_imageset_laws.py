"""Laws of image sets: saving is undone by loading, rows follow their ids, order is kept."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.data.imageset import ImageSet, subset_rows, to_pixels, unique_ids
from analysis.data.npz import write_npz
from analysis.data.sources import load_images

TEXT = st.text(
    st.characters(
        exclude_categories=["Cc", "Cs", "Zl", "Zp"],
        exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    ),
    min_size=1,
    max_size=12,
)


@st.composite
def image_sets(draw):
    count = draw(st.integers(1, 6))
    sides = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    channels = draw(st.sampled_from([1, 3]))
    names = draw(st.none() | st.lists(TEXT, min_size=1, max_size=4).map(tuple))
    top = (len(names) if names else 1000) - 1
    ids = draw(st.lists(TEXT, min_size=count, max_size=count, unique=True))
    name = draw(st.sampled_from(["inspection", "a.b-C_9"]))
    return ImageSet(
        name=name,
        images=draw(arrays(np.uint8, (count, *sides, channels))),
        labels=draw(st.none() | arrays(np.int64, count, elements=st.integers(0, top))),
        sample_ids=np.array([f"{name}/{key}" for key in ids]),
        class_names=names,
    )


@settings(max_examples=60, deadline=None)
@given(images=image_sets(), streamed=st.booleans())
def test_loading_undoes_saving(images, streamed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.npz"
        write_npz(images, path)
        workdir = Path(folder) / "work" if streamed else None
        back = load_images(path, name=images.name, workdir=workdir)
        assert back.digest == images.digest
        assert np.array_equal(back.images, images.images)
        assert back.sample_ids.tolist() == images.sample_ids.tolist()
        assert back.class_names == images.class_names
        assert (back.labels is None) == (images.labels is None)
        assert images.labels is None or np.array_equal(back.labels, images.labels)


@given(images=image_sets(), size=st.integers(1, 9), data=st.data())
def test_batches_hold_the_asked_rows_and_nothing_else(images, size, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(images) - 1), max_size=12)), np.int64)
    for asked, given_rows in ((None, np.arange(len(images))), (rows, rows)):
        batches = list(images.batches(size, asked))
        assert all(len(batch) <= size for batch, _ in batches)
        joined = np.concatenate([np.empty(0, np.int64), *(batch for batch, _ in batches)])
        assert joined.tolist() == given_rows.tolist()
        for batch, pixels in batches:
            assert np.array_equal(pixels, to_pixels(images.images[batch]))


@given(images=image_sets())
def test_pixels_are_the_images_in_the_unit_interval(images):
    pixels = to_pixels(images.images)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.array_equal(np.rint(pixels * 255).transpose(0, 2, 3, 1), images.images)


@given(images=image_sets(), data=st.data())
def test_rows_of_undoes_rows(images, data):
    order = data.draw(st.permutations(range(len(images))))
    shuffled = images.rows(order)
    assert images.rows_of(shuffled.sample_ids).tolist() == order
    restored = shuffled.rows(shuffled.rows_of(images.sample_ids))
    assert restored.digest == images.digest
    assert (shuffled.digest == images.digest) == (order == sorted(order))


@given(images=image_sets())
def test_a_changed_pixel_changes_the_digest(images):
    changed = images.images.copy()
    changed[-1, -1, -1, -1] ^= 1
    assert dataclasses.replace(images, images=changed).digest != images.digest
    assert dataclasses.replace(images, images=images.images.copy()).digest == images.digest


@given(count=st.integers(1, 500), limit=st.integers(1, 500), seed=st.integers(0, 2**31))
def test_a_subset_is_seeded_ascending_and_without_repeats(count, limit, seed):
    rows = subset_rows(count, limit, seed)
    assert len(rows) == min(count, limit)
    assert np.all(np.diff(rows) > 0)
    assert rows[0] >= 0
    assert rows[-1] < count
    assert np.array_equal(rows, subset_rows(count, limit, seed))


@given(ids=st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "a#2#2"]), max_size=12))
def test_ids_become_unique_and_the_first_of_each_keeps_its_name(ids):
    fresh = unique_ids(ids)
    assert len(set(fresh)) == len(ids)
    for row, key in enumerate(ids):
        assert fresh[row].startswith(key)
        if key not in ids[:row]:
            assert fresh[row] == key
    assert unique_ids(fresh) == fresh
