from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.errors import Cancelled, InputError, ModelError, StorageError
from analysis.inference import run_inference
from analysis.models.architectures import build
from analysis.models.handle import ModelHandle
from analysis.models.loading import wrap_module
from analysis.records import PENULTIMATE

LAYERS = (PENULTIMATE, "layer1.0", "relu")


def image_set(count: int = 50, *, seed: int = 0, side: int = 8, channels: int = 3) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    ids = np.array([f"inspection/{i}" for i in range(count)])
    return ImageSet(name="inspection", images=images, sample_ids=ids)


def model(seed: int = 0, width: int = 4) -> ModelHandle:
    torch.manual_seed(seed)
    module = build("smallresnet", num_classes=3, width=width)
    return wrap_module(module, architecture="smallresnet", width=width, num_classes=3)


class Counting(nn.Module):
    """Counts images; answers NaN from image ``bad`` on, or always the same."""

    def __init__(self, inner: nn.Module, *, bad: int | None = None, constant: bool = False):
        super().__init__()
        self.inner, self.seen, self.bad, self.constant = inner, 0, bad, constant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        if self.constant:
            logits = logits * 0 + torch.tensor([1.0, 2.0, 3.0])
        if self.bad is not None and self.seen <= self.bad < self.seen + len(x):
            logits[self.bad - self.seen, 1] = torch.inf
        self.seen += len(x)
        return logits


