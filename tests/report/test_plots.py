"""Figures: valid SVG, the same every time, for names of any kind."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from qatkit.report import plots
from tests.support.report_content import CAR, EVIL, layer_entry, report, row, sensitivity_entry, tensor

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


SVG = "{http://www.w3.org/2000/svg}"


def right_ends(figure: bytes) -> Iterator[float]:
    """Where the last letter of every text begins, from the left in points: letters are paths, each one moved."""
    for text in ElementTree.fromstring(figure).iter(f"{SVG}g"):
        if text.get("id", "").startswith("text_"):
            (line,) = text.findall(f"{SVG}g")
            letters = [moved(letter, "translate") for letter in line.iter(f"{SVG}use")]
            yield moved(line, "translate") + moved(line, "scale") * max(letters)


def moved(element: ElementTree.Element, how: str) -> float:
    """The first number of a transformation, 0 without one."""
    found = re.search(rf"{how}\((\S+)", element.get("transform", ""))
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("name", ["a", "retrained", "a name of twenty-four le", "x" * 40, "y" * 200])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_text_runs_out_of_a_figure(make: Callable[[Report], plots.Plot], name: str) -> None:
    content = {
        "models": [row(name, precision, 50.0) for precision in ("fp32", "int8-ptq", "int8-qat")],
        "layers": [layer_entry(name, "int8-ptq", tensor("block_4a_conv_shortcut", 9.5)) for _ in range(2)],
        "sensitivity": [sensitivity_entry(name, "int8-ptq")],
    }
    figure = make(content).light
    ends = list(right_ends(figure))
    assert len(ends) > 3
    assert max(ends) < float(str(ElementTree.fromstring(figure).get("viewBox")).split()[2]) - 5


@pytest.mark.parametrize("drop, shown", [(0.01, True), (0.9, True), (-0.4, True), (40.0, False)])
def test_a_loss_of_less_than_a_point_looks_small(drop: float, shown: bool) -> None:
    entry = sensitivity_entry("m", "int8-ptq") | {"layers": [{"layer": "a", "map": 80 - drop, "drop": drop}]}
    (plot,) = plots.sensitivity_plots([entry])
    # Every text is there as a comment too.
    assert (b"<!-- 1.0 -->" in plot.light) is shown
