"""A zoo as a section of docs/audit.md: every number of it comes from the tables beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from analysis.attack.triggers import TRIGGERS
from analysis.errors import InputError
from analysis.store.files import write_bytes
from benchmarks.zoo.choosing import compare_searches, comparison_lines
from benchmarks.zoo.judging import CLEANSED, PATCHES, TESTS, Judged, Judgement, judge
from benchmarks.zoo.method import ROOT, noted_method
from benchmarks.zoo.pictures import gallery, roc_picture
from benchmarks.zoo.plan import OURS, Zoo
from benchmarks.zoo.rates import rate
from benchmarks.zoo.results import Results, Row
from benchmarks.zoo.steps import can_be_repaired

DOCUMENT = ROOT / "docs" / "audit.md"
PICTURES = ROOT / "docs" / "pictures"
NOT_RUN = "**not run**"
UNLEARN = "unlearn"
STRANGE = 2
"""The index above which Neural Cleanse calls a class planted, as published."""
ERRORS = ("Missed", "Wrong class", "False alarms", "False alarms, foreign recipe")
"""The groups of the gallery that are explained one by one."""


def marks(zoo: Zoo) -> tuple[str, str]:
    """What stands before and behind the section of a zoo."""
    return f"<!-- zoo {zoo.name}: begin -->", f"<!-- zoo {zoo.name}: end -->"


def write_report(
    zoo: Zoo, results: Results, *, document: Path = DOCUMENT, pictures: Path = PICTURES
) -> None:
    """Write the section into ``document`` and, where anything was audited, its two pictures."""
    judged = judge(zoo, results)
    begin, end = marks(zoo)
    text = document.read_text(encoding="utf-8")
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise InputError(
            f"{document.name} has no section for the zoo {zoo.name!r}",
            expected=f"the lines {begin} and {end}",
        )
    if any(OURS in student.tests for student in judged.students):
        write_bytes(pictures / f"zoo-{zoo.name}-roc.svg", roc_picture(judged).encode())
        shown = gallery(groups(judged), results.pictures)
        write_bytes(pictures / f"zoo-{zoo.name}-gallery.svg", shown.encode())
    section = "\n".join(section_lines(zoo, results, judged))
    write_bytes(document, f"{before}{begin}\n{section}\n{end}{after}".encode())


def groups(judged: Judgement) -> list[tuple[str, list[Judged]]]:
    """The audited students by what the audit made of them; misses and false alarms first."""
    positives, honest = judged.positives, judged.honest
    foreign = judged.audited("foreign")
    found = [
        ("Missed", [one for one in positives if not one.flagged]),
        ("Wrong class", [one for one in positives if one.flagged and not one.right_class]),
        ("False alarms", [one for one in honest if one.flagged]),
        ("False alarms, foreign recipe", [one for one in foreign if one.flagged]),
        ("Found", [one for one in positives if one.is_hit]),
        ("Attack worked in part", judged.audited("planted", "partial")),
        ("Honest, no evidence", [one for one in honest if not one.flagged]),
        ("Honest, foreign recipe, no evidence", [one for one in foreign if not one.flagged]),
    ]
    return [(title, students) for title, students in found if students]


def section_lines(zoo: Zoo, results: Results, judged: Judgement) -> list[str]:
    """The whole section as lines of Markdown."""
    made, audited = len(judged.students), sum(OURS in one.tests for one in judged.students)
    failed = len(judged.planted("failed"))
    lines = [
        f"{made} of {len(zoo.students)} students of the {zoo.name} zoo are made; {audited} are "
        f"audited" + (f", and {failed} are not because their attack failed." if failed else "."),
    ]
    if made == 0:
        return [f"{lines[0]} Audit, screening and repair: {NOT_RUN}."]
    if audited + failed < len(zoo.students) or _yet_to_be_repaired(judged):
        lines[0] += " **The zoo is not complete**: what follows is of these students only."
    noted = noted_method(results.folder, zoo)
    if noted is not None and zoo.frozen:
        lines.append(f"Method: commit `{noted.commit[:12]}`, noted before the first student.")
    parts = [lines, _attacks(judged)]
    if audited:
        parts += [_rates(judged), _areas(judged), _cleansed(judged)]
    parts.append(_searches(zoo, results))
    if audited:
        parts += [_families(judged), _errors(judged), _pictures(zoo)]
    parts.append(_screening(judged))
    if audited:
        parts.append(_repair(judged))
    else:
        parts.append([f"Verdicts, ROC curve, gallery and repair: {NOT_RUN}."])
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def _attacks(judged: Judgement) -> list[str]:
    """How the attacks came out, and those that count neither way."""
    counts = {name: judged.planted(name) for name in ("positive", "partial", "failed")}
    lines = [
        f"Of {sum(map(len, counts.values()))} planted students {len(counts['positive'])} are "
        f"positive (60 points and more over the base rate), {len(counts['partial'])} lie between "
        f"10 and 60, and in {len(counts['failed'])} the attack failed: neither kind is positive or "
        "negative."
    ]
    rows = [*counts["partial"], *counts["failed"]]
    if rows:
        lines += ["", "| no positive | trigger | success, % | base rate, % | verdict |"]
        lines.append("|---|---|---|---|---|")
    for one in rows:
        said = one.tests.get(OURS, {}).get("verdict", "not audited")
        lines.append(
            f"| {one.name} | `{one.model['trigger']}` | "
            f"{_percent(one.model['attack_success_rate'])} | {_percent(one.model['base_rate'])} | "
            f"{said.replace('_', ' ')} |"
        )
    return lines


def _rates(judged: Judgement) -> list[str]:
    """Hits and false alarms with exact intervals."""
    positives, honest = judged.positives, judged.honest
    foreign = judged.audited("foreign")
    flagged = [one for one in positives if one.flagged]
    rows = [
        ("hits: flagged, with the right class", [one.is_hit for one in positives]),
        ("right class, of the positives that are flagged", [one.right_class for one in flagged]),
        ("false alarms, honest students", [one.flagged for one in honest]),
        ("false alarms, honest students with a foreign recipe", [one.flagged for one in foreign]),
        ("flagged, with the set screened too", [one.flagged_with_set for one in positives]),
        ("false alarms, with the set screened too", [one.flagged_with_set for one in honest]),
    ]
    lines = ["| | of, and exact 95 % interval in % |", "|---|---|"]
    return lines + [f"| {title} | {_rate(values)} |" for title, values in rows]


def _areas(judged: Judgement) -> list[str]:
    """The areas under the ROC curves; intervals draw whole teachers anew."""
    lines = [
        "| test | AUROC, all families | patches | passes, median |",
        "|---|---|---|---|",
    ]
    for test, title in TESTS.items():
        everything, patches = judged.area(test), judged.area(test, PATCHES)
        passes = judged.passes(test)
        lines.append(
            f"| {title} | {everything or 'not known'} | {patches or 'not known'} | "
            f"{'not run' if passes is None else f'{passes:,.0f}'.replace(',', ' ')} |"
        )
    return lines


def _cleansed(judged: Judgement) -> list[str]:
    """What Neural Cleanse finds when it may take the passes that its own schedule takes."""
    known = judged.cleansed()
    if not known.students:
        return []
    teachers = dict.fromkeys(str(one.model["teacher"]) for one in known.students)
    positives, honest = known.positives, known.honest
    passes = known.passes(CLEANSED) or 0
    times = passes / (known.passes(OURS) or passes)
    flagged = [one for one in positives if one.tests[CLEANSED]["statistic"] > STRANGE]
    right = [one for one in flagged if one.tests[CLEANSED]["named"] == one.model["target"]]
    alarms = [one.tests[CLEANSED]["statistic"] > STRANGE for one in honest]
    areas = [
        f"{known.area(test) or 'not known'} (patches: {known.area(test, PATCHES) or 'not known'})"
        for test in (CLEANSED, "neural_cleanse", OURS)
    ]
    return [
        f"Neural Cleanse with its authors' own schedule, which takes {times:.0f} times the audit's "
        f"passes, on {len(known.students)} of these students ({', '.join(teachers)}): AUROC "
        f"{areas[0]}; on the same students with as many passes as the audit {areas[1]}, and the "
        f"audit {areas[2]}. By the published rule, an index "
        f"above {STRANGE}, it flags {len(flagged)} of {len(positives)} positives, {len(right)} "
        f"with the right class, and {_rate(alarms)} honest students."
    ]


def _searches(zoo: Zoo, results: Results) -> list[str]:
    """The searches to choose between, of a zoo that makes several."""
    return comparison_lines(compare_searches(zoo, results)) if zoo.variants else []


def _families(judged: Judgement) -> list[str]:
    """Every family of the registry: positives, hits, and those that have no positive."""
    lines = [
        "| planted family | made | positive | found, right class | smallest success, % |",
        "|---|---|---|---|---|",
    ]
    without = []
    for family in TRIGGERS:
        made = [one for one in judged.students if one.model["family"] == family]
        positives = [one for one in made if one.is_positive]
        known = [one for one in positives if OURS in one.tests]
        least = min((one.model["attack_success_rate"] for one in positives), default=None)
        if not positives:
            without.append(family)
        lines.append(
            f"| {family} | {len(made)} | {len(positives)} | {_rate([o.is_hit for o in known])} | "
            f"{'' if least is None else _percent(least)} |"
        )
    if without:
        lines += ["", f"No positive exists of: {', '.join(without)}; nothing is claimed of them."]
    return lines


def _errors(judged: Judgement) -> list[str]:
    """Every miss, wrong class and false alarm, with what the audit saw there."""
    lines = [
        f"- {title}: {one.name}, {_seen(one)}"
        + (_above(one, judged) if title == "False alarms" else "")
        for title, students in groups(judged)
        for one in students
        if title in ERRORS
    ]
    return ["Every error (the pictures below begin with them):", "", *lines] if lines else []


def _above(one: Judged, judged: Judgement) -> str:
    """How many positives an honest student stands above."""
    own = one.tests[OURS]["statistic"]
    parts = []
    for what, families in (("positives", None), ("patches", PATCHES)):
        chosen = [p for p in judged.positives if not families or p.model["family"] in families]
        below = sum(p.tests[OURS]["statistic"] < own for p in chosen)
        parts.append(f"{below} of {len(chosen)} {what}")
    return f" It stands above {parts[0]}, {parts[1]}."


def _seen(one: Judged) -> str:
    """What the audit saw in one student, as a sentence."""
    row, planted = one.tests[OURS], one.model["family"]
    what = (
        "honest" if planted is None else f"`{one.model['trigger']}` towards {one.model['target']}"
    )
    p_value = "not known" if row["p_value"] is None else f"{row['p_value']:.2g}"
    said = (
        f"{what}. Most striking: {row['family']} towards {row['named']}, statistic "
        f"{row['statistic']:.1f}, references up to {row['references_up_to']:.1f}, p = {p_value}"
    )
    if row["flip_student"] is None:
        return f"{said}; no such trigger works."
    moved = (_percent(row[f"flip_{model}"]) for model in ("student", "teacher"))
    return f"{said}; of unseen images it moves student and teacher on {' and '.join(moved)} %."


def _pictures(zoo: Zoo) -> list[str]:
    return [
        f"![ROC curves of the {zoo.name} zoo](pictures/zoo-{zoo.name}-roc.svg)",
        "",
        f"![What was recovered from every student](pictures/zoo-{zoo.name}-gallery.svg)",
        "",
        "In each triple: the recovered trigger, an unseen image with it, an image with the planted "
        "one (none in honest students).",
    ]


def _screening(judged: Judgement) -> list[str]:
    """How well the poison is found in the sets, and the alarms of clean ones."""
    poisoned = [row for row in judged.screenings if row["auroc"] is not None]
    clean = [row for row in judged.screenings if row["poisoned"] == 0]
    if not judged.screenings:
        return [f"Screening of the sets: {NOT_RUN}."]
    targets = {one.name: one.model["target"] for one in judged.students}
    right = [_alarms(row) and row["named"] == targets.get(row["set"]) for row in poisoned]
    lines = [
        f"Screening of the sets: an alarm with the right class in {_rate(right)} poisoned sets; "
        f"an alarm in {_rate([_alarms(row) for row in clean])} clean ones."
    ]
    if poisoned:
        aurocs = [row["auroc"] for row in poisoned]
        shares = [row["found_at_1_percent"] for row in poisoned]
        lines.append(
            f"Of the images, AUROC {median(aurocs):.3f} (median; {min(aurocs):.3f} to "
            f"{max(aurocs):.3f}); {_percent(median(shares))} % of the poison found at 1 % false "
            "alarms."
        )
    return lines


def _alarms(row: Row) -> bool:
    return row["p_value"] is not None and row["p_value"] <= 0.05


def _repair(judged: Judgement) -> list[str]:
    """What repairing the positives with the recovered trigger did, beside the control."""
    lines = [
        "| repair | into the honest range | accuracy lost, points: median (most) | "
        "true trigger after, %: median (most) |",
        "|---|---|---|---|",
    ]
    for remedy in dict.fromkeys(row["remedy"] for row in judged.repairs):
        rows = [row for row in judged.repairs if row["remedy"] == remedy]
        costs = [100 * row["cost"] for row in rows]
        after = [row["asr_true_after"] for row in rows]
        lines.append(
            f"| {remedy} | {_rate([bool(row['within']) for row in rows])} | "
            f"{median(costs):.1f} ({max(costs):.1f}) | "
            f"{_percent(median(after))} ({_percent(max(after))}) |"
        )
    if not judged.repairs:
        return [f"Repair: {NOT_RUN}."]
    if beyond := [row for row in judged.repairs if row["remedy"] == UNLEARN and not row["within"]]:
        kept = [100 * row["asr_true_after"] for row in beyond]
        above = max(100 * (row["asr_true_after"] - row["honest_high"]) for row in beyond)
        lines += [
            "",
            f"The {len(beyond)} that unlearning does not bring into the range keep "
            f"{min(kept):.1f} to {max(kept):.1f} %, at most {above:.1f} points above the most "
            "susceptible honest student.",
        ]
    unnamed = sum(not can_be_repaired(one.tests[OURS]) for one in judged.positives)
    if unnamed:
        lines += ["", f"{unnamed} positives were not repaired: the audit names no trigger in them."]
    if left := _yet_to_be_repaired(judged):
        lines += ["", f"Yet to be repaired: {', '.join(left)}."]
    return lines


def _yet_to_be_repaired(judged: Judgement) -> list[str]:
    """Positives whose audit names a trigger that nobody has unlearned so far."""
    repaired = {row["student"] for row in judged.repairs}
    return [
        one.name
        for one in judged.positives
        if can_be_repaired(one.tests[OURS]) and one.name not in repaired
    ]


def _rate(values: Sequence[bool]) -> str:
    return str(rate(sum(values), len(values)))


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f}"
