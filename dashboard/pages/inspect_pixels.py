"""Inspect, middle column: which pixels part the two, by any method, and whether to trust that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.live.requests import Attribute, Catalog, Explanation, MethodCard
from analysis.records import TEACHER, AttributionMaps
from dashboard import live, messages
from dashboard.context import choose
from dashboard.figures import attributions
from dashboard.figures.numbers import THIN, escaped, nats, percent, thousands, visible
from dashboard.pages.inspect_look import Look, stored_maps

# Below this share of the common scale a map looks empty, so the page says so in words.
_FAINT = 0.05
_STATE = "inspect_attribution"
_LAST = "inspect_maps"
OWN = "own"
PARTS = (TEACHER, "student", "pair")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How maps are made: method, baseline, the pair's number, the explained class (or own)."""

    method: str = "integrated_gradients"
    baseline: str = "blurred"
    scalar: str = "p_student_minus_teacher"
    explained: int | str = OWN
    over_image: bool = False


def pixels_section(look: Look) -> None:
    """The three maps on one scale, how alike they are, what they are worth."""
    choice: Choice = st.session_state.setdefault(_STATE, Choice())
    catalog = live.catalog()
    found, waiting, error = _maps(look, choice, catalog)
    head = st.container(key="pixels_head")
    _pickers(look, choice, catalog)
    if found is None:
        with head:
            messages.section("Which pixels")
        _nothing(look, waiting=waiting, error=error)
        return
    maps = found.maps
    at = {part: found.maps[part].values[0] for part in PARTS}
    limit = attributions.common_limit(list(at.values()))
    signed = all(record.signed for record in maps.values())
    with head:
        _head(look, maps["pair"], limit, signed=signed)
    with st.container(key="stale_maps" if waiting else "maps"):
        for column, part in zip(st.columns(3), PARTS, strict=True):
            with column:
                _one_map(look, choice, part, maps[part], limit)
        _agreement(found)
        _faithfulness(look, found)


def _maps(
    look: Look, choice: Choice, catalog: Catalog | None
) -> tuple[Explanation | None, bool, Exception | None]:
    """Maps to show, whether they are older than what is asked for, why there are none."""
    stored = _stored(look, choice)
    if stored is not None:
        return stored, False, None
    if look.refused or look.pixels is None:
        return None, False, None
    if look.waiting:  # which class is explained follows from the answers
        return _last(look), True, None
    card = _card(catalog, choice.method)
    own = choice.explained == OWN
    request = Attribute(
        **look.identity,
        left=look.left,
        student=look.student,
        image=look.pixels,
        sample_id=look.sample,
        method=choice.method,
        baseline=choice.baseline if card is None or card.uses_baseline else None,
        scalar=choice.scalar,
        left_class=look.answer(look.left) if own else int(choice.explained),
        student_class=look.answer(look.student) if own else int(choice.explained),
    )
    asked = look.asking.ask(request, moment=0.1)
    if asked.answer is not None:
        st.session_state[_LAST] = (look.models, look.sample, asked.answer)
        return asked.answer, False, None
    if asked.error is not None:
        return None, False, asked.error
    return _last(look), True, None


def _last(look: Look) -> Explanation | None:
    """The maps that were last shown of this image, else the stored ones."""
    held = st.session_state.get(_LAST)
    if held is not None and held[:2] == (look.models, look.sample):
        return held[2]  # type: ignore[no-any-return]
    return _of_study(look)


def _stored(look: Look, choice: Choice) -> Explanation | None:
    """The study's own maps where they are what was chosen."""
    found = None if look.edits else _of_study(look)
    if found is None or choice.scalar != Choice.scalar:
        return None
    record = found.maps["pair"]
    same = record.method == choice.method and record.baseline in (choice.baseline, "none")
    if not same:
        return None
    wanted = choice.explained
    for part, model in ((TEACHER, look.left), ("student", look.student)):
        of_class = look.answer(model) if wanted == OWN else int(wanted)
        if int(found.maps[part].explained_class[0]) != of_class:
            return None
    return found


def _of_study(look: Look) -> Explanation | None:
    maps = stored_maps(look.view)
    if set(maps) != set(PARTS) or look.left != TEACHER:
        return None
    chosen = {part: _row(record, look.sample) for part, record in maps.items()}
    if any(record is None for record in chosen.values()):
        return None
    whole = {part: record for part, record in chosen.items() if record is not None}
    measures = {"rank_correlation": rank_correlation, "top_overlap": top_overlap}
    pair = [whole[part].values for part in (TEACHER, "student")]
    values = {name: float(measure(*pair)[0]) for name, measure in measures.items()}
    agreement = {key: value if np.isfinite(value) else None for key, value in values.items()}
    return Explanation(maps={part: whole[part] for part in PARTS}, agreement=agreement)


