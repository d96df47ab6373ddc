"""Figures as files: what is drawn where, what is refused, and that names stay text."""

from __future__ import annotations

import io
import itertools
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from analysis.errors import InputError
from dashboard.components.pair_map.points import PairPoints, PointColors
from dashboard.drawing import Drawing, drawing_of, pair_drawing, png, svg, words
from dashboard.drawing.axes import nice_step
from dashboard.drawing.png import _dashed
from dashboard.drawing.shapes import Circle, Outline, Picture, Stroke, Words, box, channels
from dashboard.drawing.traces import between
from dashboard.drawing.words import Run, lines_of, plain, width_of
from dashboard.figures import what_if
from dashboard.figures.chart import chart
from dashboard.theme import DARK, LIGHT
from tests.unit.test_figures import HOSTILE

NAMESPACE = "{http://www.w3.org/2000/svg}"


def plot(**axes: Any) -> go.Figure:
    """An empty chart of 200 pixels with a plot area of 400 x 100 when drawn 500 wide."""
    figure = chart(LIGHT, height=200)
    figure.update_layout(margin={"l": 60, "r": 40, "t": 50, "b": 50})
    figure.update_xaxes(range=[0, 10], tickvals=[0, 5, 10], **axes)
    figure.update_yaxes(range=[0, 100], tickvals=[0, 50, 100])
    return figure


def shapes_of(figure: go.Figure, kind: type) -> list[Any]:
    return [shape for shape in drawing_of(figure, width=500).shapes if isinstance(shape, kind)]


def test_values_lie_where_the_axes_say() -> None:
    figure = plot()
    figure.add_scatter(x=[0, 2.5, 10], y=[0, 100, 25], mode="markers", marker={"color": "#112233"})
    dots = shapes_of(figure, Circle)
    # 60 + 400 x / 10 to the right, 150 - 100 y / 100 from the top.
    assert [(dot.x, dot.y) for dot in dots] == [(60, 150), (160, 50), (460, 125)]
    assert {dot.fill for dot in dots} == {"#112233"}


def test_a_log_axis_counts_powers() -> None:
    figure = plot()
    figure.update_yaxes(type="log", range=[0, 2], tickvals=[1, 10, 100])
    figure.add_scatter(x=[0, 0], y=[10, 100], mode="markers", marker={"color": "#112233"})
    figure.add_annotation(x=5, y=1, text="ten", showarrow=False, yanchor="bottom", xanchor="left")
    assert [dot.y for dot in shapes_of(figure, Circle)] == [100, 50]
    note = next(word for word in shapes_of(figure, Words) if word.text == "ten")
    assert note.x == 260
    assert 90 < note.y < 100


def test_lines_break_where_a_value_is_missing() -> None:
    figure = plot()
    figure.add_scatter(
        x=[0, 1, 2, 3, 4], y=[0, 10, np.nan, 30, 40], mode="lines",
        line={"color": "#112233", "width": 3, "dash": "dash"},
    )  # fmt: skip
    drawn = [s for s in shapes_of(figure, Outline) if s.stroke and s.stroke.color == "#112233"]
    assert [len(line.points) for line in drawn] == [2, 2]
    assert drawn[0].stroke == Stroke("#112233", 3.0, (6, 4))


def test_bars_overlay_and_stack() -> None:
    for mode, bottoms in (("overlay", [150, 150]), ("stack", [150, 130])):
        figure = plot()
        figure.update_layout(barmode=mode, bargap=0.5)
        for value, color in ((20, "#110000"), (40, "#220000")):
            figure.add_bar(x=[2, 4], y=[value, value], marker={"color": color})
        bars = [s for s in shapes_of(figure, Outline) if s.fill in ("#110000", "#220000")]
        first, second = bars[0], bars[2]
        # Bars stand 2 apart and half of that is gap: 40 pixels wide.
        assert [point[0] for point in first.points[:2]] == [120, 160]
        assert [max(y for _, y in bar.points) for bar in (first, second)] == bottoms


def test_horizontal_bars_start_at_their_base() -> None:
    figure = plot()
    figure.update_layout(barmode="overlay", bargap=0.0)
    figure.add_bar(x=[3], y=[50], base=2, orientation="h", marker={"color": "#110000"})
    bar = next(s for s in shapes_of(figure, Outline) if s.fill == "#110000")
    assert sorted({x for x, _ in bar.points}) == [140, 260]


