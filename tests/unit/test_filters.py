"""Filters: what each does to pixels, whatever the images."""

import io

import numpy as np
import pytest
from PIL import Image

from analysis.data.filters import FILTERS, find_filter, jpeg, median3, mirror
from analysis.errors import ConfigError


def some_images(count=3, side=9, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side + 2, channels), dtype=np.uint8)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_keeps_shape_and_type_and_leaves_its_input_alone(name, channels):
    images = some_images(channels=channels)
    before = images.copy()
    shown = find_filter(name).apply(images)
    assert shown.shape == images.shape
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", FILTERS)
def test_an_image_of_one_color_stays_what_it_is(name):
    images = np.full((2, 16, 16, 3), (30, 120, 210), dtype=np.uint8)
    shown = find_filter(name).apply(images).astype(int)
    # JPEG rounds when it changes the color space.
    assert np.abs(shown - images).max() <= 2


def test_the_median_is_that_of_nine_neighbors_with_the_border_repeated():
    images = some_images(2, 5)
    shown = median3(images)
    for n, y, x, c in np.ndindex(images.shape):
        rows = np.clip([y - 1, y, y + 1], 0, images.shape[1] - 1)
        columns = np.clip([x - 1, x, x + 1], 0, images.shape[2] - 1)
        near = images[n][np.ix_(rows, columns)][..., c]
        assert shown[n, y, x, c] == np.median(near)


def test_jpeg_runs_on_a_grid_that_is_shifted():
    image = some_images(1, 24)[0]
    framed = np.pad(image, ((4, 0), (4, 0), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    Image.fromarray(framed).save(buffer, "JPEG", quality=75)
    expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))[4:, 4:]
    np.testing.assert_array_equal(jpeg(image[None])[0], expected)
    assert (jpeg(image[None]) != jpeg(image[None], shift=0)).any()


def test_a_mirror_twice_is_nothing():
    images = some_images()
    np.testing.assert_array_equal(mirror(mirror(images)), images)
    assert not FILTERS["flip"].keeps_meaning


def test_an_unknown_filter_names_the_nearest():
    with pytest.raises(ConfigError, match="median"):
        find_filter("medain")
