"""Measures what happens after the network on one core: clustering, and matching with average precision.

python examples/benchmarks/postprocessing.py --json FILE
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.clustering import Algorithm, ClusteringParams, Detections
from qatkit.detectnet.grid import Grid
from qatkit.detectnet.postprocess import detect
from qatkit.evaluation.evaluate import EvaluationSettings, Evaluator
from qatkit.evaluation.matching import Criteria

Array = NDArray[np.float32]

GRID = Grid(input_width=960, input_height=544, grid_width=60, grid_height=34)
CANDIDATES = 200  # cells with coverage, per frame
FRAMES = 1000
PARAMS = ClusteringParams(
    Algorithm.DBSCAN, coverage_threshold=0.005, minimum_bounding_box_height=4, dbscan_eps=0.2, dbscan_min_samples=0.05
)


def outputs(random: np.random.Generator) -> tuple[Array, Array]:
    """cov [1, 1, h, w] and bbox [1, 4, h, w] of a frame with ten objects of twenty cells each, a little shaken."""
    cov = np.zeros((1, 1, GRID.grid_height, GRID.grid_width), np.float32)
    bbox = np.zeros((1, 4, GRID.grid_height, GRID.grid_width), np.float32)
    for block in random.permutation(6 * 8)[: CANDIDATES // 20]:
        row, column = 5 * (block // 8), 7 * (block % 8)
        x1, y1, x2, y2 = (
            GRID.pitch_x * column,
            GRID.pitch_y * row,
            GRID.pitch_x * (column + 5),
            GRID.pitch_y * (row + 4),
        )
        rows, columns = slice(row, row + 4), slice(column, column + 5)
        x, y = np.meshgrid(GRID.points_x()[columns], GRID.points_y()[rows])
        cov[0, 0, rows, columns] = random.uniform(0.1, 1, (4, 5))
        sides = np.stack([x - x1, y - y1, x2 - x, y2 - y]) + random.normal(0, 2, (4, 4, 5))
        bbox[0, :, rows, columns] = sides / GRID.scale
    return cov, bbox


def cluster_seconds() -> float:
    """Seconds to decode and cluster 1,000 frames."""
    random = np.random.default_rng(0)
    frames = [outputs(random) for _ in range(FRAMES)]
    began = time.perf_counter()
    for cov, bbox in frames:
        detect(cov, bbox, GRID, [PARAMS])
    return time.perf_counter() - began


def labelled_frame(random: np.random.Generator) -> tuple[Array, Detections]:
    """Ten objects, boxes [10, 4], and ten detections around each."""
    corners = random.uniform(0, 500, (10, 2))
    truths = np.concatenate([corners, corners + random.uniform(20, 200, (10, 2))], axis=1).astype(np.float32)
    boxes = np.repeat(truths, 10, axis=0) + random.normal(0, 10, (100, 4))
    confidences = random.uniform(0, 1, 100)
    return truths, Detections.of(boxes, confidences, confidences, np.ones(100, np.int64))


def evaluate_seconds() -> float:
    """Seconds to evaluate 100,000 detections in 1,000 frames."""
    random = np.random.default_rng(0)
    frames = [labelled_frame(random) for _ in range(FRAMES)]
    began = time.perf_counter()
    evaluator = Evaluator(EvaluationSettings(("car",), (PARAMS,), (Criteria(min_overlap=0.5),)))
    for truths, found in frames:
        evaluator.add(truths, np.zeros(len(truths), np.int32), {0: found})
    evaluator.result()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    numbers = {
        "cluster_seconds_per_1000_frames": cluster_seconds(),
        "evaluate_seconds_per_100000": evaluate_seconds(),
    }
    print(json.dumps(numbers, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
