"""Inspect's pure figures: maps over an image, regions, sweeps, curves, many maps at once."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from analysis.records import AttributionMaps
from dashboard.components.waiting import PATH, waiting_route
from dashboard.figures import attributions, trust, what_if
from dashboard.figures.answers import answers_figure
from dashboard.figures.many_maps import agreement_figure
from dashboard.loading_many_maps import PARTS, many_maps, most_at_odds
from dashboard.theme import DARK, LIGHT, Palette
from tests.unit.test_figures import make_pair


def pixels_of(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_an_overlay_shows_the_image_where_the_map_is_silent(colors: Palette) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    values = np.zeros((6, 6))
    values[2, 3], values[4, 1] = 1.0, -1.0
    drawn = pixels_of(attributions.overlay_picture(values, 1.0, image, colors))
    strongest = tuple(int(colors.signed[-2][at : at + 2], 16) for at in (1, 3, 5))
    against = tuple(int(colors.signed[1][at : at + 2], 16) for at in (1, 3, 5))
    assert tuple(drawn[2, 3]) == strongest
    assert tuple(drawn[4, 1]) == against
    assert np.ptp(drawn[0, 0].astype(int)) <= np.ptp(
        [int(colors.background[at : at + 2], 16) for at in (1, 3, 5)]
    )
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 3)}) > 10


def test_a_region_is_framed_in_shares_of_the_map() -> None:
    region = np.zeros((8, 16), dtype=bool)
    assert attributions.region_box(region) is None
    region[2:4, 4:12] = True
    assert attributions.region_box(region) == (0.25, 0.25, 0.5, 0.25)
    html = attributions.map_html("data:x", "a map", attributions.region_box(region))
    assert "left:25.00%;top:25.00%;width:50.00%;height:25.00%" in html
    assert "ds-region" not in attributions.map_html("data:x", "a map", None)


def test_ticks_stand_at_the_answers_before() -> None:
    now, before = np.asarray([0.7, 0.2, 0.1]), np.asarray([0.1, 0.1, 0.8])
    plain = answers_figure(now, now, ["a", "b", "c"], LIGHT)
    figure = answers_figure(now, now, ["a", "b", "c"], LIGHT, before=(before, before))
    ticks = [trace for trace in figure.data if trace.type == "scatter"]
    assert len(ticks) == len(figure.data) - len(plain.data) == 2
    bars = [trace for trace in figure.data if trace.type == "bar" and trace.hoverinfo == "text"]
    for tick, bar, sign in zip(ticks, bars, (-1, 1), strict=True):
        for row, index in enumerate([0, 2, 1]):  # today's answer, that of before, the rest
            assert bar.x[row] == pytest.approx(sign * now[index])
            assert tick.x[row] - bar.base == pytest.approx(sign * before[index])


def test_names_of_a_sweep_do_not_lie_on_one_another() -> None:
    strengths = np.linspace(0, 12, 25)
    flat = np.full(25, 0.004)
    curves = [
        what_if.Curve(name=name, values=values, role=role)
        for name, values, role in (
            ("teacher", flat, "left"),
            ("student", np.linspace(0, 1, 25), "student"),
            ("honest", flat, "other"),
        )
    ]
    figure = what_if.sweep_figure(
        strengths.tolist(), curves, now=7.5, axis="sticker size, px", colors=LIGHT
    )
    heights = sorted(note.y for note in figure.layout.annotations)
    assert len(heights) == 3
    assert min(np.diff(heights)) >= 11 - 1e-9
    assert heights[0] >= 0
    assert heights[-1] <= 100
    assert figure.layout.shapes[0].x0 == 7.5
    assert {note.bgcolor for note in figure.layout.annotations} == {LIGHT.background}


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_a_curve_lies_above_the_band_where_it_is_larger(colors: Palette) -> None:
    shares = np.linspace(0, 1, 5)
    random = np.stack([np.linspace(0, 1, 5), np.linspace(0, 0.8, 5)])
    uri = trust.curve_picture(shares, np.full(5, 1.2), random, colors.teacher, colors)
    svg = base64.b64decode(uri.split(",", 1)[1]).decode()
    line = svg.split('polyline points="')[1].split('"')[0]
    assert {point.split(",")[1] for point in line.split()} == {"2.0"}
    assert "<script" not in svg


def maps_of(ids: list[str], values: np.ndarray) -> AttributionMaps:
    return AttributionMaps(
        method="saliency", model="m", scalar="p", baseline="none",
        sample_ids=np.asarray(ids), explained_class=np.zeros(len(ids), np.int64),
        values=values.astype(np.float32), signed=True,
        completeness_error=np.full(len(ids), np.nan, np.float32),
    )  # fmt: skip


def test_many_maps_are_joined_by_sample_and_averaged() -> None:
    pair = make_pair(6, 3)
    generator = np.random.default_rng(0)
    ids = [str(name) for name in pair.sample_ids]
    orders = {"teacher": [5, 1, 3], "student": [3, 5, 1, 0], "pair": [1, 3, 5]}
    maps = {
        part: maps_of([ids[row] for row in order], generator.normal(size=(len(order), 4, 4)))
        for part, order in orders.items()
    }
    found = many_maps(maps, pair)
    assert found is not None
    assert found.rows.tolist() == [1, 3, 5]
    assert (len(found), found.selected) == (3, 6)
    student = maps["student"].values[[2, 0, 1]]
    np.testing.assert_allclose(found.means["student"].values, student.mean(axis=0), rtol=1e-6)
    same, other = most_at_odds(found, pair)
    assert sorted([*same, *other]) == [0, 1, 2]
    assert pair.agree[found.rows[same]].all()
    assert not pair.agree[found.rows[other]].any()
    assert many_maps({part: maps[part] for part in PARTS[:2]}, pair) is None
    elsewhere = maps_of(["inspection/none"], np.ones((1, 4, 4)))
    assert many_maps(dict.fromkeys(PARTS, elsewhere), pair) is None


def test_the_histogram_counts_every_defined_correlation() -> None:
    correlation = np.asarray([-1.0, -0.2, 0.1, 0.1, np.nan, 1.0])
    agree = np.asarray([True, False, True, False, True, False])
    figure = agreement_figure(correlation, agree, LIGHT)
    assert [int(np.sum(trace.y)) for trace in figure.data] == [2, 3]
    assert figure.layout.annotations[0].text == "median 0.10"
    empty = agreement_figure(np.full(2, np.nan), np.ones(2, dtype=bool), LIGHT)
    assert not empty.layout.annotations


def status(done: Callable[[list[int]], bool], query: str) -> int:
    """What the route answers to ``query``."""

    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": PATH, "headers": [],
             "query_string": query.encode()}  # fmt: skip
    endpoint = waiting_route(done).endpoint
    return int(asyncio.run(endpoint(Request(scope, receive))).status_code)


def test_the_route_answers_once_something_is_done() -> None:
    asked: list[list[int]] = []

    def done(numbers: list[int]) -> bool:
        asked.append(numbers)
        return len(asked) > 2

    assert status(done, "for=3,14") == 200
    assert asked == [[3, 14]] * 3
    for query in ("", "for=", "for=x", "for=1;2", f"for={'9' * 12}"):
        assert status(done, query) == 404


def test_an_infidelity_that_is_not_defined_is_said_in_words() -> None:
    from types import SimpleNamespace

    from dashboard.pages.inspect_trust import _infidelity

    undefined = SimpleNamespace(infidelity=float("nan"), moved_infidelity=float("nan"))
    assert "not defined" in _infidelity(undefined)
    worse = SimpleNamespace(infidelity=0.9, moved_infidelity=0.8)
    assert "ds-alarm" in _infidelity(worse)
    assert "0.90" in _infidelity(worse)
