"""The grid of cells over the image."""

from __future__ import annotations

import numpy as np
import pytest

from qatkit.detectnet.grid import Grid
from qatkit.errors import SpecError
from qatkit.spec import Experiment


def test_points_follow_the_pitch_not_the_stride() -> None:
    grid = Grid(input_width=40, input_height=48, grid_width=3, grid_height=3, offset=0.5)
    assert (grid.pitch_x, grid.pitch_y) == (40 / 3, 16)
    np.testing.assert_allclose(grid.points_x(), [0.5, 13.833333, 27.166667], rtol=1e-6)
    np.testing.assert_allclose(grid.points_y(), [0.5, 16.5, 32.5])


def test_from_spec() -> None:
    experiment = Experiment()
    experiment.augmentation_config.preprocessing.output_image_width = 320
    experiment.augmentation_config.preprocessing.output_image_height = 192
    experiment.model_config.objective_set.bbox.scale = 30
    experiment.model_config.objective_set.bbox.offset = 0.25
    assert Grid.from_spec(experiment, grid_width=20, grid_height=12) == Grid(320, 192, 20, 12, 30.0, 0.25)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"grid_width": 0}, "at least one pixel"),
        ({"input_height": -1}, "at least one pixel"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": float("nan")}, "scale must be positive"),
        ({"offset": -0.5}, "offset must not be negative"),
    ],
)
def test_refused(change: dict[str, float], message: str) -> None:
    sizes = {"input_width": 160, "input_height": 112, "grid_width": 10, "grid_height": 7}
    with pytest.raises(SpecError, match=message):
        Grid(**{**sizes, **change})  # type: ignore[arg-type]
