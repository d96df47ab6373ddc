"""A small vision transformer, so that nothing here assumes convolutions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

PATCH = 4
HEAD_WIDTH = 16


class Attention(nn.Module):
    """Multi-head self-attention with heads of :data:`HEAD_WIDTH` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (N, T, D) to tokens (N, T, D)."""
        count, tokens, width = x.shape
        split = self.qkv(x).reshape(count, tokens, 3, self.heads, HEAD_WIDTH)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.project(mixed.transpose(1, 2).reshape(count, tokens, width))


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.contract = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens (N, T, D) to tokens (N, T, D)."""
        x = x + self.attention(self.norm1(x))
        return x + self.contract(self.gelu(self.expand(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Transformer over 4x4 patches with a class token and learned positions.

    It takes images of exactly ``image_size`` (H, W), both multiples of 4; ``width`` is a
    multiple of 16.
    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020), arXiv 2010.11929.
    """

    def __init__(
        self,
        width: int,
        *,
        depth: int,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.image_size = image_size
        patches = (image_size[0] // PATCH) * (image_size[1] // PATCH)
        self.conv1 = nn.Conv2d(in_channels, width, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, patches + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.position, std=0.02)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every encoder block, in order."""
        return tuple(f"blocks.{i}" for i in range(len(self.blocks)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalized images (N, C, H, W) to logits (N, K)."""
        patches = self.conv1(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)
        tokens = self.blocks(tokens + self.position)
        return self.linear(self.norm(tokens)[:, 0])
