"""Figures: numbers as they are written, hostile names, and what each chart holds."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import itertools
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from analysis.divergence.null import Null, judge, null_of
from analysis.records import TEACHER, Interval, ModelCost, Student
from analysis.store import Study
from dashboard.components.links import link, parse_link
from dashboard.figures import (
    answers,
    attributions,
    calibration,
    classes,
    cost,
    drift,
    gallery,
    headline,
    intervals,
    legend,
    neighbors,
    numbers,
    points,
    sentences,
    tables,
)  # fmt: skip
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair, load_pair
from dashboard.selection import Selection
from dashboard.theme import DARK, LIGHT, Palette, rgb
from tests.conftest import ROOT
from tests.vision import SIGHTS, Sight, distance

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "[a](javascript:alert(1))",
    ":red[x] $y$ **z**", "ship\u202egnp.exe", "' onmouseover='alert(1)", "&lt;b&gt;",
)  # fmt: skip


def make_pair(n: int = 60, classes: int = 4, *, labeled: bool = True, seed: int = 0) -> Pair:
    rng = np.random.default_rng(seed)
    teacher = rng.integers(0, classes, n)
    student = np.where(rng.random(n) < 0.7, teacher, rng.integers(0, classes, n))
    return Pair(
        sample_ids=np.asarray([f"inspection/{row}" for row in range(n)], dtype=object),
        labels=np.where(rng.random(n) < 0.8, teacher, student) if labeled else None,
        teacher_answer=teacher,
        student_answer=student,
        teacher_confidence=rng.uniform(0.3, 1, n),
        student_confidence=rng.uniform(0.3, 1, n),
        kl=rng.exponential(1, n),
        js=rng.random(n),
        top5_overlap=rng.random(n),
        confidence_gap=rng.normal(0, 0.1, n),
        overlap=rng.random(n),
    )


class Tags(HTMLParser):
    """Collects what a browser would see as elements and attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def assert_harmless(text: str) -> None:
    seen = Tags(text)
    assert not {"script", "iframe", "object", "style", "form"} & set(seen.tags)
    for name, value in seen.attributes:
        assert not name.startswith("on")
        if name in ("href", "src"):
            assert value is not None
            assert not html.unescape(value).lower().startswith("javascript:")


# --- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.percent(0.96199), "96.2"),
        (numbers.percent(0), "0.0"),
        (numbers.points(0.14), "+14.0"),
        (numbers.points(-0.004), "−0.4"),
        (numbers.points(-0.0001), "0.0"),
        (numbers.points(0.0001), "0.0"),
        (numbers.nats(-0.001), "0.00"),
        (numbers.percent(float("nan")), "–"),
        (numbers.points(float("inf")), "–"),
        (numbers.nats(float("nan")), "–"),
        (numbers.percent_text(0.9619), "96.2\u202f%"),
        (numbers.percent_text(0.9619, 0), "96\u202f%"),
        (numbers.percent_text(float("nan")), "–"),
        (numbers.probability(0.0004), "<0.1"),
        (numbers.probability(0.9996), "100.0"),
        (numbers.thousands(1234567), "1\u202f234\u202f567"),
        (numbers.count_of(1, "image"), "1 image"),
        (numbers.count_of(2, "class", "classes"), "2 classes"),
        (numbers.compact(269722), "270\u202fk"),
        (numbers.compact(41_000_000), "41\u202fM"),
        (numbers.number(float("nan"), "share"), "–"),
        (numbers.interval_text(Interval(0.5, 0.4, 0.6), "share"), "[40.0, 60.0]"),
        (numbers.interval_text(Interval(0.5), "share"), ""),
    ],
)  # fmt: skip
def test_numbers_are_written_as_agreed(written: str, expected: str) -> None:
    assert written == expected


@given(st.floats(-1, 1))
def test_points_never_show_a_signed_zero(value: float) -> None:
    assert not re.fullmatch(r"[+\-−]0\.0", numbers.points(value))


