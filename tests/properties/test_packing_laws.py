"""Laws of packing: there and back is the identity, and a damaged pack is never half believed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import DistillscopeError
from analysis.store import Study, pack_study, unpack_study
from tests.unit.test_study_store import publish


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A small packed study and its digest."""
    folder = tmp_path_factory.mktemp("packed")
    study = publish(folder / "study")
    return pack_study(study, folder / "study.zip").read_bytes(), study.digest


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_refused_or_change_nothing(archive, changes) -> None:
    data, digest = bytearray(archive[0]), archive[1]
    for place, change in changes:
        data[int(place * (len(data) - 1))] ^= change
    _refused_or_the_same(bytes(data), digest)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.binary(max_size=40))
def test_cut_and_lengthened_archives_are_refused_or_change_nothing(archive, place, tail) -> None:
    data, digest = archive
    _refused_or_the_same(data[: int(place * len(data))] + tail, digest)
    _refused_or_the_same(data + tail, digest)


@settings(max_examples=10, deadline=None)
@given(st.text(max_size=30))
def test_any_name_survives_the_journey(name) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = publish(Path(folder) / "study", name=name.encode("utf-8", "ignore").decode())
        file = pack_study(study, Path(folder) / "study.zip")
        back = unpack_study(file, Path(folder) / "back")
        assert (back.digest, back.name) == (study.digest, study.name)


def _refused_or_the_same(data: bytes, digest: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "study.zip", Path(folder) / "out"
        file.write_bytes(data)
        try:
            study = unpack_study(file, out)
        except DistillscopeError:
            assert not out.exists()
            assert not list(Path(folder).glob(".distillscope/staging/*"))
            return
        assert Study.open(out).digest == study.digest == digest
        study.check_files()
