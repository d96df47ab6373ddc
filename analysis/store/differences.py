"""In what studies of a workspace differ: their settings and recipes, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.store.summary import StudySummary

ABSENT = None
"""What a study shows that does not have a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key under its ``group``, with a value per study; ``differs`` where not all are equal.

    ``group`` is what it is a setting of: the study, its configuration, or a student by name.
    Values are plain JSON values; one that a study does not have is :data:`ABSENT`.
    """

    group: str
    key: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Whether the studies do not all agree; ``1`` and ``1.0`` do, ``1`` and true do not."""
        first = self.values[0]
        return any(
            value != first or isinstance(value, bool) != isinstance(first, bool)
            for value in self.values[1:]
        )


STUDY, CONFIG = "Study", "Configuration"


def compare_settings(summaries: Sequence[StudySummary]) -> tuple[Setting, ...]:
    """All settings of ``summaries``, in the order in which the studies name them.

    Nested settings have dotted keys. Students are matched by name; of one that a single study has
    only the ``role`` is named: there is no recipe to hold its own against.
    """
    counts = Counter(student.name for summary in summaries for student in summary.students)
    flat = [dict(_flat(summary, counts)) for summary in summaries]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    groups = dict.fromkeys(group for group, _ in keys)
    return tuple(
        Setting(
            group=group,
            key=name,
            values=tuple(settings.get((group, name), ABSENT) for settings in flat),
        )
        for group in groups
        for own, name in keys
        if own == group
    )


def _flat(
    summary: StudySummary, counts: Mapping[str, int]
) -> Iterator[tuple[tuple[str, str], Any]]:
    about = {
        "teacher": summary.teacher,
        "images": summary.images,
        "source": summary.source,
        "classes": summary.classes,
        "conditions": ", ".join(summary.conditions),
    }
    yield from (((STUDY, key), value) for key, value in about.items())
    yield from (((CONFIG, key), value) for key, value in flattened(summary.config))
    for student in summary.students:
        yield (student.name, "role"), student.role
        if counts[student.name] > 1:
            own = {"architecture": student.architecture, **student.recipe}
            yield from (((student.name, key), value) for key, value in flattened(own))


def flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values of nested ``settings``; lists stay whole."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        else:
            yield name, value