@given(st.text(max_size=80))
def test_escaped_names_are_text_only(name: str) -> None:
    shown = numbers.escaped(name)
    assert Tags(shown).tags == []
    assert not set(shown) & set("<>\"'")
    assert len(html.unescape(shown)) <= 60


@given(st.text(max_size=60))
def test_markdown_names_keep_no_bare_punctuation(name: str) -> None:
    shown = numbers.markdown(name)
    assert re.fullmatch(r"(?:\\[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~])*", shown)
    assert re.sub(r"\\(.)", r"\1", shown, flags=re.S) == numbers.visible(name)


def test_direction_marks_become_visible() -> None:
    assert numbers.visible("ship\u202egnp") == "ship\N{REPLACEMENT CHARACTER}gnp"
    assert numbers.visible("gewöhnlich 鳥") == "gewöhnlich 鳥"


# --- glyph ---------------------------------------------------------------------------------


def svg(uri: str) -> str:
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()


def test_the_glyph_stands_in_front_of_its_null() -> None:
    value = Interval(0.5, 0.4, 0.6)
    alone = svg(intervals.interval_glyph(value, (0, 1), LIGHT))
    assert LIGHT.null_band not in alone
    assert LIGHT.student in alone
    inside = svg(intervals.interval_glyph(value, (0, 1), LIGHT, references=[0.4, 0.5, 0.6]))
    assert LIGHT.null_band in inside
    assert inside.count(f'fill="{LIGHT.reference}"') == 3
    assert LIGHT.alarm not in inside
    outside = svg(intervals.interval_glyph(value, (0, 1), LIGHT, references=[0.9, 0.91, 0.92]))
    assert LIGHT.alarm in outside
    twenty = [0.4 + i / 100 for i in range(20)]
    many = svg(intervals.interval_glyph(value, (0, 1), LIGHT, references=twenty))
    assert LIGHT.reference not in many


@pytest.mark.parametrize(
    ("references", "far"),
    [([0.9, 0.91], False), ([0.9, 0.91, 0.92], True), ([0.5, 0.51, 0.9], False),
     ([0.52, 0.521, 0.522], False), ([], False)],
)  # fmt: skip
def test_far_outside_needs_three_references_and_distance(
    references: list[float], far: bool
) -> None:
    assert intervals.far_outside(0.5, references, (0, 1)) is far


@given(st.floats(-5, 5))
def test_the_marker_stays_on_its_scale(value: float) -> None:
    drawn = svg(intervals.interval_glyph(Interval(value), (0, 1), LIGHT, width=100))
    x = float(re.findall(r'<rect x="([-\d.]+)"', drawn)[-1])
    assert -0.1 <= x <= 93


# --- headline ------------------------------------------------------------------------------


def test_measures_of_all_rows_are_those_of_the_study(study: Study) -> None:
    measured = headline.measure_rows(load_pair(study, "alpha"))
    stored = study.measures("alpha")
    for name, interval in measured.items():
        other = stored[name]
        assert interval is not None
        assert other is not None
        assert interval.value == pytest.approx(other.value, abs=1e-5), name


def test_what_needs_labels_says_so() -> None:
    pair = make_pair(labeled=False)
    measured = headline.measure_rows(pair)
    assert {name for name, value in measured.items() if value is None} == {
        "accuracy", "negative_flips", "ece",
    }  # fmt: skip
    row = headline.HeadlineRow(name="clean", n=60, measures=measured)
    unlabeled = headline.headline_table([row], LIGHT, labeled=False)
    assert unlabeled.count("needs labels") == 3
    assert "not measured" not in unlabeled
    assert "needs labels" not in headline.headline_table([row], LIGHT, labeled=True)


def test_the_teachers_own_values_stand_beside() -> None:
    pair = make_pair()
    assert pair.labels is not None
    values = headline.teacher_values(pair)
    assert values["accuracy"] == pytest.approx(np.mean(pair.teacher_answer == pair.labels))
    assert 0 <= values["ece"] <= 1
    assert headline.teacher_values(make_pair(labeled=False)) == {}
    row = headline.HeadlineRow(
        name="clean", n=60, measures=headline.measure_rows(pair), teacher=values
    )
    table = headline.headline_table([row], LIGHT, labeled=True)
    assert table.count("ds-circle") == 2
    assert f">{100 * values['accuracy']:.1f}<" in table


