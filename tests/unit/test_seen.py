"""Inspection images that occur in the distillation set: counted, noted, said once."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.imageset import ImageSet
from analysis.data.npz import write_npz
from analysis.data.overlap import shared_images
from analysis.data.sources import load_images
from analysis.store import Study
from analysis.study.comparison import add_students, compare
from analysis.study.seen import note_seen_images
from dashboard.cli import _run
from tests.conftest import TINY_IMAGES
from tests.unit.test_comparison import FAST


def image_set(images, name="set"):
    ids = np.array([f"{name}/{row}" for row in range(len(images))])
    return ImageSet(name=name, images=images, sample_ids=ids)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_against_comparing_every_image_with_every_other(seed, n, m):
    rng = np.random.default_rng(seed)
    # Few values, so that some images occur by chance.
    one, other = (rng.integers(0, 2, (k, 1, 2, 1), dtype=np.uint8) for k in (n, m))
    slow = [any((a == b).all() for b in other) for a in one]
    assert shared_images(image_set(one), image_set(other)).tolist() == slow


def test_images_of_another_shape_are_others():
    one = image_set(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    other = image_set(np.zeros((2, 4, 4, 1), dtype=np.uint8))
    assert not shared_images(one, other).any()


@pytest.fixture(scope="module")
def half_seen(tmp_path_factory):
    """A source with 30 of the tiny study's images, one of them twice, and 10 others."""
    path = tmp_path_factory.mktemp("seen") / "half.npz"
    known, others = load_images(TINY_IMAGES), load_images("signs:train,n=10,seed=8")
    images = np.concatenate([known.images[:30], known.images[:1], others.images])
    write_npz(image_set(images), path)
    return str(path)


def test_the_finding_says_how_many(tiny_study, half_seen, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study, folder)
    study = note_seen_images(folder, half_seen)
    assert study.image_sets["distillation"].n == 41
    for name in ("alpha", "beta"):
        (finding,) = [f for f in study.record(f"findings/{name}") if f["kind"] == "seen_images"]
        assert finding["n"] == 30
        assert finding["text"].startswith("30 of the 120 images")
        assert "(25.0 %)" in finding["text"]
        assert study.record(f"seen_images/{name}")["among"] == 41
    again = note_seen_images(folder, half_seen)
    assert again.digest == study.digest == Study.open(folder).digest
    cleared = note_seen_images(folder, "signs:train,n=10,seed=8")
    assert cleared.record("findings/alpha") == Study.open(tiny_study).record("findings/alpha")
    assert cleared.record("seen_images/alpha")["n"] == 0


def test_the_command_line_notes_it_and_says_it(tiny_study, half_seen, tmp_path, capsys):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study, folder)
    assert _run(["add", str(folder), "--distillation", half_seen, "--quiet"]) == 0
    assert "30 of the 120 images" in capsys.readouterr().out
    assert _run(["add", str(folder), "--quiet"]) == 2
    assert "no student was given" in capsys.readouterr().err
    assert _run(["add", str(folder), "--distillation", "nowhere.npz", "--quiet"]) == 2


def test_compare_and_add_note_it_for_their_students(tiny_models, half_seen, tmp_path):
    study = compare(
        teacher=str(tiny_models["teacher"]), students={"alpha": str(tiny_models["alpha"])},
        images=TINY_IMAGES, out=tmp_path / "study", config=FAST, distillation=half_seen,
    )  # fmt: skip
    assert study.record("seen_images/alpha")["n"] == 30
    added = add_students(tmp_path / "study", {"beta": str(tiny_models["beta"])})
    assert added.record("seen_images/beta") is None
    assert added.record("findings/alpha")[-1]["n"] == 30
