"""Groups of samples on which two models part more than elsewhere, found and then tested.

One seeded half of the samples is searched: short conjunctions of simple statements about the images
(beam search), and groups in the left model's features (k-means that is finer where the two part).
What was found there is tested on the other half, once, with the maximum over all candidates
(:mod:`~analysis.divergence.max_statistic`). Numbers of a slice come from that other half: on the
half that was searched they would flatter. Related: Chung et al., "Slice Finder", 2019, arXiv
1807.06068; Eyuboglu et al., "Domino", 2022, arXiv 2203.14960.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.config import Config
from analysis.config import field as setting
from analysis.divergence.calibration import wilson_interval
from analysis.divergence.groups import assign, fit_centers, representation
from analysis.divergence.max_statistic import excess, max_statistic_p_values
from analysis.divergence.outputs import PairAnswers
from analysis.divergence.predicates import Predicate
from analysis.divergence.search import Conjunction, search_conjunctions
from analysis.records import Interval

_ALIKE = 0.8
_OVERLAP = 0.5
# A group is worth a test when it stands out at all on the half that is searched.
_STANDS_OUT = 2.0
# Below this share of its members a description covers more than the group.
_PRECISE = 0.5
# Below this share of the group that it covers a description is of no use.
_COMPLETE = 0.3
_NESTED = 0.9
_TRANSITIONS = 3


@dataclass(frozen=True, kw_only=True)
class SliceConfig(Config):
    """How slices are searched and tested."""

    seed: int = setting(0, "seed of the halves, the groups and the permutations", low=0)
    alpha: float = setting(0.05, "chance of any false slice", low=0.001, high=0.5)
    draws: int = setting(999, "permutations behind every p-value", low=99, high=99_999)
    fewest: int = setting(10, "samples that a slice has on each half", low=2)
    groups: int = setting(24, "groups in the teacher's features; 0 looks at none", low=0)
    candidates: int = setting(40, "groups that are tested", low=1, high=1000)
    most: int = setting(20, "slices that are reported", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A group on which the two models part.

    ``predicates`` describe it; ``grouped`` says that it was found in the left model's features,
    else the description is the group. ``members`` (N,) bool. ``agreement`` (95 % Wilson interval)
    of the ``n_tested`` members on the tested half, ``rest`` the agreement of all others there;
    ``p_value`` is corrected for all candidates. ``precision`` is the share of described samples
    that are members, ``recall`` the share of members that are described, both on the tested half.
    ``n_differ`` members are answered differently; ``transitions`` are their most frequent (answer
    of the left model, answer of the right one, count), ``destination`` the most frequent answer of
    the right one with its count.
    """

    predicates: tuple[Predicate, ...]
    grouped: bool
    members: np.ndarray
    n_tested: int
    agreement: Interval
    rest: float
    p_value: float
    precision: float
    recall: float
    n_differ: int
    transitions: tuple[tuple[int, int, int], ...]
    destination: tuple[int, int]

    @property
    def gap(self) -> float:
        """How much less the two agree here than elsewhere: the effect size, in [-1, 1]."""
        return self.rest - self.agreement.value

    @property
    def sure_gap(self) -> float:
        """The gap that the interval leaves: few members do not make a slice the worst one."""
        return self.rest - (self.agreement.high or 0.0)

    @property
    def words(self) -> str:
        """The description as a list of words; "some" where it covers more than the group."""
        listed = ", ".join(predicate.words for predicate in self.predicates)
        return f"some {listed}" if self.precision < _PRECISE else listed


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSearch:
    """The ``slices`` that held, the largest sure effect first, and what was looked at.

    ``candidates`` were tested on the ``n_tested`` samples of the tested half, which have
    ``agreement`` in all.
    """

    slices: tuple[Slice, ...]
    n_searched: int
    n_tested: int
    candidates: int
    agreement: float | None
    config: SliceConfig = field(default_factory=SliceConfig)


@dataclass(frozen=True, slots=True)
class _Candidate:
    mask: np.ndarray
    parts: tuple[int, ...]
    score: float
    grouped: bool = False


