"""Network outputs -> detections; the same for validation, evaluation, comparison and inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.clustering import ClusteringParams, Compat, Detections, cluster
from qatkit.detectnet.grid import Grid, decode
from qatkit.errors import SpecError, UsageError
from qatkit.spec import Experiment, Inference, class_names


def detect(
    cov: NDArray[np.float32], bbox: NDArray[np.float32], grid: Grid, params: Sequence[ClusteringParams]
) -> list[dict[int, Detections]]:
    """The detections of each frame by class index (every class has an entry).

    cov: [B, C, h, w] in 0..1. bbox: [B, 4C, h, w] in units of grid.scale, channel 4 * class + side. params: one per
    class. Boxes are clipped to the image, in network-input pixels.
    Raises UsageError when the network has another number of classes: a file without metadata tells only now.
    """
    if cov.shape[1] != len(params):
        raise UsageError(f"the network has {cov.shape[1]} classes, the spec {len(params)}")
    boxes = decode(bbox, grid)

    def found(frame: int, index: int) -> Detections:
        cells, coverages = boxes[frame, index], cov[frame, index]
        if params[index].by_column:
            cells, coverages = cells.swapaxes(0, 1), coverages.T
        return cluster(cells.reshape(-1, 4), coverages.ravel(), params[index])

    return [{index: found(frame, index) for index in range(cov.shape[1])} for frame in range(len(cov))]


def evaluation_params(experiment: Experiment, *, compat: Compat = "none") -> tuple[ClusteringParams, ...]:
    """The clustering of each class of a training spec, in the order of the network's classes.

    Raises SpecError for a class that postprocessing_config does not describe.
    """
    configs = experiment.postprocessing_config.target_class_config
    params = []
    for name in class_names(experiment):
        if name not in configs:
            raise SpecError(f"postprocessing_config has no target_class_config for class '{name}'")
        params.append(ClusteringParams.from_spec(configs[name].clustering_config, compat=compat))
    return tuple(params)


def inference_params(
    inference: Inference, classes: Sequence[str], *, compat: Compat = "none"
) -> tuple[ClusteringParams, ...]:
    """The clustering of each of `classes` according to an inference spec; its entry "default" stands in.

    Raises SpecError for a class that has no entry where there is no default either.
    """
    handlers = inference.bbox_handler_config.classwise_bbox_handler_config
    params = []
    for name in classes:
        key = name if name in handlers else "default"
        if key not in handlers:
            raise SpecError(
                f"classwise_bbox_handler_config has no entry for class '{name}'",
                hint='add one, or one named "default"',
            )
        handler = handlers[key]
        params.append(
            ClusteringParams.from_spec(
                handler.clustering_config, confidence_model=handler.confidence_model, compat=compat
            )
        )
    return tuple(params)
