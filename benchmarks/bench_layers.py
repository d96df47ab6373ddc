"""CKA of all block outputs of two networks against their two bare forward passes.

Ours is what a study's pass does without the null: both networks, a Gram matrix of the flattened
activations of every block, and unbiased HSIC of all pairs. The peer only runs the networks on
batches that are normalized and in memory already. Same images, batch, threads, dtype and memory
format, both warmed up, and interleaved, since machines drift.

python -m benchmarks.bench_layers [--images N]
"""

from __future__ import annotations

import argparse
import json

import torch

from analysis.divergence.hsic import LayerCKA
from analysis.models.grams import layer_grams
from analysis.models.handle import ModelHandle
from analysis.models.layers import block_names
from benchmarks.bench_inference import PAIR, forward, load, random_pixels, seconds

IMAGES, BATCH = 2048, 256
LIMIT = 2.0


def batches(count: int) -> list[torch.Tensor]:
    """Pixels (n, C, H, W) float32 in [0, 1]."""
    pixels = torch.from_numpy(random_pixels(count)).permute(0, 3, 1, 2).float() / 255
    return list(pixels.split(BATCH))


def blocks(handle: ModelHandle) -> tuple[str, ...]:
    return block_names(handle.module, handle.layer_names)


def ours(pair: list[ModelHandle], pixels: list[torch.Tensor]) -> LayerCKA:
    cka = LayerCKA()
    for batch in pixels:
        grams = [layer_grams(handle, batch, blocks(handle), pooled=False) for handle in pair]
        cka.add(grams[0].grams, grams[1].grams)
    return cka


def bare(pair: list[ModelHandle], prepared: list[list[torch.Tensor]]) -> None:
    for handle, inputs in zip(pair, prepared, strict=True):
        forward(handle.module, inputs)


def run(images: int = IMAGES) -> list[dict]:
    pair = [load(name) for name in PAIR]
    pixels = batches(images)
    prepared = [
        [handle.normalization(b).contiguous(memory_format=torch.channels_last) for b in pixels]
        for handle in pair
    ]
    ours(pair, pixels[:1])
    bare(pair, [inputs[:1] for inputs in prepared])
    totals = [0.0, 0.0]
    for at in range(len(pixels)):
        work = [
            lambda at=at: ours(pair, pixels[at : at + 1]),
            lambda at=at: bare(pair, [inputs[at : at + 1] for inputs in prepared]),
        ]
        # Whoever starts alternates.
        for turn in (0, 1) if at % 2 else (1, 0):
            totals[turn] += seconds(work[turn])
    count = sum(len(blocks(handle)) for handle in pair)
    ratio = totals[0] / totals[1]
    return [
        {
            "name": f"CKA of {count} block outputs, ResNet-56 x ResNet-20, {images} images",
            "value": totals[0],
            "unit": "s",
            "peer": "bare forward passes",
            "peer_value": totals[1],
            "ratio": ratio,
            "limit": LIMIT,
            "met": ratio <= LIMIT,
            "note": f"Minibatches of {BATCH}, forward passes included, without the null.",
            "threads": torch.get_num_threads(),
            "dtype": "float32, HSIC in float64",
            "warmup": "both, on one batch",
        }
    ]


def main() -> None:
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES, help="images to time")
    rows = run(parser.parse_args().images)
    print(json.dumps(rows))
    print("\n".join(map(describe, rows)))


if __name__ == "__main__":
    main()
