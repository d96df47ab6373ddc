"""Every objective against a slow copy of its paper's formula, in float64 numpy."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from analysis.distillation.objectives import (
    DIST,
    OBJECTIVES,
    AttentionTransfer,
    DecoupledKD,
    FitNets,
    HintonKD,
    RelationalKD,
    Supervised,
    make_objective,
)
from analysis.distillation.signals import Answers
from analysis.errors import ConfigError

N, K = 6, 5


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def batch(rng):
    student, teacher = rng.normal(0, 3, (2, N, K))
    return student, teacher, rng.integers(0, K, N)


def answers(logits, **features):
    kept = {name: torch.tensor(value, dtype=torch.float64) for name, value in features.items()}
    return Answers(torch.tensor(logits, dtype=torch.float64), kept)


def value(objective, student, teacher=None, labels=None, adapters=None):
    y = None if labels is None else torch.tensor(labels)
    return objective.loss(student, teacher, y, adapters or nn.Identity()).item()


def softmax(z):
    e = [math.exp(v - max(z)) for v in z]
    return [v / sum(e) for v in e]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def cross_entropy(logits, labels):
    return np.mean([-math.log(softmax(z)[y]) for z, y in zip(logits, labels, strict=True)])


def hinton(student, teacher, t):
    rows = zip(student / t, teacher / t, strict=True)
    return t * t * np.mean([kl(softmax(b), softmax(a)) for a, b in rows])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_supervised_is_cross_entropy_with_a_smoothed_target(batch, smoothing):
    student, _, labels = batch
    expected = 0.0
    for z, y in zip(student, labels, strict=True):
        target = [(1 - smoothing) * (k == y) + smoothing / K for k in range(K)]
        expected -= sum(q * math.log(p) for q, p in zip(target, softmax(z), strict=True)) / N
    objective = Supervised(label_smoothing=smoothing)
    assert value(objective, answers(student), None, labels) == pytest.approx(expected)


@pytest.mark.parametrize(("temperature", "weight"), [(1, 0), (4, 0), (4, 0.3), (2.5, 1)])
def test_hinton_mixes_softened_kl_and_cross_entropy(batch, temperature, weight):
    student, teacher, labels = batch
    expected = (1 - weight) * hinton(student, teacher, temperature)
    expected += weight * cross_entropy(student, labels)
    objective = HintonKD(temperature=temperature, hard_label_weight=weight)
    got = value(objective, answers(student), answers(teacher), labels)
    assert got == pytest.approx(expected)


def test_hinton_needs_labels_only_with_a_hard_label_weight(batch):
    student, teacher, _ = batch
    assert not HintonKD().needs_labels
    assert HintonKD(hard_label_weight=0.1).needs_labels
    assert value(HintonKD(), answers(student), answers(teacher)) > 0


def test_the_gradient_at_high_temperature_is_that_of_matched_logits(batch):
    """Hinton et al. 2015, equation 4: for large T and centered logits, (s - t) / K per image."""
    student, teacher, _ = batch
    student = student - student.mean(axis=1, keepdims=True)
    teacher = teacher - teacher.mean(axis=1, keepdims=True)
    logits = torch.tensor(student, requires_grad=True)
    loss = HintonKD(temperature=1000).loss(Answers(logits), answers(teacher), None, nn.Identity())
    loss.backward()
    np.testing.assert_allclose(logits.grad.numpy() * N, (student - teacher) / K, atol=5e-3)


def test_dkd_takes_target_and_others_apart(batch):
    student, teacher, labels = batch
    t, alpha, beta, weight = 4.0, 1.5, 8.0, 0.7
    total = 0.0
    for s, u, y in zip(student / t, teacher / t, labels, strict=True):
        p, q = softmax(u), softmax(s)
        target = kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = [k for k in range(K) if k != y]
        among = kl(softmax([u[k] for k in others]), softmax([s[k] for k in others]))
        total += (alpha * target + beta * among) / N
    expected = t * t * total + weight * cross_entropy(student, labels)
    objective = DecoupledKD(temperature=t, alpha=alpha, beta=beta, hard_label_weight=weight)
    got = value(objective, answers(student), answers(teacher), labels)
    assert got == pytest.approx(expected)


def test_dkd_with_the_teachers_own_weights_is_hinton(batch):
    """Zhao et al. 2022, equation 5: KL = TCKD + (1 - p_y) NCKD."""
    student, teacher, labels = (part[:1] for part in batch)
    beta = 1 - softmax(teacher[0] / 2)[labels[0]]
    objective = DecoupledKD(temperature=2, alpha=1, beta=beta, hard_label_weight=0)
    got = value(objective, answers(student), answers(teacher), labels)
    assert got == pytest.approx(hinton(student, teacher, 2))


def test_dkd_stays_finite_when_the_teacher_is_certain():
    sure = np.array([[200.0, 0, 0], [0, 200.0, 0]])
    objective = DecoupledKD(temperature=1)
    assert math.isfinite(value(objective, answers(-sure), answers(sure), [0, 1]))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_dist_compares_correlations(batch, weight):
    student, teacher, labels = batch
    t, beta, gamma = 2.0, 2.0, 3.0
    p = np.array([softmax(z / t) for z in teacher])
    q = np.array([softmax(z / t) for z in student])
    inter = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(N)])
    intra = np.mean([1 - np.corrcoef(p[:, k], q[:, k])[0, 1] for k in range(K)])
    expected = t * t * (beta * inter + gamma * intra) + weight * cross_entropy(student, labels)
    objective = DIST(temperature=t, beta=beta, gamma=gamma, hard_label_weight=weight)
    got = value(objective, answers(student), answers(teacher), labels)
    assert got == pytest.approx(expected)


def test_fitnets_adds_half_the_squared_hint_error(batch, rng):
    student, teacher, _ = batch
    mine, theirs = rng.normal(size=(N, 3, 4, 4)), rng.normal(size=(N, 2, 4, 4))
    objective = FitNets(hint_weight=7.0)
    adapters = objective.adapters({"layer2": mine.shape}, {"layer2": theirs.shape}).double()
    weight = adapters[0].weight.detach().numpy()[:, :, 0, 0]
    bias = adapters[0].bias.detach().numpy()
    mapped = np.einsum("oc,nchw->nohw", weight, mine) + bias[None, :, None, None]
    expected = hinton(student, teacher, 4) + 7.0 / 2 * np.mean((theirs - mapped) ** 2)
    got = value(
        objective, answers(student, layer2=mine), answers(teacher, layer2=theirs), None, adapters
    )
    assert got == pytest.approx(expected)


def test_fitnets_pools_the_larger_map(batch, rng):
    student, teacher, _ = batch
    mine, theirs = rng.normal(size=(N, 2, 4, 4)), rng.normal(size=(N, 2, 8, 8))
    pooled = theirs.reshape(N, 2, 4, 2, 4, 2).mean(axis=(3, 5))
    objective = FitNets()
    adapters = objective.adapters({"layer2": mine.shape}, {"layer2": theirs.shape}).double()
    large = value(
        objective, answers(student, layer2=mine), answers(teacher, layer2=theirs), None, adapters
    )
    small = value(
        objective, answers(student, layer2=mine), answers(teacher, layer2=pooled), None, adapters
    )
    assert large == pytest.approx(small)


def test_fitnets_regresses_tokens_too(batch, rng):
    student, teacher, _ = batch
    mine, theirs = rng.normal(size=(N, 7, 3)), rng.normal(size=(N, 7, 4))
    objective = FitNets()
    adapters = objective.adapters({"layer2": mine.shape}, {"layer2": theirs.shape}).double()
    weight, bias = (p.detach().numpy() for p in adapters[0].parameters())
    expected = hinton(student, teacher, 4) + np.mean((theirs - mine @ weight.T - bias) ** 2) / 2
    got = value(
        objective, answers(student, layer2=mine), answers(teacher, layer2=theirs), None, adapters
    )
    assert got == pytest.approx(expected)


def test_fitnets_refuses_other_numbers_of_tokens():
    with pytest.raises(ConfigError, match="gives 17 tokens, teacher layer 'layer2' 65"):
        FitNets().adapters({"layer2": (N, 17, 8)}, {"layer2": (N, 65, 12)})


def test_attention_transfer_compares_normalized_energy_maps(batch, rng):
    student, teacher, _ = batch
    layers = {"a": ((N, 3, 4, 4), (N, 5, 4, 4)), "b": ((N, 2, 2, 2), (N, 2, 4, 4))}
    mine = {name: rng.normal(size=shapes[0]) for name, shapes in layers.items()}
    theirs = {name: rng.normal(size=shapes[1]) for name, shapes in layers.items()}
    expected = hinton(student, teacher, 4)
    for name in layers:
        q, p = (mine[name] ** 2).sum(axis=1), (theirs[name] ** 2).sum(axis=1)
        if q.shape != p.shape:
            p = p.reshape(N, 2, 2, 2, 2).mean(axis=(2, 4))
        for a, b in zip(q, p, strict=True):
            apart = a / np.sqrt((a**2).sum()) - b / np.sqrt((b**2).sum())
            expected += 10 / 2 * np.sqrt((apart**2).sum()) / N
    objective = AttentionTransfer(student_layers=("a", "b"), teacher_layers=("a", "b"))
    got = value(objective, answers(student, **mine), answers(teacher, **theirs))
    assert got == pytest.approx(expected)


def test_attention_transfer_has_a_gradient_where_the_maps_are_equal():
    maps = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    mine = maps.clone().requires_grad_()
    objective = AttentionTransfer(student_layers=("a",), teacher_layers=("a",))
    logits = torch.zeros(2, 3, dtype=torch.float64)
    same = Answers(logits, {"a": mine}), Answers(logits, {"a": maps})
    objective.loss(*same, None, nn.Identity()).backward()
    assert torch.isfinite(mine.grad).all()


def huber(a, b):
    apart = abs(a - b)
    return 0.5 * apart**2 if apart <= 1 else apart - 0.5


def test_rkd_compares_distances_and_angles(batch, rng):
    student, teacher, _ = batch
    mine, theirs = rng.normal(size=(N, 4)), rng.normal(size=(N, 7))
    pairs = list(itertools.permutations(range(N), 2))
    lengths = [[np.linalg.norm(f[i] - f[j]) for i, j in pairs] for f in (mine, theirs)]
    scaled = [np.array(row) / np.mean(row) for row in lengths]
    distance = np.mean([huber(a, b) for a, b in zip(*scaled, strict=True)])

    def cosine(f, i, j, k):
        a, b = f[i] - f[j], f[k] - f[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    triplets = list(itertools.permutations(range(N), 3))
    angle = np.mean([huber(cosine(mine, *t), cosine(theirs, *t)) for t in triplets])
    expected = hinton(student, teacher, 4) + 25 * distance + 50 * angle
    got = value(
        RelationalKD(), answers(student, penultimate=mine), answers(teacher, penultimate=theirs)
    )
    assert got == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 2])
def test_rkd_of_too_few_images_is_hinton_alone_and_finite(batch, count):
    student, teacher = batch[0][:count], batch[1][:count]
    features = np.ones((count, 3))
    got = value(
        RelationalKD(),
        answers(student, penultimate=features),
        answers(teacher, penultimate=features),
    )
    assert got == pytest.approx(hinton(student, teacher, 4))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_can_be_made_by_name_and_says_what_it_is(name):
    objective = make_objective(name)
    assert objective.recipe()["name"] == name
    assert make_objective(**objective.recipe()) == objective
    assert objective.title


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_that_needs_something_says_so(name, batch):
    objective = make_objective(name)
    teacher = answers(batch[1]) if objective.needs_teacher else None
    if objective.needs_labels:
        with pytest.raises(TypeError, match="needs labels"):
            value(objective, answers(batch[0]), teacher)
    if objective.needs_teacher:
        with pytest.raises(TypeError, match="needs the teacher"):
            value(objective, answers(batch[0]), None, batch[2])


def test_half_precision_logits_are_widened():
    student = Answers(torch.tensor([[10.0, 0.001, 0.0]], dtype=torch.bfloat16))
    loss = HintonKD().loss(student, student, None, nn.Identity())
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hintn", {}, "unknown objective 'hintn'. Did you mean 'hinton'?"),
        ("hinton", {"temprature": 2}, "Did you mean 'temperature'?"),
        ("hinton", {"temperature": 0}, "expected a number from 0.01 to 1000"),
        ("hinton", {"hard_label_weight": 1.5}, "expected a number from 0 to 1"),
        ("supervised", {"label_smoothing": 1.0}, "expected a number from 0 to 0.99"),
        ("fitnets", {"student_layers": ("a", "b")}, "the same number of layers"),
        ("rkd", {"student_layers": (), "teacher_layers": ()}, "at least one"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    with pytest.raises(ConfigError) as error:
        make_objective(name, **settings)
    assert message in str(error.value)


def test_layers_of_different_kinds_are_refused():
    with pytest.raises(ConfigError, match="4-dimensional features, teacher layer 'layer2' 3-dim"):
        FitNets().adapters({"layer2": (2, 3, 4, 4)}, {"layer2": (2, 5, 8)})
    objective = AttentionTransfer(student_layers=("a",), teacher_layers=("a",))
    with pytest.raises(ConfigError, match="layer 'a' gives 2-dimensional features"):
        objective.adapters({"a": (2, 3, 4, 4)}, {"a": (2, 5)})
