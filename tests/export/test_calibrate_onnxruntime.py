"""Measured ranges against the calibrators of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

from qatkit.export.calibrate import calibrate
from qatkit.export.deployed import deploy
from qatkit.export.onnx_model import to_onnx
from tests.support.exported import METADATA, images_for
from tests.support.networks import Net

SIGNED = ("input_1:0", "stem_bn/batchnorm/add_1:0", "output_bbox/BiasAdd:0", "output_cov/BiasAdd:0")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: NDArray[np.float32]) -> None:
        self._feeds: Iterator[dict[str, Any]] = (
            {"input_1:0": np.ascontiguousarray(image[None].transpose(0, 3, 1, 2))} for image in images
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@pytest.fixture(scope="module")
def network() -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    net = Net()
    net.heads(net.conv_bn_relu("stem", net.input, 8))
    graph = net.graph()
    return to_onnx(deploy(graph), METADATA), images_for(graph, 24)


def measured(
    model: onnx.ModelProto, images: NDArray[np.float32], folder: Path, method: CalibrationMethod, **options: Any
) -> dict[str, float]:
    """Tensor name -> the larger end of ONNX Runtime's range."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    theirs = create_calibrator(path, None, str(folder / "augmented.onnx"), method, extra_options=options)
    theirs.collect_data(_Reader(images))
    return {
        name: max(abs(float(np.ravel(end)[0])) for end in data.range_value)
        for name, data in theirs.compute_data().items()
    }


def test_minmax_is_that_of_onnx_runtime(network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ours = calibrate(network[0], [network[1]], "minmax")
    # Its ReduceMin and ReduceMax run inside an optimized graph: the last bits differ.
    assert ours == pytest.approx(measured(*network, tmp_path, CalibrationMethod.MinMax), rel=1e-5)
    assert len(ours) == 6


def test_percentile_is_that_of_onnx_runtime_up_to_a_bin(network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    peaks = calibrate(network[0], [network[1]], "minmax")
    theirs = measured(*network, tmp_path, CalibrationMethod.Percentile, percentile=99.99, num_bins=2048)
    for name, amax in calibrate(network[0], [network[1]], "percentile").items():
        assert amax == pytest.approx(theirs[name], abs=1.5 * peaks[name] / 2048)


def test_entropy_is_close_to_that_of_onnx_runtime(network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Long tails, of which both clip about half the range.

    Tensors of both signs: on others ONNX Runtime spends half of its levels on a side where nothing is.
    """
    model, images = network
    images = np.random.default_rng(0).standard_t(4, (100, *images.shape[1:])).astype(np.float32)
    bins = {"num_bins": 2047, "num_quantized_bins": 255}
    theirs = measured(model, images, tmp_path, CalibrationMethod.Entropy, **bins)
    ours, peaks = (calibrate(model, [images], name, SIGNED) for name in ("entropy", "minmax"))
    for name in SIGNED:
        assert ours[name] == pytest.approx(theirs[name], rel=0.25)
        assert ours[name] < 0.7 * peaks[name]
