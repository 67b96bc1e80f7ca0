"""Whether what was exported computes what the Keras model computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qatkit.console import info
from qatkit.engine.base import Array
from qatkit.engine.onnx_runtime import open_onnx
from qatkit.engine.open import load_keras_engine
from qatkit.export.export import ExportReport
from qatkit.keras.startup import has_tensorflow
from qatkit.model.file import Model


def compare_with_keras(report: ExportReport, images: Array) -> None:
    """Print the largest difference between each exported file and the Keras model, on images [B, H, W, C] in 0..1.

    Without TensorFlow nothing is compared.
    """
    if not has_tensorflow():
        info("Not compared with Keras: TensorFlow is not installed (pip install 'qatkit[train]').")
        return
    deployment = report.deployment
    floating = replace(deployment.model, graph=deployment.graph, plan=None, ranges={})
    _compare(floating, report.onnx, images, "float ONNX against Keras")
    if report.qdq is not None and report.source == "qat":
        # TAO trains with one scale per kernel; TensorRT, and so the file, has one per output channel.
        whole = ", which rounds whole kernels, as TAO does" if deployment.int8_plan.placement == "tao" else ""
        _compare(deployment.model, report.qdq, images, f"INT8 ONNX against fake-quantized Keras{whole}")


def _compare(model: Model, path: Path, images: Array, what: str) -> None:
    # Of any output, relative to its largest magnitude.
    pairs = zip(load_keras_engine().from_model(model).predict(images), open_onnx(path).predict(images))
    difference = max(float(np.abs(one - two).max() / max(np.abs(one).max(), 1e-9)) for one, two in pairs)
    info(f"{what}: largest difference {difference:.2e} of the largest output, on {len(images)} images")
