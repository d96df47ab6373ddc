"""Decoded images are found again by what their source holds, never by what it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.store import StageCache
from analysis.study.images import load_image_set, source_key


def write(folder: Path, shade: int) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(place / "1.png")


def shade_of(cache: StageCache, source: str) -> int:
    return int(np.asarray(load_image_set(cache, source).images).max())


def test_other_contents_of_a_split_are_other_images(tmp_path: Path) -> None:
    cache, source = StageCache(tmp_path / "cache"), f"{tmp_path / 'data'}:test"
    write(tmp_path / "data", 10)
    before = source_key(source)
    assert shade_of(cache, source) == 10
    assert source_key(f"{tmp_path / 'data'}:train") != before
    write(tmp_path / "data", 90)
    assert source_key(source) != before
    assert shade_of(cache, source) == 90


def test_an_empty_class_folder_makes_other_images(tmp_path: Path) -> None:
    cache, source = StageCache(tmp_path / "cache"), str(tmp_path / "data" / "test")
    write(tmp_path / "data", 10)
    assert load_image_set(cache, source).class_names == ("a", "b")
    (tmp_path / "data" / "test" / "aa").mkdir()
    found = load_image_set(cache, source)
    assert found.class_names == ("a", "aa", "b")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 2]


def test_splits_are_chosen_whatever_the_case_of_their_folders(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "cache")
    write(tmp_path / "data", 10)
    for name in ("train", "test"):
        (tmp_path / "data" / name).rename(tmp_path / "data" / name.title())
    assert shade_of(cache, f"{tmp_path / 'data'}:test") == 10


def test_the_same_text_from_another_folder_is_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StageCache(tmp_path / "cache")
    for number, shade in enumerate((20, 70)):
        here = tmp_path / str(number)
        write(here / "data", shade)
        monkeypatch.chdir(here)
        assert shade_of(cache, "data:test") == shade


def test_a_folder_that_is_called_like_a_built_in_source_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = source_key("signs:test,n=4")
    (tmp_path / "signs:test,n=4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert source_key("signs:test,n=4") == plain
