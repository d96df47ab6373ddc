"""Where maps point: mass, pointing game and overlap, against loops."""

import numpy as np
import pytest

from analysis.audit.localization import pointing, region_of, region_overlap
from analysis.errors import InputError


def test_pointing_written_out():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(6, 5, 7))
    region = rng.random((5, 7)) < 0.3
    found = pointing(maps, region)
    count, mass, hit, overlap = int(region.sum()), [], [], []
    for values in maps:
        positive = np.where(values > 0, values, 0)
        mass.append(positive[region].sum() / positive.sum())
        top = set(np.argsort(-values.ravel())[:count].tolist())
        inside = set(np.flatnonzero(region.ravel()).tolist())
        hit.append(int(np.argmax(values)) in inside)
        overlap.append(len(top & inside) / len(top | inside))
    assert found.mass == pytest.approx(np.mean(mass))
    assert found.pointing == pytest.approx(np.mean(hit))
    assert found.overlap == pytest.approx(np.mean(overlap))
    assert found.area == pytest.approx(region.mean())
    assert found.n == 6


def test_every_image_may_have_a_region_of_its_own():
    rng = np.random.default_rng(1)
    maps, regions = rng.normal(size=(5, 4, 4)), rng.random((5, 4, 4)) < 0.4
    whole = pointing(maps, regions)
    each = [pointing(maps[row : row + 1], regions[row]) for row in range(5)]
    for name in ("mass", "pointing", "overlap", "area"):
        assert getattr(whole, name) == pytest.approx(np.mean([getattr(e, name) for e in each]))


def test_a_map_of_the_region_itself_is_perfect():
    region = np.zeros((6, 6), dtype=bool)
    region[1:3, 2:5] = True
    found = pointing(np.stack([region, 3 * region]).astype(float), region)
    assert (found.mass, found.pointing, found.overlap) == (1, 1, 1)
    flat = pointing(np.full((2, *region.shape), 0.3), region)
    assert flat.pointing == pytest.approx(region.mean()), "it points nowhere"
    away = pointing(-region[None].astype(float), region)
    assert (away.mass, away.pointing) == (0, 0)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError):
        pointing(np.zeros((2, 3, 3)), np.zeros((3, 3), dtype=bool))
    with pytest.raises(InputError):
        pointing(np.zeros((2, 3, 3)), np.ones((4, 3), dtype=bool))


def test_the_region_of_a_mask_is_where_it_is_strong():
    mask = np.array([[0, 0.2], [0.41, 0.8]])
    np.testing.assert_array_equal(region_of(mask), [[False, False], [True, True]])
    assert region_of(np.zeros((2, 2))).all()
    assert region_overlap(mask > 0.3, mask > 0.7) == 0.5
    assert region_overlap(mask > 2, mask > 2) == 0
