"""The gate: requirements are parsed, never evaluated; paths are found or the nearest is named."""

import json

import pytest

from analysis.errors import InputError
from analysis.store import Study
from analysis.study.gate import Requirement
from dashboard.cli import _run

HEADLINE = {
    "study": {"name": "Road signs", "classes": ["stop", "yield"], "labeled": True},
    "students": {
        "s": {
            "role": "subject",
            "agreement": {"value": 0.96, "low": 0.952, "high": 0.969, "null": None},
            "ece": None,
        },
        "a.b": {"parameters": 33216},
        "numbers": {"worst": "80", "close": 0.9499999},
    },
}


def failure(text):
    return Requirement.parse(text).failure(HEADLINE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("students.s.agreement.low>=0.95", 0.95),
        (" students.s.agreement.low  >= 9.5e-1 ", 0.95),
        ("students.s.agreement.high < 1", 1.0),
        ("students.a.b.parameters<=33216", 33216.0),
        ("students.a.b.parameters == 33216", 33216.0),
        ("students.s.role==subject", "subject"),
        ("students.s.role != control", "control"),
        ("study.labeled==true", "true"),
        ("study.name==Road signs", "Road signs"),
        ("students.numbers.worst==80", 80.0),
        ("students.numbers.worst!=8", 8.0),
    ],
)
def test_met(text, value):
    assert Requirement.parse(text).value == value
    assert failure(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("students.s.agreement.low>=0.96", "students.s.agreement.low>=0.96: it is 0.952"),
        ("students.s.agreement.low>0.952", "it is 0.952"),
        ("students.s.role==control", "students.s.role==control: it is subject"),
        ("study.labeled!=true", "it is true"),
        ("students.s.ece.high<0.05", "students.s.ece.high<0.05: not measured"),
        ("students.s.ece!=3", "not measured"),
        ("students.numbers.worst!=80", "students.numbers.worst!=80: it is 80"),
        ("students.numbers.close>=0.95", "it is 0.9499999"),
        ("students.numbers.close>=0.9999999", "students.numbers.close>=0.9999999: it is"),
        ("students.s.agreement.null.outside==false", "not measured"),
    ],
)
def test_not_met(text, words):
    assert words in failure(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("students.s.agrement.low>=0.9", "'students.s.agreement.low'"),
        ("students.t.agreement.low>=0.9", "'students.s.agreement.low'"),
        ("nothing==1", "distillscope show DIR --json"),
        ("students.s.agreement>=0.9", "students.s.agreement.high or students.s.agreement.low"),
        ("students.s.agreement.low==high", "a number to compare it with"),
        ("students.s.role==1", "a word"),
        ("students.numbers.worst>7", "a word"),
        ("study.classes==stop", "study.name"),
    ],
)
def test_a_path_that_is_not_there_names_the_nearest(text, words):
    with pytest.raises(InputError) as caught:
        failure(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "students.s", ">=0.5", "a>=", "a=1", "a=>1", "a<b", "a>=nan", "a<inf", "a==1==1",
        "a>=1;b>=2>=3",
    ],
)  # fmt: skip
def test_what_is_no_requirement_is_refused(text):
    with pytest.raises(InputError):
        Requirement.parse(text)


def test_nothing_is_evaluated():
    text = "students.s.agreement.low>=__import__('os').getcwd()"
    with pytest.raises(InputError, match="expected a number"):
        Requirement.parse(text)


def test_the_command_exits_3_with_one_line_for_each_failure(tiny_study, capsys):
    low = Study.open(tiny_study).measures("alpha")["agreement"].low
    met = ["--require", f"students.alpha.agreement.low>={low - 0.01}"]
    failed = ["--require", f"students.alpha.agreement.low>={low + 0.01}"]
    assert _run(["show", str(tiny_study), *met]) == 0
    assert capsys.readouterr().err == ""
    command = ["show", str(tiny_study), "--json", *met, *failed]
    command += ["--require", "students.beta.accuracy.null.outside==false"]
    assert _run(command) == 3
    out, error = capsys.readouterr()
    assert json.loads(out)["students"]["alpha"]["agreement"]["low"] == low
    lines = error.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("failed: students.alpha.agreement.low>=")
    assert lines[0].endswith(f"it is {low:.10g}")
    assert lines[1].endswith("not measured")


def test_the_command_exits_2_before_it_prints(tiny_study, capsys):
    assert _run(["show", str(tiny_study), "--require", "students.alpha.agreemnt.low>=0.5"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert "Did you mean 'students.alpha.agreement.low'?" in error
    assert error.count("\n") == 1
