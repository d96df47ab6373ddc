"""What every page shares: the open study, the selection kept in the URL, the context bar."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st

from analysis.errors import DistillscopeError
from analysis.records import CLEAN, TEACHER, Interval, Projection
from analysis.store.study import Study
from analysis.store.workspace import Workspace
from analysis.study.between import measures_between
from dashboard import loading, messages
from dashboard.components.links import FIRST_PAGE, follow_links, parse_link
from dashboard.figures.sides import Sides
from dashboard.loading import Pair
from dashboard.loading_layers import layer_maps, layer_projection
from dashboard.selection import Lasso, Region, Selection, save_set
from dashboard.switching import carried
from dashboard.theme import Palette, palette
from dashboard.thumbnails import remember, thumbnail_url

_HELD, _WRITTEN, _FOLLOWED, _NEXT = "selection", "selection_written", "followed", "next_page"
_PAGES = "pages"


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page shows: everything (``all``), what the cross-filter leaves (``pair``).

    ``notes`` say what of the address could not be used.
    """

    study: Study
    selection: Selection
    all: Pair
    mask: np.ndarray
    pair: Pair
    projection: Projection | None
    colors: Palette
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identity of what is shown, for caches."""
        return f"{self.version}/{self.selection.filter_key}"

    @property
    def version(self) -> str:
        """Identity of the study's files, for caches."""
        return loading.study_version(self.study)

    @property
    def left(self) -> str:
        """Name of the model that the student is compared with, usually the teacher."""
        return self.selection.left

    @property
    def sides(self) -> Sides:
        """What the two models are called in texts."""
        return Sides.of(self.selection.left, self.selection.student)

    def measures(self, condition: str | None = None) -> dict[str, Interval | None]:
        """The student's measures over all images of a condition, against the left model."""
        chosen = self.selection
        names = (chosen.left, chosen.student, condition or chosen.condition)
        return _measures((self.version, *names), self.study)

    def picture(self, sample_id: str, condition: str | None = None) -> str | None:
        """Address of the picture of a sample, or None where the study holds no pictures."""
        slug = condition or self.selection.condition
        if slug not in self.study.manifest.thumbnails:
            return None
        return thumbnail_url(sample_id, slug, self.version)

    def without(self, part: str) -> Pair:
        """The rows that the cross-filter leaves when its ``part`` (a field) is taken off."""
        if getattr(self.selection, part) is None:
            return self.pair
        off: dict[str, Any] = {part: None}
        selection = dataclasses.replace(self.selection, **off)
        mask, _ = _mask(
            self.version, selection.filter_key,
            (selection, self.study, self.all, self.projection),
        )  # fmt: skip
        return self.all.rows(mask)

    @property
    def clean(self) -> Pair:
        """All rows on the clean images, which neighbors are looked for among."""
        selection = self.selection
        if selection.condition == CLEAN:
            return self.all
        return _pair((self.version, selection.left, selection.student, CLEAN), self.study)

    @property
    def table(self) -> pa.Table:
        """All samples with all columns, whatever the filter; one row for each of ``all``."""
        return _table(_key(self.study, self.selection), (self.study, self.selection, self.all))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The study's class names."""
        return self.study.class_names


@dataclass(frozen=True, slots=True)
class Export:
    """Something the Save menu offers: a file made only when it is asked for.

    ``label`` ends in its format, ``Changed answers, CSV``: files of one figure share a row.
    """

    label: str
    file_name: str
    make: Callable[[], str | bytes]

    @property
    def kind(self) -> str:
        """The format: the file name's ending."""
        return self.file_name.rpartition(".")[2]


@st.cache_resource(max_entries=4, show_spinner=False)
def _study(path: str, stamp: tuple[int, int]) -> Study:
    return Study.open(path)


@st.cache_resource(max_entries=24, show_spinner=False)
def _pair(key: tuple[str, str, str, str], _study: Study) -> Pair:
    _, left, student, condition = key
    return loading.load_pair(_study, student, condition, left=left)


@st.cache_resource(max_entries=64, show_spinner=False)
def _measures(key: tuple[str, str, str, str], _study: Study) -> dict[str, Interval | None]:
    _, left, student, condition = key
    return measures_between(_study, left, student, condition)


