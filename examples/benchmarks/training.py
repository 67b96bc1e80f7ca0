"""Measures training of a ResNet18 detector: `qatkit train`'s loop, its step alone, QAT, mixed precision, and PyTorch.

python examples/benchmarks/training.py --json FILE

The size is what fits the machine: 480x272, batch 4 on a CPU, 960x544, batch 16 on a GPU. Kinds of step take turns, so
that what else the machine does hits all of them; every number is a median of rounds. PyTorch is measured where it is
installed (channels-last, the same network, cost and optimizer), mixed precision where this machine is quick in it.

step_vs_bare: speed of steps on JPEG files, augmented, against the step on one batch that is on the device.
vs_pytorch: speed of that bare step against PyTorch's. qat_vs_float: time of a QAT step, in float steps.
amp_vs_float: speed of a step in mixed precision, in float steps. first_step_seconds: with compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qatkit.keras.startup import import_tensorflow

import_tensorflow()
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's threads must not spin while TensorFlow is measured

import tensorflow as tf  # noqa: E402

from qatkit.dataset.frames import FrameTable  # noqa: E402
from qatkit.dataset.pixel_cache import Cache  # noqa: E402
from qatkit.detectnet.grid import Grid  # noqa: E402
from qatkit.graph import nodes  # noqa: E402
from qatkit.graph.build import build  # noqa: E402
from qatkit.graph.graph import Graph  # noqa: E402
from qatkit.keras.batches import on_device, raw_batches  # noqa: E402
from qatkit.keras.cost import CostConfig  # noqa: E402
from qatkit.keras.fake_quant import to_fake_quantized  # noqa: E402
from qatkit.keras.network import KerasGraph, to_keras  # noqa: E402
from qatkit.keras.preparation import Preparation  # noqa: E402
from qatkit.keras.rasterizer import CoverageShape, Rasterizer  # noqa: E402
from qatkit.keras.step import Stepper  # noqa: E402
from qatkit.processor import this_processor  # noqa: E402
from qatkit.quantization.placement import place  # noqa: E402
from qatkit.spec import AugmentationConfig, ModelConfig, TrainingConfig  # noqa: E402
from qatkit.training.precision import quickest, this_machine  # noqa: E402

CLASSES = 3
OBJECTS = 8  # per image
FILES = 64
RATE = 1e-4
REGULARIZATION = 3e-9
COST = CostConfig(
    class_weights=np.full(CLASSES, 1 / CLASSES, np.float32),
    foreground_weights=np.full(CLASSES, 0.05, np.float32),
    initial_weights=np.full((CLASSES, 2), 0.5, np.float32),
    weight_targets=np.ones((CLASSES, 2), np.float32),
    autoweighting=False,
    minimum_weight=1e-4,
    maximum_weight=0.9999,
)
Run = Callable[[], object]


@dataclass(frozen=True)
class Size:
    width: int
    height: int
    batch: int


def photographs(folder: Path, size: Size) -> FrameTable:
    """JPEG files of the network's size with OBJECTS boxes each."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(FILES)]
    for path in paths:
        coarse = rng.integers(0, 256, (size.height // 8, size.width // 8, 3), np.uint8)
        Image.fromarray(coarse).resize((size.width, size.height), Image.Resampling.BICUBIC).save(path, quality=90)
    count = FILES * OBJECTS
    whole = np.array([size.width, size.height])
    low = rng.uniform(0, 0.8, (count, 2)) * whole
    high = low + rng.uniform(0.04, 0.2, (count, 2)) * whole
    return FrameTable(
        classes=tuple("abc"),
        image_paths=tuple(map(str, paths)),
        sizes=np.tile(np.array([[size.width, size.height]], np.int32), (FILES, 1)),
        boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        class_ids=rng.integers(0, CLASSES, count).astype(np.int32),
        row_splits=np.arange(0, count + 1, OBJECTS),
        weights=np.ones(FILES, np.float32),
        sources=np.zeros(FILES, np.int32),
        upright=np.zeros(FILES, np.bool_),
    )


def augmentation(size: Size) -> AugmentationConfig:
    """What TAO's example specs do to images."""
    return AugmentationConfig(
        preprocessing={
            "output_image_width": size.width,
            "output_image_height": size.height,
            "output_image_channel": 3,
            "enable_auto_resize": True,
        },
        spatial_augmentation={
            "hflip_probability": 0.5,
            "zoom_min": 1.0,
            "zoom_max": 1.0,
            "translate_max_x": 8,
            "translate_max_y": 8,
            "rotate_probability": 1.0,
        },
        color_augmentation={
            "hue_rotation_max": 25,
            "saturation_shift_max": 0.2,
            "contrast_scale_max": 0.1,
            "contrast_center": 0.5,
        },
    )


def stepper(network: KerasGraph, size: Size, prepare: Preparation | None = None) -> Stepper:
    grid = Grid(size.width, size.height, size.width // 16, size.height // 16)
    adam = {"epsilon": 1e-8, "beta1": 0.9, "beta2": 0.999}
    config = TrainingConfig(optimizer={"adam": adam}, regularizer={"type": "L1", "weight": REGULARIZATION})
    rasterizer = Rasterizer(grid, [CoverageShape()] * CLASSES, 0.4)
    return Stepper(network, rasterizer, COST, config, tf.distribute.get_strategy(), prepare=prepare)


def seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def medians(runs: dict[str, Run], rounds: int, steps: int) -> dict[str, float]:
    """Name -> seconds of one step; in each round every kind makes `steps` steps, the first not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            found[name].append(seconds(lambda run=run: [run() for _ in range(steps)]) / steps)
    return {name: statistics.median(times) for name, times in found.items()}


def steps(graph: Graph, size: Size, frames: FrameTable, *, mixed: bool) -> tuple[dict[str, Run], float]:
    """The kinds of step that are measured, each compiled; and the seconds that the first took."""
    config = augmentation(size)
    prepare = Preparation(config)
    stream = raw_batches(frames, config, size.batch, seed=1, cache=Cache(1 << 30))
    batches: Iterator[Any] = iter(on_device(tf.distribute.get_strategy(), stream))
    still = {name: tf.identity(value) for name, value in tf.function(prepare)(next(batches)).items()}
    float_step, whole = stepper(to_keras(graph), size), stepper(to_keras(graph), size, prepare)
    plan = place(graph)
    quantized = stepper(to_fake_quantized(graph, plan, dict.fromkeys(plan.activations, 4.0)), size)
    runs: dict[str, Run] = {
        "train": lambda: whole(next(batches), RATE),
        "bare": lambda: float_step(still, RATE),
        "qat": lambda: quantized(still, RATE),
    }
    if mixed:
        half = stepper(to_keras(graph, policy="mixed_bfloat16"), size)
        runs["amp"] = lambda: half(still, RATE)
    first = seconds(runs["train"])
    for run in runs.values():
        run()
    if (peer := pytorch_step(graph, size)) is not None:
        runs["pytorch"] = peer
    return runs, first


def pytorch_step(graph: Graph, size: Size) -> Run | None:
    """The same step in PyTorch; None where that is not installed. Targets are given, nothing is drawn."""
    try:
        import torch
    except ImportError:
        return None
    functional = torch.nn.functional
    device = torch.device("cuda" if torch.cuda.is_available() and tf.config.list_physical_devices("GPU") else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as TensorFlow does
    torch.backends.cudnn.benchmark = True

    def on_torch(array: np.ndarray) -> Any:
        return torch.tensor(array, device=device)

    weights = {}
    for name, array in graph.weights.items():
        kernel = array.ndim == 4
        value = on_torch(array.transpose(3, 2, 0, 1) if kernel else array)
        weights[name] = value.contiguous(memory_format=torch.channels_last) if kernel else value
    learned = [value.requires_grad_() for name, value in weights.items() if not name.endswith(("/mean", "/variance"))]
    regularized = [weights[name] for n in graph.nodes if isinstance(n, nodes.Conv2D) for name in n.weight_names()]
    optimizer = torch.optim.Adam(learned, RATE, fused=True)
    rng = np.random.default_rng(0)
    images = on_torch(rng.random((size.batch, 3, size.height, size.width), np.float32))
    images = images.contiguous(memory_format=torch.channels_last)

    def convolution(node: nodes.Conv2D, x: Any) -> Any:
        top, left, bottom, right = node.padding
        if (top, left) != (bottom, right):
            x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
        bias = weights.get(f"{node.name}/bias")
        return functional.conv2d(x, weights[f"{node.name}/kernel"], bias, node.strides, (top, left), node.dilation)

    def norm(node: nodes.BatchNorm, x: Any) -> Any:
        mean, variance, gamma, beta = (
            weights[f"{node.name}/{part}"] for part in ("mean", "variance", "gamma", "beta")
        )
        return functional.batch_norm(x, mean, variance, gamma, beta, True, 1 - node.momentum, node.epsilon)

    kinds: dict[type, Callable[..., Any]] = {
        nodes.Conv2D: convolution,
        nodes.BatchNorm: norm,
        nodes.Relu: lambda _, x: functional.relu(x),
        nodes.Sigmoid: lambda _, x: torch.sigmoid(x),
        nodes.Add: lambda _, x, y: x + y,
    }

    def forward() -> tuple[Any, Any]:
        values = {graph.input.name: images}
        for node in graph.nodes[1:]:
            values[node.name] = kinds[type(node)](node, *(values[name] for name in node.inputs))
        bbox, cov = (values[name] for name in graph.outputs)
        return bbox, cov

    with torch.no_grad():
        bbox, cov = forward()
        target, wanted = torch.rand_like(bbox), (torch.rand_like(cov) > 0.9).float()

    def step() -> float:
        bbox, cov = forward()
        entropy = -(wanted * torch.log(cov + 1e-5) + (1 - wanted) * torch.log(1 + 1e-5 - cov))
        loss = (torch.where(wanted > 0.5, 0.05, 0.95) * entropy).mean()
        loss = loss + ((bbox - target).abs() * wanted.repeat_interleave(4, 1)).mean()
        loss = loss + REGULARIZATION * sum(value.abs().sum() for value in regularized)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def measure(rounds: int, size: Size | None = None) -> dict[str, float | str | None]:
    """The numbers of the benchmark; null is what this machine cannot tell."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # PyTorch wants some too
    size = size or (Size(960, 544, 16) if gpus else Size(480, 272, 4))
    config = ModelConfig(arch="resnet", num_layers=18, use_batch_norm=True)
    graph = build(config, (size.height, size.width, 3), CLASSES, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        frames = photographs(Path(folder), size)
        mixed = quickest(this_machine(1)).precision == "mixed"
        runs, first = steps(graph, size, frames, mixed=mixed)
        took = medians(runs, rounds, steps=20 if gpus else 1)

    def ratio(name: str, other: str) -> float | None:
        return took[name] / took[other] if name in took else None

    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return {
        "device": details.get("device_name", "GPU") if gpus else f"{this_processor().name}, {os.cpu_count()} cores",
        "images_per_second": size.batch / took["train"],
        "step_vs_bare": took["bare"] / took["train"],
        "vs_pytorch": ratio("pytorch", "bare"),
        "qat_vs_float": took["qat"] / took["bare"],
        "amp_vs_float": None if "amp" not in took else took["bare"] / took["amp"],
        "first_step_seconds": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--size", type=int, nargs=3, metavar=("WIDTH", "HEIGHT", "BATCH"), help="instead of what fits"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    numbers = measure(arguments.rounds, Size(*arguments.size) if arguments.size else None)
    print(json.dumps(numbers, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
