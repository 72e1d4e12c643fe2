"""Trains the network of ``tests/onnx/fashion.onnx`` on Fashion-MNIST and exports it from PyTorch.

It needs torch, onnx and onnxscript, which no extra of edgepack installs, and Debian's package
dataset-fashion-mnist:

    python tools/train_onnx.py tests/onnx/fashion.onnx

The input ``image`` is [batch, 1, 28, 28] with values from 0 to 1; ``scores`` are [batch, 10].
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

FOLDER = Path("/usr/share/datasets/fashion-mnist")
EPOCHS = 5
BATCH = 128
OPSET = 18


class Block(nn.Module):
    """A residual block: depthwise and pointwise convolution beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return torch.relu(x + self.body(x))


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of 3x3 with batch normalization."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def network() -> nn.Sequential:
    """18,298 parameters, those of the batch normalizations among them."""
    return nn.Sequential(
        convolution(1, 16),
        nn.MaxPool2d(2),
        convolution(16, 32),
        nn.MaxPool2d(2),
        Block(32),
        convolution(32, 40),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 10),
    )


def read(part: str) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 28, 28] from 0 to 1, and labels."""
    files = [FOLDER / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    pixels, labels = (gzip.decompress(file.read_bytes()) for file in files)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    classes = np.frombuffer(labels, np.uint8, offset=8)
    return torch.tensor(images / np.float32(255)), torch.tensor(classes.astype(np.int64))


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Adam with a rate that rises and falls once."""
    optimizer = torch.optim.Adam(model.parameters())
    steps = EPOCHS * (len(images) // BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    model.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH].reshape(-1, BATCH)
        for rows in order:
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {loss.item():.3f}", flush=True)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose highest score is that of their label."""
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def export(model: nn.Module, path: str) -> None:
    """Write the ONNX file, its weights inside."""
    torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 1, 28, 28),),
        path,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
    )
    strip(path)


def strip(path: str) -> None:
    """Take out what PyTorch notes at each node: lines of source, with paths of this machine."""
    exported = onnx.load(path)
    graph = exported.graph
    for part in (exported, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    onnx.save(exported, path)


def main() -> None:
    torch.manual_seed(0)
    model = network()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, *read("train"))
    print(f"accuracy of the 10,000 test images: {accuracy(model, *read('t10k')):.4f}")
    export(model, sys.argv[1])


if __name__ == "__main__":
    main()