def find_slices(
    answers: PairAnswers,
    predicates: Sequence[Predicate],
    features: np.ndarray | None = None,
    *,
    config: SliceConfig | None = None,
) -> SliceSearch:
    """Find the slices of N samples on which two models part more than on the rest.

    ``features`` (N, D) are the left model's; without them only descriptions are searched. What
    the right model answers or sees decides no member of a slice. Fewer than four times
    ``fewest`` samples, and samples on which all answers agree or all differ, have no slices.
    """
    config = config or SliceConfig()
    differ = ~answers.agree
    searched, tested = halves(len(differ), config.seed)
    found: list[_Candidate] = []
    if (
        len(differ) >= 4 * config.fewest
        and 0 < differ[searched].sum() < len(searched)
        and predicates
    ):
        found = _described(predicates, searched, differ, config)
        if features is not None and config.groups:
            found += _grouped(predicates, searched, differ, answers, features, config)
        found = _distinct(found, searched, tested, config)
    return SliceSearch(
        slices=tuple(_tested(found, predicates, tested, differ, answers, config)),
        n_searched=len(searched),
        n_tested=len(tested),
        candidates=len(found),
        agreement=float(1 - differ[tested].mean()) if len(tested) else None,
        config=config,
    )


def halves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ``count`` samples that are searched and those that are tested, each sorted."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def _described(
    predicates: Sequence[Predicate], rows: np.ndarray, differ: np.ndarray, config: SliceConfig
) -> list[_Candidate]:
    """Conjunctions on which more answers differ than elsewhere among ``rows``."""
    outcome = differ[rows]
    found = search_conjunctions(
        predicates,
        rows,
        outcome,
        lambda members, hits: excess(members, hits, len(rows), float(outcome.sum())),
        fewest=config.fewest,
    )
    return [
        _Candidate(_holds(predicates, item), item.parts, item.score)
        for item in found[: 4 * config.candidates]
        if item.score >= _STANDS_OUT
    ]


def _holds(predicates: Sequence[Predicate], conjunction: Conjunction) -> np.ndarray:
    return np.asarray(np.all([predicates[part].mask for part in conjunction.parts], axis=0))


def _grouped(
    predicates: Sequence[Predicate],
    rows: np.ndarray,
    differ: np.ndarray,
    answers: PairAnswers,
    features: np.ndarray,
    config: SliceConfig,
) -> list[_Candidate]:
    """Groups in the left model's features on which more answers differ among ``rows``."""
    points = representation(features)
    kl = answers.kl_teacher_student[rows]
    weights = 1 + kl / max(float(kl.mean()), 1e-12)
    centers = fit_centers(points[rows], weights, config.groups, seed=config.seed)
    group = assign(points, centers)
    members = np.bincount(group[rows], minlength=len(centers))
    hits = np.bincount(group[rows], weights=differ[rows], minlength=len(centers))
    scores = excess(members, hits, len(rows), float(differ[rows].sum()))
    worst = np.flatnonzero((members >= config.fewest) & (scores >= _STANDS_OUT))
    return [
        _Candidate(
            group == index, _describe(predicates, rows, group == index), float(scores[index]), True
        )
        for index in worst.tolist()
    ]


def _describe(
    predicates: Sequence[Predicate], rows: np.ndarray, mask: np.ndarray
) -> tuple[int, ...]:
    """The conjunction that fits ``mask`` best on ``rows``, by the F measure with beta 0.5.

    Where none is both precise and of use, the class that most of the group are of.
    """
    inside = mask[rows]
    total = float(inside.sum())

    def fit(members: np.ndarray, hits: np.ndarray) -> np.ndarray:
        return np.asarray(1.25 * hits / (members + 0.25 * total))

    fewest = max(2, int(_COMPLETE * total))
    best = search_conjunctions(predicates, rows, inside, fit, fewest=fewest, width=8)
    if best:
        described = _holds(predicates, best[0])[rows]
        both = (described & inside).sum()
        if both >= _PRECISE * described.sum() and both >= _COMPLETE * total:
            return best[0].parts
    classes = [at for at, predicate in enumerate(predicates) if predicate.variable == "class"]
    shown = classes or list(range(len(predicates)))
    return (max(shown, key=lambda at: int((predicates[at].mask[rows] & inside).sum())),)


