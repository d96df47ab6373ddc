"""In what studies differ: nested settings, key by key."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from analysis.store.differences import CONFIG, STUDY, compare_settings, flattened
from analysis.store.workspace import Workspace
from tests.workspaces import put_study

KEYS = st.sampled_from(["a", "b", "ab"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 3)
NESTED = st.dictionaries(KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, max_size=2), max_size=2)


def test_only_what_is_not_equal_differs(tmp_path: Path) -> None:
    recipe = {"objective": {"name": "hinton", "temperature": 4.0}, "epochs": 12}
    other = {"objective": {"name": "hinton", "temperature": 8.0}, "epochs": 12}
    put_study(tmp_path, "a", recipes={"alpha": recipe}, config={"seed": 0, "attack": {"rate": 1}})
    put_study(tmp_path, "b", recipes={"alpha": other}, config={"seed": 0, "attack": {"rate": 2}})
    put_study(tmp_path, "c", students={"beta": {}}, config={"seed": 0.0, "attack": None})
    summaries = {entry.folder: entry for entry in Workspace(tmp_path).summaries()}
    settings = compare_settings([summaries["a"], summaries["b"]])
    assert {(one.group, one.key) for one in settings if one.differs} == {
        ("alpha", "objective.temperature"),
        (CONFIG, "attack.rate"),
    }
    values = {(one.group, one.key): one.values for one in settings}
    assert values["alpha", "objective.temperature"] == (4.0, 8.0)
    assert values[STUDY, "images"] == (40, 40)
    three = {(s.group, s.key): s for s in compare_settings([summaries[n] for n in "abc"])}
    assert three["beta", "role"].values == (None, None, "subject")
    assert [key for group, key in three if group == "beta"] == ["role"]
    assert three["alpha", "epochs"].differs
    assert not three[CONFIG, "seed"].differs


def test_settings_of_a_study_and_itself_are_equal(tmp_path: Path) -> None:
    put_study(tmp_path, "a", recipes={"alpha": {"epochs": 3, "flip": True}})
    (summary,) = Workspace(tmp_path).summaries()
    assert not any(one.differs for one in compare_settings([summary, summary]))


@given(st.dictionaries(KEYS, LEAVES | NESTED, max_size=3))
def test_flattening_loses_no_leaf(settings: dict[str, object]) -> None:
    def leaves(value: object) -> int:
        if isinstance(value, dict) and value:
            return sum(map(leaves, value.values()))
        return 1

    flat = list(flattened(settings))
    assert len(flat) == sum(map(leaves, settings.values()))
    for key, value in flat:
        place: object = settings
        for part in key.split("."):
            assert isinstance(place, dict)
            place = place[part]
        assert place == value


def test_one_and_true_are_not_the_same(tmp_path: Path) -> None:
    put_study(tmp_path, "a", config={"projection": True})
    put_study(tmp_path, "b", config={"projection": 1})
    (setting,) = [s for s in compare_settings(Workspace(tmp_path).summaries()) if s.differs]
    assert setting.key == "projection"