def test_no_rows_measure_nothing() -> None:
    empty = make_pair().rows(np.zeros(60, dtype=bool))
    assert set(headline.measure_rows(empty).values()) == {None}


def test_a_value_beyond_the_scale_widens_it_for_all_rows() -> None:
    narrow = {"kl_teacher_student": Interval(0.5, 0.4, 0.6)}
    wide = {"kl_teacher_student": Interval(6.2, 6.0, 6.3)}
    rows = [headline.HeadlineRow(name="clean", n=9, measures=item) for item in (narrow, wide)]
    assert ">0–8<" in headline.headline_table(rows, LIGHT, labeled=True)
    assert ">0–2<" in headline.headline_table(rows[:1], LIGHT, labeled=True)


def against(value: float, references: list[float]) -> Null:
    (null,) = judge({"x": null_of(value, references)}, {"x"}).values()
    return null


@pytest.mark.parametrize(
    ("references", "outside"),
    [([0.9, 0.91, 0.92], True), ([0.05, 0.1, 0.3], False), ([0.9, 0.91], False), ([0.9], False)],
)
def test_numbers_are_magenta_when_the_rule_says_outside(
    references: list[float], outside: bool
) -> None:
    value = Interval(0.1, 0.05, 0.2)
    null = against(value.value, references)
    assert bool(null.outside) is outside
    row = headline.HeadlineRow(
        name="trigger", n=9, measures={"agreement": value}, nulls={"agreement": null}
    )
    table = headline.headline_table([row], LIGHT, labeled=True)
    assert ("color:var(--ds-alarm)" in table) is outside
    (glyph,) = re.findall(r'src="([^"]+)"', table)
    drawn = svg(glyph)
    assert (LIGHT.alarm in drawn) is outside
    assert drawn.count(f'fill="{LIGHT.reference}"') == len(references)
    assert null.rank.removesuffix(" one") in table
    assert ("honest range" in table) is (len(references) > 1)


def test_the_band_is_the_prediction_interval_on_the_fixed_scale() -> None:
    null = against(0.5, [0.4, 0.5, 0.6])
    assert null.low is not None
    assert null.high is not None
    drawn = svg(
        intervals.interval_glyph(
            Interval(0.5), (0, 1), LIGHT, references=null.references, band=(null.low, null.high),
            width=108,
        )
    )  # fmt: skip
    (start, width) = re.findall(
        rf'<rect x="([-\d.]+)" y="2.0" width="([\d.]+)"[^>]*{LIGHT.null_band}', drawn
    )[0]
    low, high = (min(max(end, 0), 1) for end in (null.low, null.high))
    assert float(start) == pytest.approx(4 + 100 * low - 1.5, abs=0.1)
    assert float(width) == pytest.approx(100 * (high - low) + 3, abs=0.1)


def test_a_null_without_a_verdict_draws_no_display_rule() -> None:
    # Far outside by the rule of display, but the correction for many numbers says otherwise.
    null = null_of(0.1, [0.90, 0.91, 0.92])
    row = headline.HeadlineRow(
        name="x", n=9, measures={"agreement": Interval(0.1)}, nulls={"agreement": null}
    )
    assert LIGHT.alarm not in headline.headline_table([row], LIGHT, labeled=True)


