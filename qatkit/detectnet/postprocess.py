"""Network outputs -> detections; the same for validation, evaluation, comparison and inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qatkit.detectnet.clustering import ClusteringParams, Compat, Detections, cluster
from qatkit.detectnet.decode import decode
from qatkit.detectnet.grid import Grid
from qatkit.errors import SpecError
from qatkit.progress import info


def detect(
    cov: NDArray[np.float32], bbox: NDArray[np.float32], grid: Grid, params: Sequence[ClusteringParams]
) -> list[dict[int, Detections]]:
    """The detections of each frame by class index (every class has an entry).

    cov: [B, C, h, w] in 0..1. bbox: [B, 4C, h, w] in units of grid.scale, channel 4 * class + side. params: one per
    class. Boxes are clipped to the image, in network-input pixels.
    """
    boxes = decode(bbox, grid)

    def found(frame: int, index: int) -> Detections:
        return cluster(boxes[frame, index].reshape(-1, 4), cov[frame, index].ravel(), params[index])

    return [{index: found(frame, index) for index in range(cov.shape[1])} for frame in range(len(cov))]


def evaluation_params(experiment: Any, *, compat: Compat = "none") -> tuple[ClusteringParams, ...]:
    """The clustering of each class of an Experiment message, in the order of the network's classes.

    Raises SpecError for a class that postprocessing_config does not describe.
    """
    configs = experiment.postprocessing_config.target_class_config
    params, unswapped = [], []
    for target_class in experiment.cost_function_config.target_classes:
        name = target_class.name
        if name not in configs:
            raise SpecError(f"postprocessing_config has no target_class_config for class '{name}'")
        config = configs[name].clustering_config
        params.append(ClusteringParams.from_spec(config, compat=compat))
        if config.dbscan_confidence_threshold != config.nms_confidence_threshold:
            unswapped.append(name)
    if unswapped and compat != "tao-evaluate":
        info(
            "dbscan_confidence_threshold and nms_confidence_threshold mean what they say; TAO's train and evaluate "
            f"swap them, so their mAP can differ (classes: {', '.join(unswapped)})"
        )
    return tuple(params)


def inference_params(
    inference: Any, classes: Sequence[str], *, compat: Compat = "none"
) -> tuple[ClusteringParams, ...]:
    """The clustering of each of `classes` according to an Inference message; its entry "default" stands in.

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
        params.append(_handler_params(handlers[key], compat))
    return tuple(params)


def _handler_params(handler: Any, compat: Compat) -> ClusteringParams:
    config = type(handler.clustering_config)()
    config.CopyFrom(handler.clustering_config)
    # Older releases had one confidence_threshold here instead of those of clustering_config.
    config.dbscan_confidence_threshold = config.dbscan_confidence_threshold or handler.confidence_threshold
    config.nms_confidence_threshold = config.nms_confidence_threshold or handler.confidence_threshold
    model = handler.confidence_model or "aggregate_cov"
    return ClusteringParams.from_spec(config, confidence_model=model, compat=compat)
