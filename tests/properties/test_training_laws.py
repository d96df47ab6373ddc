"""Laws of schedules, batches and objectives."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.distillation.batches import LoadedImages, epoch_generator, epoch_seed, steps_per_epoch
from analysis.distillation.objectives import OBJECTIVES, HintonKD, make_objective
from analysis.distillation.schedule import checkpoint_epochs, one_cycle
from analysis.distillation.signals import Answers, kl_divergence, softened

seeds = st.integers(0, 2**32)


def logits(seed, count=5, classes=4):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, 3, (count, classes)))


def answered(name, seed):
    """Answers and labels with features for every layer that objective ``name`` reads."""
    objective, rng = make_objective(name), np.random.default_rng(seed)
    maps = {layer: torch.tensor(rng.random((5, 3, 2, 2))) for layer in objective.layers_of_student}
    labels = torch.tensor(rng.integers(0, 4, 5))
    return objective, Answers(logits(seed), maps), labels


def adapters_of(objective, answers):
    shapes = {layer: tuple(value.shape) for layer, value in answers.features.items()}
    torch.manual_seed(0)
    return objective.adapters(shapes, shapes).double()


@pytest.mark.parametrize(
    ("total", "warmup"), [(3, 0.75), (4, 0.3), (10, 0.3), (10, 0.5), (101, 0.1), (101, 0.75)]
)
def test_one_cycle_is_torchs(total, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=total, pct_start=warmup, cycle_momentum=False
    )
    for step in range(total):
        assert one_cycle(step, total, peak=0.1, warmup=warmup) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        theirs.step() if step < total - 1 else None


@given(st.integers(1, 500), st.floats(0, 1), st.floats(1e-6, 10))
def test_the_learning_rate_stays_within_the_cycle(total, warmup, peak):
    rates = [one_cycle(step, total, peak=peak, warmup=warmup) for step in range(total)]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(st.integers(1, 300), st.integers(0, 40), st.integers(0, 40))
def test_checkpoint_epochs_are_real_ascending_epochs(epochs, every, count):
    chosen = checkpoint_epochs(epochs, every=every, count=count)
    assert list(chosen) == sorted(set(chosen))
    assert all(1 <= epoch <= epochs for epoch in chosen)
    assert not every or set(chosen) >= {e for e in range(1, epochs + 1) if e % every == 0}
    assert count < 2 or {1, epochs} <= set(chosen)
    assert every or len(chosen) <= count


def test_log_spaced_checkpoints_double():
    assert checkpoint_epochs(64, count=7) == (1, 2, 4, 8, 16, 32, 64)
    assert checkpoint_epochs(9, count=1) == (9,)
    assert checkpoint_epochs(9, every=4, listed=(3, 30)) == (3, 4, 8)
    assert checkpoint_epochs(9) == ()


@given(st.integers(1, 60), st.integers(1, 70), seeds)
def test_an_epoch_shows_every_image_once_in_even_batches(count, size, seed):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    loaded = LoadedImages(
        ImageSet(name="s", images=images, sample_ids=np.array([f"s/{i}" for i in range(count)])),
        torch.device("cpu"),
    )
    batches = list(loaded.shuffled(size, epoch_generator(seed, 1, "order")))
    sizes = [len(batch.rows) for batch in batches]
    assert len(batches) == steps_per_epoch(count, size)
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat([batch.rows for batch in batches]).tolist()) == list(range(count))
    for batch in batches:
        np.testing.assert_allclose(batch.pixels[:, 0, 0, 0] * 255, batch.rows, rtol=1e-6)


@given(seeds, st.integers(0, 1000))
def test_epoch_seeds_fit_torch_and_differ(seed, epoch):
    drawn = {epoch_seed(seed, epoch, purpose) for purpose in ("order", "augmentation")}
    drawn |= {epoch_seed(seed, epoch + 1, "order"), epoch_seed(seed + 1, epoch, "order")}
    assert len(drawn) == 4
    assert all(0 <= value < 2**63 for value in drawn)


@given(seeds, st.floats(0.1, 100))
def test_kl_is_zero_only_between_equal_answers(seed, temperature):
    a, b = logits(seed), logits(seed + 1)
    p, q = softened(a, temperature), softened(b, temperature)
    assert kl_divergence(p, p).item() == 0
    assert kl_divergence(p, q).item() > 0


@given(seeds, st.floats(-50, 50))
def test_hinton_ignores_a_constant_added_to_logits(seed, shift):
    a, b = Answers(logits(seed)), logits(seed + 1)
    loss = HintonKD().loss(a, Answers(b), None, nn.Identity())
    moved = HintonKD().loss(a, Answers(b + shift), None, nn.Identity())
    assert loss.item() == pytest.approx(moved.item())


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=seeds)
def test_objectives_do_not_depend_on_the_order_of_the_batch(name, seed):
    objective, student, labels = answered(name, seed)
    _, teacher, _ = answered(name, seed + 1)
    order = torch.tensor(np.random.default_rng(seed).permutation(5))

    def turned(answers):
        return Answers(answers.logits[order], {k: v[order] for k, v in answers.features.items()})

    adapters = adapters_of(objective, student)
    plain = objective.loss(student, teacher, labels, adapters)
    permuted = objective.loss(turned(student), turned(teacher), labels[order], adapters)
    assert plain.item() == pytest.approx(permuted.item())


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n not in ("supervised", "fitnets")])
@given(seed=seeds)
def test_a_student_that_equals_its_teacher_has_no_soft_loss(name, seed):
    _, student, labels = answered(name, seed)
    objective = make_objective(name, hard_label_weight=0)
    loss = objective.loss(student, student, labels, adapters_of(objective, student))
    assert loss.item() == pytest.approx(0, abs=1e-6)


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=seeds)
def test_gradients_reach_the_student_and_are_finite(name, seed):
    objective, student, labels = answered(name, seed)
    _, teacher, _ = answered(name, seed + 1)
    free = Answers(student.logits.requires_grad_(), student.features)
    objective.loss(free, teacher, labels, adapters_of(objective, student)).backward()
    assert torch.isfinite(student.logits.grad).all()
    assert student.logits.grad.abs().sum() > 0