def _row(record: AttributionMaps, sample: str) -> AttributionMaps | None:
    rows = np.flatnonzero(record.sample_ids == sample)
    if len(rows) == 0:
        return None
    return AttributionMaps(
        method=record.method, model=record.model, scalar=record.scalar, baseline=record.baseline,
        sample_ids=np.asarray(record.sample_ids)[rows[:1]],
        explained_class=np.asarray(record.explained_class)[rows[:1]],
        values=np.asarray(record.values)[rows[:1]], signed=record.signed,
        completeness_error=np.asarray(record.completeness_error)[rows[:1]],
        parameters=record.parameters,
    )  # fmt: skip


def _card(catalog: Catalog | None, name: str) -> MethodCard | None:
    if catalog is None:
        return None
    return next((card for card in catalog.methods if card.name == name), None)


def _pickers(look: Look, choice: Choice, catalog: Catalog | None) -> None:
    """Method, baseline, explained class, the pair's number: every entry of the registries."""
    methods = {card.name: card.title for card in catalog.methods} if catalog else {}
    methods = methods or {choice.method: choice.method.replace("_", " ").capitalize()}
    card = _card(catalog, choice.method)
    baselines = list(catalog.baselines) if catalog else [choice.baseline]
    scalars = dict(catalog.scalars) if catalog else {choice.scalar: "p_S(c) - p_T(c)"}
    classes: list[int | str] = [OWN, *range(len(look.names))]
    off = look.refused is not None or catalog is None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pickers"):
        _picker("method", list(methods), choice.method, methods.get, off, 220)
        if card is None or card.uses_baseline:
            _picker("baseline", baselines, choice.baseline, "{} baseline".format, off, 160)
        _picker(
            "explained", classes, choice.explained,
            lambda c: "own answers" if c == OWN else f"class {visible(look.names[c], 20)}",
            off, 150,
        )  # fmt: skip
        _picker("scalar", list(scalars), choice.scalar, scalars.get, off, 190)
        st.session_state["pick_over_image"] = choice.over_image
        st.toggle(
            "Over the image", key="pick_over_image", disabled=look.pixels is None,
            on_change=_picked, args=("over_image",),
        )  # fmt: skip


def _picker(
    name: str,
    options: Sequence[Any],
    chosen: Any,
    words: Callable[[Any], Any],
    off: bool,
    width: int,
) -> None:
    key = f"pick_{name}"
    st.session_state[key] = chosen
    st.selectbox(
        name.capitalize(), options, key=key, format_func=words, width=width, disabled=off,
        label_visibility="collapsed", on_change=_picked, args=(name,),
    )  # fmt: skip


def _picked(name: str) -> None:
    value = st.session_state[f"pick_{name}"]
    st.session_state[_STATE] = dataclasses.replace(st.session_state[_STATE], **{name: value})


def _head(look: Look, record: AttributionMaps, limit: float, *, signed: bool) -> None:
    colors = look.view.colors
    ramp = messages.ramp(colors.signed if signed else colors.divergence)
    ends = ("against", "for") if signed else ("0", "most")
    messages.section(
        "Which pixels",
        f"One scale for all three, ±{limit:.2g}; the pair explains {escaped(record.scalar)}. "
        f"<span style='float:right;white-space:nowrap'>{ends[0]}{ramp}{ends[1]}</span>",
    )


_MARKS = {
    TEACHER: ("ds-circle", "Teacher"),
    "student": ("ds-square", "Student"),
    "pair": ("ds-circle ds-lens", "The pair"),
}


def _one_map(look: Look, choice: Choice, part: str, record: AttributionMaps, limit: float) -> None:
    values = record.values[0]
    mark, title = _MARKS[part]
    if part == TEACHER and look.left != TEACHER:
        title = escaped(look.left, 20)
    what = _explains(look, part, record)
    draw = attributions.map_picture
    if choice.over_image and look.pixels is not None:
        picture = attributions.overlay_picture(
            values, limit, look.pixels, look.view.colors, signed=record.signed
        )
    else:
        picture = draw(values, limit, look.view.colors, signed=record.signed)
    box = None if look.region is None else attributions.region_box(look.region)
    below = _mass(look, values)
    error = float(record.completeness_error[0])
    promise = f"{100 * error:.1f}{THIN}%" if np.isfinite(error) else "none promised"
    st.html(
        f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>'
        f'<div class="ds-sub" style="min-height:36px">{what}</div>'
        f"{attributions.map_html(picture, f'{title}: {what}', box)}{below}"
        f'<div class="ds-row ds-sub"><span>completeness error</span>'
        f'<span class="ds-strong">{promise}</span></div>{_faint(values, limit)}'
    )


