"""Figures: valid SVG, the same every time, for names of any kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from qatkit.report import plots
from tests.report.samples import CAR, EVIL, layer_entry, report, tensor

Report = dict[str, Any]

MAKERS: dict[str, Callable[[Report], plots.Plot]] = {
    "precision": lambda content: plots.precision_plot(content["models"], [CAR, EVIL]),
    "sqnr": lambda content: plots.sqnr_plot(content["layers"]),
    "ranges": lambda content: plots.ranges_plots(content["layers"])[1],
    "sensitivity": lambda content: plots.sensitivity_plots(content["sensitivity"])[0],
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_figures_are_svg(make: Callable[[Report], plots.Plot]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = make(report())
    for content in (plot.light, plot.dark):
        assert ElementTree.fromstring(content).tag.endswith("}svg")
    assert plot.light != plot.dark and plot.alt


def test_the_same_figure_is_the_same_file() -> None:
    make = MAKERS["ranges"]
    assert make(report()) == make(report())


def test_a_dead_tensor_has_a_place_on_a_logarithmic_axis() -> None:
    dead = tensor("a", 120.0) | {"percentile": 0.0, "peak": 0.0, "amax": 2.0**-23}
    (plot,) = plots.ranges_plots([layer_entry("m", "int8-ptq", dead)])
    assert b"nan" not in plot.light.lower()


def test_what_a_figure_says_in_words() -> None:
    assert f"{EVIL}, INT8 PTQ 60.2; qat, INT8 QAT 79.7" in MAKERS["precision"](report()).alt
    assert "b 3.5 dB; qat, INT8 QAT: a 30.5 dB" in MAKERS["sqnr"](report()).alt
    assert "The most: conv1, 18.5" in MAKERS["sensitivity"](report()).alt
