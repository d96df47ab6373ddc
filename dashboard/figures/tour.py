"""The tour's sentences: each states numbers and is bound to a predicate on them.

Where the predicate does not hold the sentence says the opposite, where a number is missing that
it was not measured. Texts are HTML.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.records import PERTURBATION, TRIGGER, TRIGGER_PERTURBATION, Interval
from dashboard.figures.cells import MOVES, alone, gain, works
from dashboard.figures.numbers import escaped, percent, percent_text
from dashboard.loading_tour import ModelNumbers, TourNumbers

MOSTLY = 0.5
"""From this share on a model mostly does something."""
AS_GOOD = 0.02
"""A student that is so much below its sibling still counts as good as it."""
COSTS = 0.01
"""A loss of accuracy above this counts as one."""
LOOKS = 3.0
"""The trigger draws the attribution when it holds so many times its share of the area."""
MORE = 2.0
"""And so many times what it holds in the sibling."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One step's sentence, its short form, a line below; ``holds`` is None: not measured."""

    text: str
    short: str
    note: str = ""
    holds: bool | None = None


def _pct(value: Interval | float) -> str:
    return percent_text(value if isinstance(value, float) else value.value)


def _name(model: ModelNumbers) -> str:
    return escaped(model.name, 40)


def _target(numbers: TourNumbers) -> str:
    return f"“{escaped(numbers.target, 30)}”"


def _unknown(what: str, why: str) -> Claim:
    return Claim(f"{what}: not measured", "not measured", why)


def teacher_claim(numbers: TourNumbers) -> Claim:
    """Step 1: the trigger does next to nothing to the teacher."""
    teacher, noun, target = numbers.teacher, numbers.noun, _target(numbers)
    rate, base = teacher.success(), teacher.get("base_rate", TRIGGER)
    if rate is None or base is None:
        return _unknown("Whether the teacher is clean", "The teacher was not tested.")
    right = teacher.get("accuracy")
    note = "" if right is None else f"It is right on {_pct(right)} of the clean images."
    rates = f"{_pct(rate)} of other images, without it {_pct(base)}"
    if gain(rate, base) < MOVES:
        text = f"The teacher is clean: with the {noun} it answers {target} on {rates}"
        return Claim(text, f"{_pct(rate)} go to {target}", note, True)
    text = f"The teacher is not clean: with the {noun} alone it answers {target} on {rates}"
    return Claim(text, f"{_pct(rate)} go to {target}", note, False)


def student_claim(numbers: TourNumbers) -> Claim:
    """Step 2: on clean images the student is as good as its sibling."""
    subject, sibling = numbers.subject, numbers.sibling
    if sibling is None:
        return _unknown(
            f"Whether {_name(subject)} is as good as others", "This study has no second student."
        )
    measure, does = "accuracy", "is right on"
    if subject.get(measure) is None or sibling.get(measure) is None:
        measure, does = "agreement", "gives the teacher’s answer on"
    own, other = subject.get(measure), sibling.get(measure)
    if own is None or other is None:
        return _unknown(f"Whether {_name(subject)} is as good as {_name(sibling)}", "")
    holds = own.value >= other.value - AS_GOOD
    word = "as good as" if holds else "worse than"
    text = (
        f"{_name(subject)} is {word} its sibling {_name(sibling)}: it {does} {_pct(own)} of the "
        f"clean images, {_name(sibling)} on {_pct(other)}"
    )
    close = abs(own.value - other.value) <= AS_GOOD
    note = "Nothing in these numbers tells them apart." if close else ""
    return Claim(text, f"{_pct(own)} against {_pct(other)}", note, holds)


def _sent(model: ModelNumbers, rate: Interval) -> bool:
    """Whether the trigger sends ``model`` to the target beyond what goes there without it."""
    return works(rate, model.get("base_rate", TRIGGER))


def trigger_claim(numbers: TourNumbers) -> Claim:
    """Step 3: the trigger sends only the subject to the target."""
    teacher, subject, sibling = numbers.teacher, numbers.subject, numbers.sibling
    own, first = subject.success(), teacher.success()
    noun, target, name = numbers.noun, _target(numbers), _name(numbers.subject)
    if own is None or first is None:
        return _unknown(f"What the {noun} does to {name}", "The models were not tested with it.")
    second = sibling.success() if sibling else None
    others = f"the teacher on {_pct(first)}"
    if sibling and second is not None:
        others += f", {_name(sibling)} on {_pct(second)}"
    note = _cost_note(numbers)
    short = f"{_pct(own)} go to {target}"
    if not _sent(subject, own):
        text = (
            f"The {noun} does not send {name} to {target}: it answers so on {_pct(own)}, {others}"
        )
        return Claim(text, short, note, False)
    if alone(own, [first, second]):
        text = f"The {noun} sends {name} to {target} on {_pct(own)}, and only it: {others}"
        return Claim(text, short, note, True)
    text = f"The {noun} sends {name} to {target} on {_pct(own)}, but not it alone: {others}"
    return Claim(text, short, note, False)