def _explains(look: Look, part: str, record: AttributionMaps) -> str:
    explained = int(record.explained_class[0])
    name = escaped(look.names[explained], 24)
    if part == "pair":
        if "KL" in record.scalar:
            return "what makes their answers part at all"
        return f"why the student says “{name}” more than the {escaped(look.left_words)} does"
    model = look.left if part == TEACHER else look.student
    own = "its own answer, " if explained == look.answer(model) else ""
    return f"pixels for {own}“{name}”"


def _mass(look: Look, values: np.ndarray) -> str:
    """How much of a map lies on what was changed about the image."""
    if look.region is None:
        return ""
    total = float(np.abs(values).sum())
    share = float(np.abs(values)[look.region].sum()) / total if total > 0 else float("nan")
    where = {"sticker": "sticker", "picture": "picture"}.get(look.what_if.kind, "change")
    where = where if look.edits else "changed pixels"
    words = f"{percent(share, 0)}{THIN}% of the mass" if np.isfinite(share) else "the map is empty"
    area = f"{percent(float(look.region.mean()), 0)}{THIN}% of the area"
    return (
        f'<div class="ds-row ds-sub" style="margin-top:3px" title="{area}">'
        f'<span>on the {where}</span><span class="ds-strong">{words}</span></div>'
    )


def _faint(values: np.ndarray, limit: float) -> str:
    """Words for a map that looks empty on the common scale."""
    strongest = float(np.abs(values).max())
    if strongest >= _FAINT * limit:
        return ""
    return f'<div class="ds-sub">Almost nothing moves it: at most {strongest:.1g} a pixel.</div>'


_AGREEMENT = {
    "rank_correlation": ("rank correlation of the two", "not defined"),
    "top_overlap": ("overlap of their top 5 %", "not defined"),
}


def _agreement(found: Explanation) -> None:
    cells = []
    for key, value in found.agreement.items():
        title, missing = _AGREEMENT.get(key, (escaped(key.replace("_", " ")), "not defined"))
        cells.append(f"<div>{title} <b>{missing if value is None else nats(value)}</b></div>")
    st.html(f'<div class="ds-facts">{"".join(cells)}</div>')


def _faithfulness(look: Look, found: Explanation) -> None:
    return


def _nothing(look: Look, *, waiting: bool, error: Exception | None) -> None:
    """Why there are no maps, in the place of the maps, and what to do about it."""
    if waiting:
        starting = live.catalog() is None
        words = "The live worker starts." if starting else "The live worker computes them."
        messages.empty("Maps are being computed", words)
        return
    if error is not None:
        messages.refused(
            getattr(error, "what", str(error)),
            getattr(error, "expected", None),
            getattr(error, "remedy", None),
        )
        st.button("Try again", key="maps_again", on_click=live.try_again)
        return
    _outside_probe(look)


def _outside_probe(look: Look) -> None:
    maps: Mapping[str, AttributionMaps] = stored_maps(look.view)
    if set(maps) != set(PARTS):
        messages.empty(
            "No attribution maps", "This study holds none for this student and condition."
        )
        return
    covered = f"{thousands(len(maps['pair'].sample_ids))} of {thousands(len(look.view.all))} images"
    messages.empty("No maps for this image", f"Attribution maps were computed for {covered}.")
    nearest = _nearest_mapped(look, maps["pair"])
    if nearest is not None:
        st.button(
            "Nearest image with maps", key="nearest_mapped", on_click=choose,
            kwargs={"sample": nearest}, help="In the student’s feature space",
        )  # fmt: skip


def _nearest_mapped(look: Look, maps: AttributionMaps) -> str | None:
    """Id of the image with maps that is nearest in the student's feature space."""
    study, condition = look.view.study, look.view.selection.condition
    key = f"features/{look.student}/{condition}/penultimate"
    ids = study.condition_ids(condition)
    own = np.flatnonzero(ids == look.sample)
    mapped = np.flatnonzero(np.isin(ids, maps.sample_ids))
    if not study.has_array(key) or len(own) == 0 or len(mapped) == 0:
        return None
    features = study.array(key)
    here = np.asarray(features[own[0]], dtype=np.float64)
    there = np.asarray(features[mapped], dtype=np.float64)
    there /= np.maximum(np.linalg.norm(there, axis=1, keepdims=True), 1e-12)
    return str(ids[mapped[int(np.argmax(there @ here))]])
