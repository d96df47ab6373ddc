"""Stage: reference students, the null: honest students of the same teacher on trusted images.

What one student shows is judged against what such students show. They differ in the seed alone,
or, where a recipe is not known, in everything that a :class:`Variation` lets differ.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audit.null import split_by_id
from analysis.config import Config, field
from analysis.data.imageset import ImageSet, subset_rows
from analysis.data.sources import load_images
from analysis.digest import digest_file
from analysis.errors import ConfigError, InputError, ModelError
from analysis.models.architectures import find_architecture
from analysis.models.handle import ModelHandle
from analysis.models.loading import ModelSpec, load_model
from analysis.records import REFERENCE
from analysis.store import Progress, StageCache, silent
from analysis.store.files import link_or_copy
from analysis.study.experiment_settings import Recipe
from analysis.study.specs import StudentSpec
from analysis.study.training import distill_model, run_folder
from analysis.study.trial import try_network

VERSION = 1
FIRST_SEED = 1000
WEIGHTS = "weights.safetensors"
_STREAM = 0x5EED
_SETS = ("distillation", "training")


@dataclass(frozen=True, kw_only=True)
class Variation(Config):
    """Ranges within which references differ from their recipe in more than the seed."""

    images: tuple[float, float] = field((0.7, 1.0), "share of the images, from and to")
    temperature: tuple[float, float] = field(
        (0.5, 2.0), "factor of the objective's temperature, from and to (uniform in the logarithm)"
    )
    epochs: tuple[float, float] = field((0.7, 1.3), "factor of the epochs, from and to")
    architectures: tuple[str, ...] = field((), "architectures that may stand for the recipe's own")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, top in (("images", 1.0), ("temperature", math.inf), ("epochs", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                limit = "" if top == math.inf else f" and at most {top:g}"
                raise ConfigError(
                    f"{name} = {low:g}, {high:g}",
                    expected=f"two numbers above 0{limit}, the smaller one first",
                )
        for arch in self.architectures:
            find_architecture(arch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A finished reference: its weights (a model spec by themselves) and how they were made.

    ``varied`` says what was drawn beside the seed, or None; ``seconds`` what the training took
    when it was computed.
    """

    name: str
    seed: int
    weights: Path
    recipe: Recipe
    varied: Mapping[str, Any] | None
    seconds: float

    def spec(self) -> StudentSpec:
        """How a study is told of it."""
        return StudentSpec(spec=str(self.weights), role=REFERENCE)