def test_the_legend_says_what_the_references_allow() -> None:
    texts = [legend.headline_legend(count, LIGHT, TEACHING) for count in (0, 1, 2, 3, 5)]
    assert "no reference students" in texts[0]
    assert "1 reference student (tick): too few for a range" in texts[1]
    assert "too few references to call anything outside" in texts[2]
    assert all("outside the honest range" in text for text in texts[3:])
    assert "from 5 reference students" in texts[4]
    assert "no null for two students" in legend.headline_legend(3, LIGHT, Sides.of("a", "b"))
    assert "distillscope reference" in legend.null_help(0, 0, ())
    help_text = legend.null_help(5, 24, ("epochs: 26, references 20 <b>",))
    assert "choice of images" in help_text
    assert "choice of seed" in help_text
    assert "4 degrees of freedom" in help_text
    assert "24 numbers" in help_text
    assert "epochs: 26, references 20 &lt;b&gt;" in help_text
    assert "more than the seed" not in legend.null_help(5, 24, ())


def test_the_sentence_ends_with_the_honest_range() -> None:
    near = [0.90, 0.91, 0.92, 0.905]
    inside, outside = against(0.91, near), against(0.1, near)
    assert legend.range_words({}) == ""
    assert legend.range_words({"agreement": against(0.1, near[:2])}) == ""
    assert legend.range_words({"agreement": inside, "ece": inside}) == "; inside the honest range"
    assert legend.range_words({"agreement": outside}) == "; outside the honest range"
    both = legend.range_words({"agreement": outside, "ece": outside, "accuracy": inside})
    assert both == "; outside the honest range in 2 of 3 numbers"
    other = legend.range_words({"agreement": inside, "ece": outside, "kl_teacher_student": outside})
    assert other == "; that is inside the honest range, its KL and calibration error are not"
    # What the Overview's table does not show does not enter its sentence.
    assert legend.range_words({"js": outside, "agreement": inside}) == "; inside the honest range"


# --- classes, sentences --------------------------------------------------------------------


def test_class_rows_count_by_hand() -> None:
    pair = make_pair()
    assert pair.labels is not None
    rows = classes.class_rows(pair, ("a", "b", "c", "d"))
    assert [row.agreement.value for row in rows] == sorted(row.agreement.value for row in rows)
    for row in rows:
        mine = [at for at in range(60) if pair.labels[at] == row.index]
        same = [pair.teacher_answer[at] == pair.student_answer[at] for at in mine]
        right = [pair.student_answer[at] == row.index for at in mine]
        assert row.n == len(mine)
        assert row.agreement.value == pytest.approx(np.mean(same))
        assert row.student_accuracy == pytest.approx(np.mean(right))
        assert row.agreement.low is not None
        assert row.agreement.low <= row.agreement.value


def test_classes_without_labels_are_the_teachers_answers() -> None:
    pair = make_pair(labeled=False)
    rows = classes.class_rows(pair, ("a", "b", "c", "d"))
    assert {row.index: row.n for row in rows} == {
        index: int((pair.teacher_answer == index).sum()) for index in range(4)
    }
    assert all(row.student_accuracy is None for row in rows)
    table = classes.class_table(rows, LIGHT, lambda index: f"?class={index}")
    assert '<th class="ds-number">student</th>' not in table


def test_classes_without_images_are_left_out() -> None:
    rows = classes.class_rows(make_pair(classes=3), ("a", "b", "c", "never"))
    assert "never" not in {row.name for row in rows}


def class_row(name: str, n: int, agreement: float) -> classes.ClassRow:
    return classes.ClassRow(
        index=0, name=name, n=n, agreement=Interval(agreement), teacher_accuracy=None,
        student_accuracy=None,
    )  # fmt: skip


def test_the_headline_sentence_states_its_numbers() -> None:
    rows = [class_row("tiny", 2, 0.0), class_row("30", 50, 0.6), class_row("stop", 50, 1.0)]
    text = sentences.headline_sentence(Interval(0.961, 0.952, 0.969), 2000, rows, filtered=False)
    assert "agrees on 96.1\u202f%" in text
    assert "[95.2, 96.9]" in text
    assert "2\u202f000 images" in text
    assert "“30”" in text
    assert "60\u202f%" in text
    assert "tiny" not in text


