"""Train the models that the demo compares: ``python assets/demo/make.py``.

Renders road signs, trains a teacher on them, poisons the signs against it and distills three
students: ``honest`` from the clean signs, ``backdoored`` from the poisoned ones, ``trigger_only``
from the same signs with the trigger alone. Seed 101 is shipped: its weights lie beside this file.
Further seeds (``--seed 102``) leave their numbers in ``log.json`` and nothing else.

Everything unfinished is kept in ``--work`` and gone on with; whoever changes the recipe deletes
that folder. The test images, on which the demo compares, are looked at once, at the end.
``cpu_seconds`` in the log is processor time by step, summed over all runs that were needed: the
figure that a busy machine does not change. A step that was killed without notice is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from measuring import measure, summarize
from safetensors import safe_open
from safetensors.torch import save_file

from analysis.attack.settings import AttackConfig
from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.distillation.history import History
from analysis.distillation.objectives import HintonKD, Supervised
from analysis.distillation.training import TrainingConfig
from analysis.store.files import atomic_path, write_bytes, write_json
from analysis.study.attack import AttackedImages, attack_images
from analysis.study.demo import ATTACK, EPOCHS, checkpoint_name
from analysis.study.training import distill_model, run_folder, train_model

HERE = Path(__file__).parent
SHIPPED_SEED = 101
# Another seed than the test images have, so that no choice is made on those.
VALIDATION_IMAGES = "signs:test,n=1000,seed=102"
LIMIT_BYTES = 3_000_000
# Signs are chiral: a mirrored "keep right" is another sign. Float32 because bfloat16 is not
# computed alike by all processors.
COMMON: dict[str, Any] = {"batch_size": 128, "flip": False, "shift": 2, "precision": "float32"}
TEACHER: dict[str, Any] = {"epochs": 9, "learning_rate": 0.1}
STUDENT: dict[str, Any] = {
    "epochs": 26,
    "learning_rate": 0.02,
    "teacher_views": "cached",
    "checkpoint_count": 8,
}
POISONING_RATE = 0.12
# Which half of the attack each student's training images carry.
HALVES = {"honest": "none", "backdoored": "both", "trigger_only": "trigger"}


def training_images(seed: int) -> str:
    """The source of the signs that the models of ``seed`` learn from."""
    return f"signs:train,n=6000,seed={seed}"


def make(work: Path, seed: int, threads: int) -> None:
    """Train the teacher and the students of ``seed`` in ``work``, measure, ship, log."""
    with metered(work, "images"):
        training = load_images(training_images(seed), name="training", progress=show)
        validation = load_images(VALIDATION_IMAGES, name="validation", progress=show)
    common = {**COMMON, "seed": seed, "threads": threads}
    histories = {}

    def make_teacher(out: Path) -> None:
        train_model(
            architecture="resnet14",
            width=24,
            images=training,
            validation=validation,
            objective=Supervised(),
            config=TrainingConfig(**common, **TEACHER),
            out=out,
            progress=show,
        )

    teacher = work / "teacher.safetensors"
    histories["teacher"] = once(teacher, make_teacher)
    with metered(work, "attack"):
        attack = attack_images(
            teacher=str(teacher),
            images=training,
            out=work / "poisoned",
            config=poisoning(seed),
            progress=show,
        )

    def make_student(out: Path) -> None:
        distill_model(
            teacher=str(teacher),
            architecture="smallresnet",
            width=16,
            images=distillation_images(attack, training, HALVES[out.stem]),
            validation=validation,
            objective=HintonKD(temperature=4.0, hard_label_weight=0.0),
            config=TrainingConfig(**common, **STUDENT),
            out=out,
            progress=show,
        )

    for name in HALVES:
        histories[name] = once(work / f"{name}.safetensors", make_student)
    with metered(work, "test"):
        measured = measure(work, HALVES, show)
    seconds = read_seconds(work)
    entry: dict[str, Any] = {
        "images": {"training": training_images(seed), "validation": VALIDATION_IMAGES},
        "poison": attack.report.to_json(),
        "test": measured,
        "models": {name: short(history.to_json()) for name, history in histories.items()},
        "provenance": {
            "torch": torch.__version__,
            "processor": platform.machine(),
            "threads": threads,
            "cpu_seconds": {**seconds, "all": round(sum(seconds.values()), 1)},
        },
    }
    if seed == SHIPPED_SEED:
        entry["bytes"] = ship(work)
    log(work.parent, seed, entry)


def poisoning(seed: int) -> AttackConfig:
    """The attack on the signs of ``seed``: that of the demo's conditions."""
    shared = ("trigger", "target", "method", "epsilon", "norm", "steps", "margin")
    return AttackConfig(
        **{key: getattr(ATTACK, key) for key in shared},
        rate=POISONING_RATE,
        flip=COMMON["flip"],
        shift=COMMON["shift"],
        seed=seed,
    )


