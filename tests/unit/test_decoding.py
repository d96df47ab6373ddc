"""Decoding: every kind of image becomes what an image set holds, hostile ones a clear error."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from analysis.data.decoding import MAX_PIXELS, Fit, refusing_bombs
from analysis.errors import ImageSetError

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def decode(image, kind="PNG", *, fit=None, **options):
    return (fit or Fit()).decode(encoded(image, kind, **options), "'x.png'")


def png_header(width, height):
    """A PNG that claims a size and holds nothing."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": 1})])
def test_rgb_survives(kind, options):
    assert np.array_equal(decode(Image.fromarray(RGB), kind, **options), RGB)


def test_jpeg_is_what_pil_makes_of_it():
    data = encoded(Image.fromarray(RGB), "JPEG", quality=80)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(Fit().decode(data, "x"), expected)


def test_gray_becomes_rgb_or_stays_gray_when_asked():
    image = Image.fromarray(GRAY)
    assert np.array_equal(decode(image), np.repeat(GRAY[:, :, None], 3, axis=2))
    assert np.array_equal(decode(image, fit=Fit(channels=1)), GRAY[:, :, None])


def test_rgb_becomes_gray_by_luma():
    expected = np.asarray(Image.fromarray(RGB).convert("L"))[:, :, None]
    assert np.array_equal(decode(Image.fromarray(RGB), fit=Fit(channels=1)), expected)


def test_16_bit_gray_is_scaled_and_not_clipped():
    deep = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    assert decode(Image.fromarray(deep), fit=Fit(channels=1))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_is_laid_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = [255, 0, 51]
    assert decode(Image.fromarray(rgba))[0, :, 0].tolist() == [0, 255, 204]


def test_a_transparent_palette_entry_is_laid_on_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert decode(image)[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert decode(image, transparency=1)[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    red = decode(image, "JPEG", quality=100)[0, 0]
    assert red[0] > 240
    assert max(red[1:]) < 15


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("L", (3, 3), value) for value in (0, 255)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert Fit().decode(data, "x").max() == 0


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda a: a), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1))],
)
def test_exif_orientation_is_respected(orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(Image.fromarray(RGB), exif=exif.tobytes()), turned(RGB))


def test_resizing_is_bilinear_with_antialiasing():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = decode(Image.fromarray(stripes), fit=Fit(size=16))
    assert shrunk.shape == (16, 16, 3)
    # Without antialiasing every pixel would be a stripe or a gap.
    assert np.all(np.abs(shrunk.astype(int) - 127) < 30)
    same = decode(Image.fromarray(RGB[:, :6]), fit=Fit(size=6))
    assert np.array_equal(same, RGB[:, :6])


def test_arrays_are_fitted_like_images():
    assert Fit().array(RGB) is RGB
    assert Fit(channels=3).array(GRAY[:, :, None]).shape == (6, 9, 3)
    assert Fit(channels=1).array(RGB).shape == (6, 9, 1)
    assert Fit(size=4).array(RGB).shape == (4, 4, 3)
    assert Fit().array(np.dstack([RGB, GRAY])).shape == (6, 9, 3)


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 120])
def test_a_corrupt_image_is_named(cut):
    data = encoded(Image.fromarray(RGB), "PNG")[:cut]
    with pytest.raises(
        ImageSetError, match=r"'x.png' cannot be decoded .*expected a PNG"
    ) as caught:
        Fit().decode(data, "'x.png'")
    assert "\n" not in str(caught.value)


def test_other_formats_are_refused():
    with pytest.raises(ImageSetError, match="not an image of a known format"):
        decode(Image.fromarray(RGB), "TIFF")


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000])
def test_a_bomb_is_refused_before_it_is_unpacked(side):
    assert side * side > MAX_PIXELS
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with (
        refusing_bombs(),
        pytest.raises(ImageSetError, match=r"pixels; expected at most 64,000,000"),
    ):
        Fit().decode(png_header(side, side), "'bomb.png'")
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


def test_an_impossible_fit_is_refused():
    with pytest.raises(ImageSetError, match="size 0; expected 1 to 4096"):
        Fit(size=0)
    with pytest.raises(ImageSetError, match="channels 2"):
        Fit(channels=2)