def test_cells_take_the_color_of_their_value() -> None:
    figure = plot()
    figure.add_heatmap(
        x=[1, 2], y=[10], z=[[0.5, np.nan]], zmin=0, zmax=1, xgap=2, ygap=0,
        colorscale=[(0, "#000000"), (1, "#ffffff")], showscale=False,
    )  # fmt: skip
    cells = [s for s in shapes_of(figure, Outline) if s.closed and s.fill]
    assert [cell.fill for cell in cells] == ["#808080"]
    assert [x for x, _ in cells[0].points[:2]] == [81, 119]


def test_between_two_colors() -> None:
    scale = [(0.0, "#000000"), (0.5, "#ff0000"), (1.0, "#ffff00")]
    assert [between(scale, share) for share in (0, 0.25, 0.5, 0.75, 1)] == [
        "#000000", "#800000", "#ff0000", "#ff8000", "#ffff00",
    ]  # fmt: skip


def test_labels_get_the_room_they_need() -> None:
    figure = plot()
    long = "a class with a very long name indeed"
    figure.update_yaxes(ticktext=[long, "b", "c"])
    words = shapes_of(figure, Words)
    label = next(word for word in words if word.text == long)
    assert label.x >= 0
    assert label.x + width_of(long, label.size) <= drawing_of(figure, width=500).width


def test_axes_find_their_own_range_and_steps() -> None:
    figure = chart(LIGHT, height=200)
    figure.add_scatter(x=[1, 9], y=[3, 47], mode="markers", marker={"color": "#112233"})
    dots, words = shapes_of(figure, Circle), [w.text for w in shapes_of(figure, Words)]
    assert all(0 < dot.x < 500 and 0 < dot.y < 200 for dot in dots)
    assert {"2", "4", "6", "8", "20", "40"} <= set(words)
    assert [nice_step(value) for value in (0.03, 1, 1.2, 4, 70)] == [0.05, 1, 2, 5, 100]


def test_tags_become_weights_colors_and_lines() -> None:
    text = "<b><span style='color:#B01E6B'>80</span></b> of<br>&lt;b&gt; &amp; <i>x</i>"
    assert lines_of(text) == [
        [Run("80", bold=True, color="#B01E6B"), Run(" of")],
        [Run("<b> & <i>x</i>")],
    ]
    assert plain(text) == "80 of\n<b> & <i>x</i>"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.add_pie(values=[1]),
        lambda f: f.add_scattergl(x=[1], y=[1]),
        lambda f: f.add_scatter(x=[1], y=[1], mode="markers", marker={"symbol": "star"}),
        lambda f: f.add_scatter(x=[1, 2], y=[1, 2], mode="lines", line={"dash": "longdash"}),
        lambda f: f.add_scatter(x=[1, 2], y=[1, 2], fill="tozeroy", mode="lines"),
        lambda f: f.add_scatter(x=[1], y=[1], mode="text", text="a", textposition="top left"),
        lambda f: f.add_scatter(x=[1], y=[1], error_y={"array": [1], "arrayminus": [1]}),
        lambda f: f.add_annotation(x=1, y=1, text="arrow"),
        lambda f: f.add_annotation(x=1, y=1, text="framed", showarrow=False, bordercolor="#112233"),
        lambda f: f.add_annotation(x=1, y=1, yref="paper", text="top", showarrow=False),
        lambda f: f.add_shape(type="circle", x0=0, x1=1, y0=0, y1=1),
        lambda f: f.add_bar(x=[1], y=[1]),
        lambda f: f.update_yaxes(type="log", range=[0, 1], tickvals=None),
        lambda f: f.update_layout(plot_bgcolor="#FFFFFF"),
        lambda f: f.add_scatter(x=[1], y=[1], mode="markers", marker={"color": "red"}),
    ],
)
def test_what_is_not_known_is_refused(spoil: Any) -> None:
    figure = plot()
    spoil(figure)
    with pytest.raises(InputError):
        svg(drawing_of(figure))


