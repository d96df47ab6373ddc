"""The tables of temperatures and of what lies below the answer."""

from __future__ import annotations

import base64
import re

from analysis.records import Interval
from dashboard.figures.knowledge import below_table, temperature_table
from dashboard.theme import DARK, LIGHT


def record(temperature: float, before: float, after: float) -> dict[str, object]:
    return {
        "temperature": temperature,
        "ece_before": {"value": before, "low": before - 0.01, "high": before + 0.01},
        "ece_after": {"value": after, "low": after - 0.01, "high": after + 0.01},
        "n_tested": 50,
    }


def test_both_models_stand_side_by_side() -> None:
    table = temperature_table(record(1.5, 0.083, 0.021), record(0.8, 0.05, 0.04))
    cells = re.findall(r'<td class="ds-number">(.*?)<', table)
    assert cells == ["8.3", "5.0", "1.50", "0.80", "2.1", "4.0"]
    assert "[7.3, 9.3]" in table


def test_a_model_that_was_not_measured_has_a_dash() -> None:
    table = temperature_table(None, record(0.8, 0.05, 0.04))
    assert re.findall(r'<td class="ds-number">(.*?)<', table)[::2] == ["–", "–", "–"]
    assert temperature_table(None, None) == ""


MEASURES = {"top5_order": Interval(0.74, 0.7, 0.78), "dark_kl": Interval(0.49, 0.4, 0.6)}


def glyphs(table: str) -> list[str]:
    found = re.findall(r'base64,([^"]+)"', table)
    return [base64.b64decode(text).decode() for text in found]


def test_each_value_stands_in_front_of_its_references() -> None:
    table = below_table(MEASURES, {"dark_kl": [0.4, 0.45, 0.5]}, LIGHT, "the teacher")
    assert "order of the top five" in table
    assert "Kendall’s tau over the teacher’s five" in table
    assert ">0.74<" in table
    assert "[0.40, 0.60]" in table
    order, dark = glyphs(table)
    assert LIGHT.null_band not in order
    assert LIGHT.null_band in dark


def test_a_value_beyond_the_scale_widens_it() -> None:
    wide = {"dark_kl": Interval(5.0, 4.0, 6.0)}
    assert "0 to 12" in below_table(wide, {}, DARK, "the teacher")
    assert "0 to 2<" in below_table({"dark_kl": MEASURES["dark_kl"]}, {}, DARK, "the teacher")


def test_what_was_not_measured_is_left_out() -> None:
    assert below_table({"dark_kl": None}, {}, LIGHT, "the teacher") == ""
    assert "top five" not in below_table({"dark_kl": MEASURES["dark_kl"]}, {}, LIGHT, "x")