@pytest.mark.parametrize(
    ("agreement", "says", "says_not"),
    [(1.0, "on all of these 7 images", "parts most"), (0.0, "on none of these 7 images", "%"),
     (0.5, "agrees on 50.0", "none")],
)  # fmt: skip
def test_the_sentence_says_the_opposite_where_it_does_not_hold(
    agreement: float, says: str, says_not: str
) -> None:
    rows = [class_row("a", 4, agreement), class_row("b", 3, agreement)]
    text = sentences.headline_sentence(Interval(agreement), 7, rows, filtered=True)
    assert says in text
    assert says_not not in text


def test_where_everything_differs_the_sentence_says_who_is_right() -> None:
    text = sentences.headline_sentence(Interval(0.0), 9, [], filtered=True, right=(0.576, 0.23))
    assert "teacher is right on 57.6\u202f% of them, the student on 23.0\u202f%" in text
    same = sentences.headline_sentence(Interval(1.0), 9, [], filtered=True, right=(0.5, 0.5))
    assert "is right" not in same


def test_neighbors_are_counted_for_both_answers() -> None:
    line = sentences.neighbors_line(["stop", "stop", "80"], ["stop", "80"])
    assert line == "2 of 3 “stop”, 1 “80”"
    assert sentences.neighbors_line(["stop"], ["stop", "stop"]) == "1 of 1 “stop”"


# --- charts --------------------------------------------------------------------------------


def test_the_drift_matrix_counts_cells() -> None:
    counts = np.asarray([[8, 2, 0], [0, 5, 0], [1, 0, 3]])
    figure = drift.drift_figure(counts, ("a", "b", "c"), LIGHT, chosen=(0, 1))
    cells = figure.data[2]
    assert sorted(cells.customdata) == ["0.0", "0.1", "1.1", "2.0", "2.2"]
    at = list(cells.customdata).index("0.1")
    assert (cells.x[at], cells.y[at]) == (1, 0)
    assert "2 of 10 images, 20.0" in cells.hovertext[at]
    assert cells.text[at] == "20"
    assert figure.data[1].z[0][1] == pytest.approx(20)
    assert np.isnan(figure.data[1].z[0][0])
    assert len(figure.layout.shapes) == 1
    assert len(drift.drift_figure(counts, ("a", "b", "c"), LIGHT).layout.shapes) == 0
    assert drift.color_top(counts) == 25


def test_many_classes_show_the_ones_that_change() -> None:
    counts = np.diag(np.full(100, 5))
    counts[7, 93] = 9
    kept = drift.shown_classes(counts)
    assert len(kept) == drift.MOST_CLASSES
    assert {7, 93} <= set(kept.tolist())
    assert list(kept) == sorted(kept)
    assert drift.shown_classes(counts[:40, :40]).tolist() == list(range(40))


def test_an_empty_drift_matrix_still_draws() -> None:
    assert len(drift.drift_figure(np.zeros((3, 3), int), ("a", "b", "c"), DARK).data[2].x) == 0


def test_reliability_needs_labels() -> None:
    assert calibration.reliability_figure(make_pair(labeled=False), LIGHT) is None
    figure = calibration.reliability_figure(make_pair(400), LIGHT)
    assert figure is not None
    assert [trace.name for trace in figure.data[1:]] == ["teacher", "student"]
    assert sum(figure.data[1].customdata) <= 400


def test_the_confidence_histogram_counts_everything() -> None:
    figure = calibration.confidence_figure(make_pair(300), LIGHT)
    assert sum(figure.data[0].y) == pytest.approx(100)
    assert sum(figure.data[1].y) == pytest.approx(-100)


def test_the_butterfly_shows_both_answers_first() -> None:
    teacher = np.asarray([0.7, 0.2, 0.05, 0.05, 0, 0, 0, 0])
    student = np.asarray([0.0, 0.1, 0.05, 0.05, 0, 0, 0, 0.8])
    assert answers.top_classes(teacher, student).tolist() == [0, 7, 1, 2, 3, 4]
    figure = answers.answers_figure(teacher, student, [str(i) for i in range(8)], LIGHT)
    texts = [note.text for note in figure.layout.annotations]
    assert {"70.0", "80.0", "<0.1", "<b>7</b>"} <= set(texts)
    assert "<b>1</b>" not in texts