@pytest.mark.parametrize(("anchor", "start"), [("left", 0.0), ("center", -0.5), ("right", -1.0)])
def test_words_lie_on_their_ground(anchor: str, start: float) -> None:
    figure = plot()
    figure.add_annotation(
        x=5, y=50, text="some words", showarrow=False, xanchor=anchor, yanchor="middle",
        bgcolor="#112233", font={"size": 10, "color": "#445566"},
    )  # fmt: skip
    shapes = drawing_of(figure, width=500).shapes
    at = next(i for i, s in enumerate(shapes) if isinstance(s, Outline) and s.fill == "#112233")
    ground, words = shapes[at], shapes[at + 1]
    assert isinstance(ground, Outline)
    assert isinstance(words, Words)
    assert words.text == "some words"
    (left, top), _, (right, bottom), _ = ground.points
    wide = width_of("some words", 10)
    assert (left, right) == pytest.approx((260 + start * wide - 2, 260 + (start + 1) * wide + 2))
    assert (top + bottom) / 2 == pytest.approx(100)
    assert top < words.y - 0.698 * 10 < words.y < bottom


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_the_curves_of_a_growing_change_are_drawn_with_their_names(colors: Any) -> None:
    strengths = np.linspace(0, 12, 25)
    curves = [
        what_if.Curve(name=name, values=values, role=role)
        for name, values, role in (
            ("teacher", np.full(25, 0.004), "left"),
            ("alpha<", strengths / 12, "student"),
            ("honest", np.full(25, 0.9), "other"),
        )
    ]
    figure = what_if.sweep_figure(
        strengths.tolist(), curves, now=11.0, axis="sticker size, px", colors=colors
    )
    drawing = drawing_of(figure, width=720, background=colors.background)
    texts = [node.text for node in ET.fromstring(svg(drawing)).iter(f"{NAMESPACE}text")]
    assert {"teacher", "alpha<", "honest", "sticker size, px"} <= set(texts)
    grounds = [s for s in drawing.shapes if isinstance(s, Outline) and s.fill == colors.background]
    assert len(grounds) == 3
    assert len(np.unique(pixels(drawing).reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text(name: str) -> None:
    drawing = Drawing(
        100, 50,
        (
            Words(x=1, y=10, text=name, size=12, color="#000000"),
            box(0, 0, 5, 5, fill="#000000", title=name),
        ),
    )  # fmt: skip
    root = ET.fromstring(svg(drawing, alt=name))
    assert [node.text for node in root.iter(f"{NAMESPACE}text")] == [name]
    assert [node.text for node in root.iter(f"{NAMESPACE}title")] == [name]
    assert root.get("aria-label") == name
    assert {node.tag.removeprefix(NAMESPACE) for node in root.iter()} == {
        "svg", "text", "polygon", "title",
    }  # fmt: skip


def test_fonts_come_along_when_asked_for() -> None:
    words = Words(x=1, y=10, text="a", size=12, color="#000000", weight=600)
    drawing = Drawing(100, 50, (words,))
    assert "@font-face" not in svg(drawing)
    alone = svg(drawing, fonts=True)
    assert re.findall(r"font-weight:(\d+)", alone) == ["600"]
    assert "url(data:font/woff2;base64," in alone


def pixels(drawing: Drawing, scale: float = 2.0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(drawing, scale=scale))).convert("RGB"))


def test_a_png_shows_the_shapes_in_their_colors() -> None:
    drawing = Drawing(
        60, 40,
        (
            box(10, 10, 20, 30, fill="#FF0000"),
            Circle(x=40, y=20, radius=8, fill="#00FF00"),
            box(30, 0, 50, 40, fill="rgba(0,0,255,0.5)"),
            Outline(points=((0, 35), (60, 35)), stroke=Stroke("#000000", 2)),
        ),
        "#FFFFFF",
    )  # fmt: skip
    seen = pixels(drawing)
    assert seen.shape == (80, 120, 3)
    assert seen[40, 30].tolist() == [255, 0, 0]
    assert seen[40, 80].tolist() == pytest.approx([0, 128, 128], abs=2)
    assert seen[10, 70].tolist() == pytest.approx([128, 128, 255], abs=2)
    assert seen[70, 4].tolist() == [0, 0, 0]
    assert seen[2, 2].tolist() == [255, 255, 255]
    assert pixels(drawing, scale=1).shape == (40, 60, 3)


