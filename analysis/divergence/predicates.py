"""Simple statements about images, in words that a user can check by looking.

None of them looks at the student: a statement that did would say by itself whether the two models
agree, and a group of images made from it would part for no reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.divergence.answers import Answers

# Words for the low and the high end of what is measured of an image.
WORDS: Mapping[str, tuple[str, str]] = {
    "brightness": ("dark", "bright"),
    "contrast": ("low contrast", "high contrast"),
    "sharpness": ("blurred", "sharp"),
}
_UNSURE = (0.6, 0.9)
_SURE = 0.99
MOST_CLASSES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A statement that is true of some images, ``mask`` (N,) bool.

    ``words`` name it in a list ("yield", "dark"), ``meaning`` says exactly what it is. Of two
    statements about the same ``variable`` only one enters a description.
    """

    variable: str
    words: str
    meaning: str
    mask: np.ndarray


def build_predicates(
    teacher: Answers,
    labels: np.ndarray | None,
    class_names: Sequence[str],
    statistics: Mapping[str, np.ndarray],
) -> list[Predicate]:
    """Statements about N images: class, the teacher's confidence, image statistics (N,).

    A class is the label, without labels the teacher's answer; of many classes the 64 largest.
    The low and the high third of every statistic, and its sixths, are named relative to these
    images. Statements that are true of all images or of none are left out.
    """
    found = [*_classes(teacher, labels, class_names), *_confidence(teacher, labels)]
    for name, values in statistics.items():
        found += _ends(name, np.asarray(values, dtype=np.float64))
    return [predicate for predicate in found if 0 < predicate.mask.sum() < len(predicate.mask)]


def _classes(
    teacher: Answers, labels: np.ndarray | None, class_names: Sequence[str]
) -> list[Predicate]:
    classes = teacher.answer if labels is None else labels
    counts = np.bincount(classes, minlength=len(class_names))
    largest = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    owner = "the teacher says" if labels is None else "label"
    return [
        Predicate(
            variable="class",
            words=str(class_names[index]),
            meaning=f"{owner} {class_names[index]}",
            mask=classes == index,
        )
        for index in largest.tolist()
        if counts[index]
    ]


def _confidence(teacher: Answers, labels: np.ndarray | None) -> list[Predicate]:
    found = [
        Predicate(
            variable="confidence",
            words=f"teacher under {100 * limit:.0f} % sure",
            meaning=f"the teacher gives its answer less than {100 * limit:.0f} %",
            mask=teacher.confidence < limit,
        )
        for limit in _UNSURE
    ]
    found.append(
        Predicate(
            variable="confidence",
            words=f"teacher over {100 * _SURE:.0f} % sure",
            meaning=f"the teacher gives its answer more than {100 * _SURE:.0f} %",
            mask=teacher.confidence > _SURE,
        )
    )
    if labels is not None:
        wrong = teacher.answer != labels
        words = "teacher wrong"
        found.append(
            Predicate(variable="right", words=words, meaning="the teacher is wrong", mask=wrong)
        )
    return found


def _ends(name: str, values: np.ndarray) -> list[Predicate]:
    """The low and high third and sixth of ``values``."""
    low, high = WORDS.get(name, (f"low {name}", f"high {name}"))
    found = []
    for part, very in ((3, ""), (6, "very ")):
        below, above = np.quantile(values, (1 / part, 1 - 1 / part))
        share = "third" if part == 3 else "sixth"
        for words, mask, sign, limit in (
            (low, values <= below, "at most", below),
            (high, values >= above, "at least", above),
        ):
            # Many equal values would call most images dark.
            if mask.mean() <= 1.5 / part:
                meaning = f"{name} {sign} {limit:.3g}, the {words} {share}"
                found.append(
                    Predicate(variable=name, words=f"{very}{words}", meaning=meaning, mask=mask)
                )
    return found