def _distinct(
    found: list[_Candidate], searched: np.ndarray, tested: np.ndarray, config: SliceConfig
) -> list[_Candidate]:
    """The best candidates, without those that are nearly a better one, large enough to test."""
    kept: list[_Candidate] = []
    for candidate in sorted(found, key=lambda item: -item.score):
        mask = candidate.mask[searched]
        fresh = all(_jaccard(mask, other.mask[searched]) <= _ALIKE for other in kept)
        if fresh and candidate.mask[tested].sum() >= config.fewest:
            kept.append(candidate)
        if len(kept) == config.candidates:
            break
    return kept


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def _tested(
    found: list[_Candidate],
    predicates: Sequence[Predicate],
    rows: np.ndarray,
    differ: np.ndarray,
    answers: PairAnswers,
    config: SliceConfig,
) -> list[Slice]:
    """The candidates that hold on ``rows``, each group once, by the size of the sure effect."""
    if not found:
        return []
    masks = np.stack([candidate.mask[rows] for candidate in found])
    values = max_statistic_p_values(masks, differ[rows], draws=config.draws, seed=config.seed)
    held = [
        _slice(candidate, [predicates[part] for part in candidate.parts], rows, differ, answers, p)
        for candidate, p in zip(found, values.tolist(), strict=True)
        if p <= config.alpha
    ]
    kept: list[Slice] = []
    for item in sorted(held, key=lambda item: (-item.sure_gap, item.p_value)):
        if not any(_repeats(item, other) for other in kept):
            kept.append(item)
    return kept[: config.most]


def _repeats(first: Slice, second: Slice) -> bool:
    """Whether two slices share most samples, or differ only in how far their statements go."""
    if _jaccard(first.members, second.members) > _OVERLAP:
        return True
    variables = [{part.variable for part in item.predicates} for item in (first, second)]
    fewest = min(first.members.sum(), second.members.sum())
    common = (first.members & second.members).sum()
    return variables[0] == variables[1] and bool(common >= _NESTED * fewest)


def _slice(
    candidate: _Candidate,
    predicates: Sequence[Predicate],
    rows: np.ndarray,
    differ: np.ndarray,
    answers: PairAnswers,
    p_value: float,
) -> Slice:
    inside = candidate.mask[rows]
    described = np.all([predicate.mask[rows] for predicate in predicates], axis=0)
    both = float((inside & described).sum())
    n, same = int(inside.sum()), int((~differ[rows])[inside].sum())
    low, high = wilson_interval(np.asarray([same]), np.asarray([n]))
    changed = np.bincount(answers.student.answer[candidate.mask & differ])
    return Slice(
        predicates=tuple(predicates),
        grouped=candidate.grouped,
        members=candidate.mask,
        n_tested=n,
        agreement=Interval(same / n, float(low[0]), float(high[0])),
        rest=float(1 - differ[rows][~inside].mean()),
        p_value=p_value,
        precision=both / max(1.0, float(described.sum())),
        recall=both / n,
        n_differ=int(changed.sum()),
        transitions=_transitions(candidate.mask & differ, answers),
        destination=(int(changed.argmax()), int(changed.max())),
    )


def _transitions(rows: np.ndarray, answers: PairAnswers) -> tuple[tuple[int, int, int], ...]:
    pairs, counts = np.unique(
        np.column_stack([answers.teacher.answer[rows], answers.student.answer[rows]]),
        axis=0,
        return_counts=True,
    )
    order = np.argsort(-counts, kind="stable")[:_TRANSITIONS]
    return tuple((int(pairs[at][0]), int(pairs[at][1]), int(counts[at])) for at in order)
