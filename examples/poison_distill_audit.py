"""Poison a distillation set, distill from it, and find out: the paper's attack, in small.

    python examples/poison_distill_audit.py --out studies/poisoned

The teacher stays clean. The attacker only touches the images that the student is distilled on
(arXiv 2504.21323). An honest student of the same teacher stands beside the poisoned one, and the
audit, which is told nothing of the trigger, judges both against honest reference students. The
defaults are small: a verdict that means something takes more images and references.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import analysis

TRIGGER = "sticker:size=7,down=4,right=4"
TARGET = "80"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=int, default=4000, help="distillation images")
    parser.add_argument("--test", type=int, default=600, help="images that all are compared on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--references", type=int, default=5, help="honest students of the audit")
    parser.add_argument("--steps", type=int, default=60, help="steps of each trigger search")
    parser.add_argument("--out", type=Path, default=Path("studies/poisoned"))
    return parser.parse_args()


def models(asked: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """The teacher and both students, one distilled on what the attacker left behind."""
    folder = asked.out.with_name(f"{asked.out.name}-models")
    images = f"signs:train,n={asked.train}"
    training = analysis.TrainingConfig(epochs=asked.epochs, flip=False, seed=1)
    teacher = analysis.train_model(
        architecture="resnet8", width=16, images=images, config=training,
        out=folder / "teacher.safetensors",
    )  # fmt: skip
    poisoned = analysis.attack_images(
        teacher=str(teacher.weights), images=images, out=folder / "poisoned",
        config=analysis.AttackConfig(
            trigger=TRIGGER, target=TARGET, rate=0.12, epsilon=16, flip=False
        ),
    )  # fmt: skip
    print(poisoned.report)
    sources = {"poisoned": str(poisoned.folder), "honest": images}
    students = {
        name: analysis.distill_model(
            teacher=str(teacher.weights), architecture="smallresnet", width=16, images=source,
            config=training, out=folder / f"{name}.safetensors",
        )
        for name, source in sources.items()
    }  # fmt: skip
    return str(teacher.weights), {name: str(made.weights) for name, made in students.items()}


def main() -> None:
    asked = arguments()
    teacher, students = models(asked)
    conditions = {"trigger": TRIGGER, "target": TARGET, "epsilon": "16"}
    study = analysis.compare(
        teacher=teacher, students=students, images=f"signs:test,n={asked.test}", out=asked.out,
        config=analysis.CompareConfig.from_mapping({"attack": conditions, "probe": 16}),
    )  # fmt: skip
    for name in students:
        rate = study.measures(name, "trigger")["attack_success_rate"]
        print(f"{name}: with the trigger {100 * rate.value:.1f} % are answered {TARGET!r}")
    search = {"families": ["mask"], "restarts": 1, "references": asked.references}
    audited = analysis.audit_study(
        study.path,
        config=analysis.AuditConfig.from_mapping({**search, "search": {"steps": asked.steps}}),
    )
    for name, row in analysis.headline(audited)["students"].items():
        print(f"{name}: {row['audit']['verdict']}")


if __name__ == "__main__":
    main()