@st.cache_resource(max_entries=8, show_spinner=False)
def _projection(
    key: tuple[str, str, str, str], layer: str | None, _study: Study
) -> Projection | None:
    _, left, student, condition = key
    if layer is not None:
        return layer_projection(_study, student, layer, condition)
    return loading.projection_of(_study, student, condition, left=left)


@st.cache_resource(max_entries=4, show_spinner=False)
def _table(key: tuple[str, str, str, str], _rows: tuple[Study, Selection, Pair]) -> pa.Table:
    return loading.table_of(*_rows)


def _key(study: Study, selection: Selection) -> tuple[str, str, str, str]:
    return (loading.study_version(study), selection.left, selection.student, selection.condition)


@st.cache_resource(max_entries=24, show_spinner=False)
def _mask(
    version: str, filter_key: str, _view: tuple[Selection, Study, Pair, Projection | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    selection, study, pair, projection = _view
    key = _key(study, selection)
    return loading.filter_mask(
        selection, study, pair, projection, lambda: _table(key, (study, selection, pair))
    )


def forget_filters() -> None:
    """Work filters out again: one that took too long once may do now."""
    _mask.clear()


def open_view() -> View:
    """Open the served study with the selection of the URL; errors as of the store."""
    study = open_study()
    remember(study)
    if not study.students:
        raise DistillscopeError(
            "this study has no students to compare", remedy="add one with: distillscope add"
        )
    selection, notes = _current(study)
    key = _key(study, selection)
    pair = _pair(key, study)
    projection = _projection(key, selection.layer, study)
    mask, more = _mask(key[0], selection.filter_key, (selection, study, pair, projection))
    return View(
        study=study,
        selection=selection,
        all=pair,
        mask=mask,
        pair=pair if mask.all() else pair.rows(mask),
        projection=projection,
        colors=palette(st.context.theme.type),
        notes=(*notes, *more),
    )


def open_study(name: str | None = None) -> Study:
    """Open the study ``name`` of the workspace, else the session's; errors as of the store."""
    path = session_path() if name is None else loading.study_path(_named(name))
    return _study(str(path), loading.study_stamp(path))


def looked_at() -> bool:
    """Whether this session has shown the study that it looks at, and that study has a name."""
    kept: Selection | None = st.session_state.get(_HELD)
    named = kept is not None and (kept.study or os.environ.get(loading.STUDY_VARIABLE))
    return bool(named) and not _asked()[1]


def name_in_workspace(study: Study) -> str:
    """What the workspace calls the study."""
    return Workspace(loading.workspace_path()).name_of(study.path)


def session_path() -> Path:
    """Folder of the study that this session looks at; :class:`StudyError` when it is not there."""
    return loading.study_path(_named(_asked()[0].get("study")))


def _named(name: str | None) -> str | None:
    """What addresses call the study ``name``: None for the one that the server was started with."""
    served = os.environ.get(loading.STUDY_VARIABLE)
    return None if served and Path(served).name == name else name


def nothing_to_show() -> bool:
    """Whether the workspace is without a study, so that there is nothing to look at yet.

    One that a sweep made counts where it is asked for.
    """
    root = os.environ.get(loading.WORKSPACE_VARIABLE)
    served = os.environ.get(loading.STUDY_VARIABLE)
    if served or root is None or loading.newest_study(Path(root)) is not None:
        return False
    try:
        Workspace(Path(root)).path(_asked()[0].get("study", ""))
    except DistillscopeError:
        return True
    return False


def _asked() -> tuple[Mapping[str, str], bool]:
    """What is asked for, as URL parameters, and whether the user changed it by the address."""
    query = st.session_state.get(_FOLLOWED) or st.query_params.to_dict()
    kept: Selection | None = st.session_state.get(_HELD)
    changed = bool(query) and query != st.session_state.get(_WRITTEN)
    return (query if kept is None or changed else kept.to_query()), changed


def _current(study: Study) -> tuple[Selection, tuple[str, ...]]:
    """The selection that holds now: the URL's where the user changed it, else the held one."""
    source, changed = _asked()
    st.session_state.pop(_FOLLOWED, None)
    kept: Selection | None = st.session_state.get(_HELD)
    students = list(study.students)
    selection, notes = Selection.from_query(
        source,
        students=students,
        conditions=study.conditions,
        classes=len(study.class_names),
        lefts=[name for name in study.models if name != TEACHER],
        layers=lambda student: layer_maps(study, student),
    )
    if kept is not None and not changed and kept.sample is not None:
        selection = dataclasses.replace(selection, sample=kept.sample)
    selection = dataclasses.replace(selection, study=_address(study))
    st.session_state[_HELD] = selection
    _write(selection)
    return selection, notes


def _address(study: Study) -> str | None:
    """What the URL calls ``study``: nothing for the one that the server was started with.

    Without one the newest study is the first to be looked at. It is named, because a page must
    not change under somebody's eyes when a newer one is finished.
    """
    served = os.environ.get(loading.STUDY_VARIABLE)
    return None if served and Path(served) == study.path else name_in_workspace(study)


def _write(selection: Selection) -> None:
    query = selection.to_query()
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    st.session_state[_WRITTEN] = query


def held() -> Selection:
    """The selection as it stands now, with what was chosen during this run."""
    selection: Selection = st.session_state[_HELD]
    return selection


def _held_query() -> dict[str, str]:
    """The selection as URL parameters; none before any study was open."""
    return held().to_query() if _HELD in st.session_state else {}


def choose(**changes: Any) -> None:
    """Change parts of the selection; for callbacks, which run before the page."""
    st.session_state[_HELD] = dataclasses.replace(held(), **changes)


def write_selection(**changes: Any) -> None:
    """Change parts of the selection while the page runs, which then draws on without a rerun."""
    choose(**changes)
    _write(held())


def go(path: str, **changes: Any) -> None:
    """Go to another page at once, with ``changes`` to the selection; ends this run."""
    choose(**changes)
    st.session_state[_NEXT] = path
    st.rerun()


def choose_study(name: str) -> None:
    """Look at another study with what of the selection means the same there; for callbacks."""
    if _HELD not in st.session_state:  # only pages about the workspace were shown so far
        st.session_state[_FOLLOWED] = {"study": name}
        return
    try:
        moved = carried(held(), open_study(), open_study(name), _named(name))
    except DistillscopeError:  # the page says why one of them cannot be opened
        st.session_state.pop(_HELD, None)
        st.session_state[_FOLLOWED] = {"study": name}
        return
    st.session_state[_HELD] = moved


def go_to_study(name: str) -> None:
    """Go to the first page of another study of the workspace; for callbacks."""
    choose_study(name)
    st.session_state[_NEXT] = FIRST_PAGE


def go_to_page(path: str) -> None:
    """Go to a page that needs no study; for callbacks."""
    st.session_state[_NEXT] = path


def clear_filter() -> None:
    """Take the whole cross-filter off."""
    st.session_state[_HELD] = held().unfiltered()


def region_of(view: View, sample_ids: Iterable[str], lasso: Lasso | None) -> Region | None:
    """The shortest exact description of ``sample_ids``: ``lasso`` when it holds just these.

    None for no samples. Where the workspace cannot be written, ``lasso`` is taken as it is.
    """
    wanted = set(sample_ids)
    if not wanted:
        return None
    if lasso is not None:
        inside = loading.region_mask(lasso, view.study, view.all, view.projection)
        if set(view.all.sample_ids[inside & view.mask].tolist()) == wanted:
            return lasso
    try:
        return save_set(loading.workspace_of(view.study), sorted(wanted))
    except DistillscopeError as error:
        messages.note(str(error))
        return lasso


def navigate(pages: dict[str, Any]) -> None:
    """Run the page that the address, a followed link or :func:`open_page` names."""
    follow_links(lambda address: _followed(address, pages))
    st.session_state[_PAGES] = tuple(pages)
    page = st.navigation(list(pages.values()), position="top")
    target = st.session_state.pop(_NEXT, None)
    if target in pages and pages[target].title != page.title:
        query = st.session_state.pop(_FOLLOWED, None) or _held_query()
        st.switch_page(pages[target], query_params=query)
    page.run()


def has_page(path: str) -> bool:
    """Whether the open study shows the page ``path``, so that a link can lead there."""
    return path in st.session_state.get(_PAGES, ())


def _followed(address: str, pages: dict[str, Any]) -> None:
    parsed = parse_link(address, tuple(pages))
    if parsed:
        st.session_state[_NEXT], st.session_state[_FOLLOWED] = parsed


def open_page(path: str, **changes: Any) -> None:
    """Go to another page with ``changes`` to the selection; for callbacks."""
    choose(**changes)
    st.session_state[_NEXT] = path
