"""Where in depth the two part, in words: a finding, what is doubtful about it, one pair's numbers.

All of it is HTML; names in it are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.divergence.depth import (
    HALF,
    LOST,
    OUTLIERS,
    Profile,
    below_all,
    distant_matches,
    parted_from,
)
from analysis.divergence.layers import CKA, KNN, SIMILARITIES
from dashboard.figures.layers import null_range, shown
from dashboard.figures.numbers import escaped, percent_text
from dashboard.loading_layers import LayerTable


def finding(
    profiles: Mapping[str, Profile],
    layers: Sequence[str],
    *,
    clean: Mapping[str, Profile] | None = None,
    condition: str = "",
) -> str:
    """Up to which layer the two agree and where they part, by shared neighbors.

    ``clean`` are the profiles on clean images when ``condition`` names another one.
    """
    knn = profiles[KNN]
    if not np.isfinite(knn.values).any():
        return "No layer of the student varies with the image"
    held = None if clean is None else clean[KNN]
    at = parted_from(knn, held)
    if held is not None:
        return _against_clean(knn, held, layers, at, condition)
    if at is None:
        low, high = int(np.nanargmin(knn.values)), int(np.nanargmax(knn.values))
        return (
            f"The two do not part in depth: the student’s layers share {_share(knn, low)} to "
            f"{_share(knn, high)} of each image’s nearest neighbors with their best match in the "
            f"teacher, by chance {_chance(knn)}"
        )
    if at == 0 and not knn.beyond_null.any():
        return (
            "No layer of the student arranges the images like any layer of the teacher: no more "
            f"neighbors are shared than by chance, {_chance(knn)}"
        )
    if at == 0:
        return (
            f"They part from the first layer on: {_name(layers[0])} shares {_share(knn, 0)} of "
            "each image’s nearest neighbors with its best match in the teacher, by chance "
            f"{_chance(knn)}"
        )
    before = int(np.nanargmax(knn.values[:at]))
    return (
        f"They agree up to {_name(layers[at - 1])} and part from {_name(layers[at])} on: shared "
        f"neighbors fall from {_share(knn, before)} to {_share(knn, at)}, by chance {_chance(knn)}"
    )


def _against_clean(
    knn: Profile, clean: Profile, layers: Sequence[str], at: int | None, condition: str
) -> str:
    lost = np.nan_to_num(clean.values - knn.values, nan=-np.inf)
    most = int(lost.argmax())
    where = f"under “{escaped(condition)}”"
    if at is None:
        return (
            f"The two do not part in depth {where}: no layer loses a {_part(LOST)} of the "
            f"neighbors shared on clean images for good; {_name(layers[most])} loses most, "
            f"{_share(clean, most)} to {_share(knn, most)}"
        )
    worst = at + int(lost[at:].argmax())
    start = (
        f"They part from the first layer on {where}"
        if at == 0
        else f"They agree up to {_name(layers[at - 1])} {where}, and part from {_name(layers[at])}"
        " on"
    )
    return (
        f"{start}: in {_name(layers[worst])} shared neighbors fall from {_share(clean, worst)} on "
        f"clean images to {_share(knn, worst)}"
    )


def doubts(
    table: LayerTable,
    profiles: Mapping[str, Profile],
    *,
    clean: Mapping[str, Profile] | None = None,
) -> list[str]:
    """What speaks against reading one measure alone: disagreement, and images that carry CKA."""
    layers, found = table.student_layers, []
    cka, knn = profiles[CKA], profiles[KNN]
    starts = [parted_from(profiles[m], None if clean is None else clean[m]) for m in (CKA, KNN)]
    if starts[0] != starts[1]:
        words = [
            "they do not part" if start is None else f"they part from {_name(layers[start])} on"
            for start in starts
        ]
        found.append(
            f"CKA and mutual k-NN disagree: by CKA {words[0]}, by mutual k-NN {words[1]}. CKA "
            "weighs the directions of largest variance, k-NN each image’s surroundings."
        )
    if far := distant_matches(cka, knn, len(table.teacher_layers)):
        at = far[0]
        names = [_name(table.teacher_layers[item.best[at]]) for item in (cka, knn)]
        others = f" (and for {len(far) - 1} more)" if len(far) > 1 else ""
        found.append(
            f"CKA and mutual k-NN disagree on the best match of {_name(layers[at])}{others}: "
            f"{names[0]} against {names[1]}."
        )
    moved = np.abs(np.nan_to_num(table.shift)) > OUTLIERS
    if moved.any():
        t, s = np.unravel_index(int(np.abs(np.nan_to_num(table.shift)).argmax()), moved.shape)
        found.append(
            f"A few images carry CKA: without the {percent_text(table.outlier_share, 0)} that move "
            f"it most it changes by more than {OUTLIERS} for {int(moved.sum())} of {moved.size} "
            f"pairs, most for {_name(table.teacher_layers[t])} × {_name(layers[s])}, "
            f"{shown(CKA, table.checked[t, s])} to {shown(CKA, table.trimmed[t, s])}."
        )
    return found


def reference_words(
    profile: Profile, references: Sequence[Profile], layers: Sequence[str], measure: str
) -> str:
    """How the profile stands to those of the reference students; empty without any."""
    if not references:
        return ""
    below = np.flatnonzero(below_all(profile.values, [item.values for item in references]))
    title, count = SIMILARITIES[measure].title, len(references)
    those = "the reference student" if count == 1 else f"all {count} reference students"
    if len(below) == 0:
        return f"{title}: no layer lies below {those}."
    names = ", ".join(_name(layers[index]) for index in below[:4])
    return f"{title}: lower than {those} in {names}" + (
        "." if len(below) <= 4 else f" and {len(below) - 4} more."
    )


def pair_table(table: LayerTable, cell: tuple[int, int]) -> str:
    """All measures of one pair of layers with their nulls, and CKA without outliers."""
    rows = []
    for name, grid in table.grids.items():
        null = grid.null[(slice(None), *cell)]
        rows.append(
            f'<tr><td title="{escaped(SIMILARITIES[name].about, 200)}">'
            f'<span class="ds-strong">{SIMILARITIES[name].title}</span></td>'
            f'<td class="ds-number">{shown(name, float(grid.values[cell]))}</td>'
            f'<td class="ds-number ds-faint ds-nowrap">{null_range(name, null)}</td></tr>'
        )
        if name == CKA:
            share = f"{percent_text(table.outlier_share, 0)}"
            rows.append(
                f'<tr><td class="ds-quiet" title="without the {share} of images that move it most">'
                "without outliers</td>"
                f'<td class="ds-number">{shown(CKA, float(table.trimmed[cell]))}</td>'
                '<td class="ds-number ds-faint">of '
                f"{shown(CKA, float(table.checked[cell]))}</td></tr>"
            )
    return (
        '<table class="ds-table"><tr><th></th><th class="ds-number">value</th>'
        f'<th class="ds-number">by chance</th></tr>{"".join(rows)}</table>'
    )


def rule() -> str:
    """The rules of display behind the finding."""
    return (
        f"Parted: from there on less than {_part(HALF)} of the shared neighbors of the layers "
        f"before, or on another condition a {_part(LOST)} less than on clean images, chance "
        "taken off. What moves all images of a condition alike is not seen here: no parting is no "
        "evidence against a backdoor."
    )


def _part(share: float) -> str:
    return {0.25: "quarter", 0.5: "half"}.get(share, percent_text(share, 0))


def _name(layer: str) -> str:
    return escaped(layer, 40)


def _share(profile: Profile, at: int) -> str:
    return shown(KNN, float(profile.values[at]))


def _chance(profile: Profile) -> str:
    return shown(KNN, float(np.nanmean(profile.chance)))
