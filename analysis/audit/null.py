"""How strange one student is among honest ones: the statistics of an audit. Numpy only.

The unit is the student, and it has one number: how much smaller than in the other students its
triggers for one class are, at the most extreme of all classes, in the two families that show it
most. Because the number is the most extreme one for the references too, the search over classes,
families and restarts lies inside the null, and its p-value needs no further correction.
docs/measures.md has the formulae, docs/audit.md on what they were chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import ImageSetError
from analysis.records import PKind

LEVEL = 0.05
EXACT_FROM = 19
"""References from which ranks alone allow a p-value of 0.05."""
TAIL_FROM = 3
"""References below which no tail is fitted."""
_ROW_CENTERED_FROM = 4
_CORROBORATING = 2
_SMALLEST_SCALE = 0.02
_MAD_TO_SD = 1.4826
PARTS = ("distill", "optimize", "measure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme:
    """The one number of a student, and where it was found.

    ``statistic`` is above 0 where some trigger is smaller than in the other students, in units of
    the references' mean deviation; None without references. ``null`` (R,) are the references'
    own. ``scores`` (K,) is the number of each class, all families together; ``family`` is the one
    that shows ``target_class`` most. ``floor`` is the smallest p-value that ranks allow,
    1 / (R + 1).
    """

    statistic: float | None
    null: tuple[float, ...]
    p_value: float | None
    p_kind: PKind | None
    floor: float | None
    family: str
    target_class: int
    scores: tuple[float, ...]


def judge_sizes(subject: Mapping[str, np.ndarray], references: Mapping[str, np.ndarray]) -> Extreme:
    """Judge log-sizes (K,) of the subject by those (R, K) of the references, per family.

    Without references the most extreme class is that with the largest median-absolute-deviation
    index, and there is no p-value.
    """
    families = list(subject)
    own = np.stack([np.asarray(subject[name], dtype=np.float64) for name in families])
    others = np.stack([np.asarray(references[name], np.float64) for name in families], axis=1)
    if len(others) == 0:
        indices = np.stack([mad_indices(row) for row in own])
        family, label = np.unravel_index(np.argmax(indices), indices.shape)
        return Extreme(
            statistic=None,
            null=(),
            p_value=None,
            p_kind=None,
            floor=None,
            family=families[family],
            target_class=int(label),
            scores=tuple(indices.max(axis=0).tolist()),
        )
    by_family = smallness(np.concatenate([own[None], others]))
    scores = corroborated(by_family)
    null = scores[1:].max(axis=1)
    named = int(np.argmax(scores[0]))
    statistic = float(scores[0, named])
    # A root mean square is at most the larger of the two: Bonferroni's bound over all is one.
    p_value, kind = p_value_of(statistic, null, tests=own.size)
    return Extreme(
        statistic=statistic,
        null=tuple(null.tolist()),
        p_value=p_value,
        p_kind=kind,
        floor=1 / (len(null) + 1),
        family=families[int(np.argmax(by_family[0, :, named]))],
        target_class=named,
        scores=tuple(scores[0].tolist()),
    )


def corroborated(smallness: np.ndarray) -> np.ndarray:
    """The number of each class (M, K) of ``smallness`` (M, F, K), all families together.

    The root mean square of the two largest, those below 0 counted as 0; of one family, itself. A
    planted trigger makes its class easy for more than one model of a trigger, a chance find of
    one search does not; a trigger that only one model can express still counts with 1 / sqrt(2).
    """
    if smallness.shape[1] == 1:
        return np.asarray(smallness[:, 0])
    largest = np.sort(smallness, axis=1)[:, -_CORROBORATING:].clip(min=0)
    return np.asarray(np.sqrt(np.square(largest).mean(axis=1)))


def smallness(log_sizes: np.ndarray) -> np.ndarray:
    """How much smaller each trigger is than in the other students, (M, F, K) to the same.

    Every student is judged by all others alike, the subject being one of the others of a
    reference; so the students' maxima are exchangeable when the students are. Of each (family,
    class) the others' mean is taken off, then, from 4 classes on, the student's own median over
    classes: a student whose triggers are all small is a weak one and not a planted one. The unit
    is the others' mean absolute deviation in that family, at least 0.02.
    """
    students = len(log_sizes)
    result = np.empty_like(log_sizes)
    for row in range(students):
        others = np.delete(log_sizes, row, axis=0)
        count = len(others)
        deviation = _row_centered(others.mean(axis=0) - log_sizes[row])
        result[row] = deviation / (_scale(others)[:, None] * np.sqrt(1 + 1 / count))
    return result


def _scale(others: np.ndarray) -> np.ndarray:
    """Mean absolute deviation of each family (F,), corrected for the means taken off."""
    count, families, _ = others.shape
    if count < 2:
        return np.ones(families)
    residuals = _row_centered(others - others.mean(axis=0))
    scale = np.abs(residuals).mean(axis=(0, 2)) / np.sqrt((count - 1) / count)
    return np.maximum(scale, _SMALLEST_SCALE)


def _row_centered(values: np.ndarray) -> np.ndarray:
    if values.shape[-1] < _ROW_CENTERED_FROM:
        return values
    return values - np.median(values, axis=-1, keepdims=True)


def p_value_of(
    statistic: float, null: Sequence[float] | np.ndarray, *, tests: int
) -> tuple[float, PKind]:
    """The p-value of ``statistic`` among the references' ``null`` (R,), and its kind.

    By ranks (1 + #{T_ref >= T}) / (R + 1), ``exact``. With 3 to 18 references a statistic beyond
    all of theirs is given the tail of a ``model`` instead: the deviations of ``tests`` numbers
    are Laplace-like (a normal law whose variance differs between classes), with a scale known
    from few students, so that one exceeds t with (1 + t / n)^-n / 2, n = 2 (R - 1). A statistic
    within the references keeps its rank where that is larger.
    """
    null = np.asarray(null, dtype=np.float64)
    count = len(null)
    ranked = (1 + int((null >= statistic).sum())) / (count + 1)
    if count >= EXACT_FROM or count < TAIL_FROM:
        return ranked, "exact"
    n = 2 * (count - 1)
    tail = min(1.0, tests / 2 * (1 + max(statistic, 0.0) / n) ** -n)
    beyond = ranked == 1 / (count + 1)
    return float(tail if beyond else max(tail, ranked)), "model"


def mad_indices(values: np.ndarray) -> np.ndarray:
    """How far each of (K,) lies below the median, in median absolute deviations; displayed only.

    Its tail on honest students is so heavy (above 2 in a third of them, with 10 classes) that it
    is never turned into a p-value. Source: Wang et al. 2019, section IV.
    """
    deviations = np.median(values) - np.asarray(values, dtype=np.float64)
    spread = _MAD_TO_SD * np.median(np.abs(deviations))
    return deviations / max(float(spread), _SMALLEST_SCALE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests (Holm 1979): reject those at most 0.05, in any order.

    The i-th smallest of m becomes the largest (m - j + 1) p_(j) over j <= i, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    corrected, largest = np.empty(len(p_values)), 0.0
    for place, row in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[row]))
        corrected[row] = largest
    return [float(value) for value in corrected]


def null_fit(
    subject: Mapping[str, float | None], references: Sequence[Mapping[str, float | None]]
) -> dict[str, object]:
    """How far the subject's accuracy and agreement lie outside the references' range.

    ``outside`` gives, per measure, the distance to the range in units of the range (0 inside);
    ``fits`` is False when one lies farther out than the range is wide (at least one point).
    """
    outside: dict[str, float] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for name, value in subject.items():
        known = [row[name] for row in references if row.get(name) is not None]
        if value is None or not known:
            continue
        low, high = float(min(known)), float(max(known))  # type: ignore[type-var, arg-type]
        ranges[name] = (low, high)
        outside[name] = max(low - value, value - high, 0.0) / max(high - low, 0.01)
    return {
        "subject": dict(subject),
        "references": {name: list(pair) for name, pair in ranges.items()},
        "outside": outside,
        "fits": all(value <= 1 for value in outside.values()),
    }


def split_by_id(
    sample_ids: np.ndarray, shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> dict[str, np.ndarray]:
    """Split rows into three parts by a hash of their ``sample_id``: {part: rows (n,)}.

    ``distill`` for references, ``optimize`` for the search, ``measure`` for size and flip rate.
    An image is in the same part whatever else is in the set and whatever the set is called. The
    rows of a part come in the order of their hashes, so that its first ones are a random draw
    even of a source that is sorted by class. Raises :class:`~analysis.errors.ImageSetError`
    when a part of the last two is too small.
    """
    position = np.array([_fraction(str(key)) for key in sample_ids])
    order = np.argsort(position, kind="stable")
    edges = np.cumsum(shares)[:2]
    part = np.searchsorted(edges, position, side="right")
    rows = {name: order[part[order] == number] for number, name in enumerate(PARTS)}
    for name in PARTS[1:]:
        if len(rows[name]) < 8:
            raise ImageSetError(
                f"{len(sample_ids)} trusted images leave {len(rows[name])} to {name} triggers on",
                expected="at least 8 for each part, better some hundred",
                remedy="give more trusted images",
            )
    return rows


def _fraction(key: str) -> float:
    """Where the hash of a ``sample_id``, but for the name of its set, lies between 0 and 1."""
    key = key.partition("/")[2] or key
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56