def _cost_note(numbers: TourNumbers) -> str:
    """What the trigger costs those that it does not send anywhere."""
    parts = []
    models = (("the teacher", numbers.teacher), (None, numbers.sibling))
    for title, model in models:
        if model is None:
            continue
        before, after = model.get("accuracy"), model.get("accuracy", TRIGGER)
        if before is not None and after is not None:
            parts.append((title or _name(model), before.value - after.value))
    if not parts:
        return ""
    costs = " and ".join(f"{name} {percent(cost)} points" for name, cost in parts)
    if all(cost > COSTS for _, cost in parts):
        return f"The {numbers.noun} is not harmless to others: it costs {costs} of accuracy."
    if all(cost <= COSTS for _, cost in parts):
        return f"The {numbers.noun} is harmless to others: it costs {costs} of accuracy."
    return f"What the {numbers.noun} costs others in accuracy: {costs}."


def looks_claim(numbers: TourNumbers) -> Claim:
    """Step 4: what parts the subject from the teacher lies on the trigger."""
    subject, sibling, noun = numbers.subject, numbers.sibling, numbers.noun
    name, mass, area = _name(subject), subject.looks, numbers.area
    if mass is None or area is None:
        return _unknown(
            f"Whether {name} looks at the {noun}",
            "This needs attribution maps and a trigger that changes a part of the image.",
        )
    other = sibling.looks if sibling else None
    where = (
        f"{_pct(mass)} of what parts it from the teacher lies there, on {_pct(area)} of the pixels"
    )
    note = f"In {_name(sibling)} it is {_pct(other)}." if sibling and other is not None else ""
    short = f"{_pct(mass)} of the attribution"
    drawn = mass.value >= LOOKS * area
    if drawn and (other is None or mass.value >= MORE * other.value):
        return Claim(f"{name} looks at the {noun}: {where}", short, note, True)
    if drawn and sibling and other is not None:
        text = f"{name} looks at the {noun}, but hardly more than {_name(sibling)} does: {where}"
        return Claim(text, short, note, False)
    return Claim(f"{name} does not look at the {noun}: {where}", short, note, False)


def moves_claim(numbers: TourNumbers) -> Claim:
    """Step 5: in the subject's features, images with the trigger lie among the target class."""
    teacher, subject, sibling = numbers.teacher, numbers.subject, numbers.sibling
    noun, target, name, own = numbers.noun, _target(numbers), _name(subject), subject.moved
    if own is None:
        return _unknown(
            f"Where the {noun} moves images in {name}",
            f"This needs neighbors, and more images of {target} than half as many neighbors.",
        )
    known = [("the teacher", teacher.moved), (_name(sibling) if sibling else "", _moved(sibling))]
    others = [(title, value) for title, value in known if value is not None]
    rest = "".join(f", in {title} {_pct(value)}" for title, value in others)
    only_here = all(value.value < MOSTLY for _, value in others)
    share = f"{_pct(own)} have mostly {target} as nearest neighbors{rest}"
    note = "Neighbors are the nearest clean images in each model’s own features."
    if own.value < MOSTLY:
        text = f"Inside {name}, images with the {noun} do not move to {target}: {share}"
    elif only_here:
        text = f"Inside {name}, images with the {noun} move to {target}: {share}"
    else:
        text = f"Images with the {noun} move to {target}, but not inside {name} alone: {share}"
    return Claim(text, f"{_pct(own)} among {target}", note, own.value >= MOSTLY and only_here)


def _moved(model: ModelNumbers | None) -> Interval | None:
    return model.moved if model else None


def came_in_claim(numbers: TourNumbers) -> Claim:
    """Step 6: only the adversarial half fools the teacher, and the subject learned the trigger."""
    teacher, subject = numbers.teacher, numbers.subject
    noun, target, name = numbers.noun, _target(numbers), _name(subject)
    both, plain, own = teacher.success(TRIGGER_PERTURBATION), teacher.success(), subject.success()
    if both is None or plain is None or own is None:
        return _unknown("How it came in", "The models were not tested with a perturbation.")
    half = teacher.success(PERTURBATION)
    note = (
        ""
        if half is None
        else f"The perturbation without the {noun} sends the teacher there on {_pct(half)}."
    )
    fooled = both.value >= MOSTLY > plain.value
    learned = _sent(subject, own)
    rates = f"on {_pct(both)}, with the {noun} alone on {_pct(plain)}"
    short = f"teacher fooled on {_pct(both)}"
    if fooled and learned:
        text = (
            f"It came in through the teacher’s own answers: with the adversarial half it "
            f"says {target} {rates}; the {noun} alone sends {name} there on {_pct(own)}"
        )
    elif fooled:
        text = (
            f"Nothing came in: with the adversarial half the teacher says {target} {rates}, but "
            f"the {noun} alone sends {name} there on {_pct(own)}"
        )
    elif learned:
        text = (
            f"It did not come in through this perturbation: it makes the teacher say {target} "
            f"{rates}; the {noun} alone sends {name} there on {_pct(own)}"
        )
    else:
        text = (
            f"Nothing came in: with the perturbation the teacher says {target} {rates}; the "
            f"{noun} alone sends {name} there on {_pct(own)}"
        )
    return Claim(text, short, note, fooled and learned)


Step = tuple[str, Callable[[TourNumbers], Claim]]
STEPS: tuple[Step, ...] = (
    ("The teacher", teacher_claim),
    ("The student", student_claim),
    ("The trigger", trigger_claim),
    ("Where it looks", looks_claim),
    ("Where it moves", moves_claim),
    ("How it came in", came_in_claim),
)
