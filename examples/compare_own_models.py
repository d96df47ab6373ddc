"""Compare two models of your own: a teacher and its student, from images to a report.

Run as it is, it first trains both on rendered road signs:

    python examples/compare_own_models.py --out studies/own

With models of yours it only compares them:

    python examples/compare_own_models.py --teacher resnet20@teacher.th,normalize=imagenet \
        --student student.safetensors --images test.parquet --out studies/own
"""

from __future__ import annotations

import argparse
from pathlib import Path

import analysis
from dashboard.notebook import show


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", help="SPEC of your teacher")
    parser.add_argument("--student", help="SPEC of your student")
    parser.add_argument("--images", default="signs:test,n=1000", help="what they are compared on")
    parser.add_argument("--train", default="signs:train,n=4000", help="what both learn from")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("studies/own"))
    return parser.parse_args()


def trained(asked: argparse.Namespace) -> tuple[str, str]:
    """A teacher that learns from labels, and a smaller student that learns from the teacher."""
    folder = asked.out.with_name(f"{asked.out.name}-models")
    training = analysis.TrainingConfig(epochs=asked.epochs, flip=False, seed=1)
    teacher = analysis.train_model(
        architecture="resnet8", width=16, images=asked.train, config=training,
        out=folder / "teacher.safetensors",
    )  # fmt: skip
    student = analysis.distill_model(
        teacher=str(teacher.weights), architecture="smallresnet", width=16, images=asked.train,
        config=training, out=folder / "student.safetensors",
    )  # fmt: skip
    return str(teacher.weights), str(student.weights)


def main() -> None:
    asked = arguments()
    given = asked.teacher, asked.student
    teacher, student = given if all(given) else trained(asked)
    study = analysis.compare(
        teacher=teacher, students={"student": student}, images=asked.images, out=asked.out
    )
    for name, value in study.measures("student").items():
        if value is not None:
            print(f"{name:32} {value.value:7.3f}  [{value.low:.3f}, {value.high:.3f}]")
    report = show(study).report(asked.out.with_suffix(".html"))
    print(f"\n{report} opens in any browser; distillscope open {asked.out} shows the rest")


if __name__ == "__main__":
    main()
