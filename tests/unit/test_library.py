"""The public library: its names and signatures, what it says of them, and the examples that run."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import analysis
from analysis.errors import InputError
from analysis.store import Study
from dashboard import notebook
from dashboard.drawing import drawing_of
from tests.conftest import ROOT

PINNED = ROOT / "tests" / "golden" / "public-api.txt"
EXAMPLES = ROOT / "examples"
NOTEBOOK = ("FIGURES", "NotebookView", "show")


def described() -> str:
    """Every public name with its signature, one a line, fields of settings below them."""
    lines = [*(_lines("analysis", analysis, name) for name in analysis.__all__)]
    lines += [_lines("dashboard.notebook", notebook, name) for name in NOTEBOOK]
    return "\n".join(lines) + "\n"


def _lines(home: str, module: Any, name: str) -> str:
    value = getattr(module, name)
    if isinstance(value, dict) or hasattr(value, "keys"):
        return f"{home}.{name}: {', '.join(value)}"
    if inspect.isfunction(value):
        signature = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", str(inspect.signature(value)))
        return f"{home}.{name}{signature}"
    members = [n for n in vars(value) if not n.startswith("_")]
    fields = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    inherited = [n for n in ("from_mapping", "to_mapping") if hasattr(value, n)]
    shown = sorted({*members, *fields, *inherited})
    return f"{home}.{name}: {', '.join(shown)}"


def test_the_golden_public_api_is_what_it_was() -> None:
    made = described()
    if os.environ.get("DISTILLSCOPE_GOLDEN") == "write":
        PINNED.write_text(made, encoding="utf-8")
    pinned = PINNED.read_text(encoding="utf-8")
    assert [name_of(line) for line in made.splitlines()] == [
        name_of(line) for line in pinned.splitlines()
    ]
    for now, before in zip(made.splitlines(), pinned.splitlines(), strict=True):
        if ": " in before and "(" not in before:  # members may come, none may go
            assert members(before) <= members(now), now
        else:
            assert now == before


def name_of(line: str) -> str:
    return re.split(r"[(:]", line)[0]


def members(line: str) -> set[str]:
    return set(line.partition(": ")[2].split(", "))


def test_every_public_name_is_described() -> None:
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Za-z_]+)", text))
    assert set(analysis.__all__) | set(NOTEBOOK) <= named
    for name in analysis.__all__:
        assert inspect.getdoc(getattr(analysis, name)), name
    assert set(analysis.__all__) <= set(dir(analysis))
    with pytest.raises(AttributeError, match="no attribute 'compere'"):
        analysis.compere  # noqa: B018


def test_the_library_and_the_notebook_load_nothing_heavy(tiny_study: Path) -> None:
    code = (
        "import sys, analysis\nfrom dashboard.notebook import show\n"
        f"study = analysis.open_study({str(tiny_study)!r})\n"
        "assert len(show(study)._repr_html_()) > 1000\n"
        "analysis.headline(study)\n"
        "print([m for m in ('torch', 'captum', 'umap', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


class Tags(HTMLParser):
    """Tags of a piece of HTML, and whether all are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("dark", [False, True])
def test_a_cell_shows_the_comparison_and_reaches_nothing_else(study: Study, dark: bool) -> None:
    html = notebook.show(study, student="beta", dark=dark)._repr_html_()
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not tags.seen & {"script", "link", "iframe", "form"}
    name = "distillscope-dark" if dark else "distillscope-light"
    assert html.startswith(f'<div class="{name}"><style>.{name}{{')
    assert html.count("<style>") == 1
    assert "beta" in html
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert not re.search(r"url\((?!data:)", html)


def test_figures_of_a_comparison_are_plotly_figures(attacked_study: Path, study: Study) -> None:
    view = notebook.show(attacked_study, student="backdoored", condition="trigger")
    assert view.figures == ["answers", "reliability", "confidence", "epochs"]
    for name in view.figures:
        figure = view.figure(name)
        assert isinstance(figure, go.Figure)
        assert drawing_of(figure).shapes
        assert figure.layout.paper_bgcolor == "#FFFFFF"
    bare = notebook.show(study)
    assert "epochs" not in bare.figures
    with pytest.raises(InputError, match="figure 'epochs' of this comparison"):
        bare.figure("epochs")
    with pytest.raises(InputError, match="Did you mean 'answers'"):
        bare.figure("answer")
    with pytest.raises(InputError, match="no student 'nobody'"):
        notebook.show(study, student="nobody")


def run_example(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object
) -> str:
    path = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, options)])
    runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


def test_the_example_of_own_models_runs(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "ws" / "own"
    told = run_example(
        "compare_own_models.py", monkeypatch, capsys, "--teacher", tiny_models["teacher"],
        "--student", tiny_models["beta"], "--images", "signs:test,n=40,seed=2", "--out", out,
    )  # fmt: skip
    value = Study.open(out).measures("student")["agreement"]
    assert value is not None
    assert f"{value.value:.3f}  [{value.low:.3f}, {value.high:.3f}]" in told
    assert out.with_suffix(".html").exists()


def test_the_example_of_a_poisoned_student_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ws" / "poisoned"
    told = run_example(
        "poison_distill_audit.py", monkeypatch, capsys, "--train", 96, "--test", 60,
        "--epochs", 1, "--references", 1, "--steps", 4, "--out", out,
    )  # fmt: skip
    study = Study.open(out)
    assert list(study.students) == ["poisoned", "honest"]
    for name in study.students:
        rate = study.measures(name, "trigger")["attack_success_rate"]
        verdict = study.record(f"audit/{name}")["verdict"]
        assert rate is not None
        assert f"{name}: with the trigger {100 * rate.value:.1f} %" in told
        assert f"{name}: {verdict}" in told


def test_the_notebook_runs(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = json.loads((EXAMPLES / "comparison.ipynb").read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in book["cells"])
    monkeypatch.setenv("DISTILLSCOPE_STUDY", str(tiny_study))
    names: dict[str, Any] = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "cell", "exec"), names)
    assert names["view"]._repr_html_()
    assert names["different"].num_rows == int((~names["view"].comparison.pair.agree).sum())
    names["report"].unlink()
