"""Edits against slow oracles; one image among many is changed as it would be alone."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.data.edit import Edit, coverage, edited
from analysis.data.edits import (
    EDITS,
    Blur,
    Jpeg,
    Noise,
    Picture,
    Sticker,
    check_edits,
    edits_from_json,
    parse_edit,
)
from analysis.data.pictures import MOST_BYTES, MOST_SIDE, picture_text
from analysis.errors import ConfigError, ImageSetError, InputError

IDS = [f"inspection/{row}" for row in range(5)]


def images(channels: int = 3, side: int = 16, count: int = 5) -> np.ndarray:
    shape = (count, side, side, channels)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def example(name: str) -> Edit:
    if name == "picture":
        pixels = np.random.default_rng(1).integers(0, 256, (9, 6, 4), dtype=np.uint8)
        return Picture(picture=picture_text(png(pixels), "it.png"), size=7, across=5, down=12)
    return EDITS[name]()


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_changed_the_same_alone_and_among_others(name: str, channels: int) -> None:
    pictures, edit = images(channels), example(name)
    together = edited(pictures, [edit], IDS)
    alone = [edited(pictures[row : row + 1], [edit], IDS[row : row + 1])[0] for row in range(5)]
    assert together.dtype == np.uint8
    assert together.shape == pictures.shape
    assert (together != pictures).any()
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_survives_json(name: str) -> None:
    edit = example(name)
    assert edits_from_json([edit.key()]) == (edit,)


@pytest.mark.parametrize("name", [name for name in EDITS if name != "picture"])
def test_an_edit_survives_its_text(name: str) -> None:
    edit = example(name)
    assert parse_edit(edit.text) == edit


def test_a_sticker_of_whole_pixels_covers_just_these() -> None:
    before = images()
    edit = Sticker(size=4, across=5, down=9, color="#ff8000", opacity=0.25)
    after = edited(before, [edit], IDS)
    expected = before.copy()
    for row in range(7, 11):
        for column in range(3, 7):
            for channel, color in enumerate((255, 128, 0)):
                mixed = 0.75 * (before[:, row, column, channel] / 255) + 0.25 * (color / 255)
                expected[:, row, column, channel] = np.floor(mixed * 255 + 0.5)
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize(("size", "across", "down"), [(3.3, 4.2, 8.8), (7.5, 0.0, 16.0), (0, 8, 8)])
def test_coverage_counts_points_of_a_fine_grid(size: float, across: float, down: float) -> None:
    found = coverage(16, 12, size, across, down)
    for row in range(16):
        for column in range(12):
            hits = 0
            for i in range(4):
                for j in range(4):
                    y, x = row + (i + 0.5) / 4, column + (j + 0.5) / 4
                    inside_y = down - size / 2 <= y < down + size / 2
                    hits += inside_y and across - size / 2 <= x < across + size / 2
            assert found[row, column] == pytest.approx(hits / 16)


def test_blur_is_a_mirrored_gaussian() -> None:
    before = images(1, side=9, count=1)
    after = edited(before, [Blur(sigma=1.0)], IDS[:1])[0, :, :, 0]
    offsets = range(-3, 4)
    weights = np.exp([-(offset**2) / 2 for offset in offsets])
    weights /= weights.sum()
    pixels = before[0, :, :, 0] / 255

    def mirrored(place: int) -> int:
        place = abs(place)
        return 16 - place if place > 8 else place

    for row in range(9):
        for column in range(9):
            total = sum(
                weights[i + 3] * weights[j + 3] * pixels[mirrored(row + i), mirrored(column + j)]
                for i in offsets
                for j in offsets
            )
            assert abs(int(after[row, column]) - total * 255) <= 0.5 + 1e-6


def test_noise_has_the_stated_spread_and_another_seed_is_another_noise() -> None:
    gray = np.full((5, 64, 64, 3), 128, dtype=np.uint8)
    first, again = (edited(gray, [Noise(amount=0.1, seed=4)], IDS) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.std(first / 255) == pytest.approx(0.1, rel=0.02)
    assert (first[0] != first[1]).any()
    assert (first != edited(gray, [Noise(amount=0.1, seed=5)], IDS)).any()


def test_jpeg_is_what_pillow_writes() -> None:
    before = images(count=1)
    file = io.BytesIO()
    Image.fromarray(before[0]).save(file, "JPEG", quality=30, subsampling=0)
    expected = np.asarray(Image.open(file))
    np.testing.assert_array_equal(edited(before, [Jpeg()], IDS[:1])[0], expected)


def test_edits_follow_one_another_and_are_rounded_once() -> None:
    before = images()
    blurred, stuck = Blur(sigma=2), Sticker(size=6, color="#00ff00")
    assert (edited(before, [blurred, stuck], IDS) != edited(before, [stuck, blurred], IDS)).any()
    nothing = [Sticker(opacity=0.0), Noise(amount=0.0), Blur(sigma=0.0)]
    np.testing.assert_array_equal(edited(before, nothing, IDS), before)


def test_a_transparent_picture_changes_only_what_it_covers() -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:6, 2:6] = (255, 0, 0, 255)
    edit = Picture(picture=picture_text(png(pixels), "it.png"), size=8, across=8, down=8)
    before = images()
    after = edited(before, [edit], IDS)
    changed = (before != after).any(axis=(0, 3))
    assert changed.sum() == 16
    assert changed[6:10, 6:10].all()
    assert (after[:, 6:10, 6:10] == (255, 0, 0)).all()


def test_a_picture_beyond_the_border_is_cut() -> None:
    edit = Picture(picture=picture_text(png(np.full((4, 4, 3), 9, np.uint8)), "x"), size=4,
                   across=0, down=0)  # fmt: skip
    after = edited(images(), [edit], IDS)
    assert (after[:, :2, :2] == 9).all()


def test_an_upload_is_made_small_and_loses_what_is_not_its_pixels() -> None:
    file = io.BytesIO()
    large = Image.fromarray(np.zeros((300, 200, 3), np.uint8))
    large.save(file, "JPEG", comment=b"secret", exif=b"Exif\x00\x00secret")
    data = base64.b64decode(picture_text(file.getvalue(), "it.jpg"))
    small = Image.open(io.BytesIO(data))
    assert max(small.size) == MOST_SIDE
    assert b"secret" not in data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stiker", "Did you mean 'sticker'"),
        ("sticker:size=big", "size = 'big'"),
        ("sticker:colour=#ffffff", "Did you mean 'color'"),
        ("sticker:color=yellow", "#ffdd00"),
        ("sticker:size", "KEY=VALUE"),
        ("sticker:opacity=1.5", "from 0 to 1"),
        ("jpeg:quality=0", "from 1 to 95"),
        ("noise:amount=nan", "from 0 to 1"),
        ("picture", "a PNG"),
        ("picture:file=/nowhere/it.png", "cannot be read"),
    ],
)
def test_a_wrong_edit_is_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_edit(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_can_be_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mark.png"
    path.write_bytes(png(np.full((6, 6, 3), 77, np.uint8)))
    edit = parse_edit(f"picture:file={path},size=6,across=8,down=8")
    assert isinstance(edit, Picture)
    assert str(path) not in str(edit.key())
    assert (edited(images(), [edit], IDS)[:, 6:10, 6:10] == 77).all()


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_an_upload_that_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageSetError, match=r"it\.png"):
        picture_text(data, "it.png")


def test_an_upload_that_is_too_large_is_refused() -> None:
    with pytest.raises(ImageSetError, match="at most"):
        picture_text(b"0" * (MOST_BYTES + 1), "it.png")


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(b"no picture").decode()])
def test_a_record_with_a_broken_picture_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="picture"):
        edits_from_json([{"edit": "picture", "picture": text}])


def test_the_number_of_edits_is_bounded() -> None:
    with pytest.raises(ConfigError, match="1 to 8"):
        check_edits([])
    with pytest.raises(ConfigError, match="1 to 8"):
        check_edits([Blur()] * 9)


def test_every_image_needs_its_id() -> None:
    with pytest.raises(ImageSetError, match="one per image"):
        edited(images(), [Blur()], IDS[:2])
