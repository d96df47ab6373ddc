"""Colors in both themes, by role.

Three hues carry meaning and nothing else uses them: blue is the teacher, amber the student,
magenta is "they part" or an alarm. Shape repeats the color: teacher = circle, student = square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """One theme's colors as ``#RRGGBB``.

    ``classes`` has 20 colors, a class keeps its index in both themes. ``divergence`` runs from
    "none" to "most" on a surface, ``divergence_points`` the same for points on a map, where
    "none" must stay visible. ``signed`` runs from "against" (teacher side) over a neutral
    center to "for" (student side).
    """

    name: str
    teacher: str
    student: str
    alarm: str
    alarm_tint: str
    control: str
    reference: str
    null_band: str
    background: str
    panel: str
    hairline: str
    edge: str
    text: str
    secondary: str
    faint: str
    classes: tuple[str, ...]
    divergence: tuple[str, ...]
    divergence_points: tuple[str, ...]
    signed: tuple[str, ...]

    def class_color(self, index: int) -> str:
        """Color of a class; beyond 20 classes everything is the reference gray."""
        return self.classes[index] if 0 <= index < len(self.classes) else self.reference

    def css_variables(self) -> str:
        """Every single color by role as a CSS variable, ``--ds-null-band:#DDE2E8;`` and so on."""
        roles = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return "".join(
            f"--ds-{name.replace('_', '-')}:{color};"
            for name, color in roles.items()
            if isinstance(color, str) and name != "name"
        )


LIGHT = Palette(
    name="light",
    teacher="#1F6FB2",
    student="#AE5900",
    alarm="#B01E6B",
    alarm_tint="#FBEEF5",
    control="#24425F",
    reference="#8F9AA7",
    null_band="#DDE2E8",
    background="#FFFFFF",
    panel="#F4F6F8",
    hairline="#E1E5EA",
    edge="#C9D0D8",
    text="#17202B",
    secondary="#56616E",
    faint="#667180",
    classes=(
        "#4779EA", "#95C42A", "#B93000", "#791582", "#89B9CF", "#957391", "#3937AC", "#58714F",
        "#B29700", "#DA66C2", "#60415D", "#15985B", "#BF9BFC", "#4369A2", "#9D437F", "#892124",
        "#BB6802", "#724BC4", "#7EA385", "#37CDA0",
    ),
    divergence=(
        "#FAF4F7", "#F5DAE7", "#EFC0D7", "#E497BC", "#D5689F", "#BE4383", "#A22969", "#861152",
        "#670B41", "#4A0630",
    ),
    divergence_points=("#BFC7D0", "#DB8CB6", "#B01E6B", "#4A0630"),
    signed=("#0E4C86", "#4E93CF", "#B8D5EC", "#F8F8F7", "#F3CFA3", "#D98526", "#8A4300"),
)  # fmt: skip

DARK = Palette(
    name="dark",
    teacher="#6FB4EE",
    student="#F0A34E",
    alarm="#F272B0",
    alarm_tint="#361B2A",
    control="#3D74AA",
    reference="#6C7885",
    null_band="#2E3844",
    background="#11161C",
    panel="#19202A",
    hairline="#29323D",
    edge="#3C4754",
    text="#E8ECF0",
    secondary="#A3AEBA",
    faint="#828E9C",
    classes=(
        "#1498CE", "#BDC927", "#F97094", "#994AB0", "#78D1C0", "#F0AB90", "#276ED2", "#9C8E11",
        "#F9D46B", "#FA92F1", "#836780", "#6ABD4B", "#CED5F9", "#8BA8C3", "#BC6BAA", "#BF3957",
        "#A75C00", "#B688FE", "#25A473", "#4FFAB5",
    ),
    divergence=(
        "#1D232C", "#392538", "#532444", "#732954", "#963066", "#B7427D", "#D65F9A", "#F17FB6",
        "#FAAACF", "#FFD3E8",
    ),
    divergence_points=("#4C5866", "#97407B", "#F272B0", "#FFC9E4"),
    signed=("#BFE0FF", "#4F9FE0", "#1F4F7C", "#1B2129", "#6E4315", "#DE8A2C", "#FFDCA8"),
)  # fmt: skip


def palette(name: str | None) -> Palette:
    """Palette of a theme name; light unless ``dark`` is asked for."""
    return DARK if name == "dark" else LIGHT


def color_bar(colors: Sequence[str]) -> str:
    """A small color bar as HTML; the caller puts numbers at both ends."""
    stops = ",".join(colors)
    return f'<span class="ds-ramp" style="background:linear-gradient(90deg,{stops})"></span>'


def rgb(color: str) -> tuple[int, int, int]:
    """``#RRGGBB`` as three integers from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def faded(color: str, opacity: float) -> str:
    """``color`` with an opacity in [0, 1], as CSS."""
    red, green, blue = rgb(color)
    return f"rgba({red},{green},{blue},{opacity:g})"