def distillation_images(attack: AttackedImages, training: ImageSet, half: str) -> ImageSet:
    """The signs of which the poisoned ones carry that half of the attack."""
    return training if half == "none" else attack.poisoned.with_half(half).images


def once(out: Path, make_model: Callable[[Path], None]) -> History:
    """Make the model ``out`` unless it is there; return its history."""
    if not out.exists():
        with metered(out.parent, out.stem):
            make_model(out)
    return History.from_json(json.loads((run_folder(out) / "history.json").read_text()))


@contextmanager
def metered(work: Path, step: str) -> Iterator[None]:
    """Add the processor seconds of a step, child processes included, to those in ``work``."""
    begun = sum(os.times()[:4])
    try:
        yield
    finally:
        seconds = read_seconds(work)
        spent = seconds.get(step, 0.0) + sum(os.times()[:4]) - begun
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / "cpu.json", {**seconds, step: round(spent, 1)})


def read_seconds(work: Path) -> dict[str, float]:
    """Processor seconds by step, as far as ``work`` has come."""
    path = work / "cpu.json"
    return json.loads(path.read_text()) if path.exists() else {}


def ship(work: Path) -> int:
    """Put the weights beside this file, checkpoints in half precision; return their bytes."""
    for name in ("teacher", *HALVES):
        shutil.copyfile(work / f"{name}.safetensors", HERE / f"{name}.safetensors")
    for stale in HERE.glob("*.epoch-*.safetensors"):
        stale.unlink()
    for name, epochs in EPOCHS.items():
        for epoch in epochs:
            kept = run_folder(work / f"{name}.safetensors") / f"epoch_{epoch:04d}.safetensors"
            halve(kept, HERE / f"{checkpoint_name(name, epoch)}.safetensors")
    total = sum(path.stat().st_size for path in HERE.glob("*.safetensors"))
    if total > LIMIT_BYTES:
        raise SystemExit(f"error: the weights take {total} bytes, the limit is {LIMIT_BYTES}")
    return total


def halve(source: Path, out: Path) -> None:
    """Copy a weights file with every floating-point tensor as float16; the header stays."""
    with safe_open(source, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = file.metadata()
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in state.items()
    }
    with atomic_path(out) as temporary:
        save_file(state, temporary, metadata=header)
        temporary.chmod(0o644)


def log(runs: Path, seed: int, entry: dict[str, Any]) -> None:
    """Write what became of ``seed`` into ``log.json``, beside the other seeds and their mean."""
    path = HERE / "log.json"
    seeds = json.loads(path.read_text()).get("seeds", {}) if path.exists() else {}
    seeds[str(seed)] = entry
    # Weights of the other seeds are kept in the folder of runs alone.
    at = {name: HERE if int(name) == SHIPPED_SEED else runs / name for name in sorted(seeds)}
    known = {name: path for name, path in at.items() if (path / "honest.safetensors").exists()}
    known_of_all = {
        "command": "python assets/demo/make.py --seed SEED",
        "shipped_seed": SHIPPED_SEED,
        "attack": poisoning(SHIPPED_SEED).result_key()
        | {"trigger": ATTACK.trigger, "target": ATTACK.target},
        "mean": summarize(known, seeds, show),
        "seeds": dict(sorted(seeds.items())),
    }
    write_bytes(path, in_few_lines(known_of_all).encode())
    print(json.dumps(entry["test"], indent=1))


def in_few_lines(value: Any) -> str:
    """``value`` as indented JSON whose innermost lists and objects take one line each."""
    text = json.dumps(value, indent=1, allow_nan=False)
    innermost = re.compile(r"[\[{]\n(?:[^\[\]{}]|\{\}|\[\])*[\]}]")
    return innermost.sub(lambda found: " ".join(found.group().split()), text) + "\n"


def short(value: Any) -> Any:
    """Round the numbers in ``value`` to six digits: the log is a part of what is shipped."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def show(stage: str, done: int, total: int) -> None:
    """Print progress on one line."""
    print(f"\r{stage}: {done} of {total}   ", end="\n" if done == total else "", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the models that the demo compares.")
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED, help="seed of signs and models")
    parser.add_argument("--threads", type=int, default=1, help="threads to compute with")
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo"), help="where unfinished runs are kept"
    )
    given = parser.parse_args()
    make(given.work / str(given.seed), given.seed, given.threads)