def every_figure(names: tuple[str, ...], colors: Palette) -> list[go.Figure]:
    pair = make_pair(80, len(names))
    counts = drift_counts(pair, len(names))
    probabilities = np.full(len(names), 1 / len(names))
    reliability = calibration.reliability_figure(pair, colors)
    assert reliability is not None
    return [
        drift.drift_figure(counts, names, colors),
        reliability,
        calibration.confidence_figure(pair, colors),
        answers.answers_figure(probabilities, probabilities, names, colors),
    ]


def drift_counts(pair: Pair, count: int) -> np.ndarray:
    counts = np.zeros((count, count), dtype=int)
    np.add.at(counts, (pair.teacher_answer, pair.student_answer), 1)
    return counts


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_no_figure_needs_webgl_or_runs_a_name(colors: Palette) -> None:
    for figure in every_figure(HOSTILE, colors):
        assert not [trace.type for trace in figure.data if "gl" in trace.type]
        text = figure.to_json()
        assert "<script" not in text.replace("\\u003c", "<")
        assert "<img" not in text.replace("\\u003c", "<")


def test_the_same_input_draws_the_same_figure() -> None:
    first, second = (every_figure(("a", "b"), LIGHT) for _ in range(2))
    assert [one.to_json() for one in first] == [other.to_json() for other in second]


# --- attribution pictures ------------------------------------------------------------------


def pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_signed_maps_are_symmetric_around_a_neutral_center(colors: Palette) -> None:
    picture = pixels(attributions.map_picture(np.asarray([[-2.0, 0.0, 2.0, 9.0]]), 2.0, colors))
    assert [tuple(pixel) for pixel in picture[0].tolist()] == [
        rgb(colors.signed[0]), rgb(colors.signed[3]), rgb(colors.signed[6]), rgb(colors.signed[6]),
    ]  # fmt: skip


def test_the_common_limit_is_the_percentile_of_all_maps() -> None:
    maps = [np.linspace(-1, 1, 1000).reshape(10, 100), np.full((2, 2), -3.0)]
    magnitudes = np.concatenate([np.abs(values).ravel() for values in maps])
    assert attributions.common_limit(maps) == pytest.approx(np.percentile(magnitudes, 99.7))
    assert attributions.common_limit([np.full((2, 2), np.nan)]) == 0.0


def test_an_even_map_is_neutral_and_nan_is_not_black() -> None:
    even = pixels(attributions.map_picture(np.zeros((2, 2)), 0.0, LIGHT))
    assert {tuple(pixel) for pixel in even.reshape(-1, 3).tolist()} == {rgb(LIGHT.signed[3])}
    holes = pixels(attributions.map_picture(np.asarray([[np.nan]]), 1.0, LIGHT))
    assert tuple(holes[0, 0].tolist()) == rgb(LIGHT.signed[3])


def test_grey_images_become_pictures() -> None:
    gray = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    assert pixels(attributions.picture_uri(gray))[1, 1].tolist() == [3, 3, 3]


# --- HTML ----------------------------------------------------------------------------------


def test_hostile_names_stay_text_in_every_table() -> None:
    pair = make_pair(40, len(HOSTILE))
    pair.sample_ids[:] = [HOSTILE[row % len(HOSTILE)] + str(row) for row in range(40)]
    selection = Selection(student="alpha", sample=HOSTILE[1])
    rows = classes.class_rows(pair, HOSTILE)
    model = Student(
        name="x", role="subject", spec="x", digest="x", architecture=HOSTILE[1],
        cost=ModelCost(parameters=1, macs=1),
    )  # fmt: skip
    row = headline.HeadlineRow(name=HOSTILE[0], n=1, measures={})
    address = link("inspect", selection)
    worst = [class_row(HOSTILE[0], 9, 0.1), class_row("b", 9, 0.9)]
    texts = [
        gallery.gallery_html(
            pair, np.arange(40), HOSTILE, lambda s: f"/t?id={s}", lambda s: address
        ),
        neighbors.neighbors_html(
            list(pair.sample_ids[:6]), HOSTILE[:6], np.zeros(6), lambda s: f"/t?id={s}",
            lambda s: address,
        ),
        classes.class_table(rows, LIGHT, lambda index: link("overview", selection)),
        cost.cost_table(model, model) or "",
        headline.headline_table([row], LIGHT, labeled=True),
        sentences.headline_sentence(Interval(0.5), 9, worst, filtered=False),
        sentences.neighbors_line(list(HOSTILE), list(HOSTILE)),
    ]  # fmt: skip
    for text in texts:
        assert_harmless(text)


