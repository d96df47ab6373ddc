"""The tour's last two sentences: found without being told, and repaired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.records import Interval
from dashboard.figures.numbers import escaped, percent, percent_text
from dashboard.figures.repairs import measure_of, repair_order
from dashboard.figures.tour import STEPS, Claim, Step
from dashboard.loading_tour import TourNumbers


def found_claim(numbers: TourNumbers) -> Claim:
    """Step 7: the audit, which is told of no trigger, names the class that was planted."""
    name, target = escaped(numbers.subject.name, 40), f"“{escaped(numbers.target, 30)}”"
    record = numbers.audit
    if record is None:
        return Claim(
            f"Whether {name} was tampered with: not tested", "not tested",
            "No audit of this student is in the study.",
        )  # fmt: skip
    verdict, named = record.get("verdict"), record.get("target_class")
    note = _others(numbers)
    if verdict == "no_evidence_found":
        text = f"Without being told of it, the audit finds no evidence against {name}"
        return Claim(text, "no evidence found", note, False)
    word = "finds" if verdict == "backdoored" else "suspects"
    pointed = numbers.class_names[named] if isinstance(named, int) else None
    if pointed is None:
        text = f"Without being told of it, the audit {word} something in {name}, but names no class"
        return Claim(text, "no class named", note, False)
    right = pointed == numbers.target
    rare = _rarity(record)
    text = f"Without being told of it, the audit {word} a trigger towards “{escaped(pointed, 30)}”"
    if not right:
        text += f" in {name}; the planted one leads to {target}"
    elif verdict == "backdoored":
        text += f" in {name}{rare}"
    else:
        text += f" in {name}, without being sure{rare}"
    short = f"it names “{escaped(pointed, 30)}”"
    return Claim(text, short, note, right and verdict == "backdoored")


def _rarity(record: Mapping[str, Any]) -> str:
    p_value = record.get("p_value")
    if p_value is None:
        return ""
    kind = ", by a fitted tail" if record.get("p_kind") == "model" else ""
    return f" (p = {'under 0.001' if p_value < 0.001 else f'{p_value:.2g}'}{kind})"


def _others(numbers: TourNumbers) -> str:
    """What the audit says of the sibling: a search that accuses everybody finds nothing."""
    sibling, record = numbers.sibling, numbers.sibling_audit
    if sibling is None or record is None:
        return ""
    words = {
        "no_evidence_found": "it finds no evidence",
        "suspicious": "it is suspicious too, which is a false alarm if that one is honest",
        "backdoored": "it says the same, which is a false alarm if that one is honest",
    }
    found = words.get(str(record.get("verdict")), "it says nothing")
    return f"Against {escaped(sibling.name, 40)} {found}."


def repaired_claim(numbers: TourNumbers) -> Claim:
    """Step 8: a remedy takes the trigger out, at a small price."""
    name = escaped(numbers.subject.name, 40)
    tried = [entry for entry in numbers.repairs if not entry["control"]]
    if not tried:
        return Claim(
            f"Whether {name} can be repaired: not tried", "not tried",
            "No remedy of this student is in the study.",
        )  # fmt: skip
    measure = measure_of(numbers.repairs)
    best = repair_order(tried, measure)[-1]
    before, after = (Interval.from_json(best[part].get(measure)) for part in ("before", "after"))
    if before is None or after is None:
        return Claim(f"Whether {name} can be repaired: not measured", "not measured")
    title = str(best.get("title") or best["method"])
    title = escaped(title[:1].upper() + title[1:], 60)
    rates = f"from {percent_text(before.value)} to {percent_text(after.value)}"
    price = _price(best)
    short = f"{percent_text(after.value)} left"
    note = _control(numbers, measure)
    if all(entry.get("within_references") is None for entry in tried):
        text = f"{title} takes it {rates}{price}; whether honest students show as much is not known"
        beside = "No honest reference student stands beside it."
        return Claim(text, short, f"{note} {beside}".strip() if note else beside)
    if best.get("within_references") and best.get("accuracy_kept"):
        return Claim(f"{title} takes it out again: {rates}{price}", short, note, True)
    if best.get("within_references"):
        return Claim(f"{title} takes it out, at a price: {rates}{price}", short, note, False)
    text = f"Nothing that was tried takes it out; the best is {title}, {rates}{price}"
    return Claim(text, short, note, False)


def _price(entry: Mapping[str, Any]) -> str:
    for measure, noun in (("accuracy", "accuracy"), ("agreement", "agreement with the teacher")):
        change = Interval.from_json(entry["difference"].get(measure))
        if change is not None:
            lost = -change.value
            verb = "for" if lost >= 0 else "gaining"
            return f", {verb} {percent(abs(lost))} points of {noun}"
    return ""


def _control(numbers: TourNumbers, measure: str) -> str:
    control = next((entry for entry in numbers.repairs if entry["control"]), None)
    rate = None if control is None else Interval.from_json(control["after"].get(measure))
    if control is None or rate is None:
        return ""
    title = escaped(str(control.get("title") or control["method"]), 60)
    return f"{title[:1].upper()}{title[1:]}, the control, leaves {percent_text(rate.value)}."


AUDIT_STEPS: tuple[Step, ...] = (
    ("Found", found_claim),
    ("Repaired", repaired_claim),
)


def steps_of(numbers: TourNumbers) -> tuple[Step, ...]:
    """The steps of the tour: six, and two more where the study holds an audit."""
    return (*STEPS, *AUDIT_STEPS) if numbers.audited else STEPS
