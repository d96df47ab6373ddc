"""Searching the smallest trigger of one family for all classes at once.

Every class has a trigger and a weight of its own and sees images of its own; one forward and
backward pass serves all of them. Classes that come out far from the smallest are given up early.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.audit.families import Family, Parameters, Shape
from analysis.audit.settings import InversionConfig
from analysis.audit.teacher_use import TeacherUse, loud

FORWARD = 1 / 3
"""What a forward pass costs, in forward-backward passes."""
_BETAS, _EPS = (0.5, 0.9), 1e-8
_AT_ONCE, _WORST = 512, 20.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Student and teacher, called on pixels; the teacher may be absent when nobody asks it.

    They may be on any device: pixels go to it, logits come back.
    """

    student: nn.Module
    teacher: nn.Module | None
    use: TeacherUse


@dataclass(frozen=True, slots=True)
class Pool:
    """Trusted images (n, C, H, W) in [0, 1] and the teacher's answers (n,) to them."""

    pixels: Tensor
    own: Tensor

    @property
    def shape(self) -> Shape:
        """(C, H, W) of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def rows_for(self, label: int) -> Tensor:
        """Rows that the teacher does not answer with ``label``; all, where there are none."""
        rows = torch.nonzero(self.own != label)[:, 0]
        return rows if len(rows) else torch.arange(len(self.own))


@dataclass(slots=True)
class Found:
    """The smallest working trigger of each class, where one was found.

    ``size`` (K,) infinite where none was; ``given_up`` (K,) whether the class was eliminated.
    """

    parameters: Parameters
    size: Tensor
    given_up: Tensor
    passes: float = 0.0


@dataclass(slots=True)
class _State:
    """What belongs to the classes that are still searched, row by row."""

    classes: Tensor
    parameters: Parameters
    first: Parameters
    second: Parameters
    weight: Tensor
    hits: Tensor
    misses: Tensor
    recent: list[Tensor] = field(default_factory=list)

    def only(self, rows: Tensor) -> _State:
        def pick(values: Parameters) -> Parameters:
            return {key: value[rows].clone() for key, value in values.items()}

        return _State(
            self.classes[rows],
            pick(self.parameters),
            pick(self.first),
            pick(self.second),
            self.weight[rows],
            self.hits[rows],
            self.misses[rows],
            [share[rows] for share in self.recent],
        )


def search(
    pair: Pair,
    family: Family,
    pool: Pool,
    classes: int,
    config: InversionConfig,
    seed: int,
    report: Callable[[int, int], None],
) -> Found:
    """Search ``config.steps`` steps for the smallest trigger of every class.

    A trigger works on a batch when the share of images on which the student answers its class,
    times the share on which the teacher does as it is asked, is ``config.success``; the teacher is
    shown ``config.asked`` images of each batch. ``report(done, total)`` is called at every
    step.
    """
    generator = torch.Generator().manual_seed(seed)
    state = _start(family, pool, classes, config, generator)
    found = Found(
        {key: value.clone() for key, value in state.parameters.items()},
        torch.full((classes,), math.inf),
        torch.zeros(classes, dtype=torch.bool),
    )
    scale = family.size(state.parameters, pool.shape).detach()
    rows = [pool.rows_for(label) for label in range(classes)]
    halfway = max(1, round(config.eliminate_after * config.steps))
    for step in range(config.steps):
        report(step, config.steps)
        if step == halfway:
            state = _eliminate(state, found, family, pool.shape, config.kept(classes))
        batch = torch.stack(
            [
                rows[label][torch.randint(len(rows[label]), (config.batch,), generator=generator)]
                for label in state.classes.tolist()
            ]
        )
        gradients, works, sizes, passes = _pass(
            pair, family, pool, state, batch, state.weight / scale[state.classes], config.asked
        )
        found.passes += passes
        _remember(found, state, works, sizes, config)
        _adapt(state, works, config)
        _adam(state, gradients, step + 1, _rate(config, step))
    report(config.steps, config.steps)
    return found


def _start(
    family: Family, pool: Pool, classes: int, config: InversionConfig, generator: torch.Generator
) -> _State:
    parameters = family.start(classes, pool.shape, generator)
    zeros = {key: torch.zeros_like(value) for key, value in parameters.items()}
    count = torch.zeros(classes, dtype=torch.int64)
    return _State(
        torch.arange(classes),
        parameters,
        zeros,
        {key: value.clone() for key, value in zeros.items()},
        torch.full((classes,), config.weight),
        count,
        count.clone(),
    )


def _pass(
    pair: Pair,
    family: Family,
    pool: Pool,
    state: _State,
    batch: Tensor,
    weight: Tensor,
    asked: int,
) -> tuple[Parameters, Tensor, Tensor, float]:
    """One forward and backward pass: gradients, working shares (K,), sizes (K,), passes."""
    leaves = {key: value.requires_grad_() for key, value in state.parameters.items()}
    shares, passes = [], 0.0
    per_group = max(1, _AT_ONCE // batch.shape[1])
    for start in range(0, len(batch), per_group):
        part = slice(start, start + per_group)
        chosen = {key: value[part] for key, value in leaves.items()}
        loss, share, cost = _group(
            pair, family, pool, chosen, batch[part], state.classes[part], asked
        )
        loss.backward()
        shares.append(share)
        passes += cost
    sizes = family.size(leaves, pool.shape)
    (weight * sizes).sum().backward()
    gradients = {}
    for key, leaf in leaves.items():
        assert leaf.grad is not None
        gradients[key], leaf.grad = leaf.grad, None
        leaf.requires_grad_(False)
    return gradients, torch.cat(shares), sizes.detach(), passes


def _group(
    pair: Pair,
    family: Family,
    pool: Pool,
    parameters: Parameters,
    batch: Tensor,
    classes: Tensor,
    asked: int,
) -> tuple[Tensor, Tensor, float]:
    """Loss summed over some classes, the share of images (k,) where it works, passes."""
    shown = family.apply(parameters, pool.pixels[batch])
    flat, per_class = shown.flatten(0, 1), batch.shape[1]
    targets = classes.repeat_interleave(per_class)
    logits = pair.student(flat).cpu()
    loss = functional.cross_entropy(logits, targets, reduction="sum") / per_class
    works = (logits.detach().argmax(1) == targets).view(batch.shape).float().mean(1)
    if pair.teacher is None or not pair.use.needs_teacher:
        return loss, works, float(len(flat))
    # The teacher is the larger model and rarely objects: it is asked about some of the images.
    some, own = shown[:, :asked].flatten(0, 1), pool.own[batch[:, :asked]].flatten()
    targets = classes.repeat_interleave(asked)
    with torch.no_grad():
        answers = pair.teacher(some).cpu()
    objects = pair.use.violated(answers, targets, own).view(-1, asked).float().mean(1)
    rows = loud(pair.use.wrong(answers, targets, own))
    if len(rows):
        again = pair.use.loss(pair.teacher(some[rows]).cpu(), targets[rows], own[rows])
        loss = loss + again.clamp(max=_WORST).sum() / asked
    cost = len(flat) + FORWARD * len(some) + len(rows)
    return loss, works * (1 - objects), float(cost)


def _remember(
    found: Found, state: _State, works: Tensor, sizes: Tensor, config: InversionConfig
) -> None:
    """Keep the triggers that work, on the last few batches together, and are smaller."""
    state.recent = [*state.recent, works][-config.patience :]
    steady = torch.stack(state.recent).mean(0) >= config.success
    better = steady & (works >= config.success) & (sizes < found.size[state.classes])
    rows = torch.nonzero(better)[:, 0]
    found.size[state.classes[rows]] = sizes[rows]
    for key, value in state.parameters.items():
        found.parameters[key][state.classes[rows]] = value[rows]


def _adapt(state: _State, works: Tensor, config: InversionConfig) -> None:
    """Press harder on the size of a class after a few successes in a row, else less hard."""
    good = works >= config.success
    state.hits = torch.where(good, state.hits + 1, 0)
    state.misses = torch.where(good, 0, state.misses + 1)
    harder, softer = state.hits >= config.patience, state.misses >= config.patience
    state.weight = torch.where(harder, state.weight * config.factor, state.weight)
    state.weight = torch.where(softer, state.weight / config.factor, state.weight)
    state.hits = torch.where(harder, 0, state.hits)
    state.misses = torch.where(softer, 0, state.misses)


def _rate(config: InversionConfig, step: int) -> float:
    """The learning rate, on half a cosine down to a tenth."""
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * step / config.steps))


def _adam(state: _State, gradients: Parameters, step: int, rate: float) -> None:
    """One step of Adam (Kingma, Ba 2015) in place; written out so that classes can leave."""
    one, two = _BETAS
    for key, gradient in gradients.items():
        first, second = state.first[key], state.second[key]
        first.mul_(one).add_(gradient, alpha=1 - one)
        second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        root = (second / (1 - two**step)).sqrt().add_(_EPS)
        state.parameters[key].addcdiv_(first, root, value=-rate / (1 - one**step))


def _eliminate(state: _State, found: Found, family: Family, shape: Shape, kept: int) -> _State:
    """Go on with the ``kept`` classes whose triggers are smallest; a working one comes first."""
    if kept >= len(state.classes):
        return state
    working = found.size[state.classes]
    # None works yet: behind all that do, by what they have come to.
    now = family.size(state.parameters, shape).detach()
    rank = torch.where(working.isinf(), 1e6 + now, working)
    order = rank.argsort(stable=True)
    found.given_up[state.classes[order[kept:]]] = True
    return state.only(order[:kept].sort().values)
