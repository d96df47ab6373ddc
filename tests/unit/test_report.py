"""The report: one file, nothing from elsewhere, the same bytes, and the numbers of the study."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.errors import ConfigError, InputError
from analysis.records import TRIGGER
from analysis.store import Study
from dashboard.cli import _run
from dashboard.comparison import Comparison
from dashboard.components.pair_map.serving import SCRIPT
from dashboard.figures.numbers import percent
from dashboard.loading import load_pair
from dashboard.report import ReportConfig, report_html, write_report
from dashboard.report.images import carried_pictures, drawn_order
from dashboard.report.maps import script
from tests.audited import make_audited
from tests.conftest import ROOT
from tests.unit.test_figures import HOSTILE, make_pair
from tests.unit.test_pages import altered

GOLDEN = ROOT / "tests" / "golden" / "study-v1"
VOID = {"meta", "img", "br", "link", "hr", "input"}
LOADING = {"src", "href", "srcset", "action", "data", "poster", "background"}


class Reader(HTMLParser):
    """Tags that are left open, addresses, scripts and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.scripts: list[tuple[dict[str, Any], str]] = []
        self.policy = ""
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.addresses += [str(value) for name, value in attrs if name in LOADING]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])
        if tag == "script":
            self.scripts.append((values, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif not self.open or self.open[-1] != "style":
            self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@pytest.fixture(scope="module")
def audited(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study.open(make_audited(tiny_study, tmp_path_factory.mktemp("audit")))


@pytest.fixture(scope="module")
def full(audited: Study) -> str:
    return report_html(Comparison.of(audited))


def attacked(path: Path, **wanted: str) -> Comparison:
    return Comparison.of(Study.open(path), student="backdoored", **wanted)


def test_a_report_is_whole_html_and_asks_for_nothing(full: str) -> None:
    page = read(full)
    assert page.open == []
    assert page.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert len(page.ids) == len(set(page.ids))
    for address in page.addresses:
        assert address.startswith(("data:image/", "#")), address[:80]
    anchors = {address[1:] for address in page.addresses if address.startswith("#")}
    assert anchors <= set(page.ids)
    assert page.handlers == []
    assert not page.tags & {"iframe", "object", "embed", "form", "link", "base"}
    style = "".join(re.findall(r"<style>(.*?)</style>", full, re.DOTALL))
    assert "@import" not in style
    assert all(url.startswith("data:") for url in re.findall(r"url\(([^)]*)\)", style))
    assert not re.search(r"https?://(?!www\.w3\.org)", full)


def test_only_its_own_script_may_run(full: str) -> None:
    page = read(full)
    (kind, data), (attributes, code) = page.scripts
    assert kind == {"id": "data", "type": "application/json"}
    assert attributes == {}
    assert "<" not in data
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert "unsafe-eval" not in page.policy
    assert not re.search(r"\beval\(|new Function\(", code)


def test_the_same_study_gives_the_same_bytes(audited: Study, full: str, tmp_path: Path) -> None:
    again = write_report(Comparison.of(Study.open(audited.path)), tmp_path / "again.html")
    assert again.read_bytes() == full.encode()


def test_the_numbers_are_those_of_the_study(audited: Study, full: str) -> None:
    text = read(full).text
    agreement = audited.measures("alpha")["agreement"]
    assert agreement is not None
    assert f"The student agrees on {percent(agreement.value)}" in text.replace("\u202f", " ")
    assert f"[{percent(agreement.low)}, {percent(agreement.high)}]" in text
    assert audited.digest in text
    for model in audited.models.values():
        assert model.digest in text
    assert "Evidence of a planted trigger towards" in text
    assert "Unlearn" in text or "unlearn" in text
    pair = load_pair(audited, "alpha")
    worst = pair.sample_ids[drawn_order(pair, 32, 0)[:32]]
    assert all(str(sample) in text for sample in worst)
    sections = ("numbers", "answers", "confidence", "maps", "samples", "pixels", "audit",
                "provenance", "cite")  # fmt: skip
    assert all(f'<section id="{name}">' in full for name in sections)


def test_a_study_under_attack_shows_cells_and_epochs(attacked_study: Path) -> None:
    made = report_html(attacked(attacked_study, condition=TRIGGER))
    text = read(made).text
    assert '<section id="cells">' in made
    assert '<section id="epochs">' in made
    assert "When did the backdoor appear?" in text
    assert "arXiv:2504.21323" in text
    data = json.loads(read(made).scripts[0][1])
    assert data["map"]["count"] == 128  # 64 images with the trigger, 64 clean ones beneath
    assert data["rows"] == 64


def test_layers_are_shown_where_they_were_compared(layered_study: Path) -> None:
    made = report_html(attacked(layered_study))
    assert '<section id="layers">' in made
    assert "Mutual k-NN" in made


def test_any_model_may_stand_on_the_left(study: Study) -> None:
    made = report_html(Comparison.of(study, student="beta", left="alpha"))
    text = read(made).text
    assert "beta agrees with alpha" in text
    assert "no null for two students" in text
    assert "Agreement with alpha" in text


def test_data_for_the_maps_are_those_of_the_study(study: Study) -> None:
    data = json.loads(read(report_html(Comparison.of(study))).scripts[0][1])
    projection = study.projection("alpha")
    assert projection is not None
    assert data["map"]["count"] == len(study.sample_ids) == len(data["pictures"])
    thumbnails = study.thumbnails()
    pair = load_pair(study, "alpha")
    for row in (0, 7):
        picture = base64.b64decode(data["pictures"][str(row)])
        assert picture == thumbnails.webp(str(pair.sample_ids[row]))
    columns = columns_of(data["map"]["points"])
    place = {str(name): at for at, name in enumerate(projection.sample_ids)}
    at = [place[str(name)] for name in pair.sample_ids]
    np.testing.assert_array_equal(columns["student"].reshape(-1, 2), projection.student[at])
    np.testing.assert_array_equal(columns["teacher_answer"], pair.teacher_answer)
    assert set(data["colorings"]) == {"label", "answer", "divergence", "overlap", "flags"}


def columns_of(url: str) -> dict[str, np.ndarray]:
    """Read what `encode_columns` wrote, straight from its description."""
    data = base64.b64decode(url.partition(",")[2])
    length = int.from_bytes(data[:4], "little")
    start = -(-(4 + length) // 8) * 8
    kinds = {"u1": "<u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}
    return {
        name: np.frombuffer(data, kinds[code], size, start + at)
        for name, code, at, size in json.loads(data[4 : 4 + length])
    }


def test_names_stay_text(tiny_study: Path, tmp_path: Path) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        names = [HOSTILE[i % len(HOSTILE)] + str(i) for i in range(16)]
        manifest["class_names"] = names
        manifest["name"] = "</title><script>alert(1)</script>"
        manifest["config"]["note"] = "</pre><script>alert(2)</script>"
        manifest["image_sets"]["inspection"]["source"] = "<img src=x onerror=alert(3)>"
        manifest["records"]["findings/alpha"] = [{"text": "<b onclick=x>", "remedy": "<i>"}]
        manifest["provenance"]["versions"]["<u>"] = "</script><script>"
        manifest["provenance"]["created"] = "<script>"

    plain = read(report_html(Comparison.of(Study.open(tiny_study))))
    hostile = report_html(Comparison.of(Study.open(altered(tiny_study, tmp_path, rename))))
    page = read(hostile)
    assert len(page.scripts) == 2
    assert page.handlers == []
    assert page.tags - {"b"} == plain.tags - {"b"}
    assert page.open == []
    shown = "".join(page.text.split())
    assert html.unescape("<script>alert(1)</script>") in shown
    assert "\u202e" not in page.text
    assert json.loads(page.scripts[0][1])["map"]["names"][0].startswith("<script>")


def test_images_beyond_the_points_are_sampled_and_said_so(study: Study) -> None:
    config = ReportConfig(points=30, rows=2, seed=4)
    made = report_html(Comparison.of(study), config)
    assert "30 of 120 images are on the maps" in made
    assert "drawn with seed 4" in made
    data = json.loads(read(made).scripts[0][1])
    assert data["map"]["count"] == 30
    columns = columns_of(data["map"]["points"])
    pair = load_pair(study, "alpha")
    worst = {str(name) for name in pair.sample_ids[drawn_order(pair, 8, 4)[:8]]}
    offsets, text = columns["id_offsets"], columns["id_bytes"].tobytes()
    kept = {text[a:b].decode() for a, b in itertools.pairwise(offsets)}
    assert worst <= kept
    assert report_html(Comparison.of(study), config) == made
    assert report_html(Comparison.of(study), ReportConfig(points=30, rows=2, seed=5)) != made


def test_pictures_stay_within_the_budget(study: Study) -> None:
    pair, thumbnails = load_pair(study, "alpha"), study.thumbnails()
    order = drawn_order(pair, 10, 0)
    sizes = [len(base64.b64encode(thumbnails.webp(str(pair.sample_ids[r])))) for r in order]
    budget = sum(sizes[:7]) + 16 * 7 + 5
    carried = carried_pictures(pair, order, thumbnails, budget)
    assert list(carried.pictures) == order[:7].tolist()
    assert sum(len(text) + 16 for text in carried.pictures.values()) <= budget
    assert carried_pictures(pair, order, None, budget).pictures == {}
    assert carried_pictures(pair, order, thumbnails, -1).pictures == {}


def test_the_order_is_a_permutation_that_begins_with_the_worst() -> None:
    pair = make_pair(60)
    order = drawn_order(pair, 9, 3)
    assert sorted(order.tolist()) == list(range(60))
    assert order[:9].tolist() == drawn_order(pair, 60, 8)[:9].tolist()
    assert drawn_order(pair, 9, 4).tolist() != order.tolist()


def test_a_small_budget_leaves_pictures_out_and_says_so(study: Study) -> None:
    whole = report_html(Comparison.of(study))
    room = ReportConfig(megabytes=(len(whole.encode()) - 30_000) / 1e6)
    made = report_html(Comparison.of(study), room)
    assert len(made.encode()) <= room.megabytes * 1e6
    assert re.search(r"; \d+ come with their picture: those that part most", made)
    with pytest.raises(InputError, match=r"a report of 0\.2 MB; expected at least"):
        report_html(Comparison.of(study), ReportConfig(megabytes=0.2))


def test_the_golden_study_makes_a_report() -> None:
    made = report_html(Comparison.of(Study.open(GOLDEN)))
    assert read(made).open == []


def test_the_maps_script_becomes_an_expression() -> None:
    code = script()
    assert code.startswith("(()=>{")
    assert "export" not in code[-200:]
    assert SCRIPT.read_text(encoding="utf-8").rstrip().removesuffix(";").endswith("as default}")


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"student": "alphx"}, "Did you mean 'alpha'"),
        ({"left": "nobody"}, "no model 'nobody'"),
        ({"condition": "cleam"}, "no condition 'cleam'"),
        ({"student": "alpha", "left": "alpha"}, "compared with itself"),
        ({"student": "teacher"}, "no student 'teacher'"),
    ],
)
def test_what_the_study_does_not_hold_is_refused(
    study: Study, wanted: dict[str, str], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        Comparison.of(study, **wanted)


def test_limits_are_checked() -> None:
    for wrong in ({"megabytes": 0.01}, {"points": 0}, {"rows": -1}, {"seed": -1}):
        with pytest.raises(ConfigError):
            ReportConfig(**wrong)


def test_the_command(
    attacked_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mein Bericht, ü" / "日本 é.html"
    asked = ["--student", "honest", "--left", "backdoored", "--condition", "trigger", "--seed", "3"]
    assert _run(["report", str(attacked_study), "--out", str(out), *asked]) == 0
    assert "MB" in capsys.readouterr().out
    wanted = Comparison.of(
        Study.open(attacked_study), student="honest", left="backdoored", condition=TRIGGER
    )
    assert out.read_text(encoding="utf-8") == report_html(wanted, ReportConfig(seed=3))


@pytest.mark.parametrize(
    "arguments",
    [
        ("{study}", "--out", "{tmp}/r.pdf"),
        ("{tmp}/nothing", "--out", "{tmp}/r.html"),
        ("{study}", "--out", "{tmp}/r.html", "--student", "nobody"),
        ("{study}", "--out", "{tmp}/r.html", "--left", "nobody"),
        ("{study}", "--out", "{tmp}/r.html", "--condition", "nothing"),
        ("{study}", "--out", "{tmp}/r.html", "--megabytes", "0"),
        ("{study}", "--out", "{study}/study.json/r.html"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: tuple[str, ...], tiny_study: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [part.format(study=tiny_study, tmp=tmp_path) for part in arguments]
    assert _run(["report", *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("r.*"))
