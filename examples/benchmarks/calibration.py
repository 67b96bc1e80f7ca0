"""Measures calibration of a ResNet18 detector at 960x544 on random images: peak memory, and time per image.

python examples/benchmarks/calibration.py --images 500 --json FILE
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from qatkit.detectnet.labels import Labels
from qatkit.export.calibrate import calibrate
from qatkit.export.deployed import deploy
from qatkit.export.metadata import Metadata
from qatkit.export.onnx_model import to_onnx
from qatkit.graph.build import build
from qatkit.quantization.calibration.calibrators import CALIBRATORS
from qatkit.spec import ModelConfig

SHAPE = (544, 960, 3)
CLASSES = ("car", "person", "bicycle")
# Inference without calibration is timed on at most so many images.
INFERENCES = 20


def network() -> onnx.ModelProto:
    """The float ONNX of a ResNet18 detector with initial weights."""
    config = ModelConfig(arch="resnet", num_layers=18, use_batch_norm=True)
    metadata = Metadata(Labels(CLASSES), stride=16)
    return to_onnx(deploy(build(config, SHAPE, len(CLASSES), seed=0)), metadata)


def images(count: int) -> Iterator[NDArray[np.float32]]:
    """`count` batches [1, H, W, C] of noise."""
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.random((1, *SHAPE), np.float32)


def inference_seconds(model: onnx.ModelProto, count: int) -> float:
    """Seconds per image of ONNX Runtime with its default settings, after one image to warm up."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = ({session.get_inputs()[0].name: image.transpose(0, 3, 1, 2).copy()} for image in images(count + 1))
    session.run(None, next(feeds))
    began = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    return (time.perf_counter() - began) / count


def measure(count: int, calibrator: str) -> dict[str, float]:
    """Peak memory is that of the whole process, the building of the network included."""
    model = network()
    began = time.perf_counter()
    calibrate(model, images(count), calibrator)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "images": count,
        "peak_bytes": peak,
        "seconds_per_image": seconds / count,
        "inference_seconds_per_image": inference_seconds(model, min(count, INFERENCES)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--calibrator", choices=tuple(CALIBRATORS), default="entropy")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    numbers = measure(arguments.images, arguments.calibrator)
    print(json.dumps(numbers, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