def counting(**behavior: object) -> ModelHandle:
    base = model()
    return dataclasses.replace(
        base,
        module=Counting(base.module, **behavior),
        layer_names=("inner.relu",),
        penultimate="inner.linear",
    )


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.inference._SHARD_ROWS", 8)
    # Many small shards would wait for the disk most of the time.
    monkeypatch.setattr("analysis.inference.os.fsync", lambda _: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.npy"))}


@pytest.mark.parametrize("batch_size", [7, 50, 64])
def test_the_files_hold_what_the_model_answers(tmp_path: Path, batch_size: int) -> None:
    images, handle = image_set(), model()
    files = run_inference(
        handle, images, layers=LAYERS, batch_size=batch_size, workdir=tmp_path / "new"
    )
    pixels = torch.from_numpy(images.images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    logits, features = handle.traced(pixels, LAYERS)
    assert np.load(files.logits).dtype == np.float32
    np.testing.assert_allclose(np.load(files.logits), logits.numpy(), rtol=1e-4, atol=1e-5)
    assert list(files.features) == list(LAYERS)
    for layer in LAYERS:
        found = np.load(files.features[layer])
        np.testing.assert_allclose(found, features[layer].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("stop", [0, 4, 8, 20, 32, 48])
def test_a_stopped_pass_continues_and_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    images = image_set()
    run_inference(model(), images, layers=LAYERS, batch_size=4, workdir=tmp_path / "whole")

    def cancel(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("inference", 50)
        if done >= stop:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run_inference(
            model(), images, layers=LAYERS, batch_size=4, workdir=tmp_path / "cut", progress=cancel
        )
    again = counting_like_model()
    run_inference(again, images, layers=LAYERS, batch_size=4, workdir=tmp_path / "cut")
    # Only what the last finished shard of 8 rows did not hold is computed again.
    assert again.module.passes == [4] * ((48 - stop // 8 * 8) // 4) + [2]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


class Recorded(type(model().module)):
    """The same network that remembers the sizes of its batches."""

    passes: list[int]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.append(len(x))
        return super().forward(x)


def counting_like_model() -> ModelHandle:
    handle = model()
    handle.module.__class__ = Recorded
    handle.module.passes = []
    return handle


def test_a_finished_pass_is_not_repeated(tmp_path: Path) -> None:
    images, handle, heard = image_set(), counting(), []
    first = run_inference(handle, images, workdir=tmp_path)
    again = run_inference(
        handle, images, workdir=tmp_path, progress=lambda *event: heard.append(event)
    )
    assert handle.module.seen == 50
    assert again == first
    assert heard == [("inference", 50, 50)]


@pytest.mark.parametrize("change", ["model", "images", "layers", "batch_size", "file", "marker"])
def test_leftovers_of_something_else_are_not_continued(tmp_path: Path, change: str) -> None:
    run_inference(model(), image_set(), layers=LAYERS, batch_size=10, workdir=tmp_path)
    if change == "file":
        file = tmp_path / "logits.npy"
        file.write_bytes(file.read_bytes()[:-4])
    if change == "marker":
        (tmp_path / "rows.done").write_text("[]")
    arguments = {
        "handle": model(seed=1 if change == "model" else 0),
        "images": image_set(seed=1 if change == "images" else 0),
        "layers": (LAYERS[1], LAYERS[0]) if change == "layers" else LAYERS,
        "batch_size": 9 if change == "batch_size" else 10,
    }
    run_inference(**arguments, workdir=tmp_path)
    run_inference(**arguments, workdir=tmp_path / "fresh")
    fresh = contents(tmp_path / "fresh")
    assert {name: contents(tmp_path)[name] for name in fresh} == fresh


@pytest.mark.usefixtures("small_shards")
def test_a_marker_never_vouches_for_overwritten_files(tmp_path: Path) -> None:
    images = image_set()
    run_inference(model(), images, batch_size=8, workdir=tmp_path)

    def stop(_: str, done: int, __: int) -> None:
        if done:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run_inference(model(seed=1), images, batch_size=4, workdir=tmp_path, progress=stop)
    run_inference(model(), images, batch_size=8, workdir=tmp_path)
    run_inference(model(), images, batch_size=8, workdir=tmp_path / "fresh")
    assert contents(tmp_path) == contents(tmp_path / "fresh")


def test_the_marker_follows_the_rows_on_disk(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("analysis.inference.os.fsync", synced.append)
    marks = []
    run_inference(
        model(),
        image_set(20),
        batch_size=4,
        workdir=tmp_path,
        progress=lambda *_: marks.append(_done(tmp_path)),
    )
    assert marks == [None, None, 8, 8, 16, 20]
    # Two arrays and the marker, three times.
    assert len(synced) == 3 * 3


def _done(folder: Path) -> int | None:
    marker = folder / "rows.done"
    return json.loads(marker.read_text())["done"] if marker.exists() else None


def test_answers_that_are_not_finite_name_model_and_sample(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"smallresnet answers NaN or infinity \(logits\) on inspection/33"
    ):
        run_inference(counting(bad=33), image_set(), batch_size=16, workdir=tmp_path)
    assert _done(tmp_path) is None


@pytest.mark.usefixtures("small_shards")
def test_constant_answers_are_refused_early(tmp_path: Path) -> None:
    handle = counting(constant=True)
    with pytest.raises(ModelError, match="smallresnet gives the same answer to 8 different images"):
        run_inference(handle, image_set(), batch_size=4, workdir=tmp_path)
    assert handle.module.seen == 8
    assert _done(tmp_path) is None


@pytest.mark.usefixtures("small_shards")
def test_equal_images_may_get_equal_answers(tmp_path: Path) -> None:
    images = image_set(20)
    same = dataclasses.replace(images, images=np.repeat(images.images[:1], 20, axis=0))
    run_inference(counting(constant=True), same, batch_size=4, workdir=tmp_path / "same")
    run_inference(counting(constant=True), image_set(1), workdir=tmp_path / "one")
    mixed = np.concatenate([same.images[:19], image_set(1, seed=5).images])
    with pytest.raises(ModelError, match="the same answer to 20 different images"):
        run_inference(
            counting(constant=True),
            dataclasses.replace(images, images=mixed),
            batch_size=4,
            workdir=tmp_path / "mixed",
        )


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 3 channels, the images have 1"):
        run_inference(model(), image_set(channels=1), workdir=tmp_path)
    with pytest.raises(ModelError, match=r"no layer 'layer1.9'"):
        run_inference(model(), image_set(), layers=("layer1.9",), workdir=tmp_path)
    with pytest.raises(InputError, match="batch size 0; expected at least 1"):
        run_inference(model(), image_set(), batch_size=0, workdir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("analysis.inference.os.fsync", full)
    with pytest.raises(StorageError, match=r"logits\.npy: the disk is full"):
        run_inference(model(), image_set(), workdir=tmp_path)


def test_layers_with_names_that_no_file_can_have_get_files(tmp_path: Path) -> None:
    base = model()
    module = nn.Sequential()
    module.add_module("/odd: name/" + "x" * 300, base.module)
    name = next(iter(dict(module.named_children())))
    handle = dataclasses.replace(base, module=module, layer_names=(name,), penultimate="")
    files = run_inference(handle, image_set(), layers=(name,), workdir=tmp_path)
    assert files.features[name].parent == tmp_path
    np.testing.assert_array_equal(np.load(files.features[name]), np.load(files.logits))