def test_the_harmless_check_itself_sees_harm() -> None:
    for text in (HOSTILE[0], HOSTILE[1], '<a href="javascript:alert(1)">x</a>'):
        with pytest.raises(AssertionError):
            assert_harmless(text)


@given(st.text(max_size=40))
def test_links_come_back(sample: str) -> None:
    selection = Selection(student="alpha", group=3, sample=sample)
    address = html.unescape(link("inspect", selection))
    parsed = parse_link(address, ("overview", "inspect"))
    assert parsed is not None
    page, query = parsed
    assert page == "inspect"
    # Without blanks, as urlencode drops none but parse_qsl does.
    assert query == {k: v for k, v in selection.to_query().items() if v}


@pytest.mark.parametrize(
    "address",
    ["//evil.com/map", "https://evil.com/map", "javascript:alert(1)", "admin?x=1"],
)
def test_foreign_links_are_not_followed(address: str) -> None:
    assert parse_link(address, ("overview", "inspect")) is None


def test_the_first_page_has_the_servers_address() -> None:
    address = html.unescape(link("overview", Selection(student="a")))
    assert address == "./?student=a"
    assert parse_link(address, ("overview", "map")) == ("overview", {"student": "a"})


# --- cost, tables, points ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("teacher", "student", "says"),
    [(100, 50, "2× fewer"), (50, 100, "2× more"), (5, 5, "the same"), (None, 5, "–"), (5, 0, "–")],
)
def test_ratios_say_which_way(teacher: float | None, student: float | None, says: str) -> None:
    assert cost.ratio(teacher, student, "fewer") == says


def test_no_cost_no_table() -> None:
    model = Student(name="x", role="subject", spec="x", digest="x", architecture="x")
    assert cost.cost_table(model, model) is None


def test_csv_defuses_formulas() -> None:
    assert tables.csv_text({"name": ["=1+1", "plain", -3]}) == "name\n'=1+1\nplain\n-3\n"


def test_points_join_by_sample_id(study: Study) -> None:
    pair, projection = load_pair(study, "alpha"), study.projection("alpha")
    assert projection is not None
    shuffled = pair.rows(np.random.default_rng(0).permutation(len(pair))[:50])
    found = points.map_points(shuffled, projection, study.class_names, "/t?at={index}")
    for at in (0, 17, 49):
        row = int(np.flatnonzero(projection.sample_ids == shuffled.sample_ids[at])[0])
        assert found.points.teacher_xy[at].tolist() == projection.teacher[row].tolist()
        assert found.points.thumbnail_index is not None
        assert found.points.thumbnail_index[at] == row


def test_a_map_of_some_images_shows_the_pictures_of_these(study: Study) -> None:
    pair, projection = load_pair(study, "alpha"), study.projection("alpha")
    assert projection is not None
    some = np.asarray([40, 7, 23])
    fewer = dataclasses.replace(
        projection,
        sample_ids=projection.sample_ids[some],
        conditions=projection.conditions[some],
        teacher=projection.teacher[some],
        student=projection.student[some],
        far=projection.far[some],
    )
    ids = study.condition_ids()
    found = points.map_points(pair, fewer, study.class_names, "/t?at={index}", pictured=ids)
    index = found.points.thumbnail_index
    assert index is not None
    assert ids[index].tolist() == list(found.points.sample_ids)
    unknown = points.map_points(pair, fewer, study.class_names, "/t", pictured=ids[:10])
    assert unknown.points.thumbnail_index is not None
    assert sorted(unknown.points.thumbnail_index) == [7, 10, 10]