def test_a_pillow_without_the_fonts_format_still_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    real = words.ImageFont.truetype

    def refuse(source: Any, *rest: Any, **more: Any) -> Any:
        if isinstance(source, Path):
            raise OSError("unknown file format")
        return real(source, *rest, **more)

    own = words.font(20.0).getlength("some words")
    words.font.cache_clear()
    monkeypatch.setattr(words.ImageFont, "truetype", refuse)
    try:
        assert 0.7 < words.font(20.0).getlength("some words") / own < 1.4
    finally:
        words.font.cache_clear()


def test_turned_words_run_upwards() -> None:
    words = Words(x=30, y=90, text="upwards", size=12, color="#000000", angle=-90)
    dark = np.argwhere(pixels(Drawing(60, 100, (words,)), scale=1).sum(axis=-1) < 300)
    assert np.ptp(dark[:, 0]) > 30 > np.ptp(dark[:, 1])
    assert dark[:, 0].max() <= 90


def test_pictures_are_stretched_pixel_by_pixel() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).save(file, "PNG")
    picture = Picture(x=0, y=0, width=20, height=10, data=file.getvalue())
    seen = pixels(Drawing(20, 10, (picture,)), scale=1)
    assert seen[5, 8].tolist() == [255, 0, 0]
    assert seen[5, 11].tolist() == [0, 0, 255]
    assert "data:image/png;base64," in svg(Drawing(20, 10, (picture,)))


def test_dashes_cover_their_share_of_a_path() -> None:
    path = [(0.0, 0.0), (30.0, 0.0), (30.0, 40.0)]
    drawn = sum(
        math.dist(a, b) for piece in _dashed(path, [6, 4]) for a, b in itertools.pairwise(piece)
    )
    assert drawn == pytest.approx(42)  # 6 of every 10, and 70 is a whole number of these


def test_colors_are_read_or_refused() -> None:
    assert channels("#0A0B0C") == (10, 11, 12, 1.0)
    assert channels("rgba(1,2,3,0.25)") == (1, 2, 3, 0.25)
    with pytest.raises(InputError, match="color 'red'"):
        channels("red")


def two_maps(**changes: Any) -> tuple[PairPoints, PointColors]:
    layout = np.array([[0, 0], [1, 1], [2, 0], [1, 0.5]], np.float32)
    answers = np.array([0, 1, 1, 0])
    values: dict[str, Any] = {
        "teacher_xy": layout, "student_xy": layout[::-1], "sample_ids": list("abcd"),
        "class_names": ("one", "two"), "teacher_answers": answers, "student_answers": answers,
        "teacher_probabilities": np.ones(4), "student_probabilities": np.ones(4),
        "kl": np.zeros(4), "labels": answers,
    }  # fmt: skip
    points = PairPoints(**{**values, **changes})
    return points, PointColors.categories(answers, ("one", "two"))


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_both_maps_lie_in_one_frame(colors: Any) -> None:
    drawing = pair_drawing(*two_maps(), ("Teacher", "small"), colors, width=416, height=226)
    dots = [s for s in drawing.shapes if isinstance(s, Circle) and s.radius < 3]
    assert len(dots) == 8
    # The same places in the other order, one panel and a gap to the right.
    first = [(dot.x, dot.y) for dot in dots[:4]]
    second = [(dot.x - 216, dot.y) for dot in dots[4:]]
    np.testing.assert_allclose(second, first[::-1])
    assert [dot.fill for dot in dots[:2]] == [colors.classes[0], colors.classes[1]]
    said = [s.text for s in drawing.shapes if isinstance(s, Words)]
    assert {"Teacher", "small", "one", "two"} <= set(said)


def test_marks_say_what_an_image_is() -> None:
    points, color = two_maps(
        has_trigger=np.array([True, False, False, False]),
        far=np.array([[True, False]] + [[False, False]] * 3),
        backdrop=np.array([False, False, False, True]),
    )
    drawing = pair_drawing(points, color, ("a", "b"), LIGHT)
    turned = [s for s in drawing.shapes if isinstance(s, Outline) and len(s.points) == 4
              and s.points[0][1] < s.points[1][1] < s.points[2][1]]  # fmt: skip
    assert [shape.fill is None for shape in turned] == [True, False]
    pale = [s for s in drawing.shapes if isinstance(s, Circle) and str(s.fill).startswith("rgba")]
    assert len(pale) == 2
