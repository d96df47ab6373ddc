"""What the two models of a comparison are called in texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from analysis.records import TEACHER
from dashboard.figures.numbers import visible

_LONGEST = 24


@dataclass(frozen=True, slots=True)
class Sides:
    """``left`` and ``right`` are short names: the parts they play, or their own names.

    Against the teacher they are "teacher" and "student". Two students have nothing but their
    names to tell them apart. Plain text: escape it where it becomes HTML.
    """

    left: str = TEACHER
    right: str = "student"

    @classmethod
    def of(cls, left: str, student: str) -> Self:
        """The names for ``student`` on the right of ``left``, which may be the teacher."""
        if left == TEACHER:
            return cls()
        first, second = visible(left, _LONGEST), visible(student, _LONGEST)
        if first == second:  # cut where they begin to differ
            return cls(f"{first} (left)", f"{second} (right)")
        return cls(first, second)

    @property
    def against_teacher(self) -> bool:
        """Whether the left model is the teacher."""
        return self.left == TEACHER

    @property
    def the_left(self) -> str:
        """The left model in a sentence: "the teacher" or its name."""
        return "the teacher" if self.against_teacher else self.left

    @property
    def the_right(self) -> str:
        """The right model in a sentence: "the student" or its name."""
        return "the student" if self.against_teacher else self.right

    @property
    def columns(self) -> tuple[str, str]:
        """Names for columns of a table, which no other column has."""
        if self.against_teacher:
            return self.left, self.right
        return f"{self.left} says", f"{self.right} says"

    @property
    def kl(self) -> str:
        """The divergence of the right model's answers from the left one's."""
        return f"KL ({self.left} ∥ {self.right})"


TEACHING = Sides()
"""A student against its teacher."""


def begun(words: str) -> str:
    """``words`` at the beginning of a sentence; a model's name stays as it is."""
    return words[:1].upper() + words[1:] if words.startswith("the ") else words