def make_references(
    *,
    teacher: ModelHandle | ModelSpec | str,
    images: ImageSet | str | Path,
    recipe: Recipe,
    seeds: Sequence[int],
    cache: StageCache,
    vary: bool | Variation = False,
    trusted_code: Collection[str | Path] = (),
    progress: Progress = silent,
) -> tuple[Reference, ...]:
    """Distill one honest student of ``teacher`` per seed on trusted ``images``.

    All follow ``recipe`` but for its seed; with ``vary`` each draws subset, temperature, epochs
    and architecture from the ranges of a :class:`Variation`, the same for one seed. Every one is
    a stage in ``cache``: a run that was killed goes on, a finished one is not repeated. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    if len(seeds) == 0 or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds {list(seeds)}", expected="different numbers of at least 0")
    handle = (
        teacher
        if isinstance(teacher, ModelHandle)
        else load_model(teacher, trusted_code=trusted_code)
    )
    pixels = images if isinstance(images, ImageSet) else trusted_images(images, handle, progress)
    handle.check_images(pixels.image_shape)
    variation = Variation() if vary is True else vary or None
    for seed in seeds:
        own = recipe if variation is None else _vary(recipe, variation, seed)[0]
        try_network(own, handle, pixels.image_shape, handle.num_classes)
    return tuple(
        _make(handle, pixels, recipe, seed, variation, cache, _numbered(progress, number, seeds))
        for number, seed in enumerate(seeds, start=1)
    )


def trusted_images(
    source: str | Path,
    teacher: ModelHandle,
    progress: Progress = silent,
    *,
    limit: int | None = None,
    seed: int = 0,
    wanted: str | None = None,
    for_audit: bool = False,
) -> ImageSet:
    """Load the trusted images of ``source`` as ``teacher`` takes them.

    ``wanted`` is the digest of the images that a student was made from: when these are the same
    under another set name, they get that name, so that equal images have equal digests. With
    ``for_audit`` only those that an audit of the same source leaves to its references.
    """
    images = load_images(
        source,
        name=_SETS[0],
        size=teacher.side,
        channels=teacher.in_channels,
        limit=limit,
        seed=seed,
        progress=progress,
    )
    renamed = (images.renamed(name) for name in _SETS if wanted is not None)
    found = next((other for other in renamed if other.digest == wanted), images)
    return found.rows(split_by_id(found.sample_ids)["distill"]) if for_audit else found


def recipe_like(student: ModelHandle) -> Recipe:
    """Return the recipe that ``student``'s own weights file remembers.

    Raises :class:`~analysis.errors.ModelError` for a model that does not say how it was distilled.
    """
    made = student.metadata
    parts = [made.get(key) for key in ("objective", "training")]
    objective, training = (dict(part) if isinstance(part, Mapping) else {} for part in parts)
    if made.get("kind") != "distill" or "name" not in objective or not training:
        raise ModelError(
            f"{student.spec_text} does not say how it was distilled",
            expected="a weights file that distillscope distill wrote",
            remedy="give the recipe itself: --arch, --epochs, --set KEY=VALUE",
        )
    settings = {key: value for key, value in objective.items() if key != "name"}
    return Recipe.from_mapping(
        {
            **settings,
            **training,
            "arch": student.architecture,
            "width": student.width,
            "normalize": student.normalization.text,
            "objective": objective["name"],
        }
    )


def recipe_values(recipe: Recipe, *, objective: bool = True) -> dict[str, Any]:
    """Return ``recipe`` as the flat mapping that it can be read from, to overrule parts of it.

    Without ``objective`` the settings that belong to that objective alone are left out.
    """
    goal = {**recipe.objective.key(), "objective": recipe.objective.name} if objective else {}
    network = {key: value for key, value in recipe.network.key().items() if key != "objective"}
    return {**goal, **recipe.training.to_mapping(), **network}


def choose_seeds(count: int, first: int = FIRST_SEED, *, avoid: Collection[int] = ()) -> list[int]:
    """Return ``count`` seeds from ``first`` on, without those to ``avoid``.

    A reference with the seed of an honest subject would be that subject once more.
    """
    if count < 1:
        raise ConfigError(f"{count} references", expected="at least 1")
    candidates = range(first, first + count + len(avoid))
    return [seed for seed in candidates if seed not in avoid][:count]


def reference_name(seed: int, *, varied: bool = False) -> str:
    """What the reference of ``seed`` is called in files and studies."""
    return f"{'varied' if varied else REFERENCE}-{seed}"


def put_references(references: Sequence[Reference], folder: Path) -> list[Path]:
    """Put the weights into ``folder`` by name; refuse to replace what is something else."""
    made = {folder / f"{one.name}.safetensors": one.weights for one in references}
    put_weights(made, "choose another --out, or other seeds: --seed")
    return list(made)


def put_weights(made: Mapping[Path, Path], remedy: str) -> None:
    """Put weights files to where they are wanted: {target: file}; all, or none.

    Raises :class:`~analysis.errors.InputError` with ``remedy`` for a target that is there and is
    something else.
    """
    for target, source in made.items():
        if target.exists() and digest_file(target) != digest_file(source):
            raise InputError(f"{target} is there already and is another model", remedy=remedy)
    for target, source in made.items():
        if not target.exists():
            link_or_copy(source, target)


def _numbered(progress: Progress, number: int, seeds: Sequence[int]) -> Progress:
    what = f"reference {number} of {len(seeds)}"
    return lambda stage, done, total: progress(f"{what}: {stage}", done, total)


def _make(
    teacher: ModelHandle,
    images: ImageSet,
    recipe: Recipe,
    seed: int,
    variation: Variation | None,
    cache: StageCache,
    progress: Progress,
) -> Reference:
    training = replace(
        recipe.training, seed=seed, checkpoint_every=0, checkpoint_count=0, checkpoint_epochs=()
    )
    own = replace(recipe, training=training)
    varied = None
    if variation is not None:
        own, varied = _vary(own, variation, seed)
        rows = subset_rows(len(images), max(1, round(varied["images"] * len(images))), seed)
        images = images if len(rows) == len(images) else images.rows(rows)
    noted = {"role": REFERENCE, "varied": varied}

    def work(folder: Path) -> Mapping[str, Any]:
        made = distill_model(
            teacher=teacher,
            architecture=own.network.arch,
            width=own.network.width,
            normalize=own.network.normalize,
            images=images,
            objective=own.objective,
            config=own.training,
            out=folder / WEIGHTS,
            metadata=noted,
            progress=progress,
        )
        shutil.rmtree(run_folder(made.weights))  # a reference keeps no state to train on from
        return {"history": made.history.to_json()}

    output = cache.run(
        "reference",
        work,
        version=VERSION,
        inputs={"teacher": teacher.digest, "images": images.digest},
        config={**own.key(), "training": own.training.result_key(), "noted": noted},
    )
    return Reference(
        name=reference_name(seed, varied=varied is not None),
        seed=seed,
        weights=output.file(WEIGHTS),
        recipe=own,
        varied=varied,
        seconds=output.seconds,
    )


def _vary(recipe: Recipe, variation: Variation, seed: int) -> tuple[Recipe, dict[str, Any]]:
    """Draw what differs; the order of the draws is fixed, so that one seed is one student."""
    rng = np.random.default_rng([seed, _STREAM])
    share = float(rng.uniform(*variation.images))
    warmer = float(np.exp(rng.uniform(*np.log(variation.temperature))))
    longer = float(rng.uniform(*variation.epochs))
    choices = (recipe.network.arch, *variation.architectures)
    arch = choices[int(rng.integers(len(choices)))]
    drawn: dict[str, Any] = {"images": round(share, 4)}
    network, objective = recipe.network, recipe.objective
    if arch != network.arch:
        # Channels of one architecture say nothing about another's.
        network = replace(network, arch=arch, width=None)
    drawn["arch"] = arch
    if (temperature := getattr(objective, "temperature", None)) is not None:
        drawn["temperature"] = round(min(max(temperature * warmer, 0.01), 1000.0), 4)
        objective = objective.from_mapping({**objective.key(), "temperature": drawn["temperature"]})
    drawn["epochs"] = max(1, round(recipe.training.epochs * longer))
    training = replace(recipe.training, epochs=drawn["epochs"])
    return replace(recipe, network=network, objective=objective, training=training), drawn
