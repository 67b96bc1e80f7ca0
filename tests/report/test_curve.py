from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qatkit.errors import EnvironmentProblem
from qatkit.report.curve import NAME, draw_curve, read_curve, write_curve


def epoch(number: int, loss: float = 0.5, **more: Any) -> str:
    graphical = {"loss": loss, "learning_rate": "0.001"}
    return json.dumps({"epoch": number, "graphical": graphical, "loss_parts": {"cov": 0.2, "bbox": 0.01}, **more})


def validation(number: int, precision: float = 50.0, **ap: float | None) -> str:
    kpi = {"validation cost": 0.3, "mean average precision": precision}
    return json.dumps({"epoch": number, "kpi": kpi, "categorical": {"average_precision": ap}})


def test_no_line_no_curve() -> None:
    curve = read_curve([])
    assert (curve.costs, curve.rates, curve.precisions, curve.last) == ({}, {}, {}, 0)


def test_values_by_epoch() -> None:
    curve = read_curve([epoch(1, 0.5), epoch(2, 0.25), validation(2, 40.0, person=40.0, bag=None)])
    assert curve.costs == {
        "training cost": {1: 0.5, 2: 0.25},
        "coverage": {1: 0.2, 2: 0.2},
        "boxes": {1: 0.01, 2: 0.01},
        "validation cost": {2: 0.3},
    }
    assert curve.rates == {1: 0.001, 2: 0.001}
    assert curve.precisions == {"mAP": {2: 40.0}, "person": {2: 40.0}}
    assert curve.last == 2


def test_an_epoch_that_comes_again_replaces_what_follows_it() -> None:
    """A run that was killed goes on from its last checkpoint; one that begins anew has none of the old values."""
    first = [epoch(1), validation(1), epoch(2), validation(2), epoch(3), validation(3)]
    resumed = read_curve([*first, epoch(2, 0.1)])
    assert resumed.costs["training cost"] == {1: 0.5, 2: 0.1}
    assert resumed.precisions == {"mAP": {1: 50.0}}
    assert read_curve([*first, epoch(1, 0.9)]).costs["training cost"] == {1: 0.9}


@pytest.mark.parametrize(
    "line", ["", "{", "[1, 2]", '"text"', '{"status": "STARTED"}', '{"epoch": "first"}', '{"epoch": null}']
)
def test_other_lines_are_passed_over(line: str) -> None:
    assert read_curve([epoch(1), line, epoch(2)]).last == 2


def test_lines_of_a_version_without_parts() -> None:
    curve = read_curve([json.dumps({"epoch": 1, "graphical": {"loss": 0.5, "learning_rate": "1e-05"}})])
    assert curve.costs == {"training cost": {1: 0.5}}


def colors(picture: Image.Image) -> int:
    """How many pixels are neither white nor grey."""
    pixels = np.asarray(picture).astype(int)
    return int((np.ptp(pixels, axis=-1) > 60).sum())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [epoch(1)],
        [epoch(1), validation(1, person=50.0)],
        [epoch(number, 1 / number) for number in range(1, 400)],
        [epoch(1, 0.0), epoch(2, 0.0)],
        [epoch(1), validation(1, **{f"class_{number}": 10.0 * number for number in range(9)})],
        [epoch(1, 1e-30), epoch(2, 1e30)],
    ],
)
def test_any_curve_can_be_drawn(lines: list[str]) -> None:
    picture = draw_curve(read_curve(lines))
    assert (picture.width, picture.mode) == (800, "RGB")
    assert (colors(picture) > 100) == bool(lines)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_a_curve_that_falls_is_drawn_falling() -> None:
    """The first line's colour: high at the left, low at the right."""
    picture = np.asarray(draw_curve(read_curve([epoch(number, 1 / number) for number in range(1, 9)])))[:250]
    blue = (np.abs(picture.astype(int) - (11, 105, 168)).sum(axis=-1) < 30)[:, 72:632]
    rows, columns = np.nonzero(blue)
    assert rows[columns < 50].mean() + 40 < rows[columns > 500].mean()


def test_the_file_is_written_whole_and_replaced(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    status.write_text(f"{epoch(1)}\n")
    write_curve(tmp_path)
    first = (tmp_path / NAME).read_bytes()
    status.write_text(f"{epoch(1)}\n{epoch(2)}\n")
    write_curve(tmp_path)
    assert (tmp_path / NAME).read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["status.json", NAME]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"status.json: cannot read: No such file"):
        write_curve(tmp_path / "gone")
