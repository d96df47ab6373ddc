"""How often the audit's statistic calls an honest student strange, by simulation.

Log-sizes of honest students are drawn from laws that searches' real ones resemble more or less;
every audit judges one of them by the others, as :func:`analysis.audit.null.judge_sizes` does.
Printed is the share of audits with p at most 0.05 for every law and number of references, with
families that know nothing of each other, that agree in part, and that agree wholly.

python -m benchmarks.audit_null [--audits N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np

from analysis.audit.null import LEVEL, judge_sizes
from analysis.audit.settings import STANDARD

REFERENCES = (3, 5, 7, 10)
CLASSES = (10, 16)
FAMILIES = STANDARD
AGREEMENT = {"none": 0.0, "half": 0.5, "whole": 1.0}
Law = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, the spread of every class log-normal, alike for all students."""
    return np.exp(rng.normal(0, 0.7, (1, *shape[1:]))) * rng.normal(size=shape)


def _students(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, the spread of every student log-normal: recipes that differ."""
    return np.exp(rng.normal(0, 0.5, (shape[0], 1, 1))) * rng.normal(size=shape)


LAWS: Mapping[str, Law] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "t, 4 degrees": lambda rng, shape: rng.standard_t(4, size=shape),
    "normal, classes of different spread": _spread,
    "normal, students of different spread": _students,
    "gamma, one-sided": lambda rng, shape: -rng.gamma(1.0, size=shape),
}


def draw(
    rng: np.random.Generator,
    law: str,
    students: int,
    classes: int,
    agreement: float,
    censored: bool,
) -> np.ndarray:
    """Log-sizes (M, F, K) of honest students; half of the classes given up where ``censored``."""
    shape = (students, len(FAMILIES), classes)
    shared = LAWS[law](rng, (students, 1, classes))
    values = agreement * shared + np.sqrt(1 - agreement**2) * LAWS[law](rng, shape)
    values += rng.normal(4, 1, (1, len(FAMILIES), classes)) + rng.normal(0, 0.5, (students, 1, 1))
    if censored:
        # A class that was given up counts as the largest one that was searched to the end.
        largest = np.sort(values, axis=2)[:, :, classes // 2 - 1 : classes // 2]
        values = np.minimum(values, largest)
    return values


def rate(law: str, references: int, classes: int, agreement: float, censored: bool, audits: int):
    """Share of ``audits`` honest students that are called strange at 0.05."""
    rng = np.random.default_rng([references, classes, round(10 * agreement), censored])
    strange = 0
    for _ in range(audits):
        values = draw(rng, law, references + 1, classes, agreement, censored)
        found = judge_sizes(
            {name: values[0, row] for row, name in enumerate(FAMILIES)},
            {name: values[1:, row] for row, name in enumerate(FAMILIES)},
        )
        assert found.p_value is not None
        strange += found.p_value <= LEVEL
    return strange / audits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=800)
    given = parser.parse_args()
    print(f"share of {given.audits} honest students with p at most {LEVEL}, in %")
    print("law, classes, censored, families agree | references " + " ".join(map(str, REFERENCES)))
    for law in LAWS:
        for classes in CLASSES:
            for censored in (False, True):
                for name, agreement in AGREEMENT.items():
                    rates = [
                        rate(law, count, classes, agreement, censored, given.audits)
                        for count in REFERENCES
                    ]
                    shown = " ".join(f"{100 * value:.1f}" for value in rates)
                    half = "half given up" if censored else "all"
                    print(f"{law}, {classes}, {half}, {name} | {shown}", flush=True)