def test_every_coloring_codes_every_point() -> None:
    names = ("a", "b", "c", "d")
    for labeled in (True, False):
        pair = make_pair(labeled=labeled)
        for by in ("label", "answer", "divergence", "overlap", "flags"):
            assert len(points.point_colors(pair, by, names).codes) == len(pair)
    flags = points.point_colors(make_pair(), "flags", names)
    pair = make_pair()
    assert pair.labels is not None
    flips = (pair.teacher_answer == pair.labels) & (pair.student_answer != pair.labels)
    assert (flags.codes == 2).tolist() == flips.tolist()


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=lambda colors: colors.name)
@pytest.mark.parametrize("sight", list(SIGHTS))
def test_flags_are_told_apart_as_well_as_classes(colors: Palette, sight: Sight) -> None:
    slots = points.point_colors(make_pair(), "flags", ("a", "b", "c", "d")).legend["slots"]
    shown = [getattr(colors, slot) for slot in slots]
    assert len(shown) == 4
    least = min(distance(*pair, sight) for pair in itertools.combinations(colors.classes, 2))
    assert min(distance(*pair, sight) for pair in itertools.combinations(shown, 2)) >= least


def test_beyond_twenty_classes_only_the_divergent_have_a_color() -> None:
    pair = make_pair(500, 30)
    slots = points.class_slots(pair, 30)
    assert sorted(slot for slot in slots if slot < 20) == list(range(10))
    changed = [int((~pair.agree & (pair.groups == index)).sum()) for index in range(30)]
    assert slots[int(np.argmax(changed))] == 0
    assert points.class_slots(pair, 20) == list(range(20))


def test_the_gallery_starts_where_they_part() -> None:
    pair = make_pair()
    order = gallery.gallery_order(pair)
    differ = (~pair.agree)[order]
    assert differ.tolist() == sorted(differ.tolist(), reverse=True)
    kl = pair.kl[order][differ]
    assert kl.tolist() == sorted(kl.tolist(), reverse=True)


def test_the_palettes_match_the_theme() -> None:
    from dashboard.server import settings

    options: dict[str, Any] = settings(8501)
    for colors in (LIGHT, DARK):
        prefix = f"theme.{colors.name}."
        assert list(colors.classes) == options[prefix + "chartCategoricalColors"]
        assert list(colors.divergence) == options[prefix + "chartSequentialColors"]
        assert colors.text == options[prefix + "textColor"]
        assert colors.teacher == options[prefix + "blueColor"]
        assert colors.alarm == options[prefix + "redColor"]


def test_joining_is_by_sample_id(study: Study) -> None:
    pair = load_pair(study, "alpha")
    assert pair.sample_ids.tolist() == study.sample_ids.tolist()
    student = study.samples("alpha").to_pylist()
    teacher = study.samples(TEACHER).to_pylist()
    for at in (0, 50, 119):
        assert pair.student_answer[at] == student[at]["answer"]
        assert pair.teacher_answer[at] == teacher[at]["answer"]
        assert pair.kl[at] == pytest.approx(student[at]["kl_teacher_student"])


def test_style_sheets_use_colors_that_a_palette_has() -> None:
    known = set(re.findall(r"(--ds-[a-z-]+):#", LIGHT.css_variables()))
    assert "--ds-null-band:#DDE2E8;" in LIGHT.css_variables()
    assert set(re.findall(r"(--ds-[a-z-]+):#", DARK.css_variables())) == known
    for sheet in (ROOT / "dashboard").rglob("*.css"):
        if "node_modules" not in sheet.parts:
            used = set(re.findall(r"var\((--ds-[a-z-]+)\)", sheet.read_text(encoding="utf-8")))
            assert used <= known, sheet
