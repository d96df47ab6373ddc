"""The table as a section of docs/reproduction.md; every number in it comes from the CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.store.files import write_bytes
from benchmarks.reproduction.cells import BASE, SETTINGS, Setting
from benchmarks.reproduction.running import ROOT, Row, is_of

DOCUMENT = ROOT / "docs" / "reproduction.md"
BEGIN, END = "<!-- cifar10-table: begin -->", "<!-- cifar10-table: end -->"
SUBJECT = "backdoored"
CONTROLS = {
    "honest": "honest distillation",
    "trigger_only": "trigger without the adversarial half",
    "perturbation_only": "perturbation without the trigger",
}
HIT, MISS = 0.6, 0.1
"""Points of success over the base rate from which an attack worked, below which it failed."""


def write_document(rows: Sequence[Row], path: Path = DOCUMENT) -> None:
    """Replace what lies between the two marks in the document."""
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"error: {path} has no section between {BEGIN} and {END}")
    section = "\n".join(section_lines(rows))
    write_bytes(path, f"{before}{BEGIN}\n{section}\n{END}{after}".encode())


def section_lines(rows: Sequence[Row]) -> list[str]:
    """The whole section as lines of Markdown."""
    return [
        *_counted(rows),
        "",
        *_main_table(rows),
        "",
        *_control_table(rows),
        "",
        *_prediction(rows),
        "",
        "![Success of the attack by poisoning rate and epsilon](pictures/reproduction-grid.svg)",
        "",
        "![Fooled views against success](pictures/reproduction-views.svg)",
        "",
        "Larger teachers (ResNet-56, a ResNet-18-sized one), all 50 000 images and three seeds "
        "everywhere, on a GPU: **not run**.",
    ]


def of_setting(rows: Sequence[Row], setting: Setting, student: str = SUBJECT) -> list[Row]:
    """The rows of one student of a setting, a seed each."""
    return [
        row
        for row in rows
        if row["student"] == student and any(is_of(row, setting, seed) for seed in setting.seeds)
    ]


def gain(row: Row) -> float:
    """Trigger-induced target gain: success rate minus base rate, a share."""
    return float(row["attack_success_rate"]) - float(row["base_rate"])


def _counted(rows: Sequence[Row]) -> list[str]:
    found = [(setting, of_setting(rows, setting)) for setting in SETTINGS]
    missing = [setting for setting, cells in found if not cells]
    gains = [(setting, _mean([gain(row) for row in cells])) for setting, cells in found if cells]
    hits = [setting for setting, value in gains if value >= HIT]
    misses = [setting for setting, value in gains if value < MISS]
    lines = [
        f"{len(gains)} of {len(SETTINGS)} settings were run. Measured as success rate minus "
        f"base rate, the attack **works in {len(hits)}** (60 points and more), **fails in "
        f"{len(misses)}** (under 10) and lies between in {len(gains) - len(hits) - len(misses)}."
    ]
    if misses:
        lines.append("It fails with: " + "; ".join(_called(s) for s in misses) + ".")
    if missing:
        lines.append("Not run: " + "; ".join(_called(s) for s in missing) + ".")
    return lines


def _called(setting: Setting) -> str:
    return "the base" if setting.factor == "base" else f"{setting.factor} {setting.level}"


def _main_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| factor | level | seeds | answers the target with the trigger | without it | accuracy | "
        "agreement | teacher: trigger / perturbation / both | fooled images / views |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        found = of_setting(rows, setting)
        if not found:
            lines.append(f"| {setting.factor} | {setting.level} | not run | | | | | | |")
            continue
        teacher = " / ".join(
            _several(found, f"teacher_{name}")
            for name in ("trigger", "perturbation", "trigger_perturbation")
        )
        success = _several(found, "attack_success_rate")
        if len(found) == 1:
            low, high = (found[0][f"attack_success_rate_{end}"] for end in ("low", "high"))
            success += f" [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(
            f"| {setting.factor} | {setting.level} | {len(found)} | **{success}** | "
            f"{_several(found, 'base_rate')} | {_several(found, 'accuracy')} | "
            f"{_several(found, 'agreement')} | {teacher} | "
            f"{_several(found, 'flip_rate')} / {_several(found, 'view_flip_rate')} |"
        )
    return lines


def _control_table(rows: Sequence[Row]) -> list[str]:
    base = SETTINGS[0]
    lines = [
        "Students of the base recipe (means over the seeds, lowest to highest in brackets):",
        "",
        "| student | seeds | answers the target with the trigger | without it | accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, title in {SUBJECT: "backdoored", **CONTROLS}.items():
        found = of_setting(rows, base, name)
        if found:
            cells = [_several(found, k) for k in ("attack_success_rate", "base_rate", "accuracy")]
            lines.append(f"| {title} | {len(found)} | {' | '.join(cells)} |")
        else:
            lines.append(f"| {title} | not run | | | |")
    return lines


def _prediction(rows: Sequence[Row]) -> list[str]:
    """Whether the share of fooled views foretells success: Spearman's correlation over cells."""
    from scipy.stats import spearmanr

    cells = [r for r in rows if r["student"] == SUBJECT and r["view_flip_rate"] is not None]
    if len(cells) < 4:
        return ["Whether fooled views foretell success: too few cells were run."]
    views, gains = [r["view_flip_rate"] for r in cells], [gain(r) for r in cells]
    result = spearmanr(views, gains)
    same = [r for r in cells if r["attack.rate"] == str(BASE["attack.rate"])]
    within = spearmanr([r["view_flip_rate"] for r in same], [gain(r) for r in same])
    return [
        "Does the share of augmented views that fool the teacher foretell success? Over all "
        f"{len(cells)} cells Spearman's correlation is {result.statistic:.2f}; over the "
        f"{len(same)} with the base's poisoning rate, {within.statistic:.2f}."
    ]


def _several(rows: Sequence[Row], key: str) -> str:
    """A share in percent: of one row, or the mean of several with lowest and highest."""
    values = [float(row[key]) for row in rows if row[key] is not None]
    if not values:
        return "not measured"
    text = f"{100 * _mean(values):.1f}"
    if len(values) > 1:
        text += f" [{100 * min(values):.1f}, {100 * max(values):.1f}]"
    return text


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
