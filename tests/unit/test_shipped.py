"""Packs of results: they come back as they were, and only into the study they belong to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.errors import InputError, StudyError
from analysis.store import Study
from analysis.study.shipped import attach_results, pack_results
from tests.audited import make_audited


@pytest.fixture
def pack(tiny_study: Path, tmp_path: Path) -> Path:
    audited = Study.open(make_audited(tiny_study, tmp_path))
    return pack_results(
        audited, ("audit/alpha", "repair/alpha"), ("teacher", "alpha"), tmp_path / "p.npz"
    )


def assert_near(found: Any, expected: Any) -> None:
    """Equal, numbers to six significant digits."""
    if isinstance(expected, dict):
        assert list(found) == sorted(expected)
        for key, value in expected.items():
            assert_near(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=5e-6)
    else:
        assert found == expected


def test_what_is_packed_comes_back(tiny_study: Path, tmp_path: Path, pack: Path) -> None:
    copy = tmp_path / "ws" / "plain"
    shutil.copytree(tiny_study, copy)
    before = Study.open(copy)
    after = attach_results(copy, pack)
    audited = Study.open(tmp_path / "audited")
    assert_near(after.record("audit/alpha"), audited.record("audit/alpha"))
    assert_near(after.record("repair/alpha"), audited.record("repair/alpha"))
    key = "audit/alpha/mask/mask"
    np.testing.assert_allclose(after.array(key), audited.array(key), atol=5e-4)
    np.testing.assert_array_equal(
        after.array("audit/alpha/mask/example"), audited.array("audit/alpha/mask/example")
    )
    assert dict(before.manifest.arrays).items() <= dict(after.manifest.arrays).items()
    after.check_files()


def test_another_study_is_refused_and_left_as_it_was(
    tiny_study: Path, tmp_path: Path, pack: Path
) -> None:
    copy = tmp_path / "ws" / "other"
    shutil.copytree(tiny_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    manifest["models"]["alpha"]["digest"] = "0" * 64
    (copy / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(StudyError, match="alpha differ"):
        attach_results(copy, pack)
    assert json.loads((copy / "study.json").read_text()) == manifest


def test_nothing_to_pack_is_said(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results under audit/alpha"):
        pack_results(study, ("audit/alpha",), ("alpha",), tmp_path / "p.npz")
    assert not (tmp_path / "p.npz").exists()


def test_a_damaged_pack_is_refused(tiny_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ws" / "study"
    shutil.copytree(tiny_study, copy)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"no archive")
    with pytest.raises(StudyError, match="cannot be read"):
        attach_results(copy, bad)


def test_a_pack_never_unpickles(tiny_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ws" / "study"
    shutil.copytree(tiny_study, copy)
    bad = tmp_path / "bad.npz"
    np.savez(bad, index=np.array([object()], dtype=object), keys=np.array([], dtype=str))
    with pytest.raises(StudyError, match="cannot be read"):
        attach_results(copy, bad)


def test_only_what_is_kept_is_packed_and_pictures_come_along(
    tiny_study: Path, tmp_path: Path
) -> None:
    audited = Study.open(make_audited(tiny_study, tmp_path))

    def first_row(key: str, values: np.ndarray) -> np.ndarray | None:
        return np.asarray(values)[:1] if key.endswith("/mask") else None

    path = pack_results(
        audited, ("audit/alpha", "clean"), ("alpha",), tmp_path / "p.npz", keep=first_row
    )
    copy = tmp_path / "ws" / "plain"
    shutil.copytree(tiny_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    pictures = manifest["thumbnails"].pop("clean")
    (copy / "study.json").write_text(json.dumps(manifest))
    after = attach_results(copy, path)
    assert after.array("audit/alpha/mask/mask").shape[0] == 1
    assert not after.has_array("audit/alpha/mask/pattern")
    assert after.manifest.thumbnails["clean"] == pictures
